// Parameters, tile shapes and launch of the grouped matrix products.
#pragma once

#include <stdint.h>

#include "projection_parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// The grouped kernels compute a projection (mc_projection_parameters) on tensor cores. T is bf16 or fp16, the type of
/// input and weights, and <shape> the name of a tile shape below:
/// - grouped_gate_up_<T>_<shape>: for experts with gates (activation.gated = 1); output [rows, height / 2] in T;
/// - grouped_up_<T>_<shape>: for experts without (activation.gated = 0); output [rows, height] in T;
/// - grouped_down_<T>_<output>_<shape>: no activation; output [rows, height] in fp32 or in T.
///
/// Sums, scale, bias and activation are in fp32, rounded once where the output is T. An element of the output is one sum in
/// the order of the depth, so that the result depends neither on the grid nor on the schedule.
///
/// Launch: mc_grouped_gemm_choose, or mc_grouped_gemm_launch_of for a shape of one's own choice. The host needs to know
/// neither the number of rows nor their distribution: blocks find their tiles in the offsets.

/// Steps of the depth, and how many of them are in shared memory.
enum { MC_GROUPED_GEMM_DEPTH = 64, MC_GROUPED_GEMM_STAGES = 3 };

/// The tile shapes: X(name, NAME, rows, columns, warps by rows, warps by columns, blocks of a multiprocessor, row tiles that
/// are neighbours in time). A warp has 64 columns.
///
/// wide: for many rows an expert: the fewest bytes from L2 and shared memory for each product. square: half of it, two
/// blocks of a multiprocessor, so that one multiplies while the other stores. narrow, few: for few rows an expert, or
/// few tiles in all.
#define MC_GROUPED_GEMM_SHAPES(X)            \
    X(wide, WIDE, 128, 256, 2, 4, 1, 16)     \
    X(square, SQUARE, 128, 128, 2, 2, 2, 16) \
    X(narrow, NARROW, 64, 128, 2, 2, 3, 32)  \
    X(few, FEW, 32, 128, 2, 2, 3, 32)

/// Dynamic shared memory of a block: the stages, and the list of work.
#define MC_GROUPED_GEMM_SHARED(ROWS, COLUMNS, THREADS, EXPERTS)                                                                \
    (MC_GROUPED_GEMM_STAGES * ((ROWS) + (COLUMNS)) * MC_GROUPED_GEMM_DEPTH * 2 + MC_WORK_LIST_BYTES(THREADS, EXPERTS))

/// The most of it that a shape takes.
enum { MC_GROUPED_GEMM_MOST_SHARED = 151600 };

enum {
#define MC_SHAPE(NAME, CONSTANT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, BLOCKS, TOGETHER) MC_GROUPED_GEMM_##CONSTANT,
    MC_GROUPED_GEMM_SHAPES(MC_SHAPE)
#undef MC_SHAPE
        MC_GROUPED_GEMM_SHAPE_COUNT
};

/// A tile shape, as the host sees it.
typedef struct {
    int32_t rows;
    int32_t columns;
    int32_t threads;
    int32_t blocks;  ///< of a multiprocessor, for which the registers are enough
} mc_grouped_gemm_shape;

/// shape: MC_GROUPED_GEMM_<NAME>
static inline mc_grouped_gemm_shape mc_grouped_gemm_shape_of(int32_t shape) {
#define MC_SHAPE(NAME, CONSTANT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, BLOCKS, TOGETHER)                                     \
    {ROWS, COLUMNS, 32 * (WARP_ROWS) * (WARP_COLUMNS), BLOCKS},
    const mc_grouped_gemm_shape shapes[] = {MC_GROUPED_GEMM_SHAPES(MC_SHAPE)};
#undef MC_SHAPE
    return shapes[shape];
}

/// How to launch a kernel of a shape. The kernel's attribute cudaFuncAttributeMaxDynamicSharedMemorySize has to allow
/// shared_bytes (at most MC_GROUPED_GEMM_MOST_SHARED).
typedef struct {
    int32_t shape;         ///< MC_GROUPED_GEMM_<NAME>
    int32_t blocks;        ///< the grid
    int32_t threads;       ///< of a block
    int32_t shared_bytes;  ///< dynamic shared memory of a block: MC_GROUPED_GEMM_SHARED
} mc_grouped_gemm_launch;

