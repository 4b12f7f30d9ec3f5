"""MoE layers in ggml, llama.cpp's tensor library: the graph that llama.cpp builds for a layer of experts, through ctypes.

The library is looked for in the folder that MOE_PEERS_GGML names, in the package llama_cpp, and where the system keeps libraries. It lends
pointers only: no struct of ggml's is laid out here but that of `ggml_init`.
"""
import ctypes
import ctypes.util
import importlib.util
import os
import platform
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy

from exchange import Unsupported

VARIABLE = "MOE_PEERS_GGML"
# ggml_type; and those whose weights ggml may arrange anew for this processor.
F32, F16, Q4_0, Q8_0, BF16 = 0, 1, 2, 8, 30
TYPES = {"fp32": F32, "fp16": F16, "bf16": BF16, "int8-block": Q8_0, "int4": Q4_0}
QUANTISED = (Q4_0, Q8_0)
GROUP = 32
CPU_DEVICE = 0
SUCCESS = 0
# Of a context that holds descriptions of tensors and no numbers.
CONTEXT_BYTES = 1 << 20
# Larger than ggml's own struct of a thread pool's settings has been in any version.
SETTINGS_BYTES = 4096


class Settings(ctypes.Structure):
    """ggml_init_params."""
    _fields_ = [("size", c_size_t), ("memory", c_void_p), ("no_alloc", c_bool)]


TENSOR = c_void_p
UNARY, BINARY = (TENSOR, [c_void_p, TENSOR]), (TENSOR, [c_void_p, TENSOR, TENSOR])
FUNCTIONS = {
    "ggml_init": (c_void_p, [Settings]),
    "ggml_free": (None, [c_void_p]),
    "ggml_version": (c_char_p, []),
    "ggml_new_tensor_2d": (TENSOR, [c_void_p, c_int, c_int64, c_int64]),
    "ggml_new_tensor_3d": (TENSOR, [c_void_p, c_int, c_int64, c_int64, c_int64]),
    "ggml_nbytes": (c_size_t, [TENSOR]),
    "ggml_reshape_2d": (TENSOR, [c_void_p, TENSOR, c_int64, c_int64]),
    "ggml_reshape_3d": (TENSOR, [c_void_p, TENSOR, c_int64, c_int64, c_int64]),
    "ggml_view_2d": (TENSOR, [c_void_p, TENSOR, c_int64, c_int64, c_size_t, c_size_t]),
    "ggml_soft_max": UNARY, "ggml_sum_rows": UNARY, "ggml_swiglu": UNARY,
    "ggml_mul_mat": BINARY, "ggml_get_rows": BINARY, "ggml_div": BINARY, "ggml_mul": BINARY, "ggml_add": BINARY,
    "ggml_mul_mat_id": (TENSOR, [c_void_p, TENSOR, TENSOR, TENSOR]),
    "ggml_argsort_top_k": (TENSOR, [c_void_p, TENSOR, c_int]),
    "ggml_set_output": (None, [TENSOR]),
    "ggml_new_graph": (c_void_p, [c_void_p]),
    "ggml_build_forward_expand": (None, [c_void_p, TENSOR]),
    "ggml_threadpool_params_init": (None, [c_void_p, c_int]),
    "ggml_gallocr_new": (c_void_p, [c_void_p]),
    "ggml_gallocr_alloc_graph": (c_bool, [c_void_p, c_void_p]),
    "ggml_backend_load_all": (None, []),
    "ggml_backend_init_by_type": (c_void_p, [c_int, c_char_p]),
    "ggml_backend_get_device": (c_void_p, [c_void_p]),
    "ggml_backend_dev_backend_reg": (c_void_p, [c_void_p]),
    "ggml_backend_reg_get_proc_address": (c_void_p, [c_void_p, c_char_p]),
    "ggml_backend_get_default_buffer_type": (c_void_p, [c_void_p]),
    "ggml_backend_alloc_ctx_tensors_from_buft": (c_void_p, [c_void_p, c_void_p]),
    "ggml_backend_buffer_free": (None, [c_void_p]),
    "ggml_backend_supports_op": (c_bool, [c_void_p, TENSOR]),
    "ggml_backend_tensor_set": (None, [TENSOR, c_void_p, c_size_t, c_size_t]),
    "ggml_backend_tensor_get": (None, [TENSOR, c_void_p, c_size_t, c_size_t]),
    "ggml_backend_graph_compute": (c_int, [c_void_p, c_void_p]),
}


def found(name):
    """A library of ggml's, or None."""
    folders = [os.environ.get(VARIABLE)]
    package = importlib.util.find_spec("llama_cpp")
    if package:
        folders += [Path(place) / "lib" for place in package.submodule_search_locations]
    for folder in filter(None, folders):
        for path in sorted(Path(folder).glob(f"lib{name}.*")):
            return str(path)
    return ctypes.util.find_library(name)


