// What the kernels of dispatch and capacity take; see parameters.h.
#pragma once

#include <stdint.h>

#include "expert_limit.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Groups (token, slot) pairs by expert: rows of an expert are consecutive, in the order of pairs.
///
/// Either dispatch_block alone, for few pairs, which takes all of them whatever `chunk` is; or three in a row:
/// dispatch_count, then dispatch_scan, then dispatch_place. Block b of count and place takes the tokens from b · chunk on,
/// `chunk` of them. router_select's block_counts, of the same chunk, may stand for dispatch_count only where `kept` and
/// `mask` are null: they count every pair.
///
/// Without tokens there is no grid of `blocks`: then dispatch_block, which writes counts and offsets of 0.
///
/// The host checks that experts that a caller chose are below `experts`; one that is not counts as dropped.
///
/// An identity expert is an expert like others here and has rows, but no projection writes them: convert does, from x.
///
///                   grid                  block                       shared memory
/// dispatch_block    1                     MC_DISPATCH_BLOCK_THREADS   mc_dispatch_shared
/// dispatch_count    blocks                MC_DISPATCH_THREADS         4 · experts
/// dispatch_scan     ⌈experts / 32⌉        MC_DISPATCH_SCAN_THREADS    4 · MC_DISPATCH_SCAN_THREADS
/// dispatch_place    blocks                MC_DISPATCH_THREADS         mc_dispatch_shared
typedef struct {
    const int32_t *chosen;   ///< [tokens, slots]: each pair's expert, 0 to experts - 1
    const uint8_t *kept;     ///< [tokens, slots], 0: the pair is dropped; null: none is
    const uint8_t *mask;     ///< [tokens], 0: all pairs of the token are dropped; null: none are
    const float *weights;    ///< [tokens, slots]; null where row_scale is
    int32_t *block_counts;   ///< [blocks, experts]: count writes counts, scan makes them sums over earlier blocks
    int32_t *counts;         ///< [experts]: rows of each expert
    int32_t *offsets;        ///< [experts + 1]: first row of each expert, then their number
    int32_t *row_token;      ///< [rows]: the token of each row
    int32_t *row_of;         ///< [tokens, slots]: the row of each pair, -1: dropped
    int32_t *row_pair;       ///< [rows]: the pair of each row, token · slots + slot; null: not wanted
    float *row_scale;        ///< [rows]: the weight of each row's pair, for mc_projection_parameters; null: not wanted
    int32_t *all;            ///< [2]: 0 and `tokens`, the offsets of one expert that all tokens visit; null: not wanted
    int32_t tokens;
    int32_t slots;
    int32_t experts;  ///< 1 to MC_MAXIMUM_EXPERTS
    int32_t blocks;   ///< ⌈tokens / chunk⌉; dispatch_block reads neither
    int32_t chunk;    ///< tokens of a block, mc_dispatch_chunk
} mc_dispatch_parameters;

enum { MC_DISPATCH_THREADS = 256, MC_DISPATCH_BLOCK_THREADS = 1024, MC_DISPATCH_SCAN_THREADS = 1024 };
/// The most blocks that are worth their counts, and the most pairs that one block does as fast as three launches.
enum { MC_DISPATCH_BLOCKS = 1024, MC_DISPATCH_BLOCK_PAIRS = 8192 };

static inline int mc_dispatch_shared(int threads, int experts) { return 4 * experts * (threads / 32 + 1); }

/// Tokens of a block: at least one for each of its warps, at most MC_DISPATCH_BLOCKS blocks. For router_select too.
static inline int mc_dispatch_chunk(int64_t tokens) {
    const int64_t even = (tokens + MC_DISPATCH_BLOCKS - 1) / MC_DISPATCH_BLOCKS;
    return even > MC_DISPATCH_THREADS / 32 ? (int)even : MC_DISPATCH_THREADS / 32;
}

/// The order in which choices queue for an expert: by pair; by slot; by slot, then the token's best weight; by weight. Ties
/// go to the lower pair. By slot: at most 256 slots.
enum { MC_QUEUE_POSITION, MC_QUEUE_CHOICE_RANK, MC_QUEUE_TOKEN_PRIORITY, MC_QUEUE_WEIGHT };

/// capacity_admit: kept[pair] = whether its expert accepts it, given the rows of a dispatch of all pairs that queue. Each
/// expert accepts `limit` pairs of each sequence. Grid: any number of blocks, at best experts · sequences; block:
/// MC_CAPACITY_THREADS; shared memory: MC_CAPACITY_SHARED.
typedef struct {
    const int32_t *offsets;   ///< [experts + 1]
    const int32_t *row_pair;  ///< [rows]
    const int32_t *row_of;    ///< [tokens, slots]: negative: did not queue, is dropped
    const float *weights;     ///< [tokens, slots]
    uint8_t *kept;            ///< [tokens, slots]
    int32_t tokens;
    int32_t slots;
    int32_t experts;   ///< identity experts included
    int32_t limited;   ///< experts that have a limit: the first ones; identity experts follow them and refuse nobody
    int32_t sequence;  ///< tokens of a sequence, a divisor of tokens; tokens: one count over the batch
    int32_t limit;     ///< 0 or more
    int32_t order;
} mc_admit_parameters;

/// capacity_choose: experts choose tokens. Each marks in `kept` the `limit` tokens that it weighs highest, ties to the lower
/// one. Grid: any number of blocks, at best experts; block and shared memory as capacity_admit.
///
/// capacity_gather then moves a token's experts to the front, in ascending order, and puts the others behind them with
/// weight 0. Grid: any number of blocks; block: MC_CAPACITY_THREADS; no shared memory.
typedef struct {
    const uint8_t *mask;  ///< [tokens], 0: nobody may choose the token; null: all are there
    float *weights;       ///< [tokens, experts]
    int32_t *chosen;      ///< [tokens, experts]; only gather writes it
    uint8_t *kept;        ///< [tokens, experts]
    int32_t tokens;
    int32_t experts;  ///< 1 to MC_MAXIMUM_EXPERTS
    int32_t limit;    ///< at most the tokens that may be chosen
} mc_choose_parameters;

/// What the weights of a token that lost experts are divided by: nothing; the sum of all its weights, or of those that were
/// kept, at least `minimum`.
enum { MC_RENORMALISE_NONE, MC_RENORMALISE_ALL, MC_RENORMALISE_KEPT };

/// capacity_weigh: applied = kept weights, divided; dropped ones 0. Grid: any number of blocks; block: MC_CAPACITY_THREADS;
/// no shared memory.
typedef struct {
    const float *weights;  ///< [tokens, slots]
    const uint8_t *kept;   ///< [tokens, slots]
    float *applied;        ///< [tokens, slots]
    int32_t tokens;
    int32_t slots;
    int32_t rule;
    float minimum;
} mc_weigh_parameters;

enum { MC_CAPACITY_THREADS = 256, MC_CAPACITY_SHARED = 4 * (256 + 2 + 8) };

#ifdef __cplusplus
}
#endif
