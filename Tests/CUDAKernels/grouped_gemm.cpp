#include "CUDAKernelHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

// Every copy of the kernels has a namespace of its own. None is global: a call with an argument of a global type would
// find the global copy's functions as well.
namespace right {
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
}

// Planted mistakes: the same text, with one of its wrappers bent. One shape is enough for them.
#undef MC_GROUPED_GEMM_SHAPES
#define MC_GROUPED_GEMM_SHAPES(X) X(few, 32, 128, 2, 2, 3, 32)

namespace missing_wait {
template <unsigned left>
inline void waits_for_nothing() {}
#define copy_async_wait waits_for_nothing
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef copy_async_wait
}  // namespace missing_wait

namespace waits_for_too_little {
template <unsigned left>
inline void wait_for_less() {
    copy_async_wait<left + 1>();
}
#define copy_async_wait wait_for_less
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef copy_async_wait
}  // namespace waits_for_too_little

// Leaves out the barriers behind waits for copies, and keeps those of the tile map.
namespace missing_barrier {
thread_local bool has_waited[1024];
template <unsigned left>
inline void wait_and_note() {
    copy_async_wait<left>();
    has_waited[threadIdx.x] = true;
}
inline void barrier_unless_noted(simt::Site site) {
    if (!has_waited[threadIdx.x]) simt::block_barrier(site);
    has_waited[threadIdx.x] = false;
}
#define copy_async_wait wait_and_note
#define __syncthreads() barrier_unless_noted(simt::Site::here())
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef copy_async_wait
#undef __syncthreads
}  // namespace missing_barrier

namespace wrong_swizzle {
#define load_matrices(registers, row) load_matrices(registers, (row) ^ ((row) >> 3 & 16))
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef load_matrices
}  // namespace wrong_swizzle

namespace no_zero_fill {
#define copy_async_16(destination, source, bytes) copy_async_16(destination, source, ((void)(bytes), 16))
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef copy_async_16
}  // namespace no_zero_fill

namespace drops_weights {
#define copy_async_16(destination, source, bytes) copy_async_16(destination, source, (bytes) / 2)
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef copy_async_16
}  // namespace drops_weights

// Reads the next expert's entry of the tile map.
namespace expert_off_by_one {
template <class T>
T load_next(SharedOffset offset, SITE_PARAMETER) {
    return load_shared<T>(offset + 8, site);
}
#define load_shared load_next
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef load_shared
}  // namespace expert_off_by_one

namespace stride_off_by_one {
inline simt::Size3 one_more(simt::Size3 size) { return {size.x + 1, size.y, size.z}; }
#undef gridDim
#define gridDim one_more(simt::position().grid_size)
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef gridDim
#define gridDim (simt::position().grid_size)
}  // namespace stride_off_by_one

namespace wrong_lane {
#define warp_shuffle_xor(value, mask) warp_shuffle_xor(value, 3 - (mask))
#include "exponential.cuh"
#include "activation.cuh"
#include "grouped_gemm.cuh"
#undef warp_shuffle_xor
}  // namespace wrong_lane

namespace {

using Kernel = void(mc_projection_parameters);

const Named<Kernel> kernels[] = {
#define SHAPE(NAME)                                                                                                            \
    {"grouped_gate_up_bf16_" #NAME, right::grouped_gate_up_bf16_##NAME},                                                       \
        {"grouped_gate_up_fp16_" #NAME, right::grouped_gate_up_fp16_##NAME},                                                   \
        {"grouped_up_bf16_" #NAME, right::grouped_up_bf16_##NAME},                                                             \
        {"grouped_up_fp16_" #NAME, right::grouped_up_fp16_##NAME},                                                             \
        {"grouped_down_bf16_bf16_" #NAME, right::grouped_down_bf16_bf16_##NAME},                                               \
        {"grouped_down_bf16_fp32_" #NAME, right::grouped_down_bf16_fp32_##NAME},                                               \
        {"grouped_down_fp16_fp16_" #NAME, right::grouped_down_fp16_fp16_##NAME},                                               \
        {"grouped_down_fp16_fp32_" #NAME, right::grouped_down_fp16_fp32_##NAME},
    SHAPE(wide) SHAPE(square) SHAPE(narrow) SHAPE(few)
#undef SHAPE
#define MISTAKE(NAME)                                                                                                          \
    {"grouped_gate_up_bf16_few+" #NAME, NAME::grouped_gate_up_bf16_few},                                                       \
        {"grouped_down_bf16_fp32_few+" #NAME, NAME::grouped_down_bf16_fp32_few},
        MISTAKE(missing_wait) MISTAKE(waits_for_too_little) MISTAKE(missing_barrier) MISTAKE(wrong_swizzle)
            MISTAKE(no_zero_fill) MISTAKE(drops_weights) MISTAKE(expert_off_by_one) MISTAKE(stride_off_by_one)
                MISTAKE(wrong_lane)
#undef MISTAKE
};

/// The shape that a kernel's name ends in, before a mistake.
int32_t shape_of(const char *name) {
    const char *end = strchr(name, '+');
    const std::string kernel(name, end ? size_t(end - name) : strlen(name));
    const std::string shape = kernel.substr(kernel.rfind('_') + 1);
    if (shape == "wide") return MC_GROUPED_GEMM_wide;
    if (shape == "square") return MC_GROUPED_GEMM_square;
    if (shape == "narrow") return MC_GROUPED_GEMM_narrow;
    return MC_GROUPED_GEMM_few;
}

}  // namespace

int ck_grouped_gemm(const char *name, const mc_projection_parameters *parameters, size_t input_rows, unsigned blocks,
                    uint64_t seed, char *why, size_t capacity) {
    Kernel *kernel = find(kernels, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_projection_parameters &p = *parameters;
    const size_t products = size_t(p.offsets[p.experts]), experts = size_t(p.experts), height = size_t(p.height);
    const mc_grouped_gemm_launch shape =
        mc_grouped_gemm_launch_of(shape_of(name), int64_t(products), p.experts, p.height, 1, 0);
    const size_t width = strstr(name, "gate_up") ? height / 2 : height;
    simt::Launch launch{
        .grid = {blocks},
        .block = {unsigned(shape.threads)},
        .shared_bytes = size_t(shape.shared_bytes),
        .seed = seed,
        .buffers = {{"input", p.input, input_rows * size_t(p.depth) * 2, false},
                    {"weights", p.weights, experts * height * size_t(p.depth) * 2, false},
                    simt::Buffer::input("offsets", p.offsets, experts + 1),
                    {"output", p.output, products * width * (strstr(name, "_fp32_") ? 4 : 2), true}},
    };
    if (p.row_token) launch.buffers.push_back(simt::Buffer::input("row_token", p.row_token, products));
    if (p.bias) launch.buffers.push_back(simt::Buffer::input("bias", p.bias, experts * height));
    if (p.row_scale) launch.buffers.push_back(simt::Buffer::input("row_scale", p.row_scale, products));
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
