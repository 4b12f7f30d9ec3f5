// What combine takes; see parameters.h.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// combine_<rows>_<output>: output[t] = (Σ_slot row_factor · weights[t, slot] · rows[row_of[t, slot]]
/// + shared_scale[t] · shared[t] + bias) · output_factor, in this order and that of the slots, in fp32. Grid: any number of
/// blocks; block: MC_COMBINE_THREADS; no shared memory.
typedef struct {
    const void *rows;           ///< [any, width]: what the experts made of their tokens
    const float *weights;       ///< [tokens, slots]; null: 1
    /// [tokens, slots]: row of a token's slot; negative: dropped, adds nothing; null: row token · slots + slot
    const int32_t *row_of;
    const void *shared;         ///< [tokens, width], in the type of rows: the shared expert; null: none
    const float *shared_scale;  ///< [tokens]; null: 1
    const float *bias;          ///< [width]; null: none
    void *output;               ///< [tokens, width]
    int32_t tokens;
    int32_t slots;
    int32_t width;
    float row_factor;
    float output_factor;
} mc_combine_parameters;

enum { MC_COMBINE_THREADS = 256 };

#ifdef __cplusplus
}
#endif
