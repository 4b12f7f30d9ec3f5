// Parameters of the decode kernels: projections for few rows of each expert, at the speed of reading the weights.
#pragma once

#include "projection_parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// decode_gate_up_<type>_<rows>, decode_down_<type>_<rows>: type bf16 or fp16; rows 8 or 16: how many rows of an expert
/// share one pass over its weights. Any number of rows is right, and up to that many are fast: with T tokens no expert has
/// more than T. The output of gate_up is in the type of the weights, that of down is fp32.
///
/// Grid: multiprocessors × MC_DECODE_BLOCKS_PER_MULTIPROCESSOR (any other is right as well); block: MC_PROJECTION_THREADS;
/// dynamic shared memory: MC_DECODE_8_SHARED or MC_DECODE_16_SHARED. A block of sm_86, sm_89 and sm_120 has at most 99 KiB:
/// the kernels for 16 rows do not fit there, and those for 8 take their place, with a pass for each 8 rows of an expert.
///
/// With `splits` above 1 each sum over the depth is cut in that many parts, which go to `partial`;
/// decode_finish_gate_up_<type> or decode_finish_down, launched next with the same parameters (any grid: a block takes a
/// row at a time; no shared memory), adds them in order and writes the output.
typedef struct {
    mc_projection_parameters projection;
    float *partial;  ///< [splits, rows, height]; null when splits is 1
    int32_t splits;  ///< from mc_decode_splits
    int32_t rows;    ///< rows of `partial`: at least offsets[experts]
} mc_decode_parameters;

enum {
    MC_DECODE_BLOCKS_PER_MULTIPROCESSOR = 2,
    /// Weight rows of a tile, or a multiple of that where the depth is small.
    MC_DECODE_TILE_ROWS = 32,
    MC_DECODE_8_SHARED = 81968,
    MC_DECODE_16_SHARED = 110640,
};

/// The splits that let every multiprocessor read: 1 unless the tiles of the fewest experts that can be touched, `slots`
/// (as many as one token chooses), are fewer than the multiprocessors. It does not depend on the number of tokens, so that
/// a token's result does not, either. (mc_logits_splits has another rule: at most one block for each multiprocessor.)
static inline int32_t mc_decode_splits(int32_t slots, int32_t height, int32_t depth, int32_t multiprocessors) {
    const int32_t tiles = slots * ((height + MC_DECODE_TILE_ROWS - 1) / MC_DECODE_TILE_ROWS);
    if (tiles >= multiprocessors) return 1;
    // A split should leave each of a block's eight warps two steps of 32.
    const int32_t most = depth / 512;
    const int32_t wanted = (multiprocessors + tiles - 1) / tiles;
    const int32_t splits = wanted < most ? wanted : most;
    return splits > 1 ? splits : 1;
}

#ifdef __cplusplus
}
#endif
