"""Writes the small quantised checkpoints in compressed-tensors/, each as that library stores it.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_compressed_tensors.py

A case is a folder: config.json, model.safetensors, and expected.safetensors with what the library decodes every expert's matrix
to, in fp32. Groups of 12 and widths of 12 and 36 leave words partly filled, along rows and along outputs.
"""

import json
from pathlib import Path

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.config import CompressionFormat
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, QuantizationStatus
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file

HERE = Path(__file__).parent / "compressed-tensors"
HIDDEN, WIDTH, EXPERTS, GROUP = 36, 12, 2, 12

CASES = {
    "int4-group": ("pack-quantized", dict(num_bits=4, symmetric=True, strategy="group", group_size=GROUP)),
    "int4-group-zero": ("pack-quantized", dict(num_bits=4, symmetric=False, strategy="group", group_size=GROUP)),
    "int4-channel-zero": ("pack-quantized", dict(num_bits=4, symmetric=False, strategy="channel")),
    "int8-packed-channel": ("pack-quantized", dict(num_bits=8, symmetric=True, strategy="channel")),
    "int8-packed-group-zero": ("pack-quantized", dict(num_bits=8, symmetric=False, strategy="group", group_size=GROUP)),
    "int8-channel": ("int-quantized", dict(num_bits=8, symmetric=True, strategy="channel")),
    "int8-group-zero": ("naive-quantized", dict(num_bits=8, symmetric=False, strategy="group", group_size=GROUP)),
    "int4-wide-group-zero": ("naive-quantized", dict(num_bits=4, symmetric=False, strategy="group", group_size=GROUP)),
}


def quantise(weight, args, compressor, scheme):
    """A matrix as it is stored, and what it decodes to."""
    parts = weight.unflatten(1, (-1, args.group_size)) if args.group_size else weight.unsqueeze(1)
    scale, zero = calculate_qparams(parts.amin(-1), parts.amax(-1), args)
    state = {"weight": weight, "weight_scale": scale.to(torch.bfloat16).float(), "weight_zero_point": zero.to(torch.int8)}
    stored = compressor.compress(dict(state), scheme)
    decoded = compressor.decompress(dict(stored), scheme)["weight"]
    stored["weight_scale"] = stored["weight_scale"].to(torch.bfloat16)
    return stored, decoded.float()


def write(name, format, arguments):
    generator = torch.Generator().manual_seed(len(name))
    args = QuantizationArgs(type="int", **arguments)
    scheme = QuantizationScheme(targets=["Linear"], weights=args, format=format)
    compressor = BaseCompressor.get_value_from_registry(CompressionFormat(format).value)
    layer = "model.layers.0.mlp."
    tensors = {layer + "gate.weight": torch.randn(EXPERTS, HIDDEN, generator=generator).to(torch.bfloat16)}
    expected = {}
    for expert in range(EXPERTS):
        for part, shape in dict(gate=(WIDTH, HIDDEN), up=(WIDTH, HIDDEN), down=(HIDDEN, WIDTH)).items():
            # Off centre, so that zero points are not all alike.
            weight = torch.randn(shape, generator=generator) + torch.randn(shape[0], 1, generator=generator)
            stored, decoded = quantise(weight, args, compressor, scheme)
            for key, tensor in stored.items():
                tensors[f"{layer}experts.{expert}.{part}_proj.{key}"] = tensor.contiguous()
            expected[f"{expert}.{part}"] = decoded.contiguous()
    quantisation = QuantizationConfig(
        config_groups={"group_0": scheme}, quant_method="compressed-tensors", format=format,
        quantization_status=QuantizationStatus.COMPRESSED, ignore=["lm_head", "model.layers.0.mlp.gate"])
    config = dict(
        model_type="qwen3_moe", num_hidden_layers=1, hidden_size=HIDDEN, intermediate_size=WIDTH,
        moe_intermediate_size=WIDTH, num_experts=EXPERTS, num_experts_per_tok=1, hidden_act="silu",
        torch_dtype="bfloat16", quantization_config=json.loads(quantisation.model_dump_json()))
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, (format, arguments) in CASES.items():
        write(name, format, arguments)
