"""The families and cases of make_family_vectors.py."""

import torch

from family_blocks import (
    BF16, Aria, Case, Dbrx, DeepseekV2, DeepseekV4, Family, Gemma4, GptOss, Granite, Hunyuan, JetMoe, Llama4, LongcatFlash,
    NemotronH, Nllb, PhiMoe, Size, Switch, fp4_deepseek, fp8_blocks, fp8_rows, int4_groups, nvfp4, plain)


def v3_family(module, name, block, **changes):
    """DeepSeek-V3's block under its own class name."""
    defaults = dict(
        bias="gate.e_score_correction_bias", shared="shared_experts.{p}.weight", score="sigmoid",
        groups=("n_group", "topk_group", "top2"), losses=("v3",))
    return Family(module, name, block, **(defaults | changes))


def llama(s, **keys):
    """Keys every config has."""
    return dict(
        hidden_size=s.h, num_attention_heads=2, num_key_value_heads=2, num_hidden_layers=4, vocab_size=64,
        hidden_act="silu") | keys


def v3_config(model_type, **keys):
    """DeepSeek-V3's keys."""

    def config(s):
        return dict(model_type=model_type) | llama(s) | dict(
            intermediate_size=3 * s.h, moe_intermediate_size=s.f, n_routed_experts=s.e, num_experts_per_tok=s.k,
            n_shared_experts=s.s // s.f, n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5,
            scoring_func="sigmoid", topk_method="noaux_tc", first_k_dense_replace=1) | keys

    return config


MIXTRAL = Family(
    "mixtral", "MixtralConfig", "MixtralSparseMoeBlock", prefix="model.layers.{L}.block_sparse_moe.",
    expert="experts.{e}.{w}.weight", merged_prefix="model.layers.{L}.mlp.", losses=("balance",))
QWEN3 = Family("qwen3_moe", "Qwen3MoeConfig", "Qwen3MoeSparseMoeBlock", losses=("balance",))
QWEN3_NEXT = Family(
    "qwen3_next", "Qwen3NextConfig", "Qwen3NextSparseMoeBlock", shared="shared_expert.{p}.weight",
    shared_inside="shared_expert.{p}.weight", shared_gate="shared_expert_gate.weight", losses=("balance",))
QWEN3_VL = Family(
    "qwen3_vl_moe", "Qwen3VLMoeTextConfig", "Qwen3VLMoeTextSparseMoeBlock", prefix="model.language_model.layers.{L}.mlp.",
    fused=("experts.gate_up_proj", "experts.down_proj", "inputs"), losses=("balance",))
QWEN3_5 = Family(
    "qwen3_5_moe", "Qwen3_5MoeTextConfig", "Qwen3_5MoeSparseMoeBlock", prefix="model.language_model.layers.{L}.mlp.",
    fused=("experts.gate_up_proj", "experts.down_proj", "outputs"), shared="shared_expert.{p}.weight",
    shared_inside="shared_expert.{p}.weight", shared_gate="shared_expert_gate.weight", losses=("balance",))
QWEN3_5_SPLIT = Family(
    "qwen3_5_moe", "Qwen3_5MoeTextConfig", "Qwen3_5MoeSparseMoeBlock", prefix="model.language_model.layers.{L}.mlp.",
    shared="shared_expert.{p}.weight", shared_inside="shared_expert.{p}.weight", shared_gate="shared_expert_gate.weight",
    losses=("balance",))
LLAMA4 = Llama4(
    "llama4", "Llama4TextConfig", "Llama4TextMoe", prefix="language_model.model.layers.{L}.feed_forward.",
    router="router.weight", fused=("experts.gate_up_proj", "experts.down_proj", "inputs"),
    shared="shared_expert.{p}.weight", shared_inside="shared_expert.{p}.weight", router_module="router", score="logits")
DBRX = Dbrx("dbrx", "DbrxConfig", "DbrxFFN", prefix="transformer.blocks.{L}.ffn.", losses=("balance",))
HUNYUAN = Hunyuan(
    "hunyuan_v1_moe", "HunYuanMoEV1Config", "HunYuanMoEV1Moe", router="gate.wg.weight", shared="shared_mlp.{p}.weight",
    shared_inside="shared_mlp.{p}.weight", inside={"router": "gate.wg.weight"})
MINIMAX = Family(
    "minimax", "MiniMaxConfig", "MiniMaxSparseMoeBlock", prefix="model.layers.{L}.block_sparse_moe.",
    expert="experts.{e}.{w}.weight", losses=("balance",))
MINIMAX_M2 = Family(
    "minimax_m2", "MiniMaxM2Config", "MiniMaxM2SparseMoeBlock", prefix="model.layers.{L}.block_sparse_moe.",
    expert="experts.{e}.{w}.weight", bias="e_score_correction_bias", bias_inside="e_score_correction_bias",
    merged_prefix="model.layers.{L}.mlp.", score="sigmoid", losses=("balance",))
ERNIE = Family(
    "ernie4_5_moe", "Ernie4_5_MoeConfig", "Ernie4_5_MoeSparseMoeBlock", bias="moe_statics.e_score_correction_bias",
    bias_row=True, bias_inside="gate.moe_statics.e_score_correction_bias", shared="shared_experts.{p}.weight",
    losses=("balance",))
JAMBA = Family(
    "jamba", "JambaConfig", "JambaSparseMoeBlock", prefix="model.layers.{L}.feed_forward.", router="router.weight",
    router_module="router", losses=("balance",))
LFM2 = Family(
    "lfm2_moe", "Lfm2MoeConfig", "Lfm2MoeSparseMoeBlock", prefix="model.layers.{L}.feed_forward.",
    expert="experts.{e}.{w}.weight", bias="expert_bias", bias_inside="expert_bias", score="sigmoid")
NEMOTRON = NemotronH(
    "nemotron_h", "NemotronHConfig", "NemotronHMoE", prefix="backbone.layers.{L}.mixer.",
    bias="gate.e_score_correction_bias", shared="shared_experts.{p}.weight", parts=("up", "down"), score="sigmoid",
    groups=("n_group", "topk_group", "top2"), losses=("v3",), merged_prefix="model.layers.{L}.mixer.",
    other={"latent.in": "fc1_latent_proj.weight", "latent.out": "fc2_latent_proj.weight"},
    inside={"latent.in": "fc1_latent_proj.weight", "latent.out": "fc2_latent_proj.weight"})
V4 = DeepseekV4(
    "deepseek_v4", "DeepseekV4Config", "DeepseekV4SparseMoeBlock", prefix="layers.{L}.ffn.", bias="gate.bias",
    expert="experts.{e}.{w}.weight", shared="shared_experts.{w}.weight", other={"table": "gate.tid2eid"},
    inside={"table": "gate.tid2eid"}, score="sqrtsoftplus", losses=("balance",),
    merged_prefix="model.layers.{L}.mlp.")
