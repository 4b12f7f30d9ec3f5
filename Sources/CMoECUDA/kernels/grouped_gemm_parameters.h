// Parameters, tile shapes and launch of the grouped matrix products.
#pragma once

#include <stdint.h>

#include "activation_parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// For every expert e and every row r from offsets[e] to offsets[e + 1]:
///
///     product[r] = rows[row_token[r]] · weights[e]ᵀ + bias[e]
///
/// Kernels, T being bf16 or fp16, the type of rows and weights, and <shape> one of MC_GROUPED_GEMM_SHAPE:
/// - grouped_gate_up_<T>_<shape>: output[r] = f(gate) · up in T; columns = 2 · width, gate and up rows of the weights
///   and of the bias alternate as MC_GATE_GROUP says; output [rows, width];
/// - grouped_up_<T>_<shape>: output[r] = f(product[r]) in T, [rows, columns]; for experts without gates;
/// - grouped_down_<T>_<output>_<shape>: output[r] = product[r] in fp32 or in T, [rows, columns].
///
/// Sums and activations are in fp32, rounded once where the output is T. Each element of the output is one thread's sum in
/// the order of the depth, so the result depends neither on the grid nor on the schedule.
///
/// All tensors start at multiples of 16 bytes. columns and depth are multiples of 8 (columns of gate_up: of 16): pad
/// with zeros. Neither the number of rows nor their distribution is known to the host: blocks find their tiles in the
/// offsets.
///
/// Launch: mc_grouped_gemm_launch. Nothing may be read of the output before the kernel ends.
typedef struct {
    const void *rows;          ///< [any, depth]
    const int32_t *row_token;  ///< [offsets[experts]], not negative: the row of `rows` for each row; null: the row itself
    const void *weights;       ///< [experts, columns, depth]
    const float *bias;         ///< [experts, columns]; null: none
    const int32_t *offsets;    ///< [experts + 1], ascending from 0
    void *output;
    int32_t experts;  ///< 1 to MC_GROUPED_GEMM_EXPERTS
    int32_t columns;  ///< rows of an expert's weights
    int32_t depth;
    mc_activation_parameters activation;  ///< not used by grouped_down
} mc_grouped_gemm_parameters;

enum { MC_GROUPED_GEMM_EXPERTS = 512, MC_GROUPED_GEMM_DEPTH = 64, MC_GROUPED_GEMM_STAGES = 3 };

/// The tile shapes: X(name, rows, columns, warps by rows, warps by columns, blocks of a multiprocessor, row tiles that
/// are neighbours in time). A warp has 64 columns.
///
/// wide: for many rows an expert: the fewest bytes from L2 and shared memory for each product. square: half of it, two
/// blocks of a multiprocessor, so that one multiplies while the other stores. narrow, few: for few rows an expert, or
/// few tiles in all.
#define MC_GROUPED_GEMM_SHAPES(X)   \
    X(wide, 128, 256, 2, 4, 1, 16)  \
    X(square, 128, 128, 2, 2, 2, 16) \
    X(narrow, 64, 128, 2, 2, 3, 32) \
    X(few, 32, 128, 2, 2, 3, 32)

/// What the host has to know of a tile shape.
typedef struct {
    int32_t rows;
    int32_t columns;
    int32_t threads;
    int32_t shared_bytes;  ///< dynamic shared memory of a block
    int32_t blocks;        ///< of a multiprocessor, for which the registers are enough
} mc_grouped_gemm_shape;

enum {
#define MC_SHAPE(NAME, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, BLOCKS, TOGETHER) MC_GROUPED_GEMM_##NAME,
    MC_GROUPED_GEMM_SHAPES(MC_SHAPE)
#undef MC_SHAPE
        MC_GROUPED_GEMM_SHAPE_COUNT
};

/// Bytes of the tile map: row tiles before each expert, and the offsets.
enum { MC_GROUPED_GEMM_MAP_BYTES = 2 * 4 * (MC_GROUPED_GEMM_EXPERTS + 1) + 8 };

