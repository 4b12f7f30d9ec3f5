"""Checkpoint folders of one layer and safetensors files, for `moe-bench forward`. Standard library only."""
import json
import struct
from pathlib import Path


def write(path, tensors):
    """A safetensors file from {name: (dtype, shape, bytes)}."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def read(path, name):
    """(dtype, shape, bytes) of one tensor."""
    data = Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8 : 8 + size])[name]
    first, last = entry["data_offsets"]
    return entry["dtype"], entry["shape"], data[8 + size + first : 8 + size + last]


def bfloat16_bytes(values):
    """The upper halves of fp32 numbers."""
    packed = struct.pack(f"<{len(values)}f", *values)
    return b"".join(packed[i + 2 : i + 4] for i in range(0, len(packed), 4))


def write_layer(folder, hidden, inner, experts, top_k, tensor):
    """A Mixtral folder of one layer; `tensor(kind, expert, rows, columns)` gives bytes of bf16."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "model.layers.0.block_sparse_moe."
    tensors = {prefix + "gate.weight": ("BF16", (experts, hidden), tensor("router", 0, experts, hidden))}
    for e in range(experts):
        for kind, file_name, rows, columns in (
            ("gate", "w1", inner, hidden), ("up", "w3", inner, hidden), ("down", "w2", hidden, inner)
        ):
            tensors[f"{prefix}experts.{e}.{file_name}.weight"] = (
                "BF16", (rows, columns), tensor(kind, e, rows, columns))
    write(folder / "model.safetensors", tensors)
    config = {
        "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": hidden,
        "intermediate_size": inner, "num_local_experts": experts, "num_experts_per_tok": top_k, "hidden_act": "silu",
        "num_hidden_layers": 1, "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
