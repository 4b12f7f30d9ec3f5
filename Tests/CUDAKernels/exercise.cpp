#include "CUDAKernelHost.h"
#include "entry.h"
#include "instructions.h"

// Every copy of the kernels has a namespace of its own. None is global: a call with an argument of a global type would
// find the global copy's functions as well.
namespace right {
#include "exercise.cuh"
}

// Planted mistakes: the same text, with one of its wrappers bent.

namespace missing_wait {
template <unsigned left>
inline void waits_for_nothing() {}
#define copy_async_wait waits_for_nothing
#include "exercise.cuh"
#undef copy_async_wait
}  // namespace missing_wait

namespace missing_barrier {
#define __syncthreads()
#include "exercise.cuh"
#undef __syncthreads
}  // namespace missing_barrier

namespace wrong_matrix_row {
#define load_matrices(registers, row) load_matrices(registers, (row) ^ 32)
#include "exercise.cuh"
#undef load_matrices
}  // namespace wrong_matrix_row

namespace no_zero_fill {
#define copy_async_16(destination, source, bytes) copy_async_16(destination, source, 16)
#include "exercise.cuh"
#undef copy_async_16
}  // namespace no_zero_fill

namespace misaligned {
#define store_shared(offset, value) store_shared((offset) + 2, value)
#include "exercise.cuh"
#undef store_shared
}  // namespace misaligned

namespace missing_lane {
#define warp_shuffle_xor(value, mask) (lane == 31 ? 0 : warp_shuffle_xor(value, mask))
#include "exercise.cuh"
#undef warp_shuffle_xor
}  // namespace missing_lane

namespace missing_thread {
#define __syncthreads()                 \
    while (threadIdx.x != 0) {          \
        simt::block_barrier(simt::Site::here()); \
        break;                          \
    }
#include "exercise.cuh"
#undef __syncthreads
}  // namespace missing_thread

namespace missing_warp_barrier {
#define __syncwarp()
#include "exercise.cuh"
#undef __syncwarp
}  // namespace missing_warp_barrier

namespace {

// Each copy of the kernels has its own parameter type, so kernels are called through one shape.
template <class Parameters, void kernel(Parameters)>
void product(const uint16_t *a, const uint16_t *b, float *c, int32_t depth) {
    kernel(Parameters{a, b, c, depth});
}
using Product = void(const uint16_t *, const uint16_t *, float *, int32_t);
#define PRODUCT(PLACE, NAME) product<PLACE::exercise_product_parameters, PLACE::exercise_product_##NAME>

const Named<Product> products[] = {
    {"exercise_product_bf16", PRODUCT(right, bf16)},
    {"exercise_product_fp16", PRODUCT(right, fp16)},
    {"exercise_product_bf16+missing_wait", PRODUCT(missing_wait, bf16)},
    {"exercise_product_bf16+missing_barrier", PRODUCT(missing_barrier, bf16)},
    {"exercise_product_bf16+wrong_matrix_row", PRODUCT(wrong_matrix_row, bf16)},
    {"exercise_product_bf16+no_zero_fill", PRODUCT(no_zero_fill, bf16)},
};

using Warp = void(const uint32_t *, uint32_t *);
const Named<Warp> warps[] = {
    {"exercise_warp", right::exercise_warp},
    {"exercise_warp+missing_barrier", missing_barrier::exercise_warp},
    {"exercise_warp+misaligned", misaligned::exercise_warp},
    {"exercise_warp+missing_lane", missing_lane::exercise_warp},
    {"exercise_warp+missing_thread", missing_thread::exercise_warp},
};

using Wide = void(const float *, float *);
const Named<Wide> wides[] = {
    {"exercise_wide", right::exercise_wide},
    {"exercise_wide+missing_warp_barrier", missing_warp_barrier::exercise_wide},
};

static_assert(int(CK_WARP_THREADS) == right::exercise_warp_threads && int(CK_WARP_RESULTS) == right::exercise_warp_results &&
              int(CK_WARP_BINS) == right::exercise_bins);

}  // namespace

int ck_exercise_product(const char *name, const uint16_t *a, const uint16_t *b, float *c, int32_t depth, size_t shared_bytes,
                        uint64_t seed, char *why, size_t capacity) {
    Product *kernel = find(products, name);
    if (!kernel) return unknown(name, why, capacity);
    const size_t count = 16 * size_t(depth);
    const simt::Launch launch{
        .grid = {},
        .block = {right::exercise_product_threads},
        .shared_bytes = shared_bytes ? shared_bytes : right::exercise_product_shared,
        .seed = seed,
        .buffers = {simt::Buffer::input("a", a, count), simt::Buffer::input("b", b, count), simt::Buffer::output("c", c, 256)},
    };
    return report(simt::run(launch, [&] { kernel(a, b, c, depth); }), why, capacity);
}

int ck_exercise_warp(const char *name, const uint32_t *in, uint32_t *out, uint64_t seed, char *why, size_t capacity) {
    Warp *kernel = find(warps, name);
    if (!kernel) return unknown(name, why, capacity);
    const simt::Launch launch{
        .grid = {},
        .block = {right::exercise_warp_threads},
        .shared_bytes = right::exercise_warp_shared,
        .seed = seed,
        .buffers = {simt::Buffer::input("in", in, right::exercise_warp_threads),
                    simt::Buffer::output("out", out, size_t(right::exercise_warp_results) * right::exercise_warp_threads)},
    };
    return report(simt::run(launch, [&] { kernel(in, out); }), why, capacity);
}

int ck_exercise_wide(const char *name, const float *in, float *out, uint64_t seed, char *why, size_t capacity) {
    Wide *kernel = find(wides, name);
    if (!kernel) return unknown(name, why, capacity);
    const simt::Launch launch{
        .grid = {},
        .block = {right::exercise_wide_threads},
        .shared_bytes = right::exercise_wide_shared,
        .seed = seed,
        .buffers = {simt::Buffer::input("in", in, 128), simt::Buffer::output("out", out, 128)},
    };
    return report(simt::run(launch, [&] { kernel(in, out); }), why, capacity);
}

uint16_t ck_from_float(const char *type, float value) {
    return strcmp(type, "fp16") ? from_float<bf16>(value).bits : from_float<fp16>(value).bits;
}

float ck_to_float(const char *type, uint16_t bits) {
    return strcmp(type, "fp16") ? to_float(bf16{bits}) : to_float(fp16{bits});
}