/// shape: MC_GROUPED_GEMM_<name>
static inline mc_grouped_gemm_shape mc_grouped_gemm_shape_of(int32_t shape) {
#define MC_SHAPE(NAME, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, BLOCKS, TOGETHER)                                       \
    {ROWS, COLUMNS, 32 * WARP_ROWS * WARP_COLUMNS,                                                                     \
     MC_GROUPED_GEMM_STAGES *(ROWS + COLUMNS) * MC_GROUPED_GEMM_DEPTH * 2 + MC_GROUPED_GEMM_MAP_BYTES, BLOCKS},
    const mc_grouped_gemm_shape shapes[] = {MC_GROUPED_GEMM_SHAPES(MC_SHAPE)};
#undef MC_SHAPE
    return shapes[shape];
}

/// A launch: the kernel's shape, and a grid of so many blocks.
typedef struct {
    int32_t shape;
    int32_t blocks;
} mc_grouped_gemm_launch;

/// The launch in `shape`, or with 0 blocks if a multiprocessor has too little shared memory for it.
///
/// rows: of all experts together, at most. shared_bytes_of_multiprocessor: cudaDevAttrMaxSharedMemoryPerMultiprocessor,
/// of which each block takes 1024 bytes for the system.
static inline mc_grouped_gemm_launch mc_grouped_gemm_launch_of(int32_t shape, int64_t rows, int32_t experts, int32_t columns,
                                                               int32_t multiprocessors,
                                                               int32_t shared_bytes_of_multiprocessor) {
    const mc_grouped_gemm_shape s = mc_grouped_gemm_shape_of(shape);
    const int32_t fit = shared_bytes_of_multiprocessor / (s.shared_bytes + 1024);
    const int64_t slots = (int64_t)(fit < s.blocks ? fit : s.blocks) * multiprocessors;
    const int64_t parts = rows < experts ? rows : experts;  // that have rows
    const int64_t tiles = (rows / s.rows + parts) * ((columns + s.columns - 1) / s.columns);
    mc_grouped_gemm_launch launch;
    launch.shape = shape;
    launch.blocks = (int32_t)(tiles < slots ? (tiles > 0 || slots == 0 ? tiles : 1) : slots);
    return launch;
}

/// The launch that should take least time: that of the fewest multiplications one after another, with tiles of padding
/// and multiprocessors without work counted, and each shape at its part of the wide shape's rate.
static inline mc_grouped_gemm_launch mc_grouped_gemm_choose(int64_t rows, int32_t experts, int32_t columns,
                                                            int32_t multiprocessors, int32_t shared_bytes_of_multiprocessor) {
    const double rates[MC_GROUPED_GEMM_SHAPE_COUNT] = {1.0, 0.95, 0.7, 0.4};
    mc_grouped_gemm_launch best = {MC_GROUPED_GEMM_few, 0};
    double least = 0;
    for (int32_t shape = 0; shape < MC_GROUPED_GEMM_SHAPE_COUNT; shape++) {
        const mc_grouped_gemm_shape s = mc_grouped_gemm_shape_of(shape);
        const mc_grouped_gemm_launch launch = mc_grouped_gemm_launch_of(shape, rows, experts, columns, multiprocessors,
                                                                        shared_bytes_of_multiprocessor);
        const int64_t fit = shared_bytes_of_multiprocessor / (s.shared_bytes + 1024);
        const int64_t together = fit < s.blocks ? fit : s.blocks;
        // Four warps alone do not keep a multiprocessor busy.
        if (together * s.threads < 256) continue;
        // An expert's last tile is half full on average, but every expert with rows has one.
        const int64_t parts = rows < experts ? rows : experts;
        const int64_t full = rows / s.rows + parts / 2;
        const int64_t tiles = (full > parts ? full : parts) * ((columns + s.columns - 1) / s.columns);
        const int64_t slots = together * multiprocessors;
        const int64_t rounds = (tiles + slots - 1) / slots;
        const double time = (double)rounds * (double)together * s.rows * s.columns / rates[shape];
        if (best.blocks == 0 || time < least) {
            best = launch;
            least = time;
        }
    }
    return best;
}

#ifdef __cplusplus
}
#endif
