"""What make_family_vectors.py knows of a family: how its layer is stored, and the transformers block that computes it."""

import importlib
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

NOT_THE_CLASS = ("model_type", "architectures", "quantization_config", "torch_dtype")
MARGIN = 1e-4  # smallest distance between the last choice and the first not chosen
FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


# What is drawn


@dataclass
class Size:
    """The widths of a case: model, expert, shared expert, experts, experts per token."""

    h: int
    f: int
    s: int
    e: int
    k: int


@dataclass
class Case:
    name: str
    family: "Family"
    config: object  # Size -> the keys of config.json
    size: Size
    fixture: Size | None = None  # the size of the committed copy; None: not committed
    layer: int = 0
    store: dict = field(default_factory=dict)  # part of the layer -> how it is stored; see `Store`
    merged: bool = False  # names and shapes as transformers holds them in memory
    nested: str | None = None  # config keys in text_config, under this outer model_type
    quantization_nested: bool = False  # quantization_config is one of them
    prefix: str | None = None
    mask: bool = False  # an attention_mask is part of the input
    bias: tuple = (0.25, 0.0)  # spread and centre of the selection bias
    gain: float = 1.0  # of the expert matrices
    shared: bool = True
    batch: int = 2
    sequence: int = 7
    norm_topk_prob_alone: bool = False  # DeepSeek-V2's own code
    notes: tuple = ()


def draw(case, size, generator):
    """The layer as fp32 matrices, [outputs, inputs], by part: `router`, `expert.3.gate`, `shared.down`, ..."""
    family = case.family

    def matrix(rows, columns, gain=1.0):
        return torch.randn(rows, columns, generator=generator) * gain * columns**-0.5

    def vector(length, spread=1.0, centre=0.0):
        return torch.randn(length, generator=generator) * spread + centre

    width = size.h  # what the experts read and write
    w = {"router": matrix(size.e + family.identities(case), size.h, 1.5)}
    if family.latent(case):
        width = family.latent(case)
        w["latent.in"] = matrix(width, size.h)
        w["latent.out"] = matrix(size.h, width)
    if family.bias and not family.table(case):
        w["bias"] = vector(size.e + family.identities(case), *case.bias)
        if family.bias_row:
            w["bias"] = w["bias"][None]
    if family.table(case):
        rows = [torch.randperm(size.e, generator=generator)[: size.k] for _ in range(case.config(size)["vocab_size"])]
        w["table"] = torch.stack(rows)
    for part, scale in family.vectors.items():
        length = {"h": size.h, "e": size.e}[scale[0]]
        w[part] = vector(length, *scale[1:])
    for e in range(size.e):
        if "gate" in family.parts:
            w[f"expert.{e}.gate"] = matrix(size.f, width, case.gain)
        w[f"expert.{e}.up"] = matrix(size.f, width, case.gain)
        w[f"expert.{e}.down"] = matrix(width, size.f)
        if family.expert_biases:
            w[f"expert.{e}.up_bias"] = vector(size.f, 0.3)
            w[f"expert.{e}.down_bias"] = vector(size.h, 0.3)
            if "gate" in family.parts:
                w[f"expert.{e}.gate_bias"] = vector(size.f, 0.3)
    if family.shared and case.shared:
        if "gate" in family.parts:
            w["shared.gate"] = matrix(size.s, size.h, case.gain)
        w["shared.up"] = matrix(size.s, size.h, case.gain)
        w["shared.down"] = matrix(size.h, size.s)
    if family.shared_gate:
        w["shared_gate"] = matrix(1, size.h, 2.0)
    return w


# How a matrix is stored: (name, matrix) -> (tensors in the file, what a reader gets back)


def plain(dtype):
    def store(name, matrix):
        narrow = matrix.to(dtype)
        return {name: narrow}, narrow.float()

    return store


def stem(name):
    assert name.endswith(".weight"), name
    return name.removesuffix(".weight")


