"""What moe-bench and a worker hand each other: a task, tensors in safetensors files, outputs. NumPy alone.

A folder holds `task.json`, the weights and the inputs; moe-bench writes it (`PeerExchange.swift`) and deletes it.
"""
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy

# bf16 is handed on as the 16 bits that it is: NumPy has no such type.
TYPES = {"F32": numpy.float32, "F16": numpy.float16, "BF16": numpy.uint16, "U8": numpy.uint8, "I8": numpy.int8}


class Unsupported(Exception):
    """A library has nothing that computes this."""


class Tensors:
    """A safetensors file; tensors are read when they are asked for."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            self.header = json.loads(file.read(size))
        self.header.pop("__metadata__", None)
        self.start = 8 + size

    def mapped(self, name):
        """The file's own pages, to be copied from."""
        entry = self.header[name]
        return numpy.memmap(
            self.path, TYPES[entry["dtype"]], "r", self.start + entry["data_offsets"][0], tuple(entry["shape"]))

    def read(self, name):
        return numpy.array(self.mapped(name))

    def fp32(self, name):
        """The same numbers in fp32, which holds them all."""
        stored = self.mapped(name)
        if self.header[name]["dtype"] == "BF16":
            return (stored.astype(numpy.uint32) << 16).view(numpy.float32)
        return stored.astype(numpy.float32)


@dataclass
class Task:
    """One workload. T tokens, H hidden, F expert_hidden, E experts, k top_k."""
    tokens: int
    hidden: int
    expert_hidden: int
    experts: int
    top_k: int
    dtype: str  # as moe-bench names it
    threads: int
    iso_copies: int  # of the dense layer's weights, which batches take turns with
    weights: Tensors  # router [E, H], gate and up [E, F, H], down [E, H, F]; iso_gate and iso_up [kF, H], iso_down [H, kF]
    inputs: numpy.ndarray  # [batches, T, H], fp32

    @staticmethod
    def read(folder):
        folder = Path(folder)
        task = json.loads((folder / "task.json").read_text())
        return Task(
            task["tokens"], task["hidden"], task["expertHidden"], task["experts"], task["topK"], task["dtype"],
            task["threads"], task["isoCopies"], Tensors(folder / "weights.safetensors"),
            Tensors(folder / "inputs.safetensors").read("x"))

    def first(self):
        """Gate above up, [E, 2F, H]: one product for both."""
        gate, up = self.weights.mapped("gate"), self.weights.mapped("up")
        stacked = numpy.empty((self.experts, 2 * self.expert_hidden, self.hidden), gate.dtype)
        stacked[:, : self.expert_hidden], stacked[:, self.expert_hidden :] = gate, up
        return stacked

    def second(self):
        """[E, H, F]."""
        return self.weights.read("down")

    def iso_first(self):
        """Of the dense layer, [2kF, H]."""
        return numpy.concatenate([self.weights.mapped("iso_gate"), self.weights.mapped("iso_up")])

    def iso_second(self):
        """[H, kF]."""
        return self.weights.read("iso_down")
