// One projection of every expert that has rows: what the decode kernels, the grouped kernels and the fp32 kernels take.
#pragma once

#include <stdint.h>

#include "activation_parameters.h"
#include "expert_limit.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Threads of a block of the decode and the fp32 kernels; the grouped kernels have those of their shape.
enum { MC_PROJECTION_THREADS = 256 };

/// Shared memory of a block's list of work, in bytes: for every expert, and one past the last, its first item and its first
/// row; and a sum for each warp.
#define MC_WORK_LIST_BYTES(THREADS, EXPERTS) ((8 * ((EXPERTS) + 1) + 4 * ((THREADS) / 32) + 15) / 16 * 16)

/// output[r] = f(scale[r] · input[token of r] · weightsᵀ of r's expert + bias), for the rows r of every expert: rows
/// offsets[e] to offsets[e + 1] are expert e's. The gate_up kernels apply the activation, and their output has half as many
/// columns as `height` where experts have gates; in the down kernels f is the identity.
///
/// `input`, `weights` and `output` start at multiples of 16 bytes. Sizes that routing decides are read from `offsets`.
typedef struct {
    const void *input;          ///< [tokens, depth], in the type of the weights; [rows, depth] without `row_token`
    const int32_t *row_token;   ///< [rows]: the row of `input`; null: row r takes row r
    const int32_t *offsets;     ///< [experts + 1], ascending from 0
    const void *weights;        ///< [experts, height, depth]; gates and ups alternate as MC_GATE_GROUP says
    const float *bias;          ///< [experts, height], in the order of the weights' rows; null: none
    const float *row_scale;     ///< [rows]: multiplies the products before the bias; null: 1
    void *output;               ///< [rows, height], gated gate_up: [rows, height / 2]
    int32_t experts;            ///< at most MC_MAXIMUM_EXPERTS
    int32_t height;             ///< a multiple of 8; of 16 for gated gate_up
    int32_t depth;              ///< a multiple of 8
    mc_activation_parameters activation;  ///< gate_up only
} mc_projection_parameters;

#ifdef __cplusplus
}
#endif
