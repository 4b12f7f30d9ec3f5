import Foundation
import Testing

@testable import MoEKernel

/// What config.json of each family means, from a file with the keys that published ones have.
@Suite
struct FamilyConfigurationTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let config: String
        let layers: [Int]
        /// The layer that is looked at, the first unless stated.
        var layer: Int?
        let expected: @Sendable () throws -> MoEConfiguration

        var testDescription: String { name }
    }

    static let sigmoidBias = RouterConfiguration(
        score: .sigmoid, hasSelectionBias: true, normalisation: .sum(epsilon: 1e-20))

    /// DeepSeek-V3's router with other numbers.
    static func deepSeek(
        groups: (Int, Int)? = nil, scale: Float = 1, normalises: Bool = true
    ) -> RouterConfiguration {
        var router = sigmoidBias
        if let groups { router.selection = .grouped(groups: groups.0, keep: groups.1, by: .topTwoSum) }
        router.scale = scale
        if !normalises { router.normalisation = .none }
        return router
    }

    /// DeepSeek's keys.
    static func keys(_ type: String, _ more: String = "", layers: Int = 5) -> String {
        #"""
        {"model_type":"\#(type)","num_hidden_layers":\#(layers),"hidden_size":12,"intermediate_size":99,
        "moe_intermediate_size":6,"n_routed_experts":8,"num_experts_per_tok":2\#(more.isEmpty ? "" : "," + more)}
        """#
    }

    static func layer(
        _ router: RouterConfiguration, shared: SharedExpert = .dense(width: 6), experts: Int = 8, topK: Int = 2
    ) throws -> MoEConfiguration {
        try MoEConfiguration(
            experts: experts, topK: topK, hidden: 12, expertHidden: 6, router: router, shared: shared)
    }

    static let cases: [Case] = [
        // Qwen and its kin
        Case(
            name: "qwen3_next",
            config: #"""
                {"model_type":"qwen3_next","num_hidden_layers":4,"hidden_size":8,"moe_intermediate_size":5,
                "shared_expert_intermediate_size":7,"num_experts":4,"num_experts_per_tok":2,"decoder_sparse_step":2}
                """#, layers: [1, 3]
        ) {
            try MoEConfiguration(experts: 4, topK: 2, hidden: 8, expertHidden: 5, shared: .sigmoidGated(width: 7))
        },
        Case(
            name: "qwen3_vl_moe",
            config: #"""
                {"model_type":"qwen3_vl_moe","hidden_size":1,"text_config":{"model_type":"qwen3_vl_moe_text",
                "num_hidden_layers":3,"hidden_size":8,"moe_intermediate_size":5,"num_experts":4,
                "num_experts_per_tok":2,"mlp_only_layers":[0],"norm_topk_prob":false}}
                """#, layers: [1, 2]
        ) { try MoEConfiguration(experts: 4, topK: 2, hidden: 8, expertHidden: 5) },
        Case(
            name: "qwen3_5_moe",
            config: #"""
                {"model_type":"qwen3_5_moe","text_config":{"num_hidden_layers":2,"hidden_size":8,
                "moe_intermediate_size":5,"shared_expert_intermediate_size":7,"num_experts":4,"num_experts_per_tok":3}}
                """#, layers: [0, 1]
        ) {
            try MoEConfiguration(experts: 4, topK: 3, hidden: 8, expertHidden: 5, shared: .sigmoidGated(width: 7))
        },
        Case(
            name: "flex_olmo",
            config: #"""
                {"model_type":"flex_olmo","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,"num_experts":4,
                "num_experts_per_tok":2,"norm_topk_prob":true}
                """#, layers: [0]
        ) { try MoEConfiguration(experts: 4, topK: 2, hidden: 8, expertHidden: 6) },
        // DeepSeek
        Case(
            name: "deepseek_v2",
            config: keys(
                "deepseek_v2",
                #""n_shared_experts":2,"topk_method":"group_limited_greedy","n_group":4,"topk_group":2,"routed_scaling_factor":16,"first_k_dense_replace":1,"moe_layer_freq":2,"mlp_bias":true,"aux_loss_alpha":0.1"#
            ), layers: [2, 4]
        ) {
            try MoEConfiguration(
                experts: 8, topK: 2, hidden: 12, expertHidden: 6,
                router: RouterConfiguration(
                    selection: .grouped(groups: 4, keep: 2, by: .max), normalisation: .none, scale: 16),
                shared: .dense(width: 12), hasSharedBiases: true)
        },
        Case(name: "deepseek_v2 defaults", config: keys("deepseek_v2"), layers: [0, 1, 2, 3, 4]) {
            try layer(RouterConfiguration(normalisation: .none), shared: .dense(width: 12))
        },
        Case(
            name: "deepseek_v2 normalising",
            config: keys("deepseek_v2", #""norm_topk_prob":true,"routed_scaling_factor":16.0,"n_shared_experts":0"#),
            layers: [0, 1, 2, 3, 4]
        ) { try layer(RouterConfiguration(normalisation: .sum(epsilon: 1e-20)), shared: .none) },
        Case(
            name: "deepseek_v3 defaults",
            config: keys("deepseek_v3").replacingOccurrences(of: "experts\":8", with: "experts\":16"), layers: [3, 4]
        ) { try layer(deepSeek(groups: (8, 4), scale: 2.5), experts: 16) },
        Case(
            name: "deepseek_v32",
            config: keys(
                "deepseek_v32",
                #""n_group":2,"topk_group":1,"mlp_layer_types":["dense","sparse","dense","sparse","sparse","sparse"]"#),
            layers: [1, 3, 4]
        ) { try layer(deepSeek(groups: (2, 1), scale: 2.5)) },
        Case(
            name: "moonlight",
            config: keys(
                "deepseek_v3",
                #""n_group":1,"topk_group":1,"n_shared_experts":2,"routed_scaling_factor":2.446,"first_k_dense_replace":1,"norm_topk_prob":false,"scoring_func":"sigmoid","topk_method":"noaux_tc""#
            ), layers: [1, 2, 3, 4]
        ) { try layer(deepSeek(scale: 2.446, normalises: false), shared: .dense(width: 12)) },
        Case(
            name: "kimi_k25",
            config:
                #"{"model_type":"kimi_k25","text_config":\#(keys("kimi_k2", #""n_group":1,"first_k_dense_replace":2"#))}"#,
            layers: [2, 3, 4]
        ) { try layer(deepSeek(scale: 2.827)) },
        Case(
            name: "deepseek_v4",
            config: keys("deepseek_v4", #""vocab_size":30,"num_hash_layers":2"#), layers: [0, 1, 2, 3, 4]
        ) {
            try MoEConfiguration(
                experts: 8, topK: 2, hidden: 12, expertHidden: 6,
                router: RouterConfiguration(
                    score: .sqrtSoftplus, selection: .table(vocabulary: 30), normalisation: .sum(epsilon: 1e-20),
                    scale: 1.5),
                expert: .gatedClamped(ClampedGate(limit: 10)), shared: .dense(width: 6))
        },
        Case(
            name: "deepseek_v4 after its tables",
            config: keys(
                "deepseek_v4",
                #""vocab_size":30,"mlp_layer_types":["hash_moe","moe","moe","moe","moe"],"swiglu_limit":7,"routed_scaling_factor":2"#
            ), layers: [0, 1, 2, 3, 4], layer: 1
        ) {
            try MoEConfiguration(
                experts: 8, topK: 2, hidden: 12, expertHidden: 6,
                router: RouterConfiguration(
                    score: .sqrtSoftplus, hasSelectionBias: true, normalisation: .sum(epsilon: 1e-20), scale: 2),
                expert: .gatedClamped(ClampedGate(limit: 7)), shared: .dense(width: 6))
        },
        Case(
            name: "glm4_moe", config: keys("glm4_moe", #""routed_scaling_factor":2.5,"first_k_dense_replace":3"#),
            layers: [3, 4]
        ) { try layer(deepSeek(scale: 2.5)) },
        Case(name: "glm4_moe defaults", config: keys("glm4_moe"), layers: [1, 2, 3, 4]) { try layer(deepSeek()) },
        Case(
            name: "glm4v_moe", config: #"{"model_type":"glm4v_moe","text_config":\#(keys("glm4v_moe_text"))}"#,
            layers: [1, 2, 3, 4]
        ) { try layer(deepSeek()) },
        Case(name: "glm4_moe_lite", config: keys("glm4_moe_lite"), layers: [1, 2, 3, 4]) {
            try layer(deepSeek(scale: 1.8))
        },
        Case(name: "glm_moe_dsa", config: keys("glm_moe_dsa"), layers: [3, 4]) { try layer(deepSeek(scale: 2.5)) },
        Case(
            name: "deepseek_v3 with nulls",
            config: keys(
                "deepseek_v3", #""n_group":null,"topk_group":null,"n_shared_experts":null,"routed_scaling_factor":null"#
            ),
            layers: [3, 4]
        ) { try layer(deepSeek(), shared: .none) },
        Case(name: "dots1", config: keys("dots1"), layers: [0, 1, 2, 3, 4]) {
            try layer(deepSeek(normalises: false), shared: .none)
        },
        Case(name: "solar_open", config: keys("solar_open"), layers: [0, 1, 2, 3, 4]) { try layer(deepSeek()) },
        Case(
            name: "exaone_moe",
            config: keys("exaone_moe", #""num_experts":8,"num_shared_experts":2"#), layers: [1, 2, 3, 4]
        ) { try layer(deepSeek(scale: 2.5), shared: .dense(width: 12)) },
        Case(
            name: "bailing_hybrid",
            config: #"""
                {"model_type":"bailing_hybrid","num_hidden_layers":4,"hidden_size":12,"moe_intermediate_size":6,
                "num_experts":16,"num_experts_per_tok":2,"norm_topk_prob":true}
                """#, layers: [2, 3]
        ) { try layer(deepSeek(groups: (8, 4), scale: 2.5), experts: 16) },
        Case(
            name: "bailing_hybrid under other keys",
            config: #"""
                {"model_type":"bailing_hybrid","num_hidden_layers":4,"hidden_size":12,"moe_intermediate_size":6,
                "num_experts":8,"num_experts_per_token":2,"moe_renormalize":false,"num_expert_group":4,"topk_group":2,
                "num_shared_experts":2,"first_k_dense_replace":3}
                """#, layers: [3]
        ) {
            try layer(deepSeek(groups: (4, 2), scale: 2.5, normalises: false), shared: .dense(width: 12))
        },
        Case(
            name: "kimi_linear",
            config: #"""
                {"model_type":"kimi_linear","num_hidden_layers":3,"hidden_size":12,"moe_intermediate_size":6,
                "num_experts":8,"num_experts_per_token":2,"num_expert_group":1,"topk_group":1,"moe_renormalize":true,
                "moe_router_activation_func":"sigmoid","num_shared_experts":1,"first_k_dense_replace":1,
                "moe_layer_freq":1,"use_grouped_topk":true}
                """#, layers: [1, 2]
        ) { try layer(deepSeek(scale: 2.446)) },
        Case(
            name: "mimo_v2_flash",
            config: keys(
                "mimo_v2_flash", #""moe_layer_freq":[0,1,0,1,1],"n_shared_experts":null,"routed_scaling_factor":null"#),
            layers: [1, 3, 4]
        ) { try layer(deepSeek(), shared: .none) },
        Case(
            name: "hy_v3",
            config: #"""
                {"model_type":"hy_v3","num_hidden_layers":3,"hidden_size":12,"moe_intermediate_size":6,"num_experts":8,
                "num_experts_per_tok":2,"enable_moe_fp32_combine":false,"n_group":4}
                """#, layers: [1, 2]
        ) { try layer(deepSeek(scale: 2.826)) },
        Case(
            name: "afmoe",
            config: #"""
                {"model_type":"afmoe","num_hidden_layers":3,"hidden_size":12,"moe_intermediate_size":6,"num_experts":8,
                "num_experts_per_tok":2,"num_shared_experts":1,"num_dense_layers":2,"route_scale":2.448}
                """#, layers: [2]
        ) { try layer(deepSeek(scale: 2.448)) },
        Case(
            name: "mistral4",
            config:
                #"{"model_type":"mistral3","text_config":\#(keys("mistral4", #""n_group":2,"topk_group":1,"scoring_func":"softmax","first_k_dense_replace":4"#))}"#,
            layers: [4]
        ) {
            try layer(
                RouterConfiguration(
                    selection: .grouped(groups: 2, keep: 1, by: .topTwoSum), normalisation: .sum(epsilon: 1e-20)))
        },
        // Softmax over the chosen, and other experts
        Case(
            name: "gpt_oss",
            config: #"""
                {"model_type":"gpt_oss","num_hidden_layers":2,"hidden_size":8,"intermediate_size":6,
                "num_local_experts":4,"experts_per_token":3,"hidden_act":"silu"}
                """#, layers: [0, 1]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 3, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(
                    hasBias: true, score: .logits, weightTransform: .softmaxOverSelected, normalisation: .none),
                expert: .gatedClamped(ClampedGate(limit: 7, alpha: 1.702, upOffset: 1), biases: true))
        },
        Case(
            name: "llama4",
            config: #"""
                {"model_type":"llama4","text_config":{"model_type":"llama4_text","num_hidden_layers":6,"hidden_size":8,
                "intermediate_size":6,"intermediate_size_mlp":9,"num_local_experts":4,"num_experts_per_tok":1,
                "interleave_moe_layer_step":2,"router_jitter_noise":0.1}}
                """#, layers: [1, 3, 5]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 1, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(score: .logits, weightTransform: .sigmoid, normalisation: .none),
                shared: .dense(width: 6), weightSide: .input)
        },
        Case(
            name: "llama4 with listed layers",
            config: #"""
                {"model_type":"llama4_text","num_hidden_layers":6,"hidden_size":8,"intermediate_size":6,
                "num_local_experts":4,"num_experts_per_tok":2,"moe_layers":[4,0]}
                """#, layers: [0, 4]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(score: .logits, weightTransform: .sigmoid, normalisation: .none),
                shared: .dense(width: 6), weightSide: .input)
        },
        Case(
            name: "phimoe",
            config: #"""
                {"model_type":"phimoe","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,"num_local_experts":4,
                "num_experts_per_tok":2,"router_jitter_noise":0.25,"input_jitter_noise":0.5}
                """#, layers: [0]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(
                    score: .logits, selection: .sparseMixer(epsilon: 0.25), normalisation: .none))
        },
        Case(
            name: "granitemoe",
            config: #"""
                {"model_type":"granitemoe","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,
                "num_local_experts":4,"num_experts_per_tok":2,"residual_multiplier":0.22,"shared_intermediate_size":5}
                """#, layers: [0]
        ) { try granite(.none) },
        Case(
            name: "granitemoehybrid",
            config: #"""
                {"model_type":"granitemoehybrid","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,
                "num_local_experts":4,"num_experts_per_tok":2,"shared_intermediate_size":5}
                """#, layers: [0]
        ) { try granite(.dense(width: 5)) },
        Case(
            name: "granitemoeshared without one",
            config: #"""
                {"model_type":"granitemoeshared","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,
                "num_local_experts":4,"num_experts_per_tok":2,"shared_intermediate_size":0}
                """#, layers: [0]
        ) { try granite(.none) },
        Case(
            name: "jetmoe",
            config: #"""
                {"model_type":"jetmoe","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,
                "num_local_experts":4,"num_experts_per_tok":2,"activation_function":"gelu"}
                """#, layers: [0]
        ) { try granite(.none, expert: .gated(.gelu), hasOutputBias: true) },
        Case(
            name: "aria",
            config: #"""
                {"model_type":"aria","text_config":{"model_type":"aria_text","num_hidden_layers":1,"hidden_size":8,
                "intermediate_size":6,"moe_num_experts":4,"moe_topk":2}}
                """#, layers: [0]
        ) { try granite(.dense(width: 12)) },
        Case(
            name: "cohere2_moe",
            config: #"""
                {"model_type":"cohere2_moe","num_hidden_layers":3,"hidden_size":8,"intermediate_size":6,"num_experts":4,
                "num_experts_per_tok":2,"num_shared_experts":2,"first_k_dense_replace":1}
                """#, layers: [1, 2]
        ) { try granite(.dense(width: 12), combine: .average) },
        Case(
            name: "cohere2_moe by sigmoids",
            config: #"""
                {"model_type":"cohere2_moe","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,"num_experts":4,
                "num_experts_per_tok":2,"num_shared_experts":1,"shared_expert_combination_strategy":"sum",
                "expert_selection_fn":"sigmoid"}
                """#, layers: [0]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(score: .logits, weightTransform: .sigmoid), shared: .dense(width: 6))
        },
        Case(
            name: "jamba",
            config: #"""
                {"model_type":"jamba","num_hidden_layers":8,"hidden_size":8,"intermediate_size":6,"num_experts":4,
                "num_experts_per_tok":2,"expert_layer_period":3,"expert_layer_offset":2}
                """#, layers: [2, 5]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6, router: RouterConfiguration(normalisation: .none))
        },
        Case(
            name: "dbrx",
            config: #"""
                {"model_type":"dbrx","n_layers":2,"d_model":8,"ffn_config":{"ffn_hidden_size":6,"moe_num_experts":4,
                "moe_top_k":2,"moe_normalize_expert_weights":2,"ffn_act_fn":{"name":"gelu"},"moe_jitter_eps":0.01}}
                """#, layers: [0, 1]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(normalisation: .norm(p: 2)), expert: .gated(.gelu))
        },
        Case(
            name: "dbrx without a norm",
            config: #"""
                {"model_type":"dbrx","n_layers":1,"d_model":8,"ffn_config":{"ffn_hidden_size":6,"moe_num_experts":4,
                "moe_top_k":2,"moe_normalize_expert_weights":null}}
                """#, layers: [0]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6, router: RouterConfiguration(normalisation: .none))
        },
        Case(
            name: "minimax",
            config: #"""
                {"model_type":"minimax","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,
                "num_local_experts":4,"num_experts_per_tok":2}
                """#, layers: [0]
        ) { try MoEConfiguration(experts: 4, topK: 2, hidden: 8, expertHidden: 6) },
        Case(
            name: "minimax_m2",
            config: #"""
                {"model_type":"minimax_m2","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,
                "num_local_experts":4,"num_experts_per_tok":2,"scoring_func":"sigmoid","shared_intermediate_size":0}
                """#, layers: [0]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(score: .sigmoid, hasSelectionBias: true))
        },
        Case(
            name: "ernie4_5_moe",
            config: #"""
                {"model_type":"ernie4_5_moe","num_hidden_layers":9,"hidden_size":8,"moe_intermediate_size":6,
                "moe_num_experts":4,"moe_k":2,"moe_layer_start_index":3,"moe_layer_end_index":7,"moe_layer_interval":2,
                "use_bias":true}
                """#, layers: [3, 5, 7]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(hasSelectionBias: true, normalisation: .clampedSum(minimum: 1e-12)),
                expert: .gated(.silu, biases: true), shared: .dense(width: 12), hasSharedBiases: true)
        },
        Case(
            name: "hunyuan_v1_moe",
            config: #"""
                {"model_type":"hunyuan_v1_moe","num_hidden_layers":2,"hidden_size":8,"intermediate_size":6,
                "num_experts":[4,5],"moe_topk":[2,3],"moe_intermediate_size":[6,7,8],"num_shared_expert":[1,0]}
                """#, layers: [0, 1], layer: 1
        ) { try MoEConfiguration(experts: 5, topK: 3, hidden: 8, expertHidden: 7) },
        Case(
            name: "hunyuan_v1_moe in numbers",
            config: #"""
                {"model_type":"hunyuan_v1_moe","num_hidden_layers":2,"hidden_size":8,"intermediate_size":6,
                "num_experts":4,"moe_topk":2}
                """#, layers: [0, 1]
        ) { try MoEConfiguration(experts: 4, topK: 2, hidden: 8, expertHidden: 6, shared: .dense(width: 6)) },
        Case(
            name: "lfm2_moe",
            config: #"""
                {"model_type":"lfm2_moe","num_hidden_layers":4,"hidden_size":8,"intermediate_size":9,
                "moe_intermediate_size":6,"num_experts":4,"num_experts_per_tok":2,"use_expert_bias":false}
                """#, layers: [2, 3]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(score: .sigmoid, normalisation: .sum(epsilon: 1e-6)))
        },
        Case(
            name: "nemotron_h",
            config: #"""
                {"model_type":"nemotron_h","num_hidden_layers":6,"hidden_size":8,"moe_intermediate_size":6,
                "moe_shared_expert_intermediate_size":9,"n_routed_experts":4,"num_experts_per_tok":2,
                "moe_latent_size":5,"hybrid_override_pattern":"MEM*-E","routed_scaling_factor":2.5}
                """#, layers: [1, 5]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6, router: deepSeek(scale: 2.5),
                expert: .plain(.reluSquared), shared: .dense(width: 9), latent: 5)
        },
        Case(
            name: "nemotron_h by list, with numbers that only Python writes",
            config: #"""
                {"model_type":"nemotron_h","hidden_size":8,"moe_intermediate_size":6,"n_shared_experts":0,
                "n_routed_experts":4,"num_experts_per_tok":2,"time_step_limit":[0.0,Infinity,-Infinity,NaN],
                "layers_block_type":["linear_attention","moe","full_attention","moe"],"moe_latent_size":null}
                """#, layers: [1, 3]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 8, expertHidden: 6, router: deepSeek(scale: 1),
                expert: .plain(.reluSquared))
        },
        Case(
            name: "longcat_flash",
            config: #"""
                {"model_type":"longcat_flash","num_layers":2,"hidden_size":8,"ffn_hidden_size":9,
                "expert_ffn_hidden_size":6,"n_routed_experts":4,"zero_expert_num":3,"zero_expert_type":"identity",
                "moe_topk":6,"router_bias":true}
                """#, layers: [0, 1]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 6, hidden: 8, expertHidden: 6,
                router: RouterConfiguration(
                    hasBias: true, hasSelectionBias: true, normalisation: .none, scale: 6), identityExperts: 3)
        },
        Case(
            name: "gemma4",
            config: #"""
                {"model_type":"gemma4","text_config":{"model_type":"gemma4_text","num_hidden_layers":1,"hidden_size":16,
                "moe_intermediate_size":6,"num_experts":4,"top_k_experts":2,"enable_moe_block":true}}
                """#, layers: [0]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 2, hidden: 16, expertHidden: 6,
                router: RouterConfiguration(
                    input: .rootMeanSquareNormalised(epsilon: 1e-6, scale: 0.25), hasExpertScale: true),
                expert: .gated(.geluTanh))
        },
        // Encoder and decoder
        Case(
            name: "switch_transformers",
            config: #"""
                {"model_type":"switch_transformers","num_layers":4,"num_decoder_layers":6,"num_sparse_encoder_layers":2,
                "num_sparse_decoder_layers":2,"d_model":8,"d_ff":6,"num_experts":4,"expert_capacity":5,
                "router_jitter_noise":0.1,"router_ignore_padding_tokens":true}
                """#, layers: [1, 3, 5, 8]
        ) {
            try MoEConfiguration(
                experts: 4, topK: 1, hidden: 8, expertHidden: 6, router: RouterConfiguration(normalisation: .none),
                expert: .plain(.relu),
                capacity: .limited(CapacityRule(limit: .fixed(5), scope: .sequence, order: .position)))
        },
        Case(
            name: "nllb-moe decoder",
            config: #"""
                {"model_type":"nllb-moe","encoder_layers":4,"decoder_layers":3,"encoder_sparse_step":2,
                "decoder_sparse_step":3,"d_model":8,"encoder_ffn_dim":6,"decoder_ffn_dim":7,"num_experts":4,
                "moe_eval_capacity_token_fraction":0.25,"batch_prioritized_routing":true,
                "normalize_router_prob_before_dropping":true,"moe_token_dropout":0.25}
                """#, layers: [1, 3, 6], layer: 6
        ) {
            try nllb(.tokenFraction(0.25), 7, .tokenPriority, .allChoices(minimum: .ulpOfOne), scale: 0.75)
        },
        Case(
            name: "nllb-moe, fixed capacity",
            config: #"""
                {"model_type":"nllb-moe","encoder_layers":4,"decoder_layers":4,"d_model":8,"encoder_ffn_dim":6,
                "decoder_ffn_dim":7,"num_experts":4,"moe_eval_capacity_token_fraction":-1,"expert_capacity":9,
                "moe_token_dropout":0,"router_ignore_padding_tokens":true}
                """#, layers: [3, 7]
        ) {
            try nllb(.fixed(9), 6, .choiceRank, .keptChoices(minimum: .ulpOfOne), scale: 1, dropsPadding: false)
        },
        Case(
            name: "nllb-moe, capacity by tokens",
            config: #"""
                {"model_type":"nllb_moe","encoder_layers":4,"decoder_layers":4,"d_model":8,"encoder_ffn_dim":6,
                "decoder_ffn_dim":7,"num_experts":4,"moe_eval_capacity_token_fraction":0,"expert_capacity":null,
                "moe_token_dropout":0.25}
                """#, layers: [3, 7]
        ) { try nllb(.twiceEvenShare, 6, .choiceRank, .keptChoices(minimum: .ulpOfOne), scale: 0.75) },
    ]

    static func granite(
        _ shared: SharedExpert, expert: ExpertKind = .gated(.silu), hasOutputBias: Bool = false,
        combine: SharedCombine = .sum
    ) throws -> MoEConfiguration {
        try MoEConfiguration(
            experts: 4, topK: 2, hidden: 8, expertHidden: 6,
            router: RouterConfiguration(
                score: .logits, weightTransform: .softmaxOverSelected, normalisation: .none), expert: expert,
            shared: shared, hasOutputBias: hasOutputBias, sharedCombine: combine)
    }

    static func nllb(
        _ limit: CapacityLimit, _ width: Int, _ order: DropOrder, _ renormalisation: CapacityRenormalisation,
        scale: Float, dropsPadding: Bool = true
    ) throws -> MoEConfiguration {
        try MoEConfiguration(
            experts: 4, topK: 2, hidden: 8, expertHidden: width, router: RouterConfiguration(normalisation: .none),
            expert: .plain(.relu, biases: true),
            capacity: .limited(
                CapacityRule(
                    limit: limit, scope: .batch, order: order, dropsPadding: dropsPadding,
                    renormalisation: renormalisation)), expertOutputScale: scale)
    }

    static func open(_ config: String) throws -> MoECheckpoint {
        let scratch = try Scratch()
        try scratch.write("config.json", config)
        try scratch.write("model.safetensors", safetensors("{}"))
        return try MoECheckpoint(at: scratch.path)
    }

    @Test(arguments: cases)
    func readsItsKeys(_ test: Case) throws {
        let checkpoint = try Self.open(test.config)
        #expect(checkpoint.moeLayers == test.layers)
        #expect(try checkpoint.configuration(layer: test.layer ?? test.layers[0]) == test.expected())
        #expect(MoECheckpoint.supportedModelTypes.contains(checkpoint.modelType))
    }

    @Test func everyTypeIsKnownOnce() {
        let types = MoECheckpoint.supportedModelTypes
        #expect(Set(types).count == types.count)
        let tested = Set(Self.cases.map { $0.name.prefix { $0 != " " && $0 != "," } })
        for family in ModelFamily.known where !family.modelTypes.contains(where: { tested.contains($0[...]) }) {
            // These four are in CheckpointFolderTests.
            #expect(
                ["mixtral", "qwen2_moe", "qwen3_moe", "olmoe"].contains(family.modelTypes[0])
                    || family.modelTypes[0] == "kimi_k2")
        }
    }

    /// A model without experts under the same type.
    @Test(arguments: [
        #"""
        {"model_type":"granitemoehybrid","num_hidden_layers":1,"hidden_size":8,"intermediate_size":6,
        "num_local_experts":0,"num_experts_per_tok":0}
        """#,
        #"{"model_type":"jamba","num_hidden_layers":2,"hidden_size":8,"intermediate_size":6,"num_experts":1}"#,
        #"{"model_type":"gemma4_text","num_hidden_layers":2,"hidden_size":8}"#,
    ])
    func densityIsSaid(_ config: String) throws {
        let error = #expect(throws: MoEError.self) { try Self.open(config) }
        #expect("\(error!)".contains("describes no Mixture-of-Experts layer"))
    }

    /// A family's config, the keys that are changed (nil: removed), and what the message says.
    static let refused: [(type: String, keys: [String: String?], fragments: [String])] = [
        // Groups
        ("deepseek_v3", ["n_group": "3"], ["router.selection groups is 3", "a divisor of experts, 8"]),
        ("deepseek_v3", ["n_group": "0"], ["\"n_group\" is 0"]),
        ("deepseek_v3", ["n_group": "2", "topk_group": "3"], ["\"topk_group\" is 3", "1 to 2"]),
        ("deepseek_v3", ["n_group": "8", "topk_group": "4"], ["groups of two experts"]),
        (
            "deepseek_v3", ["n_group": "4", "topk_group": "1", "num_experts_per_tok": "3"],
            ["topK is 3", "2 experts of 1"]
        ),
        ("deepseek_v2", ["topk_method": "\"group_limited_greedy\"", "n_group": "3", "topk_group": "1"], ["a divisor"]),
        ("deepseek_v2", ["topk_method": "\"noaux_tc\""], ["\"topk_method\" is \"noaux_tc\"", "greedy"]),
        // Sizes
        ("deepseek_v3", ["num_experts_per_tok": "9"], ["\"num_experts_per_tok\" is 9", "1 to 8"]),
        ("deepseek_v3", ["num_experts_per_tok": nil], ["\"num_experts_per_tok\" is missing"]),
        ("deepseek_v3", ["n_routed_experts": "0"], ["\"n_routed_experts\" is 0"]),
        ("deepseek_v3", ["n_routed_experts": nil], ["\"n_routed_experts\" is missing"]),
        ("deepseek_v3", ["num_local_experts": "7"], ["\"num_local_experts\" is 7", "expected 8"]),
        ("deepseek_v3", ["moe_intermediate_size": "0"], ["\"moe_intermediate_size\" is 0"]),
        (
            "deepseek_v3", ["moe_intermediate_size": "1000000000", "n_shared_experts": "65536"],
            ["shared experts of width"]
        ),
        ("deepseek_v3", ["hidden_size": "0"], ["\"hidden_size\" is 0"]),
        ("deepseek_v3", ["n_shared_experts": "-1"], ["\"n_shared_experts\" is -1"]),
        ("deepseek_v3", ["num_hidden_layers": "3"], ["no Mixture-of-Experts layer"]),
        // Mathematics that is not this family's
        ("deepseek_v3", ["scoring_func": "\"softmax\""], ["\"scoring_func\" is \"softmax\"", "\"sigmoid\""]),
        ("deepseek_v3", ["topk_method": "\"greedy\""], ["\"topk_method\" is \"greedy\""]),
        ("deepseek_v3", ["routed_scaling_factor": "\"2\""], ["\"routed_scaling_factor\" is \"2\"", "a finite number"]),
        ("deepseek_v3", ["routed_scaling_factor": "1e39"], ["\"routed_scaling_factor\"", "a finite number"]),
        ("deepseek_v4", ["vocab_size": nil], ["\"vocab_size\" is missing"]),
        ("deepseek_v4", ["hidden_act": "\"gelu\""], ["\"hidden_act\" is \"gelu\""]),
        ("deepseek_v4", ["swiglu_limit": "0"], ["expert clamp", "limit 0.0"]),
        ("deepseek_v4", ["scoring_func": "\"logits\""], ["sqrtsoftplus"]),
        ("glm4_moe", ["mlp_bias": "true"], ["\"mlp_bias\" is true"]),
        // Lists
        ("deepseek_v32", ["mlp_layer_types": #"["dense","sparse"]"#], ["an array of 2", "each of 5 layers"]),
        (
            "deepseek_v32", ["mlp_layer_types": #"["dense","sparse","odd","dense","dense"]"#],
            ["\"mlp_layer_types[2]\" is \"odd\""]
        ),
        ("mimo_v2_flash", ["moe_layer_freq": "[0, 1]"], ["\"moe_layer_freq\" is an array of 2"]),
        ("mimo_v2_flash", ["moe_layer_freq": "[0, 1, 2, 1, 1]"], ["\"moe_layer_freq[2]\" is 2"]),
        ("hunyuan_v1_moe", ["moe_topk": "[2, 2]"], ["\"moe_topk\" is an array of 2", "each of 5 layers"]),
        ("hunyuan_v1_moe", ["moe_topk": "[9, 2, 2, 2, 2]"], ["\"moe_topk[0]\" is 9", "1 to 8"]),
        ("hunyuan_v1_moe", ["moe_drop_tokens": "true"], ["\"moe_drop_tokens\" is true"]),
        ("nemotron_h", ["hybrid_override_pattern": "\"ME\""], ["of 2 letters", "each of 5 layers"]),
        ("nemotron_h", ["hybrid_override_pattern": "\"MEMEX\""], ["\"MEMEX\""]),
        ("nemotron_h", ["hybrid_override_pattern": nil], ["\"hybrid_override_pattern\" is missing"]),
        ("nemotron_h", ["moe_latent_size": "4", "mlp_bias": "true"], ["\"mlp_bias\" is true"]),
        ("llama4_text", ["moe_layers": "[1, 5]"], ["\"moe_layers\" is an array with 5"]),
        ("jamba", ["expert_layer_period": "2", "expert_layer_offset": "2"], ["\"expert_layer_offset\" is 2"]),
        ("longcat_flash", ["zero_expert_type": "\"copy\""], ["\"zero_expert_type\" is \"copy\""]),
        ("longcat_flash", ["moe_topk": "12", "num_experts_per_tok": nil], ["\"moe_topk\" is 12", "1 to 11"]),
        ("phimoe", ["num_experts_per_tok": "3"], ["topK is 3", "2, the only one"]),
        ("minimax_m2", ["scoring_func": "\"softmax\""], ["\"scoring_func\" is \"softmax\""]),
        ("minimax_m2", ["shared_intermediate_size": "4"], ["\"shared_intermediate_size\" is 4"]),
        ("cohere2_moe", ["expert_selection_fn": "\"topk\""], ["softmax, sigmoid"]),
        ("dbrx", ["ffn_config": "3"], ["\"ffn_config\" is 3", "an object"]),
        ("dbrx", ["ffn_config": nil], ["\"ffn_config.moe_num_experts\" is missing"]),
        ("nllb-moe", ["second_expert_policy": "\"sampling\""], ["\"second_expert_policy\" is \"sampling\""]),
        (
            "nllb-moe", ["expert_capacity": "-1", "moe_eval_capacity_token_fraction": "0"],
            ["\"expert_capacity\" is -1"]
        ),
        ("switch_transformers", ["is_gated_act": "true"], ["\"is_gated_act\" is true"]),
        ("gpt_oss", ["experts_per_token": "3"], ["\"experts_per_token\" is 3", "as \"num_experts_per_tok\" says"]),
        (
            "deepseek_v3", ["quantization_config": #"{"weight_block_size":[128]}"#],
            ["weight_block_size", "two numbers"]
        ),
        ("deepseek_v3", ["quantization_config": #"{"weight_block_size":[0, 128]}"#], ["weight_block_size"]),
        ("deepseek_v3", ["quantization_config": #"{"weight_block_size":[9223372036854775807, 1]}"#], ["two numbers"]),
        (
            "deepseek_v3",
            ["quantization_config": #"{"config_groups":{"g":{"weights":{"group_size":9223372036854775807}}}}"#],
            ["config_groups.g.weights.group_size"]
        ),
        ("deepseek_v3", ["text_config": #"{"model_type": 3}"#], ["\"text_config.model_type\" is 3"]),
    ]

    /// Keys with which each of these families is content.
    static let content: [String: String] = [
        "num_hidden_layers": "5", "hidden_size": "12", "intermediate_size": "6", "moe_intermediate_size": "6",
        "n_routed_experts": "8", "num_experts_per_tok": "2", "n_group": "1", "topk_group": "1", "vocab_size": "9",
        "moe_topk": "2", "moe_shared_expert_intermediate_size": "6", "hybrid_override_pattern": "\"EEEEE\"",
        "num_layers": "5", "expert_ffn_hidden_size": "6", "zero_expert_num": "3", "n_layers": "5", "d_model": "8",
        "ffn_config": #"{"moe_num_experts":4,"moe_top_k":2,"ffn_hidden_size":6}"#, "encoder_ffn_dim": "6",
        "decoder_ffn_dim": "6", "d_ff": "6", "experts_per_token": "2",
    ]

    @Test(arguments: refused.indices)
    func refuses(_ index: Int) throws {
        let (type, changes, fragments) = Self.refused[index]
        var keys = Self.content
        keys["model_type"] = "\"\(type)\""
        // Whoever has routed experts has no second name for them.
        if !["deepseek", "glm", "mimo", "nemotron", "longcat"].contains(where: type.hasPrefix) {
            keys["num_experts"] = "8"
        }
        func text() -> String { "{" + keys.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ",") + "}" }
        _ = try Self.open(text())
        for (key, value) in changes { keys[key] = value }
        let scratch = try Scratch()
        try scratch.write("config.json", text())
        try scratch.write("model.safetensors", safetensors("{}"))
        expectCheckpointError(file: scratch["config.json"], fragments) {
            let checkpoint = try MoECheckpoint(at: scratch.path)
            for layer in checkpoint.moeLayers { _ = try checkpoint.configuration(layer: layer) }
        }
    }

    /// Whatever stands at a key, there is a configuration or an error of the library's own.
    @Test(arguments: ModelFamily.known.map(\.modelTypes[0]))
    func noValueTraps(_ type: String) throws {
        let values = [
            "null", "true", "0", "-1", "1", "1073741824", "9223372036854775807", "-9223372036854775808",
            "0.5", "-2.5",
            "1e300", "\"\"", "\"x\"", "[]", "[1]", "[0,1,2,3,4]", "{}", #"{"a":[{}]}"#,
        ]
        let scratch = try Scratch()
        var keys = Self.content
        keys["model_type"] = "\"\(type)\""
        let more = [
            "num_experts", "num_local_experts", "moe_num_experts", "n_shared_experts", "num_shared_experts",
            "moe_layers",
            "routed_scaling_factor", "first_k_dense_replace", "moe_layer_freq", "mlp_layer_types", "swiglu_limit",
            "shared_expert_intermediate_size", "shared_intermediate_size", "expert_capacity", "num_hash_layers",
            "moe_eval_capacity_token_fraction", "encoder_layers", "decoder_layers", "num_decoder_layers",
            "moe_latent_size", "rms_norm_eps", "router_jitter_noise", "moe_norm_min", "expert_layer_period",
            "expert_layer_offset", "moe_layer_interval", "moe_layer_end_index", "num_sparse_encoder_layers",
            "enable_moe_block", "top_k_experts", "decoder_sparse_step", "interleave_moe_layer_step",
            "quantization_config",
            "text_config", "moe_topk", "moe_k", "num_shared_expert", "moe_num_shared_experts", "moe_token_dropout",
        ]
        var turn = type.utf8.reduce(0) { $0 + Int($1) }
        for key in Set(keys.keys).union(more).sorted() where key != "model_type" {
            for value in values {
                // All of them with every family takes half a minute, and has been done; a run takes its turn.
                turn += 1
                guard turn % 8 == 0 else { continue }
                var changed = keys
                if !key.hasSuffix("num_experts") && !["deepseek", "glm"].contains(where: type.hasPrefix) {
                    changed["num_experts"] = "8"
                }
                changed[key] = value
                try scratch.write(
                    "config.json", "{" + changed.map { "\"\($0.key)\": \($0.value)" }.joined(separator: ",") + "}")
                _ = try? Self.everything(scratch.path)
            }
        }
    }

    private static func everything(_ folder: String) throws(MoEError) {
        let model = try CheckpointModel(in: folder)
        for layer in model.moeLayers.prefix(3) + model.moeLayers.suffix(1) { _ = try model.configuration(layer: layer) }
        _ = try CheckpointSummary(of: folder)
    }
}
