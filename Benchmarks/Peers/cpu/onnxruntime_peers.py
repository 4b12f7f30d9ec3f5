"""MoE layers in ONNX Runtime: its operators MoE and QMoE (domain com.microsoft), and dense layers of its products."""
import platform

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from exchange import Unsupported

MICROSOFT = "com.microsoft"
ELEMENTS = {numpy.dtype(t): code for t, code in (
    ("float32", TensorProto.FLOAT), ("uint8", TensorProto.UINT8), ("int64", TensorProto.INT64))}
# Shapes are inferred from small constants, which a model has to hold itself.
LEAST_LENT_BYTES = 4096
# Of weights that no other layer here holds.
MOST_EXTRA_BYTES = 1 << 30
# swiglu(gate, up) = gate · sigmoid(alpha · gate) · (up + beta), of rows that take turns: gate 0, up 0, gate 1, …
SWIGLU = dict(activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.0, activation_beta=0.0)


def program(task):
    return f"ONNX Runtime {onnxruntime.__version__}, Python {platform.python_version()}"


class Graph:
    """A session of one graph from x to y; large constants are lent to it, not copied into a model."""

    def __init__(self, task, nodes, constants):
        initializers, lent = [], {}
        for name, array in constants.items():
            if array.nbytes < LEAST_LENT_BYTES:
                initializers.append(numpy_helper.from_array(array, name))
                continue
            proto = TensorProto(name=name, dims=array.shape, data_type=ELEMENTS[array.dtype])
            proto.data_location = TensorProto.EXTERNAL
            for key, value in (("location", "memory"), ("offset", "0"), ("length", str(array.nbytes))):
                entry = proto.external_data.add()
                entry.key, entry.value = key, value
            initializers.append(proto)
            lent[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        shape = [task.tokens, task.hidden]
        graph = helper.make_graph(
            nodes, "layer", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)], initializers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)], ir_version=9)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = task.threads, 1
        options.log_severity_level = 3
        options.add_external_initializers(list(lent), list(lent.values()))
        self.kept = constants, lent
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def __call__(self, x):
        return self.session.run(None, {"x": x})[0]


class Layer:
    def __init__(self, task, graph):
        self.task, self.graph = task, graph

    def __call__(self, batch):
        return self.graph(self.task.inputs[batch])


def router_columns(task):
    return numpy.ascontiguousarray(task.weights.mapped("router").T)


def turns(gate, up):
    """Rows gate 0, up 0, gate 1, …"""
    rows = numpy.empty((gate.shape[0], 2 * gate.shape[1], *gate.shape[2:]), gate.dtype)
    rows[:, 0::2], rows[:, 1::2] = gate, up
    return rows


def moe(task, shared):
    weights = task.weights
    attributes = dict(domain=MICROSOFT, k=task.top_k, normalize_routing_weights=1, **SWIGLU)
    logits = helper.make_node("MatMul", ["x", "router"], ["logits"])
    read = lambda name: (weights.mapped(name + "_gate"), weights.mapped(name + "_up"), weights.read(name + "_down"))
    if task.dtype == "fp32":
        constants = {
            "router": router_columns(task), "first": turns(weights.mapped("gate"), weights.mapped("up")),
            "second": weights.read("down")}
        node = helper.make_node("MoE", ["x", "logits", "first", "", "second"], ["y"], **attributes)
    elif task.dtype in ("int8-block", "int4"):
        # Codes as the operator has them: four bits with 8 for zero, as moe-bench has, eight bits with 128.
        code = (lambda c: c ^ 0x80) if task.dtype == "int8-block" else lambda c: c
        scales = read("scales")
        constants = {
            "router": router_columns(task), "first": turns(code(weights.mapped("gate")), code(weights.mapped("up"))),
            "first_scales": turns(*scales[:2]), "second": code(weights.read("down")), "second_scales": scales[2]}
        # Level 4 rounds activations to eight bits, which is its quick form.
        node = helper.make_node(
            "QMoE", ["x", "logits", "first", "first_scales", "", "second", "second_scales"], ["y"],
            expert_weight_bits=4 if task.dtype == "int4" else 8, block_size=32, accuracy_level=4, **attributes)
    else:
        raise Unsupported(f"ONNX Runtime has no MoE operator for {task.dtype} weights on a processor")
    return Layer(task, Graph(task, [logits, node], constants))


def gated(name):
    """Nodes from `name`, [..., gate and up], to `name`_inner."""
    return [
        helper.make_node("Split", [name], [name + "_gate", name + "_up"], axis=-1),
        helper.make_node("QuickGelu", [name + "_gate"], [name + "_silu"], domain=MICROSOFT, alpha=1.0),
        helper.make_node("Mul", [name + "_silu", name + "_up"], [name + "_inner"]),
    ]


def fp32_only(task):
    if task.dtype != "fp32":
        raise Unsupported(f"the dense layers here are of fp32, not {task.dtype}")


def dense_all_experts(task, shared):
    """One batched product over experts; weights of those not chosen are 0."""
    fp32_only(task)
    size = 12 * task.experts * task.hidden * task.expert_hidden
    if size > MOST_EXTRA_BYTES:
        raise Unsupported(f"it would keep another {size / 1e9:.1f} GB of weights, [inputs, outputs]")
    weights = task.weights
    first = numpy.concatenate([weights.mapped("gate"), weights.mapped("up")], axis=1)
    number = lambda *values: numpy.array(values, numpy.int64)
    nodes = [
        helper.make_node("MatMul", ["x", "router"], ["logits"]),
        helper.make_node("TopK", ["logits", "k"], ["best", "experts"], axis=-1),
        helper.make_node("Softmax", ["best"], ["weights"], axis=-1),
        helper.make_node("ScatterElements", ["zeros", "experts", "weights"], ["every"], axis=1),
        helper.make_node("Transpose", ["every"], ["by_expert"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["by_expert", "last"], ["factors"]),
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        *gated("h"),
        helper.make_node("MatMul", ["h_inner", "second"], ["rows"]),
        helper.make_node("Mul", ["rows", "factors"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "front"], ["y"], keepdims=0),
    ]
    constants = {
        "router": router_columns(task), "first": numpy.ascontiguousarray(first.transpose(0, 2, 1)),
        "second": numpy.ascontiguousarray(weights.mapped("down").transpose(0, 2, 1)), "k": number(task.top_k),
        "zeros": numpy.zeros((task.tokens, task.experts), numpy.float32), "last": number(2), "front": number(0)}
    return Layer(task, Graph(task, nodes, constants))


class DenseIsoActive:
    """One dense feed-forward layer as wide as the k experts of a token."""

    def __init__(self, task, shared):
        fp32_only(task)
        nodes = [
            helper.make_node("MatMul", ["x", "first"], ["h"]), *gated("h"),
            helper.make_node("MatMul", ["h_inner", "second"], ["y"])]
        first, second = task.iso_first().T, task.iso_second().T
        self.task = task
        self.graphs = [
            Graph(task, nodes, {"first": numpy.array(first, order="C"), "second": numpy.array(second, order="C")})
            for _ in range(task.iso_copies)]

    def __call__(self, batch):
        return self.graphs[batch % len(self.graphs)](self.task.inputs[batch])


PEERS = {
    "onnxruntime-moe": moe,
    "onnxruntime-dense-all-experts": dense_all_experts,
    "onnxruntime-dense-iso-active": DenseIsoActive,
}


def fp32(y):
    return y
