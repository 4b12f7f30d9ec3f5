"""MoE layers in NumPy, whose products are its BLAS's, on as many threads as that was told of."""
import platform

import numpy

from exchange import Unsupported


def program(task):
    try:
        blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        blas = f" ({blas['name']} {blas['version']})"
    except (KeyError, TypeError):
        blas = ""
    return f"NumPy {numpy.__version__}{blas}, Python {platform.python_version()}"


def silu_of_gate(h):
    """silu(gate) · up of rows [gate, up], with one temporary."""
    gate, up = numpy.split(h, 2, axis=-1)
    e = numpy.negative(gate)
    numpy.exp(e, out=e)
    e += 1
    numpy.divide(gate, e, out=e)
    e *= up
    return e


def route(x, router, k):
    """(weights, experts), [tokens, k] each."""
    logits = x @ router.T
    experts = numpy.argpartition(-logits, k - 1, axis=-1)[:, :k]
    best = numpy.take_along_axis(logits, experts, -1)
    best = numpy.exp(best - best.max(-1, keepdims=True))
    return best / best.sum(-1, keepdims=True), experts


class Layer:
    """Tokens sorted by expert; two products for each expert that has any."""

    def __init__(self, task, shared):
        self.task, self.router = task, task.weights.read("router")
        self.first, self.second = shared("experts", lambda: (task.first(), task.second()))

    def __call__(self, batch):
        task = self.task
        x, k = task.inputs[batch], task.top_k
        weights, experts = route(x, self.router, k)
        flat = experts.ravel()
        order = numpy.argsort(flat, kind="stable")
        sorted_x = x[order // k]
        rows = numpy.empty((order.size, x.shape[1]), x.dtype)
        start = 0
        for e, count in enumerate(numpy.bincount(flat, minlength=task.experts).tolist()):
            if count:
                part = slice(start, start + count)
                inner = silu_of_gate(sorted_x[part] @ self.first[e].T)
                rows[order[part]] = inner @ self.second[e].T
                start += count
        return (weights[:, None, :] @ rows.reshape(len(x), k, -1))[:, 0]


class DenseAllExperts(Layer):
    """Every token through every expert, those that were not chosen with weight 0."""

    def __call__(self, batch):
        task = self.task
        x = task.inputs[batch]
        weights, experts = route(x, self.router, task.top_k)
        every = numpy.zeros((len(x), task.experts), x.dtype)
        numpy.put_along_axis(every, experts, weights, -1)
        y = numpy.zeros_like(x)
        for e in range(task.experts):
            inner = silu_of_gate(x @ self.first[e].T)
            y += every[:, e, None] * (inner @ self.second[e].T)
        return y


class DenseIsoActive:
    """One dense feed-forward layer as wide as the k experts of a token."""

    def __init__(self, task, shared):
        self.task = task
        first, second = task.iso_first(), task.iso_second()
        self.copies = [(first, second)] + [(first.copy(), second.copy()) for _ in range(task.iso_copies - 1)]

    def __call__(self, batch):
        first, second = self.copies[batch % len(self.copies)]
        return silu_of_gate(self.task.inputs[batch] @ first.T) @ second.T


def fp32_only(layer):
    def make(task, shared):
        if task.dtype != "fp32":
            raise Unsupported(f"NumPy has no products of {task.dtype}")
        return layer(task, shared)

    return make


PEERS = {
    "numpy-loop": fp32_only(Layer),
    "numpy-dense-all-experts": fp32_only(DenseAllExperts),
    "numpy-dense-iso-active": fp32_only(DenseIsoActive),
}


def fp32(y):
    """An output as fp32 numbers, [tokens, hidden]."""
    return y