LONGCAT = LongcatFlash(
    "longcat_flash", "LongcatFlashConfig", "LongcatFlashMoE", router="router.classifier.weight",
    bias="router.e_score_correction_bias", bias_inside="router.e_score_correction_bias", router_module="router",
    inside={"router": "router.classifier.weight"})
MISTRAL4 = Family(
    "mistral4", "Mistral4Config", "Mistral4MoE", shared="shared_experts.{p}.weight", groups=("n_group", "topk_group", "top2"))
GEMMA4 = Gemma4(
    "gemma4", "Gemma4TextConfig", "Gemma4TextExperts", prefix="model.language_model.layers.{L}.", router="router.proj.weight",
    fused=("experts.gate_up_proj", "experts.down_proj", "outputs"), router_module="router",
    vectors={"router.scale": ("h", 0.3, 5.0), "per_expert_scale": ("e", 0.3, 1.0)},
    other={"router.scale": "router.scale", "per_expert_scale": "router.per_expert_scale"},
    inside={
        "router": "router.proj.weight", "router.scale": "router.scale", "per_expert_scale": "router.per_expert_scale"})
JETMOE = JetMoe(
    "jetmoe", "JetMoeConfig", "JetMoeMoE", router="router.layer.weight",
    fused=("input_linear.weight", "output_linear.weight", "outputs"), router_module="router",
    vectors={"output_bias": ("h", 0.5, 0.0)}, other={"output_bias": "bias"},
    inside={"router": "router.layer.weight", "output_bias": "bias"}, score="logits", losses=("balance",))
ARIA = Aria(
    "aria", "AriaTextConfig", "AriaTextMoELayer", prefix="language_model.model.layers.{L}.mlp.", router="router.weight",
    fused=("experts.fc1.weight", "experts.fc2.weight", "inputs"), shared="shared_experts.{p}.weight",
    router_module="router", score="logits", merged_prefix="model.language_model.layers.{L}.mlp.")
COHERE2 = Family(
    "cohere2_moe", "Cohere2MoeConfig", "Cohere2MoeSparseMoeBlock", shared="shared_experts.{p}.weight", score="logits")
AFMOE = Family(
    "afmoe", "AfmoeConfig", "AfmoeSparseMoeBlock", router="router.gate.weight", bias="expert_bias",
    bias_inside="expert_bias", shared="shared_experts.{p}.weight", router_module="router",
    inside={"router": "router.gate.weight"}, score="sigmoid")
EXAONE = v3_family("exaone_moe", "ExaoneMoeConfig", "ExaoneMoeSparseMoEBlock", bias="e_score_correction_bias")
BAILING = v3_family("bailing_hybrid", "BailingHybridConfig", "BailingHybridMoE", bias="gate.expert_bias")
KIMI_LINEAR = v3_family(
    "kimi_linear", "KimiLinearConfig", "KimiLinearMoE", prefix="model.layers.{L}.block_sparse_moe.",
    expert="experts.{e}.{w}.weight", groups=("num_expert_group", "topk_group", "top2"),
    merged_prefix="model.layers.{L}.mlp.")
MIMO = v3_family("mimo_v2_flash", "MiMoV2FlashConfig", "MiMoV2FlashMoE", shared=None)
HY_V3 = Family(
    "hy_v3", "HYV3Config", "HYV3MoE", router="router.gate.weight", bias="expert_bias",
    bias_inside="e_score_correction_bias", shared="shared_mlp.{p}.weight", score="sigmoid", losses=("v3",))
DOTS1 = v3_family("dots1", "Dots1Config", "Dots1MoE")
SOLAR = v3_family("solar_open", "SolarOpenConfig", "SolarOpenMoE")
GLM4 = v3_family("glm4_moe", "Glm4MoeConfig", "Glm4MoeMoE")
GLM4_LITE = v3_family("glm4_moe_lite", "Glm4MoeLiteConfig", "Glm4MoeLiteMoE")
GLM_DSA = v3_family("glm_moe_dsa", "GlmMoeDsaConfig", "GlmMoeDsaMoE")
GLM4V = v3_family(
    "glm4v_moe", "Glm4vMoeTextConfig", "Glm4vMoeTextMoE", prefix="model.language_model.layers.{L}.mlp.")
V3 = v3_family("deepseek_v3", "DeepseekV3Config", "DeepseekV3MoE")
V32 = v3_family("deepseek_v32", "DeepseekV32Config", "DeepseekV32MoE")
V2 = DeepseekV2(
    "deepseek_v2", "DeepseekV2Config", "DeepseekV2Moe", shared="shared_experts.{p}.weight", losses=("v2",),
    groups=("n_group", "topk_group", "max"))
GRANITE = Granite(
    "granitemoe", "GraniteMoeConfig", "GraniteMoeMoE", prefix="model.layers.{L}.block_sparse_moe.",
    router="router.layer.weight", fused=("input_linear.weight", "output_linear.weight", "outputs"),
    router_module="block_sparse_moe.router", inside={"router": "router.weight"}, merged_prefix="model.layers.{L}.",
    score="logits", losses=("balance",))
GRANITE_SHARED = Granite(
    "granitemoeshared", "GraniteMoeSharedConfig", "GraniteMoeSharedMoE", prefix="model.layers.{L}.block_sparse_moe.",
    router="router.layer.weight", fused=("input_linear.weight", "output_linear.weight", "outputs"),
    shared="GraniteMoeSharedMLP", router_module="block_sparse_moe.router", inside={"router": "router.weight"},
    score="logits", losses=("balance",))
GRANITE_HYBRID = Granite(
    "granitemoehybrid", "GraniteMoeHybridConfig", "GraniteMoeHybridMoE", prefix="model.layers.{L}.block_sparse_moe.",
    router="router.layer.weight", fused=("input_linear.weight", "output_linear.weight", "outputs"),
    shared="GraniteMoeHybridMLP", router_module="block_sparse_moe.router", inside={"router": "router.weight"},
    merged_prefix="model.layers.{L}.", score="logits", losses=("balance",))
FLEX_OLMO = Family("flex_olmo", "FlexOlmoConfig", "FlexOlmoSparseMoeBlock", losses=("balance",))
PHIMOE = PhiMoe(
    "phimoe", "PhimoeConfig", "PhimoeSparseMoeBlock", prefix="model.layers.{L}.block_sparse_moe.",
    expert="experts.{e}.{w}.weight", router_module="router", merged_prefix="model.layers.{L}.mlp.", score="logits",
    losses=("balance",))
