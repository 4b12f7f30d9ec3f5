"""Writes the small checkpoints beside this file, each with an input and what transformers computes from it.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_fixtures.py

A case is a folder: config.json and the weights as published models lay them out, input.safetensors with `x`
[batch, sequence, H], expected.safetensors, and meta.json with the layer to run and the tolerance. Widths are odd on
purpose: no multiple of a vector or a tile.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers.models.mixtral import configuration_mixtral, modeling_mixtral
from transformers.models.olmoe import configuration_olmoe, modeling_olmoe
from transformers.models.qwen2_moe import configuration_qwen2_moe, modeling_qwen2_moe
from transformers.models.qwen3_moe import configuration_qwen3_moe, modeling_qwen3_moe

HERE = Path(__file__).parent
SEED = 20

FAMILIES = {
    "mixtral": (configuration_mixtral.MixtralConfig, modeling_mixtral.MixtralSparseMoeBlock, modeling_mixtral),
    "qwen2_moe": (configuration_qwen2_moe.Qwen2MoeConfig, modeling_qwen2_moe.Qwen2MoeSparseMoeBlock, modeling_qwen2_moe),
    "qwen3_moe": (configuration_qwen3_moe.Qwen3MoeConfig, modeling_qwen3_moe.Qwen3MoeSparseMoeBlock, modeling_qwen3_moe),
    "olmoe": (configuration_olmoe.OlmoeConfig, modeling_olmoe.OlmoeSparseMoeBlock, modeling_olmoe),
}


@dataclass
class Case:
    name: str
    family: str
    config: dict
    layer: int = 0
    bf16: bool = False
    shards: int = 1
    merged: bool = False  # expert tensors as transformers holds them in memory
    prefix: str = "model."
    nested: bool = False  # config keys inside text_config, as in multimodal models
    batch: int = 2
    sequence: int = 7

    @property
    def width(self):
        return self.config.get("moe_intermediate_size", self.config["intermediate_size"])

    @property
    def experts(self):
        return self.config.get("num_experts", self.config.get("num_local_experts"))


MIXTRAL = dict(
    hidden_size=36, intermediate_size=20, num_local_experts=6, num_experts_per_tok=2, hidden_act="silu", num_hidden_layers=3)
QWEN2 = dict(
    hidden_size=28, intermediate_size=50, moe_intermediate_size=11, shared_expert_intermediate_size=21, num_experts=7,
    num_experts_per_tok=3, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[0], hidden_act="silu",
    num_hidden_layers=2)
QWEN3 = dict(
    hidden_size=26, intermediate_size=50, moe_intermediate_size=10, num_experts=12, num_experts_per_tok=5,
    norm_topk_prob=True, decoder_sparse_step=2, mlp_only_layers=[], hidden_act="silu", num_hidden_layers=4)
OLMOE = dict(
    hidden_size=30, intermediate_size=14, num_experts=9, num_experts_per_tok=4, norm_topk_prob=False, hidden_act="silu",
    num_hidden_layers=2)

CASES = [
    Case("mixtral", "mixtral", MIXTRAL, layer=2),
    Case("mixtral-bf16", "mixtral", MIXTRAL, bf16=True, batch=1, sequence=19),
    Case("mixtral-sharded", "mixtral", MIXTRAL | dict(hidden_size=18, intermediate_size=13, num_local_experts=5), shards=3),
    Case("mixtral-merged", "mixtral", MIXTRAL | dict(
        hidden_size=17, intermediate_size=9, hidden_act="gelu_pytorch_tanh"), merged=True),
    Case("qwen2_moe", "qwen2_moe", QWEN2, layer=1),
    Case("qwen2_moe-bf16", "qwen2_moe", QWEN2, layer=1, bf16=True),
    Case("qwen2_moe-norm", "qwen2_moe", QWEN2 | dict(norm_topk_prob=True, num_experts=4, hidden_act="gelu"), layer=1),
    Case("qwen3_moe", "qwen3_moe", QWEN3, layer=3),
    # transformers 5 writes the expert count of this family under Mixtral's key.
    Case("qwen3_moe-bf16", "qwen3_moe", {"num_local_experts" if k == "num_experts" else k: v for k, v in QWEN3.items()},
         layer=1, bf16=True),
    Case("olmoe", "olmoe", OLMOE),
    Case("olmoe-merged-nested", "olmoe", OLMOE | dict(hidden_size=15, intermediate_size=7, num_experts=5, num_experts_per_tok=5),
         layer=1, merged=True, nested=True, prefix="model.language_model."),
]


def weights(case, generator):
    """The layer's matrices, [outputs, inputs], such that activations keep their scale and logits spread."""
    dtype = torch.bfloat16 if case.bf16 else torch.float32

    def matrix(rows, columns, gain=1.0):
        return (torch.randn(rows, columns, generator=generator) * gain * columns**-0.5).to(dtype)

    h, f = case.config["hidden_size"], case.width
    result = {"router": matrix(case.experts, h, gain=1.5)}
    result["experts"] = [dict(gate=matrix(f, h), up=matrix(f, h), down=matrix(h, f)) for _ in range(case.experts)]
    if shared := case.config.get("shared_expert_intermediate_size"):
        result["shared"] = dict(gate=matrix(shared, h), up=matrix(shared, h), down=matrix(h, shared))
        result["shared_gate"] = matrix(1, h, gain=2.0)
    return result


