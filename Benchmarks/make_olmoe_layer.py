#!/usr/bin/env python3
"""Writes a checkpoint folder with one OLMoE-sized layer: 64 experts of 2048 x 1024 in bf16, about 0.8 GB in three shards, and an
input of 64 tokens. Weights are random with variance 1 / fan-in; the names and the config are those of the published models.

    python3 make_olmoe_layer.py /tmp/olmoe
    moe-bench forward --model /tmp/olmoe --layer 0 --input /tmp/olmoe/input.safetensors --output /tmp/olmoe/y.safetensors

Needs numpy (2.4.6 was used).
"""
import json
import struct
import sys
from pathlib import Path

import numpy

HIDDEN, WIDTH, EXPERTS, TOP_K, SHARDS, TOKENS = 2048, 1024, 64, 8, 3, 64


def bfloat16(values):
    """The bits of the nearest bf16 numbers, ties to even."""
    bits = values.astype(numpy.float32).view(numpy.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(numpy.uint16)


def write(path, tensors):
    """A safetensors file from (name, dtype, shape, array factory); arrays are made one at a time."""
    header, offset = {}, 0
    for name, dtype, shape, _ in tensors:
        size = int(numpy.prod(shape)) * {"BF16": 2, "F32": 4}[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, _, make in tensors:
            file.write(make().tobytes())
    return offset


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    generator = numpy.random.default_rng(20)

    def weight(rows, columns):
        return lambda: bfloat16(generator.standard_normal((rows, columns), numpy.float32) / columns**0.5)

    prefix = "model.layers.0.mlp."
    tensors = [(prefix + "gate.weight", "BF16", (EXPERTS, HIDDEN), weight(EXPERTS, HIDDEN))]
    for expert in range(EXPERTS):
        for projection, shape in (("gate", (WIDTH, HIDDEN)), ("up", (WIDTH, HIDDEN)), ("down", (HIDDEN, WIDTH))):
            tensors.append((f"{prefix}experts.{expert}.{projection}_proj.weight", "BF16", shape, weight(*shape)))
    per_shard = -(-len(tensors) // SHARDS)
    weight_map, total = {}, 0
    for shard in range(SHARDS):
        name = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        part = tensors[shard * per_shard : (shard + 1) * per_shard]
        total += write(folder / name, part)
        weight_map.update({tensor[0]: name for tensor in part})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    config = {
        "model_type": "olmoe", "architectures": ["OlmoeForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": WIDTH,
        "num_experts": EXPERTS, "num_experts_per_tok": TOP_K, "norm_topk_prob": False, "hidden_act": "silu",
        "num_hidden_layers": 1, "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    x = generator.standard_normal((TOKENS, HIDDEN), numpy.float32)
    write(folder / "input.safetensors", [("x", "F32", x.shape, lambda: x)])
    print(f"{folder}: {total / 1e9:.2f} GB in {SHARDS} shards")


if __name__ == "__main__":
    main()