class Library:
    """ggml's functions, and a backend on the processor with a pool of threads."""

    def __init__(self):
        # Those that others depend on first: where they lie only we know.
        names = ["ggml-base", "ggml-cpu", "ggml"]
        paths = {name: found(name) for name in names}
        if not paths["ggml"] or not paths["ggml-base"]:
            raise ImportError(f"there is no libggml; {VARIABLE} names its folder, or install llama-cpp-python")
        self.loaded = [ctypes.CDLL(path, ctypes.RTLD_GLOBAL) for path in paths.values() if path]
        for name, (result, arguments) in FUNCTIONS.items():
            function = next((getattr(lib, name) for lib in self.loaded if hasattr(lib, name)), None)
            if function is None:
                raise ImportError(f"{paths['ggml']} has no {name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name.removeprefix("ggml_"), function)
        self.backend = None

    def start(self, threads):
        if self.backend:
            return
        self.backend_load_all()
        self.backend = self.backend_init_by_type(CPU_DEVICE, None)
        if not self.backend:
            raise RuntimeError("ggml has no backend for this processor")
        registry = self.backend_dev_backend_reg(self.backend_get_device(self.backend))

        def named(name, result, *arguments):
            address = self.backend_reg_get_proc_address(registry, name.encode())
            if not address:
                raise RuntimeError(f"ggml's backend has no {name}")
            return ctypes.CFUNCTYPE(result, *arguments)(address)

        settings = ctypes.create_string_buffer(SETTINGS_BYTES)
        self.threadpool_params_init(settings, threads)
        pool = named("ggml_threadpool_new", c_void_p, c_void_p)(ctypes.cast(settings, c_void_p))
        named("ggml_backend_cpu_set_threadpool", None, c_void_p, c_void_p)(self.backend, pool)
        named("ggml_backend_set_n_threads", None, c_void_p, c_int)(self.backend, threads)
        self.plain = self.backend_get_default_buffer_type(self.backend)
        more = named("ggml_backend_dev_get_extra_bufts", POINTER(c_void_p), c_void_p)(
            self.backend_get_device(self.backend))
        self.arranged = []
        while more and more[len(self.arranged)]:
            self.arranged.append(more[len(self.arranged)])

    def context(self):
        return self.init(Settings(CONTEXT_BYTES, None, True))


library = Library()


def program(task):
    library.start(task.threads)
    return f"ggml {library.version().decode()}, Python {platform.python_version()}"


def blocks(codes, scales, kind):
    """Codes and scales of groups of 32 as ggml's blocks; scales become fp16, as all of its are."""
    rounded = scales.astype(numpy.float16)
    if not numpy.isfinite(rounded).all():
        raise Unsupported("ggml's scales are fp16, and some of these are not within its range")
    if kind == Q4_0:
        # moe-bench has two neighbours in a byte, ggml a number and the one that is 16 further.
        codes = codes.reshape(*scales.shape, GROUP // 2)
        numbers = numpy.stack([codes & 15, codes >> 4], axis=-1).reshape(*scales.shape, GROUP)
        codes = numbers[..., : GROUP // 2] | numbers[..., GROUP // 2 :] << 4
    else:
        codes = codes.reshape(*scales.shape, GROUP)
    return numpy.concatenate([rounded[..., None].view(numpy.uint8), codes], axis=-1)


class Tensor:
    """A description of ggml's, and the numbers that go there once it has room."""

    def __init__(self, handle, numbers):
        self.handle, self.numbers = handle, numbers

    def fill(self):
        numbers = numpy.ascontiguousarray(self.numbers)
        if numbers.nbytes != library.nbytes(self.handle):
            raise RuntimeError(f"a tensor of {library.nbytes(self.handle)} bytes for {numbers.nbytes}")
        library.backend_tensor_set(self.handle, numbers.ctypes.data, 0, numbers.nbytes)
        self.numbers = None


class Layer:
    """One graph for each batch, all in the same memory; weights arranged for the processor where ggml can."""

    def __init__(self, task, shared):
        if task.dtype not in TYPES:
            raise Unsupported(f"ggml has no type for {task.dtype} weights")
        self.task, self.kind = task, TYPES[task.dtype]
        if self.kind in QUANTISED and (task.hidden % GROUP or task.expert_hidden % GROUP):
            raise Unsupported(f"ggml's groups of {GROUP} do not divide these rows")
        inputs = library.context()
        self.x = [library.new_tensor_2d(inputs, F32, task.hidden, task.tokens) for _ in task.inputs]
        library.backend_alloc_ctx_tensors_from_buft(inputs, library.plain)
        for handle, numbers in zip(self.x, task.inputs):
            Tensor(handle, numbers).fill()
        self.allocator = library.gallocr_new(library.plain)
        self.build()

    def build(self):
        """Weights and graphs: in the first arrangement whose products ggml has, in the plain one at last."""
        for place in (library.arranged if self.kind in QUANTISED else []) + [library.plain]:
            context = library.context()
            self.tensors = []
            self.products = []
            self.describe(context)
            buffer = library.backend_alloc_ctx_tensors_from_buft(context, place)
            if not buffer:
                raise MemoryError("ggml has no room for the weights")
            self.graphs = [self.graph(x, batch) for batch, x in enumerate(self.x)]
            if place == library.plain or all(map(self.supported, self.products)):
                break
            library.backend_buffer_free(buffer)
            library.free(context)
        self.fill()
        for graph, _ in self.graphs:
            if not library.gallocr_alloc_graph(self.allocator, graph):
                raise MemoryError("ggml has no room for a layer's rows")

    def supported(self, product):
        return library.backend_supports_op(library.backend, product)

    def fill(self):
        for tensor in self.tensors:
            tensor.fill()
        self.tensors = []

    def weight(self, context, numbers, scales=None):
        """[…, rows, columns], or its codes."""
        if self.kind in QUANTISED:
            columns = scales.shape[-1] * GROUP
            numbers = blocks(numbers, scales, self.kind)
            shape = (columns, *reversed(scales.shape[:-1]))
        else:
            shape = tuple(reversed(numbers.shape))
        make = library.new_tensor_3d if len(shape) == 3 else library.new_tensor_2d
        handle = make(context, self.kind, *shape)
        self.tensors.append(Tensor(handle, numbers))
        return handle

    def graph(self, x, batch):
        """(graph, its output)."""
        context = library.context()
        y = self.forward(context, x, batch)
        library.set_output(y)
        graph = library.new_graph(context)
        library.build_forward_expand(graph, y)
        return graph, y

    def __call__(self, batch):
        graph, y = self.graphs[batch]
        if library.backend_graph_compute(library.backend, graph) != SUCCESS:
            raise RuntimeError("ggml_backend_graph_compute")
        return y


class Experts(Layer):
    """Probabilities of all experts, the k best of them, their weights made to sum to one; `mul_mat_id` twice; rows summed."""

    def describe(self, context):
        weights, task = self.task.weights, self.task
        router = library.context()
        self.router = library.new_tensor_2d(router, F32, task.hidden, task.experts)
        library.backend_alloc_ctx_tensors_from_buft(router, library.plain)
        Tensor(self.router, task.weights.fp32("router")).fill()
        stacked = lambda name: numpy.concatenate([weights.mapped(name + "gate"), weights.mapped(name + "up")], axis=1)
        if self.kind in QUANTISED:
            self.first = self.weight(context, stacked(""), stacked("scales_"))
            self.second = self.weight(context, weights.read("down"), weights.read("scales_down"))
        else:
            self.first, self.second = self.weight(context, stacked("")), self.weight(context, weights.read("down"))

    def forward(self, context, x, batch):
        task, g = self.task, library
        hidden, experts, k, tokens = task.hidden, task.experts, task.top_k, task.tokens
        logits = g.mul_mat(context, self.router, x)
        probabilities = g.soft_max(context, logits)
        chosen = g.argsort_top_k(context, probabilities, k)
        weights = g.get_rows(context, g.reshape_3d(context, probabilities, 1, experts, tokens), chosen)
        weights = g.reshape_2d(context, weights, k, tokens)
        weights = g.div(context, weights, g.sum_rows(context, weights))
        h = g.mul_mat_id(context, self.first, g.reshape_3d(context, x, hidden, 1, tokens), chosen)
        rows = g.mul_mat_id(context, self.second, g.swiglu(context, h), chosen)
        self.products += [h, rows]
        rows = g.mul(context, rows, g.reshape_3d(context, weights, 1, k, tokens))
        sum = None
        for choice in range(k):
            part = g.view_2d(context, rows, hidden, tokens, 4 * hidden * k, 4 * hidden * choice)
            sum = part if sum is None else g.add(context, sum, part)
        return sum if k > 1 else g.reshape_2d(context, rows, hidden, tokens)


class DenseIsoActive(Layer):
    """One dense feed-forward layer as wide as the k experts of a token."""

    def describe(self, context):
        weights, task = self.task.weights, self.task
        stacked = lambda name: numpy.concatenate([weights.mapped(name + "gate"), weights.mapped(name + "up")])
        scaled = self.kind in QUANTISED
        self.copies = [
            (
                self.weight(context, stacked("iso_"), stacked("scales_iso_") if scaled else None),
                self.weight(context, weights.read("iso_down"), weights.read("scales_iso_down") if scaled else None),
            )
            for _ in range(task.iso_copies)]

    def forward(self, context, x, batch):
        first, second = self.copies[batch % len(self.copies)]
        h = library.mul_mat(context, first, x)
        y = library.mul_mat(context, second, library.swiglu(context, h))
        self.products += [h, y]
        return y


PEERS = {
    "ggml-moe": Experts,
    "ggml-dense-iso-active": DenseIsoActive,
}


def fp32(y):
    numbers = numpy.empty(library.nbytes(y) // 4, numpy.float32)
    library.backend_tensor_get(y, numbers.ctypes.data, 0, numbers.nbytes)
    return numbers
