"""Writes small checkpoints of many model families, each with an input and what transformers computes from it.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_family_vectors.py FOLDER [NAME...]      every case, or those whose name starts with a NAME
    venv/bin/python make_family_vectors.py --fixtures            the committed ones, into families/ beside this file

A case is a folder: config.json and the weights as the published model lays them out, input.safetensors with `x`
[batch, sequence, H] (and `attention_mask` or `input_ids` where something reads them), expected.safetensors, and
meta.json. The weights of a case are drawn once as plain matrices. `store` writes them under the published names and
says what a reader must get back; that goes into the transformers block, which is the reference. Where transformers has
no such block, or is known to compute it wrongly, the note in meta.json says what was used.

In expected.safetensors: `y`; `router_logits` [T, E]; `topk_indices`, `topk_weights` [T, k], the router's choice before
any capacity; `combine` [T, E], the weights that were applied; and what the family has of
    aux_loss, aux_loss_masked          transformers' load_balancing_loss_func (masked: by attention_mask)
    z_loss                             Switch
    kept                               [T], how many of a token's choices found room
    seq_aux_loss                       DeepSeek-V2's sequence-wise loss, alpha = 1
    seq_balance_loss                   DeepSeek-V3's, alpha = 1
    expert_load                        [E], tokens per expert
    bias_after_update_gamma0.001       DeepSeek-V3's selection bias after one step
"""

import json
import sys
import traceback
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file

from family_blocks import MARGIN, draw
from family_cases import CASES

HERE = Path(__file__).parent
SEED = 41


def write(case, folder, size):
    torch.manual_seed(0)
    for attempt in range(500):
        generator = torch.Generator().manual_seed(SEED + zlib.crc32(f"{case.name} {size.h} {attempt}".encode()))
        w = draw(case, size, generator)
        inputs = {"x": torch.randn(case.batch, case.sequence, size.h, generator=generator)}
        if case.mask:
            mask = torch.ones(case.batch, case.sequence, dtype=torch.int64)
            mask[0, case.sequence - 1 :] = 0
            mask[1, case.sequence - 3 :] = 0
            inputs["attention_mask"] = mask
        if case.family.table(case):
            vocabulary = case.config(size)["vocab_size"]
            inputs["input_ids"] = torch.randint(vocabulary, (case.batch, case.sequence), generator=generator)
        family = case.family
        prefix = (case.prefix or family.prefix).format(L=case.layer)
        tensors = family.store(case, w, prefix)
        with torch.no_grad():
            result, block = family.run(case, size, w, inputs)
            closest = family.margin(case, size, w, result)
            if closest > MARGIN:
                break
    else:
        raise SystemExit(f"{case.name}: no input without near ties")
    with torch.no_grad():
        result |= family.extras(case, size, w, inputs, result)
    if "combine" not in result:
        table = torch.zeros_like(result["router_logits"])
        result["combine"] = table.scatter_(1, result["topk_indices"], result["topk_weights"].float())
    for loss in ("aux_loss", "aux_loss_masked", "z_loss", "seq_aux_loss", "seq_balance_loss"):
        if loss in result:
            result[loss] = result[loss].reshape(1).float()
    for name, tensor in result.items():
        assert torch.isfinite(tensor).all(), (case.name, name)
    for name in ("topk_indices", "kept"):
        if name in result:
            result[name] = result[name].long()

    if case.merged:
        merged = (family.merged_prefix or prefix).format(L=case.layer)
        tensors = {merged + name: value.detach().clone() for name, value in block.state_dict().items()}
        prefix = merged
    layer = prefix[: prefix.index(f".{case.layer}.") + len(f".{case.layer}.")]
    # What a loader has to pass over.
    tensors[layer + "decoy_layernorm.weight"] = torch.ones(size.h)
    tensors[layer + "self_attn.decoy_proj.weight"] = torch.ones(2, size.h)

    keys = case.config(size) | {"torch_dtype": case.store.get("dtype", "float32")}
    config = keys
    if case.nested:
        config = {"model_type": case.nested, "text_config": keys}
        if "quantization_config" in keys and not case.quantization_nested:
            config["quantization_config"] = keys.pop("quantization_config")
    meta = dict(
        case=case.name, variant="fp32",
        config_class=f"transformers.models.{family.module}.configuration_{family.module}.{family.config}",
        block_class=f"transformers.models.{family.module}.modeling_{family.module}.{family.block}", transformers="5.23.0",
        torch=torch.__version__.split("+")[0], layer=case.layer, seed=SEED,
        y_covers="MoE block output incl. shared expert(s); no norm, no residual", notes=list(case.notes),
        tolerance={"y": "max|y-ref| <= 5e-6 * max|ref|"})

    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        stale.unlink()
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    save_file({name: t.contiguous() for name, t in inputs.items()}, folder / "input.safetensors")
    save_file({name: t.detach().contiguous() for name, t in result.items()}, folder / "expected.safetensors")
    save_file(
        {name: t.contiguous() for name, t in sorted(tensors.items())}, folder / "model.safetensors",
        metadata={"format": "pt"})
    return closest


def main(arguments):
    torch.set_num_threads(1)
    fixtures = arguments[:1] == ["--fixtures"]
    folder = HERE / "families" if fixtures else Path(arguments[0])
    wanted = tuple(arguments[1:])
    chosen = [case for case in CASES if not fixtures or case.fixture]
    assert len({case.name for case in CASES}) == len(CASES)
    failed = []
    for case in chosen:
        if wanted and not case.name.startswith(wanted):
            continue
        try:
            closest = write(case, folder / case.name, case.fixture if fixtures else case.size)
        except Exception:
            traceback.print_exc()
            print(f"{case.name}: failed", flush=True)
            failed.append(case.name)
            continue
        size = sum(file.stat().st_size for file in (folder / case.name).iterdir())
        print(f"{case.name}: {size} bytes, margin {closest:.1e}", flush=True)
        if not fixtures:
            done = sorted(path.parent.name for path in folder.glob("*/meta.json"))
            manifest = dict(seed=SEED, transformers="5.23.0", torch=torch.__version__, failed=failed, cases=done)
            (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
