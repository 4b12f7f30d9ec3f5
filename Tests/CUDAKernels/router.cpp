#include "CUDAKernelHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

namespace right {
#include "router_parts.h"
#include "router_logits.cuh"
#include "router_select.cuh"
}

// Planted mistakes: the same text, with one of its wrappers bent.

namespace missing_wait {
template <unsigned left>
inline void waits_for_nothing() {}
#define copy_async_wait waits_for_nothing
#include "router_parts.h"
#include "router_logits.cuh"
#undef copy_async_wait
}  // namespace missing_wait

namespace missing_barrier {
#define __syncthreads()
#include "router_parts.h"
#include "router_logits.cuh"
#include "router_select.cuh"
#undef __syncthreads
}  // namespace missing_barrier

namespace wrong_swizzle {
// Odd rows read the neighbouring 16 bytes. (All rows of both operands would only change the order of the sum.)
#define load_matrices(registers, row) load_matrices(registers, (row) ^ ((row) >> 3 & 16))
#include "router_parts.h"
#include "router_logits.cuh"
#undef load_matrices
}  // namespace wrong_swizzle

namespace next_row {
#define load_matrices(registers, row) load_matrices(registers, (row) + 128)
#include "router_parts.h"
#include "router_logits.cuh"
#undef load_matrices
}  // namespace next_row

namespace no_zero_fill {
#define copy_async_16(destination, source, bytes) copy_async_16(destination, source, ((void)(bytes), 16))
#include "router_parts.h"
#include "router_logits.cuh"
#undef copy_async_16
}  // namespace no_zero_fill

namespace bf16_parts {
// Operands in parts of 8 bits instead of 11.
#define round_tf32(value) (uint32_t(from_float<bf16>(value).bits) << 16)
#include "router_parts.h"
#include "router_logits.cuh"
#undef round_tf32
}  // namespace bf16_parts

namespace drops_a_part {
#include "router_parts.h"
template <int at_once>
inline float sum_of_fewer(float start, const float *parts, size_t stride, int count) {
    return split_sum<at_once>(start, parts, stride, count - 1);
}
#define split_sum sum_of_fewer
#include "router_logits.cuh"
#undef split_sum
}  // namespace drops_a_part

namespace drops_a_lane {
#define warp_shuffle_xor(value, mask) ((mask) == 4 ? (value) : warp_shuffle_xor(value, mask))
#define warp_shuffle_xor_fp64(value, mask) ((mask) == 4 ? (value) : warp_shuffle_xor_fp64(value, mask))
#include "router_parts.h"
#include "router_logits.cuh"
#include "router_select.cuh"
#undef warp_shuffle_xor
#undef warp_shuffle_xor_fp64
}  // namespace drops_a_lane

namespace {

using Logits = void(mc_logits_parameters);
struct LogitsKernel {
    const char *name;
    Logits *kernel;
    int rows, columns;
    size_t element;
};
const LogitsKernel logits_kernels[] = {
    {"router_logits_bf16_16x64", right::router_logits_bf16_16x64, 16, 64, 2},
    {"router_logits_fp16_16x64", right::router_logits_fp16_16x64, 16, 64, 2},
    {"router_logits_fp32_16x64", right::router_logits_fp32_16x64, 16, 64, 4},
    {"router_logits_bf16_64x64", right::router_logits_bf16_64x64, 64, 64, 2},
    {"router_logits_fp16_64x64", right::router_logits_fp16_64x64, 64, 64, 2},
    {"router_logits_fp32_64x64", right::router_logits_fp32_64x64, 64, 64, 4},
    {"router_logits_bf16_128x128", right::router_logits_bf16_128x128, 128, 128, 2},
    {"router_logits_fp16_128x128", right::router_logits_fp16_128x128, 128, 128, 2},
    {"router_logits_bf16_64x64+missing_wait", missing_wait::router_logits_bf16_64x64, 64, 64, 2},
    {"router_logits_bf16_64x64+missing_barrier", missing_barrier::router_logits_bf16_64x64, 64, 64, 2},
    {"router_logits_bf16_64x64+wrong_swizzle", wrong_swizzle::router_logits_bf16_64x64, 64, 64, 2},
    {"router_logits_bf16_64x64+next_row", next_row::router_logits_bf16_64x64, 64, 64, 2},
    {"router_logits_bf16_64x64+no_zero_fill", no_zero_fill::router_logits_bf16_64x64, 64, 64, 2},
    {"router_logits_fp32_16x64+bf16_parts", bf16_parts::router_logits_fp32_16x64, 16, 64, 4},
};

const Named<void(mc_join_parameters)> joins[] = {
    {"router_join", right::router_join},
    {"router_join+drops_a_part", drops_a_part::router_join},
};

const Named<void(mc_normalise_parameters)> normalisations[] = {
    {"router_normalise_fp32", right::router_normalise_fp32},
    {"router_normalise_bf16", right::router_normalise_bf16},
    {"router_normalise_fp16", right::router_normalise_fp16},
    {"router_normalise_bf16+drops_a_lane", drops_a_lane::router_normalise_bf16},
};

const Named<void(mc_select_parameters)> selections[] = {
    {"router_select_8", right::router_select_8},
    {"router_select_16", right::router_select_16},
    {"router_select_32", right::router_select_32},
    {"router_select_64", right::router_select_64},
    {"router_select_128", right::router_select_128},
    {"router_select_256", right::router_select_256},
    {"router_select_512", right::router_select_512},
    {"router_select_64+missing_barrier", missing_barrier::router_select_64},
    {"router_select_16+drops_a_lane", drops_a_lane::router_select_16},
    {"router_select_64+drops_a_lane", drops_a_lane::router_select_64},
};

}  // namespace

