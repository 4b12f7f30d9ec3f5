// What the router's kernels take; see parameters.h.
#pragma once

#include <stdint.h>

#include "expert_limit.h"

#ifdef __cplusplus
extern "C" {
#endif

/// router_logits_<type>_<rows>x<columns>: logits = x · weightsᵀ + bias, on tensor cores with fp32 sums; fp32 by three
/// products of tf32.
///
/// A block makes a tile of rows × columns logits of one of `splits` parts of the depth. Grid:
/// mc_logits_tiles × splits; block: MC_LOGITS_THREADS; shared memory: mc_logits_shared. With one split the output is the
/// logits; with more it is [splits, tokens, columns], without bias, for router_join.
typedef struct {
    const void *x;        ///< [tokens, depth] at a multiple of 16 bytes
    const void *weights;  ///< [columns, depth] at a multiple of 16 bytes: a row for each expert, then for each upper group
    const float *bias;    ///< [columns]; null: none
    float *output;        ///< [tokens, columns], or [splits, tokens, columns]
    int32_t tokens;
    int32_t columns;
    int32_t depth;  ///< its rows take a multiple of 16 bytes
} mc_logits_parameters;

enum { MC_LOGITS_THREADS = 128 };

/// Blocks of one split.
static inline int64_t mc_logits_tiles(int64_t tokens, int64_t columns, int rows_of_tile, int columns_of_tile) {
    return (tokens + rows_of_tile - 1) / rows_of_tile * ((columns + columns_of_tile - 1) / columns_of_tile);
}

/// Stages of 128 bytes for each row of both operands.
static inline int mc_logits_stages(int rows_of_tile) { return rows_of_tile == 128 ? 3 : 4; }
static inline int mc_logits_shared(int rows_of_tile, int columns_of_tile) {
    return mc_logits_stages(rows_of_tile) * (rows_of_tile + columns_of_tile) * 128;
}

/// The tile: few tokens get a flat one, many a large one once that fills the device. 16-bit types have 16 × 64, 64 × 64
/// and 128 × 128, fp32 the first two.
static inline int mc_logits_tile_rows(int64_t tokens, int64_t columns, int element_bytes, int multiprocessors) {
    if (tokens <= 32) return 16;
    return element_bytes == 2 && columns > 64 && mc_logits_tiles(tokens, columns, 128, 128) >= multiprocessors ? 128 : 64;
}
static inline int mc_logits_tile_columns(int rows_of_tile) { return rows_of_tile == 128 ? 128 : 64; }

/// Parts of the depth, so that about one block for each multiprocessor has work, with at least two slices of 128 bytes
/// for each. None is empty. (mc_decode_splits has another rule: it wants no multiprocessor without work, even if some get two
/// blocks, and must not depend on the tokens.)
static inline int mc_logits_splits(int64_t tiles, int64_t depth_bytes, int multiprocessors) {
    const int64_t slices = (depth_bytes + 127) / 128;
    int64_t splits = tiles > 0 ? multiprocessors / tiles : 1;
    if (splits > slices / 2) splits = slices / 2;
    if (splits < 2) return 1;
    const int64_t slices_of_split = (slices + splits - 1) / splits;
    return (int)((slices + slices_of_split - 1) / slices_of_split);
}

/// router_join: logits[t, e] = bias[e] + Σ_split partial[split, t, e], in the order of the splits. Grid: any number of
/// blocks; block: MC_JOIN_THREADS; no shared memory.
typedef struct {
    const float *partial;  ///< [splits, tokens, columns]
    const float *bias;     ///< [columns]; null: none
    float *logits;         ///< [tokens, columns]
    int32_t tokens;
    int32_t columns;
    int32_t splits;
} mc_join_parameters;

enum { MC_JOIN_THREADS = 256 };

/// router_normalise_<type>: rows[t] = x[t] · (mean x[t]² + epsilon)^-½ · scale · factors, in fp32: what a router multiplies
/// where it sees a normalised input. Grid: any number of blocks; block: MC_NORMALISE_THREADS; no shared memory.
typedef struct {
    const void *x;         ///< [tokens, width]
    const float *factors;  ///< [width]
    float *rows;           ///< [tokens, width]
    int32_t tokens;
    int32_t width;
    float epsilon;
    float scale;
} mc_normalise_parameters;

enum { MC_NORMALISE_THREADS = 256 };

/// From a logit to a score.
enum { MC_SCORE_SOFTMAX, MC_SCORE_SIGMOID, MC_SCORE_SQRT_SOFTPLUS, MC_SCORE_LOGITS };
/// Who is chosen: the best; the best of the best groups, ranked by their best expert or the sum of their two best; two by
/// sparse mixing; those that a table lists; the best within the groups that an upper router chose; all, in order.
enum {
    MC_SELECT_TOP,
    MC_SELECT_GROUPS_BY_BEST,
    MC_SELECT_GROUPS_BY_TOP_TWO,
    MC_SELECT_SPARSE_MIXER,
    MC_SELECT_TABLE,
    MC_SELECT_HIERARCHICAL,
    MC_SELECT_EVERY
};
/// What becomes of the chosen scores.
enum { MC_TRANSFORM_NONE, MC_TRANSFORM_SOFTMAX, MC_TRANSFORM_SIGMOID };
/// What the weights are divided by: nothing, their sum plus `number`, at least `number`, their `number`-norm.
enum { MC_NORMALISE_NONE, MC_NORMALISE_SUM, MC_NORMALISE_CLAMPED_SUM, MC_NORMALISE_NORM };

/// router_select_<most experts>, of 8, 16, 32, 64, 128, 256, 512: experts and weights of each token. Block b takes the
/// tokens from b · chunk on, `chunk` of them (mc_dispatch_chunk). Grid: ⌈tokens / chunk⌉; block: MC_SELECT_THREADS; shared
/// memory: 4 · experts bytes with block_counts, else none.
typedef struct {
    const float *logits;          ///< [tokens, stride]
    const float *selection_bias;  ///< [experts], added to scores for choosing; null: none
    const float *expert_scale;    ///< [experts], factors on the weights; null: none
    const int32_t *table;         ///< [vocabulary, slots]: experts by token id, below `experts`, which the host checks
    const int32_t *token_ids;     ///< [tokens]: 0 to vocabulary - 1, which the host checks; others count as the nearest of them
    int32_t *chosen;              ///< [tokens, slots]
    float *weights;               ///< [tokens, slots]
    /// [blocks, experts]: how often the tokens of a block chose each expert; null: not wanted. They are what dispatch_count
    /// gives where its `kept` and `mask` are null and its chunk is this one, and only there: every pair is counted. Not for
    /// MC_SELECT_EVERY.
    int32_t *block_counts;
    int32_t tokens;
    int32_t stride;
    int32_t experts;  ///< 1 to MC_MAXIMUM_EXPERTS, identity experts included
    int32_t slots;    ///< 1 to 32, at most experts; experts for MC_SELECT_EVERY
    int32_t chunk;
    int32_t score;
    int32_t selection;
    int32_t groups;        ///< divides experts
    int32_t kept_groups;   ///< divides slots for MC_SELECT_HIERARCHICAL
    int32_t group_column;  ///< where the upper router's logits stand in a row, for MC_SELECT_HIERARCHICAL
    int32_t vocabulary;    ///< 1 or more: rows of `table`, for MC_SELECT_TABLE
    int32_t transform;
    int32_t normalisation;
    float normalisation_number;
    float mixer_epsilon;
    float scale;
} mc_select_parameters;

enum { MC_SELECT_THREADS = 256, MC_SELECT_SLOTS = 32 };

#ifdef __cplusplus
}
#endif
