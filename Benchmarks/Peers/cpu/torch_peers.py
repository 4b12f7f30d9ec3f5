"""MoE layers in PyTorch on a processor: the same layers that `run_peers.py` has on a GPU, and the dense ones."""
import platform

import torch
import torch.nn.functional as F

from exchange import Unsupported
from moe_layers import ExpertLoop, GroupedMM, Weights, activate, route

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def program(task):
    torch.set_num_threads(task.threads)
    torch.set_num_interop_threads(1)
    return f"torch {torch.__version__}, Python {platform.python_version()}"


def tensor(array, dtype):
    """The same numbers, where they lie."""
    found = torch.from_numpy(array)
    return found.view(torch.bfloat16) if dtype == torch.bfloat16 else found


class Layer:
    def __init__(self, task, shared):
        if task.dtype not in TYPES:
            raise Unsupported(f"no MoE layer of torch's own reads {task.dtype} weights on a processor")
        self.task, self.dtype = task, TYPES[task.dtype]
        self.x = torch.from_numpy(task.inputs).to(self.dtype)

    def weights(self, shared):
        """Router logits are kept in fp32; rounded ones would send some tokens elsewhere."""
        task = self.task
        first, second = shared("experts", lambda: (task.first(), task.second()))
        router = tensor(task.weights.read("router"), self.dtype).float()
        return Weights(router, tensor(first, self.dtype), tensor(second, self.dtype), task.top_k, True)

    def __call__(self, batch):
        with torch.inference_mode():
            return self.forward(batch)


class Routed(Layer):
    kind = None

    def __init__(self, task, shared):
        super().__init__(task, shared)
        self.layer = self.kind(self.weights(shared), None)

    def forward(self, batch):
        return self.layer(self.x[batch])


class Eager(Routed):
    """Two matrix products for each expert that has tokens."""
    kind = ExpertLoop


class Grouped(Routed):
    """torch's own grouped product, twice."""
    kind = GroupedMM

    def __init__(self, task, shared):
        if not hasattr(F, "grouped_mm") and not hasattr(torch, "_grouped_mm"):
            raise Unsupported("this torch has no grouped_mm")
        super().__init__(task, shared)


class DenseAllExperts(Layer):
    """Every token through every expert, those that were not chosen with weight 0."""

    def __init__(self, task, shared):
        super().__init__(task, shared)
        self.w = self.weights(shared)

    def forward(self, batch):
        x, w = self.x[batch], self.w
        weights, experts = route(x, w)
        every = torch.zeros(len(x), w.experts).scatter_(1, experts, weights).to(self.dtype)
        y = torch.zeros_like(x)
        for e in range(w.experts):
            y.addcmul_(every[:, e, None], F.linear(activate(F.linear(x, w.first[e]), True), w.second[e]))
        return y


class DenseIsoActive(Layer):
    """One dense feed-forward layer as wide as the k experts of a token."""

    def __init__(self, task, shared):
        super().__init__(task, shared)
        first, second = tensor(task.iso_first(), self.dtype), tensor(task.iso_second(), self.dtype)
        self.copies = [(first, second)] + [(first.clone(), second.clone()) for _ in range(task.iso_copies - 1)]

    def forward(self, batch):
        first, second = self.copies[batch % len(self.copies)]
        return F.linear(activate(F.linear(self.x[batch], first), True), second)


PEERS = {
    "torch-eager": Eager,
    "torch-grouped-mm": Grouped,
    "torch-dense-all-experts": DenseAllExperts,
    "torch-dense-iso-active": DenseIsoActive,
}


def fp32(y):
    return y.float().numpy()
