// What an expert does between its matrices, as the kernels' parameters say it.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The function f of a gate or, without gates, of the up value itself. σ is the logistic function.
enum {
    MC_ACTIVATION_SILU = 0,          ///< a · σ(a)
    MC_ACTIVATION_GELU = 1,          ///< a · Φ(a), with the error function
    MC_ACTIVATION_GELU_TANH = 2,     ///< ½ a (1 + tanh(√(2/π) (a + 0.044715 a³)))
    MC_ACTIVATION_QUICK_GELU = 3,    ///< a · σ(1.702 a)
    MC_ACTIVATION_RELU = 4,          ///< max(a, 0)
    MC_ACTIVATION_RELU_SQUARED = 5,  ///< max(a, 0)²
    MC_ACTIVATION_CLAMPED = 6,       ///< of a gate and an up value together, see mc_activation_parameters
    MC_ACTIVATION_COUNT = 7
};

/// Gated: f(gate) · up. Not gated: f(up). Clamped (always gated): g · σ(alpha · g) · (u + up_offset) with
/// g = min(gate, limit) and u = min(max(up, -limit), limit).
typedef struct {
    int32_t kind;     ///< MC_ACTIVATION_…
    int32_t gated;    ///< 1: the experts have gates
    float limit;      ///< clamped only: above 0, may be infinite
    float alpha;      ///< clamped only
    float up_offset;  ///< clamped only
} mc_activation_parameters;

/// Gate and up rows of gated experts alternate in groups of this many: a block of 16 rows of gate_up is 8 rows of gate, then
/// the 8 rows of up with the same indices. Experts without gates keep their rows in order.
enum { MC_GATE_GROUP = 8 };

#ifdef __cplusplus
}
#endif
