// Written by Benchmarks/workloads.sh from Benchmarks/Workloads, for a binary that is carried without them.

/// The files of Benchmarks/Workloads, as they are.
enum EmbeddedWorkloads {
    static let files: [String] = [
        #"""
        {
          "name": "deepseek-v2-lite",
          "model": "deepseek-ai/DeepSeek-V2-Lite",
          "layers": 26,
          "billionParameters": 15.7,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 2048,
            "expertHidden": 1408,
            "experts": 64,
            "topK": 6,
            "rules": {
              "isNormalised": false,
              "shared": {
                "width": 2816
              }
            }
          },
          "published": {
            "model_type": "deepseek_v2",
            "first_k_dense_replace": 1,
            "hidden_act": "silu",
            "hidden_size": 2048,
            "moe_intermediate_size": 1408,
            "moe_layer_freq": 1,
            "n_group": 1,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "norm_topk_prob": false,
            "num_experts_per_tok": 6,
            "num_hidden_layers": 27,
            "routed_scaling_factor": 1.0,
            "scoring_func": "softmax",
            "topk_group": 1,
            "topk_method": "greedy"
          }
        }
        """#,
        #"""
        {
          "name": "deepseek-v3",
          "model": "deepseek-ai/DeepSeek-V3",
          "layers": 58,
          "billionParameters": 671,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 7168,
            "expertHidden": 2048,
            "experts": 256,
            "topK": 8,
            "rules": {
              "score": "sigmoid",
              "hasSelectionBias": true,
              "groups": {
                "count": 8,
                "kept": 4,
                "rank": "bestTwo"
              },
              "epsilon": 1e-20,
              "scale": 2.5,
              "shared": {
                "width": 2048
              }
            }
          },
          "published": {
            "model_type": "deepseek_v3",
            "first_k_dense_replace": 3,
            "hidden_act": "silu",
            "hidden_size": 7168,
            "moe_intermediate_size": 2048,
            "n_group": 8,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "norm_topk_prob": true,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 61,
            "routed_scaling_factor": 2.5,
            "moe_layer_freq": 1,
            "scoring_func": "sigmoid",
            "topk_method": "noaux_tc",
            "topk_group": 4
          }
        }
        """#,
        #"""
        {
          "name": "glm-4.5-air",
          "model": "zai-org/GLM-4.5-Air",
          "layers": 45,
          "billionParameters": 106,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 4096,
            "expertHidden": 1408,
            "experts": 128,
            "topK": 8,
            "rules": {
              "score": "sigmoid",
              "hasSelectionBias": true,
              "epsilon": 1e-20,
              "scale": 1.0,
              "shared": {
                "width": 1408
              }
            }
          },
          "published": {
            "model_type": "glm4_moe",
            "first_k_dense_replace": 1,
            "hidden_act": "silu",
            "hidden_size": 4096,
            "moe_intermediate_size": 1408,
            "n_group": 1,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "norm_topk_prob": true,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 46,
            "routed_scaling_factor": 1.0,
            "topk_group": 1
          }
        }
        """#,
        #"""
        {
          "name": "glm-4.5",
          "model": "zai-org/GLM-4.5",
          "layers": 89,
          "billionParameters": 355,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 5120,
            "expertHidden": 1536,
            "experts": 160,
            "topK": 8,
            "rules": {
              "score": "sigmoid",
              "hasSelectionBias": true,
              "epsilon": 1e-20,
              "scale": 2.5,
              "shared": {
                "width": 1536
              }
            }
          },
          "published": {
            "model_type": "glm4_moe",
            "first_k_dense_replace": 3,
            "hidden_act": "silu",
            "hidden_size": 5120,
            "moe_intermediate_size": 1536,
            "n_group": 1,
            "n_routed_experts": 160,
            "n_shared_experts": 1,
            "norm_topk_prob": true,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 92,
            "routed_scaling_factor": 2.5,
            "topk_group": 1
          }
        }
        """#,
        #"""
        {
          "name": "gpt-oss-120b",
          "model": "openai/gpt-oss-120b",
          "layers": 36,
          "billionParameters": 116.8,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 2880,
            "expertHidden": 2880,
            "experts": 128,
            "topK": 4,
            "rules": {
              "score": "logits",
              "hasRouterBias": true,
              "transform": "softmaxOverSelected",
              "isNormalised": false,
              "hasBiases": true,
              "clamp": {
                "limit": 7.0,
                "alpha": 1.702,
                "upOffset": 1.0
              }
            }
          },
          "published": {
            "model_type": "gpt_oss",
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_experts_per_tok": 4,
            "num_hidden_layers": 36,
            "num_local_experts": 128,
            "swiglu_limit": 7.0
          }
        }
        """#,
        #"""
        {
          "name": "gpt-oss-20b",
          "model": "openai/gpt-oss-20b",
          "layers": 24,
          "billionParameters": 20.9,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 2880,
            "expertHidden": 2880,
            "experts": 32,
            "topK": 4,
            "rules": {
              "score": "logits",
              "hasRouterBias": true,
              "transform": "softmaxOverSelected",
              "isNormalised": false,
              "hasBiases": true,
              "clamp": {
                "limit": 7.0,
                "alpha": 1.702,
                "upOffset": 1.0
              }
            }
          },
          "published": {
            "model_type": "gpt_oss",
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_experts_per_tok": 4,
            "num_hidden_layers": 24,
            "num_local_experts": 32,
            "swiglu_limit": 7.0
          }
        }
        """#,
        #"""
        {
          "name": "granite-3.0-1b-a400m",
          "model": "ibm-granite/granite-3.0-1b-a400m-base",
          "layers": 24,
          "billionParameters": 1.3,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 1024,
            "expertHidden": 512,
            "experts": 32,
            "topK": 8,
            "rules": {
              "score": "logits",
              "transform": "softmaxOverSelected",
              "isNormalised": false
            }
          },
          "published": {
            "model_type": "granitemoe",
            "hidden_act": "silu",
            "hidden_size": 1024,
            "intermediate_size": 512,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 24,
            "num_local_experts": 32
          }
        }
        """#,
        #"""
        {
          "name": "kimi-k2",
          "model": "moonshotai/Kimi-K2-Instruct",
          "layers": 60,
          "billionParameters": 1000,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 7168,
            "expertHidden": 2048,
            "experts": 384,
            "topK": 8,
            "rules": {
              "score": "sigmoid",
              "hasSelectionBias": true,
              "epsilon": 1e-20,
              "scale": 2.827,
              "shared": {
                "width": 2048
              }
            }
          },
          "published": {
            "model_type": "kimi_k2",
            "first_k_dense_replace": 1,
            "hidden_act": "silu",
            "hidden_size": 7168,
            "moe_intermediate_size": 2048,
            "n_group": 1,
            "n_routed_experts": 384,
            "n_shared_experts": 1,
            "norm_topk_prob": true,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 61,
            "routed_scaling_factor": 2.827,
            "moe_layer_freq": 1,
            "scoring_func": "sigmoid",
            "topk_method": "noaux_tc",
            "topk_group": 1
          }
        }
        """#,
        #"""
        {
          "name": "llama-4-scout",
          "model": "meta-llama/Llama-4-Scout-17B-16E",
          "layers": 48,
          "billionParameters": 109,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 5120,
            "expertHidden": 8192,
            "experts": 16,
            "topK": 1,
            "rules": {
              "score": "logits",
              "transform": "sigmoid",
              "isNormalised": false,
              "weighsInput": true,
              "shared": {
                "width": 8192
              }
            }
          },
          "published": {
            "model_type": "llama4",
            "text_config": {
              "model_type": "llama4_text",
              "hidden_act": "silu",
              "hidden_size": 5120,
              "interleave_moe_layer_step": 1,
              "intermediate_size": 8192,
              "num_experts_per_tok": 1,
              "num_hidden_layers": 48,
              "num_local_experts": 16
            }
          }
        }
        """#,
        #"""
        {
          "name": "minimax-m2",
          "model": "MiniMaxAI/MiniMax-M2",
          "layers": 62,
          "billionParameters": 230,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 3072,
            "expertHidden": 1536,
            "experts": 256,
            "topK": 8,
            "rules": {
              "score": "sigmoid",
              "hasSelectionBias": true
            }
          },
          "published": {
            "model_type": "minimax_m2",
            "hidden_act": "silu",
            "hidden_size": 3072,
            "intermediate_size": 1536,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 62,
            "num_local_experts": 256,
            "scoring_func": "sigmoid",
            "shared_intermediate_size": 0,
            "use_routing_bias": true
          }
        }
        """#,
        #"""
        {
          "name": "mixtral-8x22b",
          "model": "mistralai/Mixtral-8x22B-v0.1",
          "layers": 56,
          "billionParameters": 141,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 6144,
            "expertHidden": 16384,
            "experts": 8,
            "topK": 2
          },
          "published": {
            "model_type": "mixtral",
            "hidden_act": "silu",
            "hidden_size": 6144,
            "intermediate_size": 16384,
            "num_experts_per_tok": 2,
            "num_hidden_layers": 56,
            "num_local_experts": 8
          }
        }
        """#,
        #"""
        {
          "name": "mixtral-8x7b",
          "model": "mistralai/Mixtral-8x7B-v0.1",
          "layers": 32,
          "billionParameters": 46.7,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 4096,
            "expertHidden": 14336,
            "experts": 8,
            "topK": 2
          },
          "published": {
            "model_type": "mixtral",
            "hidden_act": "silu",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_experts_per_tok": 2,
            "num_hidden_layers": 32,
            "num_local_experts": 8
          }
        }
        """#,
        #"""
        {
          "name": "olmoe-1b-7b",
          "model": "allenai/OLMoE-1B-7B-0924",
          "layers": 16,
          "billionParameters": 6.9,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 2048,
            "expertHidden": 1024,
            "experts": 64,
            "topK": 8,
            "rules": {
              "isNormalised": false
            }
          },
          "published": {
            "model_type": "olmoe",
            "hidden_act": "silu",
            "hidden_size": 2048,
            "intermediate_size": 1024,
            "norm_topk_prob": false,
            "num_experts": 64,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 16
          }
        }
        """#,
        #"""
        {
          "name": "phi-3.5-moe",
          "model": "microsoft/Phi-3.5-MoE-instruct",
          "layers": 32,
          "billionParameters": 42,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 4096,
            "expertHidden": 6400,
            "experts": 16,
            "topK": 2,
            "rules": {
              "score": "logits",
              "sparseMixer": 0.01,
              "isNormalised": false
            }
          },
          "published": {
            "model_type": "phimoe",
            "hidden_act": "silu",
            "hidden_size": 4096,
            "intermediate_size": 6400,
            "num_experts_per_tok": 2,
            "num_hidden_layers": 32,
            "num_local_experts": 16,
            "router_jitter_noise": 0.01
          }
        }
        """#,
        #"""
        {
          "name": "qwen3-235b-a22b",
          "model": "Qwen/Qwen3-235B-A22B",
          "layers": 94,
          "billionParameters": 235,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 4096,
            "expertHidden": 1536,
            "experts": 128,
            "topK": 8
          },
          "published": {
            "model_type": "qwen3_moe",
            "decoder_sparse_step": 1,
            "hidden_act": "silu",
            "hidden_size": 4096,
            "mlp_only_layers": [],
            "moe_intermediate_size": 1536,
            "norm_topk_prob": true,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 94
          }
        }
        """#,
        #"""
        {
          "name": "qwen3-30b-a3b",
          "model": "Qwen/Qwen3-30B-A3B",
          "layers": 48,
          "billionParameters": 30.5,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 2048,
            "expertHidden": 768,
            "experts": 128,
            "topK": 8
          },
          "published": {
            "model_type": "qwen3_moe",
            "decoder_sparse_step": 1,
            "hidden_act": "silu",
            "hidden_size": 2048,
            "mlp_only_layers": [],
            "moe_intermediate_size": 768,
            "norm_topk_prob": true,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 48
          }
        }
        """#,
        #"""
        {
          "name": "qwen3-next-80b-a3b",
          "model": "Qwen/Qwen3-Next-80B-A3B-Instruct",
          "layers": 48,
          "billionParameters": 80,
          "source": "config.json of the model's repository, whose keys stand under published; billionParameters is the model card's",
          "layer": {
            "hidden": 2048,
            "expertHidden": 512,
            "experts": 512,
            "topK": 10,
            "rules": {
              "shared": {
                "width": 512,
                "isGated": true
              }
            }
          },
          "published": {
            "model_type": "qwen3_next",
            "decoder_sparse_step": 1,
            "hidden_act": "silu",
            "hidden_size": 2048,
            "mlp_only_layers": [],
            "moe_intermediate_size": 512,
            "norm_topk_prob": true,
            "num_experts": 512,
            "num_experts_per_tok": 10,
            "num_hidden_layers": 48,
            "shared_expert_intermediate_size": 512
          }
        }
        """#,
    ]
}