int ck_router_logits(const char *name, const mc_logits_parameters *parameters, unsigned splits, uint64_t seed, char *why,
                     size_t capacity) {
    for (const LogitsKernel &entry : logits_kernels) {
        if (strcmp(entry.name, name)) continue;
        const mc_logits_parameters &p = *parameters;
        simt::Launch launch{
            .grid = {unsigned(mc_logits_tiles(p.tokens, p.columns, entry.rows, entry.columns)), splits},
            .block = {MC_LOGITS_THREADS},
            .shared_bytes = size_t(mc_logits_shared(entry.rows, entry.columns)),
            .seed = seed,
            .buffers = {}};
        launch.buffers = {
            {"x", p.x, size_t(p.tokens) * p.depth * entry.element, false},
            {"weights", p.weights, size_t(p.columns) * p.depth * entry.element, false},
            simt::Buffer::output("output", p.output, size_t(splits) * p.tokens * p.columns),
        };
        if (p.bias) launch.buffers.push_back(simt::Buffer::input("bias", p.bias, size_t(p.columns)));
        return report(simt::run(launch, [&] { entry.kernel(p); }), why, capacity);
    }
    return unknown(name, why, capacity);
}

int ck_router_join(const char *name, const mc_join_parameters *parameters, unsigned blocks, uint64_t seed, char *why,
                   size_t capacity) {
    auto *kernel = find(joins, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_join_parameters &p = *parameters;
    const size_t count = size_t(p.tokens) * p.columns;
    simt::Launch launch{.grid = {blocks}, .block = {MC_JOIN_THREADS}, .shared_bytes = 0, .seed = seed, .buffers = {}};
    launch.buffers = {simt::Buffer::input("partial", p.partial, count * p.splits),
                      simt::Buffer::output("logits", p.logits, count)};
    if (p.bias) launch.buffers.push_back(simt::Buffer::input("bias", p.bias, size_t(p.columns)));
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}

int ck_router_normalise(const char *name, const mc_normalise_parameters *parameters, unsigned blocks, uint64_t seed, char *why,
                        size_t capacity) {
    auto *kernel = find(normalisations, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_normalise_parameters &p = *parameters;
    const size_t count = size_t(p.tokens) * p.width;
    const simt::Launch launch{
        .grid = {blocks},
        .block = {MC_NORMALISE_THREADS},
        .shared_bytes = 0,
        .seed = seed,
        .buffers = {{"x", p.x, count * (strstr(name, "fp32") ? 4 : 2), false},
                    simt::Buffer::input("factors", p.factors, size_t(p.width)),
                    simt::Buffer::output("rows", p.rows, count)},
    };
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}

int ck_router_select(const char *name, const mc_select_parameters *parameters, uint64_t seed, char *why, size_t capacity) {
    auto *kernel = find(selections, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_select_parameters &p = *parameters;
    const unsigned blocks = unsigned((p.tokens + p.chunk - 1) / p.chunk);
    const size_t pairs = size_t(p.tokens) * p.slots, experts = size_t(p.experts);
    simt::Launch launch{.grid = {blocks},
                        .block = {MC_SELECT_THREADS},
                        .shared_bytes = p.block_counts ? 4 * experts : 0,
                        .seed = seed,
                        .buffers = {}};
    launch.buffers = {
        simt::Buffer::input("logits", p.logits, size_t(p.tokens) * p.stride),
        simt::Buffer::output("chosen", p.chosen, pairs),
        simt::Buffer::output("weights", p.weights, pairs),
    };
    if (p.selection_bias) launch.buffers.push_back(simt::Buffer::input("selection_bias", p.selection_bias, experts));
    if (p.expert_scale) launch.buffers.push_back(simt::Buffer::input("expert_scale", p.expert_scale, experts));
    if (p.table) launch.buffers.push_back(simt::Buffer::input("table", p.table, size_t(p.vocabulary) * p.slots));
    if (p.token_ids) launch.buffers.push_back(simt::Buffer::input("token_ids", p.token_ids, size_t(p.tokens)));
    if (p.block_counts) launch.buffers.push_back(simt::Buffer::output("block_counts", p.block_counts, blocks * experts));
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