def fp8_blocks(scale_dtype=torch.float32, suffix="weight_scale_inv", powers=False, block=128):
    def store(name, matrix):
        rows, columns = matrix.shape
        scales = torch.empty(-(-rows // block), -(-columns // block))
        for i in range(scales.shape[0]):
            for j in range(scales.shape[1]):
                largest = matrix[i * block : (i + 1) * block, j * block : (j + 1) * block].abs().max()
                scales[i, j] = largest / 448
        # Never rounded down: the largest element has to stay within 448.
        scales = 2.0 ** scales.log2().ceil() if powers else (scales * 1.01).to(scale_dtype).float()
        spread = scales.repeat_interleave(block, 0)[:rows].repeat_interleave(block, 1)[:, :columns]
        codes = (matrix / spread).to(torch.float8_e4m3fn)
        tensors = {name: codes, f"{stem(name)}.{suffix}": scales.to(scale_dtype)}
        return tensors, codes.float() * spread

    return store


def fp8_rows(scale_dtype):
    def store(name, matrix):
        scales = (matrix.abs().amax(1, keepdim=True) / 448 * 1.01).to(scale_dtype)
        codes = (matrix / scales.float()).to(torch.float8_e4m3fn)
        return {name: codes, f"{stem(name)}.weight_scale": scales}, codes.float() * scales.float()

    return store


def int4_groups(shape_dtype=torch.int64, group=32):
    def store(name, matrix):
        rows, columns = matrix.shape
        grouped = matrix.view(rows, columns // group, group)
        scales = (grouped.abs().amax(2) / 7).to(torch.bfloat16)
        codes = (grouped / scales.float()[..., None]).round().clamp(-8, 7)
        nibbles = (codes + 8).to(torch.int64).view(rows, columns // 8, 8)
        words = (nibbles << (4 * torch.arange(8))).sum(2)
        packed = torch.where(words >= 2**31, words - 2**32, words).to(torch.int32)
        tensors = {
            f"{stem(name)}.weight_packed": packed, f"{stem(name)}.weight_scale": scales,
            f"{stem(name)}.weight_shape": torch.tensor([rows, columns], dtype=shape_dtype)}
        return tensors, (codes * scales.float()[..., None]).view(rows, columns)

    return store


def fp4_codes(values):
    """The nearest of the sixteen values, and two of them to a byte, the first in the low half."""
    codes = (values[..., None] - FP4[[*range(8), *range(9, 16)]]).abs().argmin(-1)
    codes = codes + (codes > 7).long()  # -0 is never written
    pairs = codes.view(*codes.shape[:-1], -1, 2)
    return FP4[codes], (pairs[..., 0] | pairs[..., 1] << 4).to(torch.uint8)


def fp4_powers(matrix, group=32):
    """Groups of 32 with a power of two: values, bytes, exponents + 127."""
    grouped = matrix.view(*matrix.shape[:-1], -1, group)
    exponents = (grouped.abs().amax(-1) / 6).log2().ceil()
    values, codes = fp4_codes(grouped / 2.0 ** exponents[..., None])
    return (values * 2.0 ** exponents[..., None]).view(matrix.shape), codes, (exponents + 127).to(torch.uint8)


def fp4_deepseek(name, matrix):
    exact, codes, exponents = fp4_powers(matrix)
    tensors = {
        name: codes.view(len(matrix), -1).view(torch.int8),
        f"{stem(name)}.scale": exponents.view(torch.float8_e8m0fnu)}
    return tensors, exact


def nvfp4(modelopt):
    def store(name, matrix):
        rows, columns = matrix.shape
        whole = matrix.abs().max() / (6 * 448)
        grouped = matrix.view(rows, columns // 16, 16)
        scales = (grouped.abs().amax(2) / 6 / whole).to(torch.float8_e4m3fn)
        steps = scales.float()[..., None] * whole
        values, codes = fp4_codes(grouped / steps)
        codes = codes.view(rows, -1)
        if modelopt:
            tensors = {
                name: codes, f"{stem(name)}.weight_scale": scales, f"{stem(name)}.weight_scale_2": whole.reshape(()),
                f"{stem(name)}.input_scale": torch.tensor(0.004)}
        else:
            tensors = {
                f"{stem(name)}.weight_packed": codes, f"{stem(name)}.weight_scale": scales,
                f"{stem(name)}.weight_global_scale": (1 / whole).reshape(1),
                f"{stem(name)}.input_global_scale": torch.tensor([250.0])}
            steps = scales.float()[..., None] / (1 / whole)
        return tensors, (values * steps).view(rows, columns)

    return store


BF16 = plain(torch.bfloat16)
PROJ = dict(gate="gate_proj", up="up_proj", down="down_proj")
WNUM = dict(gate="w1", up="w3", down="w2")


# What a family looks like in a file and in transformers


@dataclass
class Family:
    module: str  # transformers.models.<module>.modeling_<module>
    config: str
    block: str
    prefix: str = "model.layers.{L}.mlp."
    # Names in the file, after the prefix. {p} is gate_proj, up_proj, down_proj; {w} is w1, w3, w2.
    router: str = "gate.weight"
    bias: str | None = None
    bias_row: bool = False  # [1, E] rather than [E]
    expert: str = "experts.{e}.{p}.weight"
    fused: tuple | None = None  # (gate_up name, down name, "outputs" or "inputs" first)
    shared: str | None = None
    shared_gate: str | None = None
    other: dict = field(default_factory=dict)  # further parts: name in the file
    vectors: dict = field(default_factory=dict)  # further parts: (length, spread, centre)
    parts: tuple = ("gate", "up", "down")
    expert_biases: bool = False
    # Names in the transformers block.
    router_module: str = "gate"
    bias_inside: str = "gate.e_score_correction_bias"
    shared_inside: str = "shared_experts.{p}.weight"
    inside: dict = field(default_factory=dict)
    merged_prefix: str | None = None
    # How it chooses, to keep away from ties and to check that the spec's rule is the block's.
    score: str = "softmax"
    groups: tuple | None = None  # config keys of (groups, groups kept), and how a group is scored
    losses: tuple = ()  # of "balance", "v3", "v2"

    # Parts that only some families have.

    def identities(self, case):
        return 0

    def latent(self, case):
        return None

    def table(self, case):
        return False

    # The file.

    def name(self, part):
        if part == "router":
            return self.router
        if part == "bias":
            return self.bias
        if part == "shared_gate":
            return self.shared_gate
        pieces = part.split(".")
        if pieces[0] == "expert":
            return self.expert.format(e=pieces[1], p=PROJ[pieces[2]], w=WNUM[pieces[2]])
        if pieces[0] == "shared":
            return self.shared.format(p=PROJ[pieces[1]], w=WNUM[pieces[1]])
        return self.other[part]

    def store(self, case, w, prefix):
        """The tensors of the file; replaces each part of w by what is read back from them."""
        default = case.store.get("other", plain(torch.float32))
        tensors = {}
        for part in list(w):
            kind = part.split(".")[0]
            if kind == "expert" and self.fused:
                continue
            how = case.store.get(kind, plain(torch.float32) if kind in ("bias", "table") else default)
            if kind == "table":
                tensors[prefix + self.name(part)] = w[part].to(case.store.get("table", torch.int64))
                continue
            stored, w[part] = how(prefix + self.name(part), w[part])
            tensors |= stored
        if self.fused:
            gate_up, down, major = self.fused
            how = case.store.get("expert", default)
            count = sum(part.endswith(".down") for part in w if part.startswith("expert"))
            first = torch.stack([torch.cat([w[f"expert.{e}.gate"], w[f"expert.{e}.up"]]) for e in range(count)])
            second = torch.stack([w[f"expert.{e}.down"] for e in range(count)])
            if major == "inputs":
                first, second = first.transpose(1, 2), second.transpose(1, 2)
            for name, tensor in ((gate_up, first), (down, second)):
                tensors |= how(prefix + name, tensor.contiguous())[0]
        return tensors

    # The reference.

    @property
    def modeling(self):
        return importlib.import_module(f"transformers.models.{self.module}.modeling_{self.module}")

    def configuration(self, case, size):
        module = importlib.import_module(f"transformers.models.{self.module}.configuration_{self.module}")
        keys = {key: value for key, value in case.config(size).items() if key not in NOT_THE_CLASS}
        return getattr(module, self.config)(**keys)

    def make(self, case, config):
        return getattr(self.modeling, self.block)(config)

    def values(self, case, w):
        """By name in the block."""
        count = 1 + max(int(part.split(".")[1]) for part in w if part.startswith("expert"))
        values = {}
        if "gate" in self.parts:
            values["experts.gate_up_proj"] = torch.stack(
                [torch.cat([w[f"expert.{e}.gate"], w[f"expert.{e}.up"]]) for e in range(count)])
        else:
            values["experts.up_proj"] = torch.stack([w[f"expert.{e}.up"] for e in range(count)])
        values["experts.down_proj"] = torch.stack([w[f"expert.{e}.down"] for e in range(count)])
        for part, value in w.items():
            if part == "router":
                values[self.inside.get("router", f"{self.router_module}.weight")] = value
            elif part == "bias":
                values[self.bias_inside] = value
            elif part == "shared_gate":
                values["shared_expert_gate.weight"] = value
            elif part.startswith("shared."):
                values[self.shared_inside.format(p=PROJ[part.split(".")[1]])] = value
            elif not part.startswith("expert"):
                values[self.inside[part]] = value
        return values

    def filled(self, case, size, w):
        block = self.make(case, self.configuration(case, size)).eval()
        state = dict(block.state_dict(keep_vars=True))
        values = self.values(case, w)
        assert set(state) == set(values), (sorted(set(state) ^ set(values)), case.name)
        with torch.no_grad():
            for name, value in values.items():
                state[name].copy_(value.reshape(state[name].shape))
        return block

    def call(self, case, block, inputs):
        return block(inputs["x"].clone())

    def run(self, case, size, w, inputs):
        block = self.filled(case, size, w)
        seen = []
        hook = block.get_submodule(self.router_module).register_forward_hook(lambda m, i, o: seen.append(o))
        y = self.call(case, block, inputs)
        hook.remove()
        logits, weights, indices = seen[0]
        assert len(seen) == 1
        return dict(y=y, router_logits=logits, topk_indices=indices, topk_weights=weights), block

    # Away from ties.

    def keys(self, w, logits):
        scores = dict(
            softmax=lambda z: z.softmax(-1), sigmoid=torch.sigmoid, logits=lambda z: z,
            sqrtsoftplus=lambda z: F.softplus(z).sqrt())[self.score](logits)
        return scores + w["bias"] if "bias" in w else scores

    def margin(self, case, size, w, result):
        keys = self.keys(w, result["router_logits"])
        closest = float("inf")
        config = case.config(size)
        if self.groups:
            count, keep = config.get(self.groups[0], config.get("num_expert_group")), config[self.groups[1]]
            if count > keep:
                members = keys.view(len(keys), count, -1)
                score = members.amax(2) if self.groups[2] == "max" else members.topk(2, dim=2).values.sum(2)
                ordered = score.sort(1, descending=True).values
                closest = min(closest, (ordered[:, keep - 1] - ordered[:, keep]).min().item())
                chosen = torch.zeros_like(score).scatter_(1, score.topk(keep, dim=1).indices, 1)
                outside = chosen[..., None].expand_as(members).reshape(keys.shape) == 0
                keys = keys.masked_fill(outside, float("-inf"))
        k = result["topk_indices"].shape[1]
        ordered = keys.sort(1, descending=True).values
        if k < ordered.shape[1]:
            closest = min(closest, (ordered[:, k - 1] - ordered[:, k]).min().item())
        if closest > MARGIN:
            ours = keys.topk(k, dim=1).indices.sort(1).values
            assert torch.equal(ours, result["topk_indices"].sort(1).values), f"{case.name}: another choice expected"
        return closest

    def extras(self, case, size, w, inputs, result):
        """The losses."""
        logits, k = result["router_logits"], result["topk_indices"].shape[1]
        indices, experts = result["topk_indices"], logits.shape[1]
        batch, sequence = inputs["x"].shape[:2]
        extra = {}
        if "balance" in self.losses:
            loss = self.modeling.load_balancing_loss_func
            extra["aux_loss"] = loss((logits,), experts, k)
            if case.mask:
                extra["aux_loss_masked"] = loss((logits,), experts, k, inputs["attention_mask"])
        one_hot = F.one_hot(indices, experts).sum(1).float().view(batch, sequence, experts)
        if "v2" in self.losses:
            fraction = one_hot.sum(1) * experts / (sequence * k)
            extra["seq_aux_loss"] = (fraction * logits.softmax(-1).view(batch, sequence, -1).mean(1)).sum(1).mean()
        if "v3" in self.losses:
            scores = logits.sigmoid().view(batch, sequence, experts)
            mean = (scores / scores.sum(-1, keepdim=True)).mean(1)
            extra["seq_balance_loss"] = (one_hot.sum(1) * experts / (sequence * k) * mean).sum(1).mean()
            load = one_hot.sum((0, 1))
            extra["expert_load"] = load
            extra["bias_after_update_gamma0.001"] = w["bias"] + 0.001 * torch.sign(load.mean() - load)
        return extra


class LongcatFlash(Family):
    def identities(self, case):
        return case.config(case.size)["zero_expert_num"]

    def values(self, case, w):
        values = super().values(case, w)
        # transformers holds unused rows for the identity experts.
        experts = values["experts.gate_up_proj"]
        blank = torch.full((self.identities(case), *experts.shape[1:]), float("nan"))
        values["experts.gate_up_proj"] = torch.cat([experts, blank])
        return values


class NemotronH(Family):
    def latent(self, case):
        return case.config(case.size).get("moe_latent_size")


class DeepseekV2(Family):
    def run(self, case, size, w, inputs):
        if not case.norm_topk_prob_alone:
            return super().run(case, size, w, inputs)
        # The model's own code: normalised weights are not scaled.
        block = self.filled(case, size, w)
        x = inputs["x"].view(-1, size.h)
        logits, weights, indices = block.gate(inputs["x"])
        weights = logits.softmax(-1).gather(1, indices)
        weights = weights / (weights.sum(1, keepdim=True) + 1e-20)
        y = block.experts(x, indices, weights).view_as(inputs["x"]) + block.shared_experts(inputs["x"])
        return dict(y=y, router_logits=logits, topk_indices=indices, topk_weights=weights), block


class DeepseekV4(Family):
    def table(self, case):
        return case.layer < case.config(case.size)["num_hash_layers"]

    def make(self, case, config):
        return self.modeling.DeepseekV4SparseMoeBlock(config, case.layer)

    def call(self, case, block, inputs):
        return block(inputs["x"].clone(), input_ids=inputs.get("input_ids"))

    def margin(self, case, size, w, result):
        return float("inf") if self.table(case) else super().margin(case, size, w, result)


class GptOss(Family):
    def store(self, case, w, prefix):
        default = case.store.get("other", plain(torch.float32))
        count = sum(part.endswith(".down") for part in w)
        tensors = {}
        for part, name in (("router", "router.weight"), ("router_bias", "router.bias")):
            stored, w[part] = default(prefix + name, w[part])
            tensors |= stored

        def rows(e, suffix):  # gate 0, up 0, gate 1, ...
            return torch.stack([w[f"expert.{e}.gate{suffix}"], w[f"expert.{e}.up{suffix}"]], 1).flatten(0, 1)

        for suffix, name in (("", "gate_up_proj"), ("_bias", "gate_up_proj_bias")):
            both = torch.stack([rows(e, suffix) for e in range(count)])
            down = torch.stack([w[f"expert.{e}.down{suffix}"] for e in range(count)])
            pairs = ((f"experts.{name}", both), (f"experts.{name.replace('gate_up', 'down')}", down))
            exact = []
            for tensor_name, tensor in pairs:
                if not suffix and "mxfp4" in case.store:
                    value, codes, exponents = fp4_powers(tensor)
                    tensors[f"{prefix}{tensor_name}_blocks"] = codes
                    tensors[f"{prefix}{tensor_name}_scales"] = exponents
                    exact.append(value)
                else:
                    tensor = tensor if suffix else tensor.transpose(1, 2).contiguous()
                    stored, value = default(prefix + tensor_name, tensor)
                    tensors |= stored
                    exact.append(value if suffix else value.transpose(1, 2))
            for e in range(count):
                w[f"expert.{e}.gate{suffix}"], w[f"expert.{e}.up{suffix}"] = exact[0][e][::2], exact[0][e][1::2]
                w[f"expert.{e}.down{suffix}"] = exact[1][e]
        return tensors

    def values(self, case, w):
        count = sum(part.endswith(".down") for part in w)

        def both(e, suffix):
            return torch.stack([w[f"expert.{e}.gate{suffix}"], w[f"expert.{e}.up{suffix}"]], 1).flatten(0, 1)

        return {
            "router.weight": w["router"], "router.bias": w["router_bias"],
            "experts.gate_up_proj": torch.stack([both(e, "").T for e in range(count)]),
            "experts.gate_up_proj_bias": torch.stack([both(e, "_bias") for e in range(count)]),
            "experts.down_proj": torch.stack([w[f"expert.{e}.down"].T for e in range(count)]),
            "experts.down_proj_bias": torch.stack([w[f"expert.{e}.down_bias"] for e in range(count)])}

    def call(self, case, block, inputs):
        return block(inputs["x"].clone())[0]


class Aria(Family):
    """The block keeps [E, inputs, outputs] too."""

    def values(self, case, w):
        values = super().values(case, w)
        for name in ("experts.gate_up_proj", "experts.down_proj"):
            values[name] = values[name].transpose(1, 2)
        return values


class Llama4(Family):
    """The sigmoids of the chosen logits multiply what goes into the experts. The block keeps [E, inputs, outputs]."""

    def values(self, case, w):
        values = super().values(case, w)
        for name in ("experts.gate_up_proj", "experts.down_proj"):
            values[name] = values[name].transpose(1, 2)
        return values

    def run(self, case, size, w, inputs):
        block = self.filled(case, size, w)
        y, logits = block(inputs["x"].clone())
        chosen, indices = logits.topk(size.k, dim=1)
        y = y.view_as(inputs["x"])
        return dict(y=y, router_logits=logits, topk_indices=indices, topk_weights=chosen.sigmoid()), block


class Dbrx(Family):
    """One matrix of all experts' rows each for w1 (gate), v1 (up) and the transposed w2 (down), in the file too."""

    def store(self, case, w, prefix):
        return {prefix + name: value for name, value in self.values(case, w).items()}

    def values(self, case, w):
        count = sum(part.endswith(".down") for part in w)
        rows = {
            "w1": [w[f"expert.{e}.gate"] for e in range(count)], "v1": [w[f"expert.{e}.up"] for e in range(count)],
            "w2": [w[f"expert.{e}.down"].T for e in range(count)]}
        return {"router.layer.weight": w["router"]} | {f"experts.mlp.{name}": torch.cat(r) for name, r in rows.items()}

    def run(self, case, size, w, inputs):
        block = self.filled(case, size, w)
        logits = block.router(inputs["x"])
        weights, indices = block.route_tokens_to_experts(logits)
        y = block(inputs["x"].clone())
        return dict(y=y, router_logits=logits, topk_indices=indices, topk_weights=weights), block


class Hunyuan(Family):
    def make(self, case, config):
        return getattr(self.modeling, self.block)(config, case.layer)


class PhiMoe(Family):
    """The second choice is the largest of the rest, and either drops what lies too far below it."""

    def margin(self, case, size, w, result):
        closest = super().margin(case, size, w, result)
        logits = result["router_logits"]
        rest = logits.clone()
        for choice in result["topk_indices"].T:
            best = rest.max(1, keepdim=True).values
            distance = (best - logits) / torch.maximum(logits.abs(), best) - 2 * case.config(size)["router_jitter_noise"]
            closest = min(closest, distance[rest.isfinite()].abs().min().item())
            rest = rest.scatter(1, choice[:, None], float("-inf"))
        return closest


class JetMoe(Family):
    def values(self, case, w):
        values = super().values(case, w)
        values["input_linear.weight"] = values.pop("experts.gate_up_proj")
        values["output_linear.weight"] = values.pop("experts.down_proj")
        return values

    def run(self, case, size, w, inputs):
        block = self.filled(case, size, w)
        seen = []
        hook = block.router.register_forward_hook(lambda m, i, o: seen.append(o))
        y = block(inputs["x"].clone())
        hook.remove()
        order, tokens, gates, _, logits = seen[0]
        indices = logits.topk(size.k, dim=1).indices
        weights = torch.empty(len(logits) * size.k)
        weights[order] = gates  # `order` lists the token-major slots by expert
        return dict(y=y, router_logits=logits, topk_indices=indices, topk_weights=weights.view(-1, size.k)), block


class Gemma4(Family):
    def make(self, case, config):
        return torch.nn.ModuleDict(
            dict(router=self.modeling.Gemma4TextRouter(config), experts=self.modeling.Gemma4TextExperts(config)))

    def run(self, case, size, w, inputs):
        block = self.filled(case, size, w)
        x = inputs["x"].view(-1, size.h)
        seen = []
        hook = block["router"].proj.register_forward_hook(lambda m, i, o: seen.append(o))
        _, weights, indices = block["router"](x)
        hook.remove()
        y = block["experts"](x, indices, weights).view_as(inputs["x"])
        return dict(y=y, router_logits=seen[0], topk_indices=indices, topk_weights=weights), block


class Granite(Family):
    """The shared MLP lies beside the block, in the layer."""

    def store(self, case, w, prefix):
        gate, up = (w.pop(f"shared.{part}", None) for part in ("gate", "up"))
        down = w.pop("shared.down", None)
        tensors = super().store(case, w, prefix)
        if gate is not None:
            layer = prefix.removesuffix("block_sparse_moe.") + "shared_mlp."
            tensors[layer + "input_linear.weight"] = torch.cat([gate, up])
            tensors[layer + "output_linear.weight"] = down
            w |= {"shared.gate": gate, "shared.up": up, "shared.down": down}
        return tensors

    def make(self, case, config):
        parts = dict(block_sparse_moe=getattr(self.modeling, self.block)(config))
        if self.shared:
            parts["shared_mlp"] = getattr(self.modeling, self.shared)(config)
        return torch.nn.ModuleDict(parts)

    def values(self, case, w):
        values = {}
        for name, value in super().values(case, w).items():
            if not name.startswith("shared"):
                values["block_sparse_moe." + name] = value
        if self.shared:
            values["shared_mlp.input_linear.weight"] = torch.cat([w["shared.gate"], w["shared.up"]])
            values["shared_mlp.output_linear.weight"] = w["shared.down"]
        return values

    def call(self, case, block, inputs):
        y = block["block_sparse_moe"](inputs["x"].clone())
        return y + block["shared_mlp"](inputs["x"]) if self.shared else y


class Dense(Family):
    """Switch and NLLB: ungated experts, one module each."""

    def values(self, case, w):
        values = {"router.classifier.weight": w["router"]}
        for part, value in w.items():
            if part.startswith("expert"):
                values[self.expert_name(part)] = value
            elif part == "router_bias":
                values["router.classifier.bias"] = value
        return values

    def expert_name(self, part):
        _, e, piece = part.split(".")
        return f"experts.expert_{e}.{self.inside[piece]}"

    def name(self, part):
        return self.expert_name(part) if part.startswith("expert") else super().name(part)


class Switch(Dense):
    def run(self, case, size, w, inputs):
        block = self.filled(case, size, w)
        seen = []
        hook = block.router.register_forward_hook(lambda m, i, o: seen.append(o))
        y = block(inputs["x"].clone())
        hook.remove()
        dispatch, weights, logits = seen[0]
        logits, weights = logits.view(-1, size.e), weights.view(-1, 1)
        dispatch = dispatch.view(-1, size.e)
        return dict(
            y=y, router_logits=logits, topk_indices=logits.softmax(-1).argmax(1, keepdim=True), topk_weights=weights,
            combine=dispatch * weights, kept=dispatch.sum(1)), block

    def extras(self, case, size, w, inputs, result):
        batch, sequence = inputs["x"].shape[:2]
        logits = result["router_logits"].view(batch, sequence, -1)
        return dict(
            aux_loss=self.modeling.load_balancing_loss_func(
                logits.softmax(-1), result["topk_indices"].view(batch, sequence)),
            z_loss=self.modeling.router_z_loss_func(logits))


class Nllb(Dense):
    """The router is transformers'; version 5 hands its result to the experts wrongly, so that part is done here, as
    version 4 did it."""

    def configuration(self, case, size):
        # The class takes no null here, the router does.
        keys = case.config(size)
        whole = Case(case.name, self, lambda s: keys | dict(expert_capacity=keys["expert_capacity"] or 1), size)
        return super().configuration(whole, size)

    def make(self, case, config):
        modeling = self.modeling
        block = torch.nn.Module()
        block.router = modeling.NllbMoeTop2Router(config)
        block.router.expert_capacity = case.config(case.size)["expert_capacity"]
        width = config.decoder_ffn_dim if "decoder" in case.prefix else config.encoder_ffn_dim
        block.experts = torch.nn.ModuleDict(
            {f"expert_{e}": modeling.NllbMoeDenseActDense(config, width) for e in range(config.num_experts)})
        return block

    def run(self, case, size, w, inputs):
        block = self.filled(case, size, w)
        x = inputs["x"].view(-1, size.h)
        # True where there is no token, as the encoder passes it.
        padding = (inputs["attention_mask"] == 0).view(-1) if case.mask else None
        _, combine, logits = block.router(x.clone(), padding)
        y = torch.zeros_like(x)
        keep = 1 - case.config(size)["moe_token_dropout"]
        for e in range(size.e):
            tokens = combine[:, e] != 0
            y[tokens] += combine[tokens, e, None] * (block.experts[f"expert_{e}"](x[tokens]) * keep)
        chance = logits.softmax(-1)
        weights, indices = chance.topk(2, dim=1)
        return dict(
            y=y.view_as(inputs["x"]), router_logits=logits, topk_indices=indices, topk_weights=weights,
            combine=combine, kept=(combine != 0).sum(1)), block

    def margin(self, case, size, w, result):
        closest = super().margin(case, size, w, result)
        first = result["topk_weights"]
        closest = min(closest, (first[:, 0] - first[:, 1]).min().item())
        if case.config(size)["batch_prioritized_routing"]:
            order = first[:, 0].sort().values
            closest = min(closest, (order[1:] - order[:-1]).min().item())
        return closest