GPT_OSS = GptOss(
    "gpt_oss", "GptOssConfig", "GptOssMLP", router_module="router", expert_biases=True, score="logits",
    vectors={"router_bias": ("e", 0.5, 0.0)}, losses=("balance",))
SWITCH = Switch(
    "switch_transformers", "SwitchTransformersConfig", "SwitchTransformersSparseMLP", router="router.classifier.weight",
    parts=("up", "down"), inside=dict(up="wi.weight", down="wo.weight"), router_module="router")
NLLB_PARTS = {"up": "fc1.weight", "down": "fc2.weight", "up_bias": "fc1.bias", "down_bias": "fc2.bias"}
NLLB = Nllb(
    "nllb_moe", "NllbMoeConfig", "NllbMoeSparseMLP", router="router.classifier.weight", parts=("up", "down"),
    expert_biases=True, inside=NLLB_PARTS, router_module="router", losses=("balance",))
NLLB_BIASED = Nllb(
    "nllb_moe", "NllbMoeConfig", "NllbMoeSparseMLP", router="router.classifier.weight", parts=("up", "down"),
    expert_biases=True, inside=NLLB_PARTS, router_module="router", losses=("balance",),
    vectors={"router_bias": ("e", 0.5, 0.0)}, other={"router_bias": "router.classifier.bias"})


def qwen(model_type, **keys):
    return lambda s: dict(model_type=model_type) | llama(s) | dict(
        moe_intermediate_size=s.f, num_experts=s.e, num_experts_per_tok=s.k, router_aux_loss_coef=0.001,
        head_dim=8) | keys


def qwen35(s):
    return qwen("qwen3_5_moe_text", shared_expert_intermediate_size=s.s)(s)


def qwen3_next(s):
    return qwen(
        "qwen3_next", shared_expert_intermediate_size=s.s, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[0])(s)


def mixtral(model_type="mixtral", **keys):
    return lambda s: dict(model_type=model_type) | llama(s) | dict(
        intermediate_size=s.f, num_local_experts=s.e, num_experts_per_tok=s.k) | keys


def llama4(s):
    return mixtral("llama4_text", intermediate_size_mlp=3 * s.h, interleave_moe_layer_step=2, head_dim=8)(s)


def dbrx(norm):
    return lambda s: dict(
        model_type="dbrx", d_model=s.h, n_heads=2, n_layers=4, max_seq_len=128, vocab_size=64,
        attn_config=dict(kv_n_heads=2, clip_qkv=8.0),
        ffn_config=dict(
            ffn_hidden_size=s.f, moe_num_experts=s.e, moe_top_k=s.k, moe_jitter_eps=0.01, moe_loss_weight=0.05,
            moe_normalize_expert_weights=norm, ffn_act_fn=dict(name="silu")))


def hunyuan(layer):
    """Lists whose other entries are wrong for the layer."""

    def listed(value, other):
        return [value if index == layer else other for index in range(4)]

    return lambda s: dict(model_type="hunyuan_v1_moe") | llama(s) | dict(
        intermediate_size=s.f, num_experts=s.e, moe_topk=listed(s.k, s.k - 1), num_shared_expert=listed(1, 2),
        moe_intermediate_size=listed(s.f, s.f + 1), head_dim=8)


def minimax_m2(s):
    return mixtral("minimax_m2", scoring_func="sigmoid", use_routing_bias=True, head_dim=8)(s)


def ernie(shared, **keys):
    return lambda s: dict(model_type="ernie4_5_moe") | llama(s) | dict(
        intermediate_size=3 * s.h, moe_intermediate_size=s.f, moe_num_experts=s.e, moe_k=s.k,
        moe_num_shared_experts=shared, moe_layer_start_index=1, moe_layer_end_index=-1, moe_layer_interval=1,
        moe_norm_min=1e-12, use_bias=False) | keys


def jamba(s):
    return dict(model_type="jamba") | llama(s) | dict(
        intermediate_size=s.f, num_experts=s.e, num_experts_per_tok=s.k, expert_layer_period=2, expert_layer_offset=1)


def lfm2(s):
    return dict(model_type="lfm2_moe") | llama(s) | dict(
        intermediate_size=3 * s.h, moe_intermediate_size=s.f, num_experts=s.e, num_experts_per_tok=s.k,
        num_dense_layers=2, norm_topk_prob=True, use_expert_bias=True, routed_scaling_factor=1.5,
        layer_types=["conv", "full_attention"] * 2)


def nemotron(latent=None, groups=(1, 1), **keys):
    def config(s):
        c = dict(model_type="nemotron_h") | llama(s) | dict(
            intermediate_size=3 * s.h, moe_intermediate_size=s.f, moe_shared_expert_intermediate_size=s.s,
            n_routed_experts=s.e, n_shared_experts=1, num_experts_per_tok=s.k, n_group=groups[0], topk_group=groups[1],
            norm_topk_prob=True, routed_scaling_factor=2.5, mlp_hidden_act="relu2", mlp_bias=False,
            hybrid_override_pattern="ME*E", num_hidden_layers=4)
        del c["hidden_act"]
        if latent:
            c["moe_latent_size"] = latent
        return c | keys

    return config


def v4(**keys):
    return lambda s: dict(model_type="deepseek_v4") | llama(s, num_key_value_heads=1, vocab_size=40) | dict(
        moe_intermediate_size=s.f, n_routed_experts=s.e, n_shared_experts=1, num_experts_per_tok=s.k,
        scoring_func="sqrtsoftplus", topk_method="noaux_tc", norm_topk_prob=True, routed_scaling_factor=1.5,
        swiglu_limit=2.5, num_hash_layers=2) | keys


def mistral4(s):
    groups = 3 if s.e % 3 == 0 else 4
    return v3_config(
        "mistral4", n_group=groups, topk_group=2, routed_scaling_factor=1.5, scoring_func="softmax")(s)


def longcat(s):
    c = dict(model_type="longcat_flash") | llama(s) | dict(
        num_layers=4, ffn_hidden_size=3 * s.h, expert_ffn_hidden_size=s.f, n_routed_experts=s.e, zero_expert_num=3,
        zero_expert_type="identity", moe_topk=s.k, routed_scaling_factor=6.0, router_bias=False)
    del c["num_hidden_layers"]
    return c


def gemma4(s):
    c = dict(model_type="gemma4_text") | llama(s) | dict(
        hidden_activation="gelu_pytorch_tanh", intermediate_size=3 * s.h, enable_moe_block=True,
        moe_intermediate_size=s.f, num_experts=s.e, top_k_experts=s.k, rms_norm_eps=1e-3, head_dim=8,
        layer_types=["sliding_attention", "full_attention"] * 2)
    del c["hidden_act"]
    return c


