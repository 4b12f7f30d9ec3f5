// What the kernels take: plain C structs, passed by value, that Swift sees through CMoECUDA.h. Pointers are device
// memory. Tensors are row-major and dense. Element types are part of a kernel's name.
//
// Counts are 32-bit: tokens · slots, tokens · experts and tokens · width / 8 are below 2³¹. The host checks that before a
// launch, and throws. A kernel that takes more than 48 KiB of dynamic shared memory needs the attribute
// cudaFuncAttributeMaxDynamicSharedMemorySize, set once to what it takes.
#pragma once

#include <stdint.h>

#include "activation_parameters.h"
#include "decode_gemm_parameters.h"
#include "dispatch_parameters.h"
#include "fp32_gemm_parameters.h"
#include "generate_parameters.h"
#include "grouped_gemm_parameters.h"
#include "probe_parameters.h"
#include "projection_parameters.h"
#include "router_parameters.h"
#include "rows_parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// combine_<rows>_<output>: output[t] = (Σ_slot weights[t, slot] · row_factor · rows[row_of[t, slot]]
/// + shared_scale[t] · shared[t] + bias) · output_factor, in the order of the slots, in fp32. Grid: any number of blocks; block: MC_COMBINE_THREADS; no shared memory.
typedef struct {
    const void *rows;           ///< [any, width]: what the experts made of their tokens
    const float *weights;       ///< [tokens, slots]; null: 1
    const int32_t *row_of;      ///< [tokens, slots]: row of a token's slot; negative: dropped, adds nothing; null: token · slots + slot
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