def hub_tensors(case, w):
    """The same matrices under the names of a published checkpoint."""
    layer = f"{case.prefix}layers.{case.layer}."
    mixtral = case.family == "mixtral" and not case.merged
    block = layer + ("block_sparse_moe." if mixtral else "mlp.")
    names = dict(gate="w1", up="w3", down="w2") if mixtral else {p: f"{p}_proj" for p in ("gate", "up", "down")}
    tensors = {block + "gate.weight": w["router"]}
    if case.merged:
        tensors[block + "experts.gate_up_proj"] = torch.stack([torch.cat([e["gate"], e["up"]]) for e in w["experts"]])
        tensors[block + "experts.down_proj"] = torch.stack([e["down"] for e in w["experts"]])
    else:
        for index, expert in enumerate(w["experts"]):
            for part, tensor in expert.items():
                tensors[f"{block}experts.{index}.{names[part]}.weight"] = tensor
    for part, tensor in w.get("shared", {}).items():
        tensors[f"{block}shared_expert.{part}_proj.weight"] = tensor
    if "shared_gate" in w:
        tensors[block + "shared_expert_gate.weight"] = w["shared_gate"]
    # What a loader has to pass over.
    tensors[layer + "post_attention_layernorm.weight"] = torch.ones(case.config["hidden_size"], dtype=w["router"].dtype)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def reference(case, w, x, dtype):
    """What the family's block makes of x: output, logits, chosen experts and their weights, auxiliary loss."""
    config_class, block_class, module = FAMILIES[case.family]
    keys = dict(case.config)
    if case.family == "qwen3_moe" and "num_local_experts" in keys:
        keys["num_experts"] = keys.pop("num_local_experts")
    config = config_class(**keys)
    block = block_class(config).eval()
    with torch.no_grad():
        block.gate.weight.copy_(w["router"])
        block.experts.gate_up_proj.copy_(torch.stack([torch.cat([e["gate"], e["up"]]) for e in w["experts"]]))
        block.experts.down_proj.copy_(torch.stack([e["down"] for e in w["experts"]]))
        if "shared" in w:
            for part, tensor in w["shared"].items():
                getattr(block.shared_expert, f"{part}_proj").weight.copy_(tensor)
            block.shared_expert_gate.weight.copy_(w["shared_gate"])
        block = block.to(dtype)
        x = x.to(dtype)
        y = block(x.clone())
        logits, topk_weights, topk_indices = block.gate(x.reshape(-1, x.shape[-1]))
        k = case.config["num_experts_per_tok"]
        loss = module.load_balancing_loss_func((logits,), case.experts, k)
    return dict(
        y=y, router_logits=logits, topk_indices=topk_indices, topk_weights=topk_weights,
        aux_loss=loss.reshape(1).float())


def combine(case, result):
    table = torch.zeros(result["topk_indices"].shape[0], case.experts)
    return table.scatter_(1, result["topk_indices"], result["topk_weights"].float())


def same_experts(a, b):
    return torch.equal(a["topk_indices"].sort(1).values, b["topk_indices"].sort(1).values)


def write(case):
    # Rounding the logits to bf16 may change who is chosen; then the input is drawn again.
    for attempt in range(100):
        generator = torch.Generator().manual_seed(SEED + zlib.crc32(f"{case.name} {attempt}".encode()))
        w = weights(case, generator)
        x = torch.randn(case.batch, case.sequence, case.config["hidden_size"], generator=generator)
        if case.bf16:
            x = x.to(torch.bfloat16)
        exact = reference(case, w, x, torch.float32)
        native = reference(case, w, x, torch.bfloat16) if case.bf16 else exact
        if same_experts(exact, native):
            break
    else:
        raise SystemExit(f"{case.name}: no input without near ties")

    folder = HERE / case.name
    folder.mkdir(exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    expected = dict(native, combine=combine(case, native))
    tolerance = "max|y-ref| <= 5e-6 * max|ref|"
    if case.bf16:
        expected |= dict(
            y_f32=exact["y"], router_logits_f32=exact["router_logits"], combine_f32=combine(case, exact))
        tolerance = "y_f32: 5e-6 * max|ref|; y: 3e-2 * max|ref| (bf16 arithmetic inside the reference)"

    keys = case.config | {"torch_dtype": "bfloat16" if case.bf16 else "float32"}
    if case.nested:
        config = {"model_type": "some_vision_model", "text_config": {"model_type": case.family} | keys}
    else:
        config = {"model_type": case.family} | keys
    meta = dict(
        case=case.name, layer=case.layer, seed=SEED, block=FAMILIES[case.family][1].__name__, transformers="5.23.0",
        torch=torch.__version__.split("+")[0], tolerance={"y": tolerance})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    save_file({"x": x.contiguous()}, folder / "input.safetensors")
    save_file({name: t.contiguous() for name, t in expected.items()}, folder / "expected.safetensors")

    tensors = hub_tensors(case, w)
    if case.shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    weight_map = {}
    for shard in range(case.shards):
        file = f"model-{shard + 1:05}-of-{case.shards:05}.safetensors"
        part = names[shard :: case.shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= {name: file for name in part}
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in CASES:
        write(case)
        size = sum(file.stat().st_size for file in (HERE / case.name).iterdir())
        print(f"{case.name}: {size} bytes")