def jetmoe(s):
    c = dict(model_type="jetmoe") | llama(s) | dict(
        intermediate_size=s.f, num_local_experts=s.e, num_experts_per_tok=s.k, activation_function="silu", kv_channels=8)
    del c["hidden_act"], c["num_attention_heads"]
    return c


def aria(s):
    return dict(model_type="aria_text") | llama(s) | dict(
        intermediate_size=s.f, moe_num_experts=s.e, moe_topk=s.k, moe_num_shared_experts=s.s // s.f, head_dim=8)


def cohere2(combination, selection, **keys):
    return lambda s: dict(model_type="cohere2_moe") | llama(s) | dict(
        intermediate_size=s.f, num_experts=s.e, num_experts_per_tok=s.k, num_shared_experts=s.s // s.f,
        shared_expert_combination_strategy=combination, expert_selection_fn=selection, first_k_dense_replace=1,
        prefix_dense_intermediate_size=2 * s.h, head_dim=8) | keys


def afmoe(s):
    return dict(model_type="afmoe") | llama(s) | dict(
        intermediate_size=3 * s.h, moe_intermediate_size=s.f, num_experts=s.e, num_experts_per_tok=s.k,
        num_shared_experts=s.s // s.f, num_dense_layers=2, route_norm=True, route_scale=2.448, score_func="sigmoid",
        n_group=1, topk_group=1)


def exaone(s):
    return dict(model_type="exaone_moe") | llama(s) | dict(
        intermediate_size=3 * s.h, moe_intermediate_size=s.f, num_experts=s.e, num_experts_per_tok=s.k,
        num_shared_experts=s.s // s.f, n_group=2, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5,
        first_k_dense_replace=1)


def bailing(**keys):
    return lambda s: dict(model_type="bailing_hybrid") | llama(s) | dict(
        intermediate_size=3 * s.h, moe_intermediate_size=s.f, num_experts=s.e, num_shared_experts=s.s // s.f,
        topk_group=2, routed_scaling_factor=2.5, first_k_dense_replace=1) | {
            key: s.k if value == "k" else value for key, value in keys.items()}


def kimi_linear(s):
    return dict(model_type="kimi_linear") | llama(s) | dict(
        intermediate_size=3 * s.h, moe_intermediate_size=s.f, num_experts=s.e, num_experts_per_token=s.k,
        num_shared_experts=s.s // s.f, num_expert_group=1, topk_group=1, use_grouped_topk=True, moe_renormalize=True,
        moe_router_activation_func="sigmoid", routed_scaling_factor=2.446, first_k_dense_replace=1, moe_layer_freq=1,
        q_lora_rank=None, kv_lora_rank=8)


def hy_v3(fp32):
    return lambda s: dict(model_type="hy_v3") | llama(s) | dict(
        intermediate_size=3 * s.h, moe_intermediate_size=s.f, num_experts=s.e, num_experts_per_tok=s.k,
        num_shared_experts=s.s // s.f, router_scaling_factor=2.826, enable_moe_fp32_combine=fp32, head_dim=8)


def v2(**keys):
    return lambda s: dict(model_type="deepseek_v2") | llama(s) | dict(
        intermediate_size=3 * s.h, moe_intermediate_size=s.f, n_routed_experts=s.e, num_experts_per_tok=s.k,
        n_shared_experts=s.s // s.f, routed_scaling_factor=16.0, norm_topk_prob=True, scoring_func="softmax",
        first_k_dense_replace=1, moe_layer_freq=1, aux_loss_alpha=0.001, seq_aux=True) | keys


def granite(model_type, **keys):
    return lambda s: dict(model_type=model_type) | llama(s) | dict(
        intermediate_size=s.f, num_local_experts=s.e, num_experts_per_tok=s.k) | {
            key: s.s if value == "s" else value for key, value in keys.items()}


HYBRID = granite(
    "granitemoehybrid", shared_intermediate_size="s", residual_multiplier=0.22, mamba_n_heads=4, mamba_expand=2,
    layer_types=["mamba", "mamba", "attention", "mamba"])


def switch(**keys):
    return lambda s: dict(model_type="switch_transformers") | dict(
        d_model=s.h, d_kv=8, d_ff=s.f, num_heads=2, num_layers=4, num_decoder_layers=6, num_sparse_encoder_layers=2,
        num_sparse_decoder_layers=3, num_experts=s.e, expert_capacity=3, router_bias=False, router_dtype="float32",
        router_jitter_noise=0.01, router_ignore_padding_tokens=False, dense_act_fn="relu", is_encoder_decoder=True,
        vocab_size=64, feed_forward_proj="relu") | keys


def nllb(**keys):
    return lambda s: dict(model_type="nllb-moe") | dict(
        d_model=s.h, encoder_ffn_dim=s.f, decoder_ffn_dim=s.f, encoder_layers=4, decoder_layers=4,
        encoder_attention_heads=2, decoder_attention_heads=2, num_experts=s.e, expert_capacity=64, encoder_sparse_step=2,
        decoder_sparse_step=2, router_bias=False, router_dtype="float32", second_expert_policy="all",
        normalize_router_prob_before_dropping=False, batch_prioritized_routing=False,
        moe_eval_capacity_token_fraction=0.25, moe_token_dropout=0.2, activation_function="relu",
        router_ignore_padding_tokens=False, vocab_size=64, is_encoder_decoder=True) | keys


def gpt_oss(s):
    return mixtral("gpt_oss", experts_per_token=s.k, swiglu_limit=7.0, router_aux_loss_coef=0.9, head_dim=8)(s)


# quantization_config of published models

FP8_BLOCKS = dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[128, 128])


def compressed(fmt, ignore, **weights):
    return dict(
        quant_method="compressed-tensors", format=fmt, quantization_status="compressed", ignore=ignore, kv_cache_scheme=None,
        config_groups=dict(group_0=dict(
            targets=["Linear"], output_activations=None, input_activations=None,
            weights=dict(dynamic=False, symmetric=True, observer="minmax", actorder=None, block_structure=None) | weights)))


CHANNELS = compressed(
    "float-quantized", ["lm_head", "model.layers.1.mlp.gate"], num_bits=8, type="float", strategy="channel", group_size=None)
INT4 = compressed(
    "pack-quantized", ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
    num_bits=4, type="int", strategy="group", group_size=32)
NVFP4 = compressed(
    "nvfp4-pack-quantized", ["lm_head", "re:.*mlp.gate$"], num_bits=4, type="float", strategy="tensor_group", group_size=16)
MODELOPT = dict(
    quant_method="modelopt", quant_algo="NVFP4", producer=dict(name="modelopt", version="0.29.0"), ignore=["lm_head"],
    config_groups=dict(group_0=dict(
        targets=["Linear"], weights=dict(dynamic=False, num_bits=4, type="float", group_size=16),
        input_activations=dict(dynamic=False, num_bits=4, type="float", group_size=16))))
MXFP4 = dict(
    quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"])

DEQUANTISED = "expected: weights dequantised to fp32, then fp32 arithmetic; activations are not quantised"
DECODER = "a decoder layer; `layer` counts decoder layers"
NLLB_NOTE = (
    "dispatch as transformers 4.x has it: 5.x runs only experts 0 and 1",
    "expert outputs are multiplied by 1 - moe_token_dropout",
    "topk_indices, topk_weights: the two largest of the plain softmax; combine: after dropping and normalising")

TINY = Size(14, 6, 6, 6, 2)  # of the committed copies
TINY_SHARED = Size(14, 6, 12, 5, 2)
TINY_GROUPS = Size(14, 5, 10, 8, 3)

CASES = [
    # Families
    Case("qwen3_5_moe", QWEN3_5, qwen35, Size(52, 22, 30, 8, 3), Size(18, 7, 9, 5, 2), layer=3, nested="qwen3_5_moe", mask=True),
    Case("qwen3_5_moe-per_expert", QWEN3_5_SPLIT, qwen35, Size(46, 26, 18, 7, 3), None, layer=2, nested="qwen3_5_moe",
         notes=["experts one by one, as in the FP8 repositories"]),
    Case("qwen3_next", QWEN3_NEXT, qwen3_next, Size(48, 20, 28, 9, 4), Size(14, 6, 9, 6, 3), layer=1),
    Case("qwen3_vl_moe-2", QWEN3_VL, qwen("qwen3_vl_moe_text", norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[]),
         Size(38, 20, 0, 9, 4), Size(16, 7, 0, 6, 3), layer=2, nested="qwen3_vl_moe",
         notes=["transformers renormalises whatever norm_topk_prob says"]),
    Case("qwen3_vl_moe-square", QWEN3_VL,
         qwen("qwen3_vl_moe_text", norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[]),
         Size(40, 20, 0, 6, 2), None, nested="qwen3_vl_moe", 
         notes=["2f == d: gate_up_proj alone does not tell its orientation, and transformers loads it untransposed; down_proj does"]),
    Case("llama4", LLAMA4, llama4, Size(44, 20, 20, 7, 2), TINY, layer=1, nested="llama4",
         notes=["top 2, where published models have 1", "sigmoid(logit) multiplies the expert's input",
                "gate_up_proj [E, d, 2f], gate and up in halves; down_proj [E, f, d]"]),
    Case("dbrx-l2norm", DBRX, dbrx(2.0), Size(40, 22, 0, 8, 3), Size(14, 6, 0, 6, 3), layer=2,
         notes=["weights divided by their 2-norm, where the published model has 1", "w1, v1, w2 [E * f, d]"]),
    Case("hunyuan_v1_moe", HUNYUAN, hunyuan(2), Size(38, 20, 20, 7, 3), TINY, layer=2,
         notes=["moe_topk, num_shared_expert, moe_intermediate_size: lists by layer, other layers' entries are different"]),
    Case("minimax", MINIMAX, mixtral("minimax"), Size(42, 26, 0, 7, 2), TINY, layer=1),
    Case("minimax_m2", MINIMAX_M2, minimax_m2, Size(44, 28, 0, 9, 4), Size(14, 7, 0, 6, 3), layer=1),
    Case("ernie4_5_moe", ERNIE, ernie(2), Size(50, 20, 40, 8, 3), TINY_SHARED, layer=1, bias=(0.1, 0.0), mask=True),
    Case("ernie4_5_moe-no_shared", ERNIE, ernie(0, moe_layer_start_index=2, moe_layer_interval=2, moe_layer_end_index=3),
         Size(42, 26, 0, 7, 3), TINY, layer=3, bias=(0.1, 0.0), shared=False),
    Case("jamba", JAMBA, jamba, Size(54, 30, 0, 6, 2), TINY, layer=3),
    Case("lfm2_moe", LFM2, lfm2, Size(36, 22, 0, 8, 3), TINY, layer=2),
    Case("nemotron_h", NEMOTRON, nemotron(groups=(4, 2)), Size(44, 20, 34, 12, 3), Size(18, 7, 9, 8, 2), layer=3,
         bias=(0.2, -0.6)),
    Case("nemotron_h-latent", NEMOTRON, nemotron(latent=14), Size(58, 26, 40, 7, 3), Size(18, 7, 9, 5, 2), layer=1),
    Case("deepseek_v4-hash", V4, v4(), Size(42, 20, 20, 8, 3), TINY, layer=1, gain=1.7,
         notes=["experts by token id; gate.tid2eid [vocabulary, k] I64", "swiglu_limit acts"]),
    Case("deepseek_v4-hash_i32", V4, v4(), Size(38, 22, 22, 6, 2), None, layer=0, gain=1.7, store=dict(table=torch.int32),
         notes=["gate.tid2eid I32"]),
    Case("deepseek_v4", V4, v4(), Size(46, 26, 26, 8, 3), TINY, layer=2, gain=1.7, notes=["swiglu_limit acts"]),
    Case("longcat_flash", LONGCAT, longcat, Size(48, 20, 0, 6, 4), Size(14, 6, 0, 5, 3), layer=2, bias=(0.05, 0.0),
         notes=["the last zero_expert_num rows of the router are identity experts; combine [T, E+Z]"]),
    Case("mistral4", MISTRAL4, mistral4, Size(40, 22, 22, 9, 3), Size(14, 5, 5, 9, 3), layer=1, nested="mistral3",
         prefix="language_model.model.layers.{L}.mlp.", notes=["experts one by one; transformers 5.23 does not load this layout"]),
    Case("mistral4-merged", MISTRAL4, mistral4, Size(38, 20, 40, 8, 3), Size(14, 5, 5, 9, 3), layer=2, nested="mistral3", merged=True,
         prefix="language_model.model.layers.{L}.mlp.",
         notes=["transformers 5.23 has no conversion for this family, so it loads only this layout"]),
    Case("gemma4", GEMMA4, gemma4, Size(56, 24, 0, 8, 3), TINY, layer=1, nested="gemma4",
         notes=["x goes into both the router (which normalises it) and the experts; the dense MLP is not part of y",
                "rms_norm_eps is large enough to matter", "router_logits: outputs of router.proj"]),
    Case("jetmoe", JETMOE, jetmoe, Size(36, 26, 0, 7, 2), TINY, layer=2),
    Case("aria", ARIA, aria, Size(44, 20, 40, 8, 3), TINY_SHARED, layer=1, nested="aria"),
    Case("cohere2_moe-average", COHERE2, cohere2("average", "softmax"), Size(50, 22, 44, 7, 3), TINY_SHARED, layer=1),
    Case("cohere2_moe-sum_sigmoid", COHERE2, cohere2("sum", "sigmoid", norm_topk_prob=True), Size(42, 24, 24, 8, 3), TINY,
         layer=2),
    Case("cohere2_moe-sigmoid_unnormalised", COHERE2, cohere2("average", "sigmoid", norm_topk_prob=False),
         Size(38, 20, 20, 6, 2), TINY, layer=3),
    Case("cohere2_moe-no_shared", COHERE2, cohere2("average", "softmax"), Size(40, 20, 0, 6, 2), None, layer=1, shared=False),
    Case("afmoe", AFMOE, afmoe, Size(52, 20, 40, 9, 4), TINY_SHARED, layer=3),
    Case("exaone_moe", EXAONE, exaone, Size(46, 22, 22, 8, 3), TINY_GROUPS, layer=1, bias=(0.2, -0.6)),
    Case("bailing_hybrid", BAILING, bailing(n_group=4, num_experts_per_tok="k", norm_topk_prob=True), Size(38, 20, 20, 12, 4),
         TINY_GROUPS, layer=2, bias=(0.2, -0.6)),
    Case("bailing_hybrid-kimi_keys", BAILING,
         bailing(num_expert_group=4, num_experts_per_token="k", moe_renormalize=True), Size(40, 22, 44, 8, 3), None, layer=1,
         bias=(0.2, -0.6), notes=["the keys transformers 5 writes: num_expert_group, num_experts_per_token, moe_renormalize"]),
    Case("kimi_linear", KIMI_LINEAR, kimi_linear, Size(44, 24, 24, 8, 3), TINY, layer=2),
    Case("mimo_v2_flash", MIMO, v3_config(
        "mimo_v2_flash", moe_layer_freq=[0, 1, 1, 1], routed_scaling_factor=None, n_shared_experts=None,
        hybrid_layer_pattern=[0, 1, 1, 0]), Size(36, 28, 0, 8, 3), TINY, layer=1,
        notes=["moe_layer_freq is a list; routed_scaling_factor null means 1"]),
    Case("hy_v3", HY_V3, hy_v3(True), Size(48, 20, 40, 8, 3), TINY_SHARED, layer=1),
    Case("hy_v3-bf16_combine", HY_V3, hy_v3(False), Size(42, 22, 22, 6, 2), None, layer=2),
    Case("kimi_k2", V3, v3_config("kimi_k2", routed_scaling_factor=2.827), Size(40, 20, 20, 9, 4), TINY, layer=1),
    Case("dots1", DOTS1, v3_config("dots1"), Size(54, 20, 40, 9, 3), TINY_SHARED, layer=3),
    Case("dots1-unnormalised", DOTS1, v3_config("dots1", norm_topk_prob=False, n_group=3, topk_group=1), Size(38, 20, 20, 9, 3),
         None, layer=1, bias=(0.2, -0.6)),
    Case("solar_open", SOLAR, v3_config("solar_open", first_k_dense_replace=0), Size(40, 26, 26, 8, 3), TINY, layer=0),
    Case("glm4_moe", GLM4, v3_config("glm4_moe", routed_scaling_factor=1.0), Size(38, 22, 22, 9, 4), TINY, layer=2),
    Case("glm4_moe_lite", GLM4_LITE, v3_config("glm4_moe_lite", routed_scaling_factor=1.8), Size(36, 24, 24, 8, 3), TINY, layer=1),
    Case("glm_moe_dsa", GLM_DSA, v3_config("glm_moe_dsa", first_k_dense_replace=3), Size(44, 22, 22, 8, 3), TINY, layer=3),
    Case("glm4v_moe", GLM4V, v3_config("glm4v_moe_text"), Size(50, 20, 20, 8, 3), TINY, layer=2, nested="glm4v_moe"),
    Case("deepseek_v32", V32, v3_config("deepseek_v32", n_group=4, topk_group=2), Size(42, 20, 20, 12, 4), TINY_GROUPS, layer=1,
         bias=(0.2, -0.6)),
    Case("deepseek_v3-layer1", V3, v3_config("deepseek_v3", n_group=4, topk_group=2),
         Size(36, 20, 40, 16, 4), TINY_GROUPS, layer=1, bias=(0.2, -0.6),
         notes=["most keys of choice are negative: dropped groups must be -inf, not 0"]),
    Case("granitemoe", GRANITE, granite("granitemoe", residual_multiplier=0.22), Size(38, 22, 0, 7, 3), TINY, layer=1,
         notes=["y is before residual_multiplier"]),
    Case("granitemoeshared", GRANITE_SHARED,
         granite("granitemoeshared", shared_intermediate_size="s", residual_multiplier=0.22), Size(42, 20, 28, 7, 3),
         Size(14, 6, 9, 6, 2), layer=3, notes=["moe(x) + shared_mlp(x), before residual_multiplier"]),
    Case("granitemoehybrid", GRANITE_HYBRID, HYBRID, Size(40, 22, 34, 8, 3), Size(18, 7, 9, 6, 2), layer=2),
    Case("flex_olmo", FLEX_OLMO, lambda s: dict(model_type="flex_olmo") | llama(s) | dict(
        intermediate_size=s.f, num_experts=s.e, num_experts_per_tok=s.k, norm_topk_prob=False), Size(46, 20, 0, 7, 5), TINY,
        layer=1),
    Case("phimoe", PHIMOE, mixtral("phimoe", router_jitter_noise=0.1, input_jitter_noise=0.01), Size(36, 22, 0, 9, 2), TINY,
         layer=2, notes=["router_jitter_noise is large enough that some logits survive and some do not"]),
    Case("gpt_oss", GPT_OSS, gpt_oss, Size(36, 28, 0, 6, 3), Size(14, 6, 0, 5, 3), layer=1, gain=4.0,
         notes=["gate_up_proj [E, d, 2f], gate and up interleaved; down_proj [E, f, d]", "the clamp acts"]),
    Case("deepseek_v2", V2, v2(topk_method="group_limited_greedy", n_group=4, topk_group=2, norm_topk_prob=False),
         Size(44, 20, 40, 12, 4), Size(14, 6, 12, 8, 3), layer=2),
    Case("deepseek_v2-norm", V2, v2(topk_method="group_limited_greedy", n_group=4, topk_group=2), Size(48, 20, 40, 12, 3),
         Size(14, 6, 12, 8, 3), layer=1, norm_topk_prob_alone=True,
         notes=["norm_topk_prob as DeepSeek's own code has it: normalised weights are not scaled; transformers ignores the key"]),
    Case("deepseek_v2_lite-norm", V2, v2(topk_method="greedy", n_group=1, topk_group=1), Size(36, 22, 44, 7, 3), None, layer=2,
         norm_topk_prob_alone=True, notes=["as deepseek_v2-norm, without groups"]),
    # Names and shapes as transformers 5 holds them
    Case("mixtral-merged5", MIXTRAL, mixtral(), Size(40, 26, 0, 8, 2), None, layer=1, merged=True, mask=True),
    Case("deepseek_v3-merged", V3, v3_config("deepseek_v3", n_group=2, topk_group=1), Size(44, 20, 20, 8, 3), TINY_GROUPS,
         layer=1, merged=True, bias=(0.2, -0.6)),
    Case("jamba-merged", JAMBA, jamba, Size(38, 22, 0, 6, 2), TINY, layer=1, merged=True),
    Case("granitemoe-merged", GRANITE, granite("granitemoe"), Size(42, 20, 0, 8, 3), TINY, layer=2, merged=True),
    Case("granitemoehybrid-merged", GRANITE_HYBRID, HYBRID, Size(36, 20, 26, 6, 2), None, layer=1, merged=True),
    Case("phimoe-merged", PHIMOE, mixtral("phimoe", router_jitter_noise=0.2, input_jitter_noise=0.01), Size(38, 24, 0, 8, 2), TINY,
         layer=1, merged=True, notes=["router_jitter_noise is large enough that some logits survive and some do not"]),
    Case("ernie4_5_moe-merged", ERNIE, ernie(1), Size(40, 22, 22, 7, 3), TINY, layer=1, merged=True, bias=(0.1, 0.0),
         notes=["mlp.gate.moe_statics.e_score_correction_bias"]),
    Case("lfm2_moe-merged", LFM2, lfm2, Size(36, 20, 0, 6, 2), None, layer=3, merged=True),
    Case("minimax_m2-merged", MINIMAX_M2, minimax_m2, Size(38, 20, 0, 8, 3), TINY, layer=2, merged=True,
         notes=["mlp.e_score_correction_bias"]),
    Case("nemotron_h-merged", NEMOTRON, nemotron(), Size(40, 22, 30, 6, 2), None, layer=3, merged=True),
    Case("hy_v3-merged", HY_V3, hy_v3(True), Size(36, 20, 20, 6, 2), None, layer=1, merged=True),
    Case("kimi_linear-merged", KIMI_LINEAR, kimi_linear, Size(38, 20, 20, 6, 2), None, layer=1, merged=True),
    Case("bailing_hybrid-merged", BAILING, bailing(n_group=4, num_experts_per_tok="k", norm_topk_prob=True),
         Size(36, 20, 20, 8, 3), None, layer=3, merged=True, bias=(0.2, -0.6)),
    Case("deepseek_v4-merged", V4, v4(), Size(40, 20, 20, 6, 2), None, layer=3, merged=True, gain=1.7),
    Case("qwen3_vl_moe-merged", QWEN3_VL,
         qwen("qwen3_vl_moe_text", norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[]),
         Size(38, 22, 0, 6, 2), None, layer=1, merged=True, nested="qwen3_vl_moe",
         notes=["experts.gate_up_proj [E, 2f, d] here, [E, d, 2f] in the published files"]),
    Case("aria-merged", ARIA, aria, Size(38, 20, 40, 6, 2), None, layer=2, nested="aria", merged=True,
         notes=["experts.gate_up_proj, down_proj [E, inputs, outputs]"]),
    # Capacity
    Case("switch_transformers", SWITCH, switch(), Size(38, 26, 0, 5, 1), Size(14, 7, 0, 4, 1), layer=1,
         prefix="encoder.block.{L}.layer.1.mlp.", sequence=15,
         notes=["capacity 3 per expert and sequence", "topk_indices: before dropping; combine: after"]),
    Case("switch_transformers-decoder", SWITCH, switch(), Size(40, 28, 0, 4, 1), Size(14, 7, 0, 4, 1), layer=3,
         prefix="decoder.block.{L}.layer.2.mlp.", sequence=13, notes=[DECODER, "capacity 3 per expert and sequence"]),
    Case("switch_transformers-layer3", SWITCH, switch(expert_capacity=2), Size(36, 20, 0, 5, 1), None, layer=3,
         prefix="encoder.block.{L}.layer.1.mlp.", sequence=11),
    Case("nllb_moe-decoder", NLLB, nllb(moe_eval_capacity_token_fraction=1.0), Size(40, 22, 0, 5, 2), Size(14, 7, 0, 5, 2),
         layer=3, prefix="model.decoder.layers.{L}.ffn.", notes=[DECODER, *NLLB_NOTE]),
    Case("nllb_moe-capacity", NLLB, nllb(), Size(40, 22, 0, 6, 2), Size(14, 7, 0, 5, 2), layer=3,
         prefix="model.encoder.layers.{L}.ffn.", sequence=10,
         notes=[*NLLB_NOTE, "moe_eval_capacity_token_fraction 0.25: ceil(T / 4) per expert"]),
    Case("nllb_moe-prioritised", NLLB, nllb(batch_prioritized_routing=True), Size(42, 20, 0, 5, 2), Size(14, 7, 0, 5, 2), layer=1,
         prefix="model.encoder.layers.{L}.ffn.", sequence=10, notes=NLLB_NOTE),
    Case("nllb_moe-normalised_before", NLLB, nllb(normalize_router_prob_before_dropping=True), Size(38, 24, 0, 6, 2),
         Size(14, 7, 0, 5, 2), layer=1, prefix="model.encoder.layers.{L}.ffn.", sequence=10, notes=NLLB_NOTE),
    Case("nllb_moe-padding", NLLB, nllb(), Size(36, 22, 0, 5, 2), Size(14, 7, 0, 5, 2), layer=3,
         prefix="model.encoder.layers.{L}.ffn.", sequence=10, mask=True,
         notes=[*NLLB_NOTE, "attention_mask 0: the token takes no place and its output is 0"]),
    Case("nllb_moe-padding_prioritised_before", NLLB,
         nllb(batch_prioritized_routing=True, normalize_router_prob_before_dropping=True), Size(40, 20, 0, 6, 2), None, layer=1,
         prefix="model.encoder.layers.{L}.ffn.", sequence=10, mask=True, notes=NLLB_NOTE),
    Case("nllb_moe-padding_kept", NLLB, nllb(router_ignore_padding_tokens=True), Size(36, 20, 0, 5, 2), None, layer=1,
         prefix="model.encoder.layers.{L}.ffn.", sequence=10, mask=True,
         notes=[*NLLB_NOTE, "router_ignore_padding_tokens true: the mask changes nothing"]),
    Case("nllb_moe-fixed_capacity", NLLB_BIASED, nllb(moe_eval_capacity_token_fraction=0.0, expert_capacity=4, router_bias=True),
         Size(38, 22, 0, 5, 2), Size(14, 7, 0, 5, 2), layer=1, prefix="model.encoder.layers.{L}.ffn.", sequence=10, notes=NLLB_NOTE),
    Case("nllb_moe-capacity_from_tokens", NLLB, nllb(moe_eval_capacity_token_fraction=-1.0, expert_capacity=None),
         Size(36, 20, 0, 7, 2), None, layer=1, prefix="model.encoder.layers.{L}.ffn.", sequence=10,
         notes=[*NLLB_NOTE, "expert_capacity null: 2 * ceil(T / E)"]),
    # Storage
    Case("mixtral-f16", MIXTRAL, mixtral(), Size(44, 28, 0, 6, 2), TINY, layer=1,
         store=dict(other=plain(torch.float16), dtype="float16"), notes=[DEQUANTISED]),
    Case("glm4_moe-fp8_channel", GLM4, v3_config("glm4_moe", quantization_config=CHANNELS), Size(54, 38, 38, 8, 3),
         Size(26, 14, 14, 6, 2), layer=1,
         store=dict(expert=fp8_rows(torch.bfloat16), shared=fp8_rows(torch.bfloat16), other=BF16, dtype="bfloat16"),
         notes=["weight F8_E4M3, weight_scale BF16 [N, 1]", DEQUANTISED]),
    Case("glm4_moe-fp8_channel_f32", GLM4, v3_config("glm4_moe", quantization_config=CHANNELS), Size(42, 26, 26, 6, 2), None,
         layer=1, store=dict(expert=fp8_rows(torch.float32), shared=fp8_rows(torch.float32), other=BF16, dtype="bfloat16"),
         notes=["weight F8_E4M3, weight_scale F32 [N, 1]", DEQUANTISED]),
    Case("kimi_k2-int4", V3, v3_config("kimi_k2", routed_scaling_factor=2.827, quantization_config=INT4), Size(96, 64, 64, 6, 2),
         Size(32, 64, 64, 3, 2), layer=1, store=dict(expert=int4_groups(), other=BF16, dtype="bfloat16"),
         notes=["routed experts packed int4, groups of 32; shared experts BF16", DEQUANTISED]),
    Case("kimi_k25-int4", V3, v3_config("kimi_k2", routed_scaling_factor=2.827, quantization_config=INT4), Size(64, 96, 96, 5, 2),
         Size(32, 32, 32, 3, 2), layer=2, sequence=2, prefix="language_model.model.layers.{L}.mlp.", nested="kimi_k25",
         quantization_nested=True,
         store=dict(expert=int4_groups(torch.int32), other=BF16, dtype="bfloat16"),
         notes=["weight_shape I32; quantization_config inside text_config", DEQUANTISED]),
    Case("deepseek_v4-fp4", V4,
         v4(expert_dtype="fp4", quantization_config=FP8_BLOCKS | dict(scale_fmt="ue8m0")), Size(160, 96, 96, 6, 2),
         Size(64, 32, 32, 4, 2), layer=2, gain=1.7,
         store=dict(expert=fp4_deepseek, shared=fp8_blocks(torch.float8_e8m0fnu, "scale", powers=True), other=BF16,
                    dtype="bfloat16"),
         notes=["experts FP4 with F8_E8M0 scales per 32; shared experts F8_E4M3 with F8_E8M0 scales per 128x128", DEQUANTISED]),
    Case("qwen3_moe-fp8_bf16_scales", QWEN3,
         qwen("qwen3_moe", norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
              quantization_config=FP8_BLOCKS | dict(modules_to_not_convert=["lm_head", "model.layers.1.mlp.gate"])),
         Size(168, 144, 0, 5, 2), Size(136, 10, 0, 3, 2), layer=1,
         store=dict(expert=fp8_blocks(torch.bfloat16), other=BF16, dtype="bfloat16"),
         notes=["weight_scale_inv BF16; edge blocks are partial", DEQUANTISED]),
    Case("minimax_m2-fp8", MINIMAX_M2,
         lambda s: minimax_m2(s) | dict(quantization_config=dict(
             quant_method="fp8", fmt="float8_e4m3fn", activation_scheme="dynamic", weight_block_size=[128, 128],
             modules_to_not_convert=["gate", "e_score_correction_bias", "lm_head"])),
         Size(136, 132, 0, 5, 2), Size(18, 132, 0, 3, 2), layer=1,
         store=dict(expert=fp8_blocks(), dtype="bfloat16"),
         notes=["gate F32; edge blocks are partial", DEQUANTISED]),
    Case("deepseek_v32-fp8_ue8m0", V32,
         v3_config("deepseek_v32", n_group=2, topk_group=1, quantization_config=FP8_BLOCKS | dict(scale_fmt="ue8m0")),
         Size(136, 40, 40, 6, 2), None, layer=1,
         store=dict(expert=fp8_blocks(powers=True), shared=fp8_blocks(powers=True), other=BF16, dtype="bfloat16"),
         notes=["scales are powers of two in F32", DEQUANTISED]),
    Case("qwen3_moe-nvfp4", QWEN3,
         qwen("qwen3_moe", norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[], quantization_config=NVFP4),
         Size(112, 48, 0, 6, 2), Size(32, 48, 0, 4, 2), layer=1, store=dict(expert=nvfp4(False), other=BF16, dtype="bfloat16"),
         notes=["weight_packed, weight_scale, weight_global_scale: fp4 * scale / global", DEQUANTISED]),
    Case("deepseek_v3-nvfp4_modelopt", V3, v3_config("deepseek_v3", quantization_config=MODELOPT), Size(80, 48, 48, 6, 2),
         Size(32, 16, 16, 4, 2), layer=1,
         store=dict(expert=nvfp4(True), shared=nvfp4(True), other=BF16, dtype="bfloat16"),
         notes=["weight, weight_scale, weight_scale_2: fp4 * scale * scale_2", DEQUANTISED]),
    Case("gpt_oss-mxfp4-2", GPT_OSS, lambda s: gpt_oss(s) | dict(quantization_config=MXFP4), Size(96, 160, 0, 6, 3),
         Size(64, 32, 0, 4, 2), layer=1, gain=3.0, store=dict(other=BF16, mxfp4=True, dtype="bfloat16"),
         notes=["the clamp acts", DEQUANTISED]),
]