/// Blocks that a multiprocessor with so much shared memory holds at once; each takes 1024 bytes for the system.
static inline int32_t mc_grouped_gemm_resident(mc_grouped_gemm_launch launch, int32_t shared_bytes_of_multiprocessor) {
    const int32_t fit = shared_bytes_of_multiprocessor / (launch.shared_bytes + 1024);
    const int32_t most = mc_grouped_gemm_shape_of(launch.shape).blocks;
    return fit < most ? fit : most;
}

/// The launch in `shape`; with 0 blocks if a multiprocessor has too little shared memory for it.
///
/// rows: of all experts together, at most. shared_bytes_of_multiprocessor:
/// cudaDevAttrMaxSharedMemoryPerMultiprocessor.
static inline mc_grouped_gemm_launch mc_grouped_gemm_launch_of(int32_t shape, int64_t rows, int32_t experts, int32_t height,
                                                               int32_t multiprocessors,
                                                               int32_t shared_bytes_of_multiprocessor) {
    const mc_grouped_gemm_shape s = mc_grouped_gemm_shape_of(shape);
    mc_grouped_gemm_launch launch;
    launch.shape = shape;
    launch.threads = s.threads;
    launch.shared_bytes = MC_GROUPED_GEMM_SHARED(s.rows, s.columns, s.threads, experts);
    const int64_t slots =
        (int64_t)mc_grouped_gemm_resident(launch, shared_bytes_of_multiprocessor) * multiprocessors;
    // Every expert with rows may have a tile that is not full.
    const int64_t parts = rows < experts ? rows : experts;
    const int64_t most = (rows / s.rows + parts) * ((height + s.columns - 1) / s.columns);
    const int64_t tiles = most > 0 ? most : 1;
    launch.blocks = (int32_t)(tiles < slots ? tiles : slots);
    return launch;
}

/// The launch that should take least time: the one with the fewest multiplications on the multiprocessor that has most of
/// them, padding of tiles counted, each shape at its part of the wide shape's rate. `rows` is taken as spread evenly over the
/// experts. The rates are estimates from the bytes that a shape moves for each product. With 0 blocks if no shape fits.
static inline mc_grouped_gemm_launch mc_grouped_gemm_choose(int64_t rows, int32_t experts, int32_t height,
                                                            int32_t multiprocessors, int32_t shared_bytes_of_multiprocessor) {
    const double rates[MC_GROUPED_GEMM_SHAPE_COUNT] = {1.0, 0.9, 0.7, 0.4};
    mc_grouped_gemm_launch best = {MC_GROUPED_GEMM_FEW, 0, 0, 0};
    double least = 0;
    int32_t best_is_busy = 0;
    for (int32_t shape = 0; shape < MC_GROUPED_GEMM_SHAPE_COUNT; shape++) {
        const mc_grouped_gemm_shape s = mc_grouped_gemm_shape_of(shape);
        const mc_grouped_gemm_launch launch = mc_grouped_gemm_launch_of(shape, rows, experts, height, multiprocessors,
                                                                        shared_bytes_of_multiprocessor);
        if (launch.blocks == 0) continue;
        // Four warps alone do not keep a multiprocessor busy. Where shared memory has no room for more in any shape (100 KiB of
        // sm_86, sm_89 and sm_120), they have to do.
        const int32_t is_busy = mc_grouped_gemm_resident(launch, shared_bytes_of_multiprocessor) * s.threads >= 256;
        if (is_busy < best_is_busy) continue;
        const int64_t parts = rows < experts ? rows : experts;
        const int64_t expected = rows / s.rows + parts / 2;  // an expert's last tile is half full on average
        const int64_t tiles = (expected > parts ? expected : parts) * ((height + s.columns - 1) / s.columns);
        const int64_t rounds = (tiles + multiprocessors - 1) / multiprocessors;
        const double time = (double)rounds * s.rows * s.columns / rates[shape];
        if (best.blocks == 0 || is_busy > best_is_busy || time < least) {
            best = launch;
            best_is_busy = is_busy;
            least = time;
        }
    }
    return best;
}

#ifdef __cplusplus
}
#endif
