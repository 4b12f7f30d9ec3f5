"""Mixture-of-Experts layers in torch, to compare with: bf16 weights and activations, softmax router, top-k weights that sum to one.

Every layer is a callable from x [tokens, hidden] to y of the same shape. `Reference` is what they, and moe-bench, have to agree with.
"""
import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import generator


@dataclass
class Weights:
    router: torch.Tensor  # [experts, hidden]
    first: torch.Tensor  # [experts, 2 · inner, hidden], gate above up; [experts, inner, hidden] without a gate
    second: torch.Tensor  # [experts, hidden, inner]
    top_k: int
    is_gated: bool

    @property
    def experts(self):
        return self.router.shape[0]

    @property
    def inner(self):
        return self.second.shape[2]

    @property
    def byte_count(self):
        return sum(w.numel() * w.element_size() for w in (self.router, self.first, self.second))

    def copy(self):
        return Weights(self.router.clone(), self.first.clone(), self.second.clone(), self.top_k, self.is_gated)

    @staticmethod
    def made(workload, device):
        """The numbers that moe-bench makes for the same workload."""
        w, seed = workload, workload.seed
        up = w.expert_hidden if w.is_gated else 0
        first = torch.empty(w.experts, up + w.expert_hidden, w.hidden, dtype=torch.bfloat16, device=device)
        second = torch.empty(w.experts, w.hidden, w.expert_hidden, dtype=torch.bfloat16, device=device)
        for e in range(w.experts):
            for projection, rows in (("gate", first[e, :up]), ("up", first[e, up:]), ("down", second[e])):
                if rows.shape[0]:
                    rows.copy_(generator.weights(seed, generator.expert_tag(e, projection), *rows.shape, device))
        router = generator.weights(seed, generator.router_tag(), w.experts, w.hidden, device)
        return Weights(router, first, second, w.top_k, w.is_gated)


@functools.cache
def gives_fp32():
    """Whether this torch multiplies bf16 to fp32 on a GPU, which it does not everywhere."""
    one = torch.ones(16, 16, dtype=torch.bfloat16, device="cuda")
    try:
        return torch.mm(one, one, out_dtype=torch.float32).dtype == torch.float32
    except (RuntimeError, TypeError):
        return False


def logits(x, router):
    """fp32 sums of products of bf16: rounded logits would send some tokens elsewhere."""
    if x.is_cuda and gives_fp32():
        return torch.mm(x, router.t(), out_dtype=torch.float32)
    return x.float() @ router.float().t()


def route(x, w):
    """(weights, experts), [tokens, k] each. A softmax over the k best logits is one over all, divided by its sum over the k."""
    best, experts = logits(x, w.router).topk(w.top_k, dim=-1)
    return best.softmax(-1), experts


def sort(experts, count):
    """(slots in order of their experts, slots of each expert); slot t · k + i is the i-th choice of token t."""
    flat = experts.flatten()
    order = flat.to(torch.int16).argsort(stable=True)
    counts = torch.zeros(count, dtype=torch.int32, device=flat.device)
    counts.scatter_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
    return order, counts


def activate(h, is_gated):
    if not is_gated:
        return F.relu_(h)
    gate, up = h.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


def combine(rows, order, weights):
    """Sums each token's rows, which are in the order of experts."""
    place = torch.empty_like(order)
    place[order] = torch.arange(order.numel(), device=order.device)
    tokens, k = weights.shape
    return torch.bmm(weights.to(rows.dtype)[:, None, :], rows[place].view(tokens, k, -1))[:, 0]


class ExpertLoop:
    """Two matrix products for each expert that has tokens, one expert after the other: cuBLAS's, on a GPU. The number of tokens of
    each is read back, because a product's shape has to be known."""
    name = "torch loop over experts (cuBLAS)"
    can_be_graph = False

    def __init__(self, weights, workload):
        self.w = weights

    def __call__(self, x):
        w = self.w
        weights, experts = route(x, w)
        order, counts = sort(experts, w.experts)
        sorted_x = x[order // w.top_k]
        rows = torch.empty(order.numel(), x.shape[1], dtype=x.dtype, device=x.device)
        start = 0
        for e, count in enumerate(counts.tolist()):
            if count:
                part = slice(start, start + count)
                inner = activate(sorted_x[part] @ w.first[e].t(), w.is_gated)
                torch.mm(inner, w.second[e].t(), out=rows[part])
                start += count
        return combine(rows, order, weights)


class GroupedMM:
    """torch's own grouped product: two calls for all experts, whose bounds stay on the device."""
    name = "torch grouped_mm"
    can_be_graph = True

    def __init__(self, weights, workload):
        self.w = weights
        self.multiply = getattr(F, "grouped_mm", None) or torch._grouped_mm

    def __call__(self, x):
        w = self.w
        weights, experts = route(x, w)
        order, counts = sort(experts, w.experts)
        ends = counts.cumsum(0, dtype=torch.int32)
        inner = activate(self.multiply(x[order // w.top_k], w.first.transpose(1, 2), offs=ends), w.is_gated)
        return combine(self.multiply(inner, w.second.transpose(1, 2), offs=ends), order, weights)


class Reference:
    """The same layer in float64, for some tokens of a batch."""
    # As moe-bench: choices whose logits are nearer than this are told apart by nobody who sums in fp32.
    nearest = 1e-4

    def __init__(self, weights, x, tokens):
        w, k = weights, weights.top_k
        x = x[tokens].double()
        scores = x @ w.router.double().t()
        best, experts = scores.topk(min(k + 1, w.experts), dim=-1)
        self.decided = torch.ones(len(tokens), dtype=torch.bool, device=x.device)
        if best.shape[1] > k:
            self.decided = best[:, k - 1] - best[:, k] >= self.nearest
        factors = best[:, :k].softmax(-1)
        self.tokens, self.y = tokens, torch.zeros_like(x)
        for e in experts[:, :k].unique().tolist():
            place, choice = (experts[:, :k] == e).nonzero(as_tuple=True)
            h = x[place] @ w.first[e].double().t()
            if w.is_gated:
                gate, up = h.chunk(2, dim=-1)
                h = F.silu(gate) * up
            else:
                h = F.relu(h)
            self.y.index_add_(0, place, (h @ w.second[e].double().t()) * factors[place, choice][:, None])

    def worst(self, y):
        """The largest relative error of a token, in the L2 norm; infinite where a number is not finite."""
        if not bool(torch.isfinite(y).all()):
            return float("inf")
        error = (y[self.tokens].double() - self.y).norm(dim=-1) / self.y.norm(dim=-1)
        error = error[self.decided]
        return float(error.max()) if error.numel() else float("nan")
