#include "CUDAKernelHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"
#include "projection_launch.h"

// Every copy of the kernels has a namespace of its own. None is global: a call with an argument of a global type would
// find the global copy's functions as well.
namespace right {
#include "projection_parts.h"
#include "grouped_kernels.h"
}  // namespace right

// One shape is enough for mistakes.
#undef MC_GROUPED_GEMM_SHAPES
#define MC_GROUPED_GEMM_SHAPES(X) X(few, FEW, 32, 128, 2, 2, 3, 32)
#define PROJECTION_KERNELS "grouped_kernels.h"
#include "projection_mistakes.h"

// Mistakes of these kernels.

namespace missing_wait {
template <unsigned left>
inline void waits_for_nothing() {}
#define copy_async_wait waits_for_nothing
#include "projection_parts.h"
#include "grouped_kernels.h"
#undef copy_async_wait
}  // namespace missing_wait

namespace wrong_swizzle {
#define load_matrices(registers, row) load_matrices(registers, (row) ^ ((row) >> 3 & 16))
#include "projection_parts.h"
#include "grouped_kernels.h"
#undef load_matrices
}  // namespace wrong_swizzle

namespace drops_weights {
#define copy_async_16(destination, source, bytes) copy_async_16(destination, source, (bytes) / 2)
#include "projection_parts.h"
#include "grouped_kernels.h"
#undef copy_async_16
}  // namespace drops_weights

namespace expert_off_by_one {
#include "projection_parts.h"
template <int threads>
struct NextExpert : WorkList<threads> {
    WorkItem item(int index) const {
        WorkItem item = WorkList<threads>::item(index);
        item.expert++;
        return item;
    }
};
#define WorkList NextExpert
#include "grouped_kernels.h"
#undef WorkList
}  // namespace expert_off_by_one

namespace stride_off_by_one {
inline simt::Size3 one_more(simt::Size3 size) { return {size.x + 1, size.y, size.z}; }
#undef gridDim
#define gridDim one_more(simt::position().grid_size)
#include "projection_parts.h"
#include "grouped_kernels.h"
#undef gridDim
#define gridDim (simt::position().grid_size)
}  // namespace stride_off_by_one

namespace wrong_lane {
#define warp_shuffle_xor(value, mask) warp_shuffle_xor(value, 3 - (mask))
#include "projection_parts.h"
#include "grouped_kernels.h"
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
        MISTAKE(missing_wait) MISTAKE(short_wait) MISTAKE(missing_barrier) MISTAKE(wrong_swizzle)
            MISTAKE(no_zero_fill) MISTAKE(drops_weights) MISTAKE(expert_off_by_one) MISTAKE(stride_off_by_one)
                MISTAKE(wrong_lane)
#undef MISTAKE
};

/// The shape that a kernel's name ends in, before a mistake.
int32_t shape_of(const char *name) {
    const char *end = strchr(name, '+');
    const std::string kernel(name, end ? size_t(end - name) : strlen(name));
    const std::string shape = kernel.substr(kernel.rfind('_') + 1);
    if (shape == "wide") return MC_GROUPED_GEMM_WIDE;
    if (shape == "square") return MC_GROUPED_GEMM_SQUARE;
    if (shape == "narrow") return MC_GROUPED_GEMM_NARROW;
    return MC_GROUPED_GEMM_FEW;
}

}  // namespace

int ck_grouped_gemm(const char *name, const mc_projection_parameters *parameters, size_t input_rows, unsigned blocks,
                    uint64_t seed, char *why, size_t capacity) {
    Kernel *kernel = find(kernels, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_projection_parameters &p = *parameters;
    const mc_grouped_gemm_launch shape =
        mc_grouped_gemm_launch_of(shape_of(name), int64_t(rows_of(p)), p.experts, p.height, 1, 0);
    simt::Launch launch{.grid = {blocks},
                        .block = {unsigned(shape.threads)},
                        .shared_bytes = size_t(shape.shared_bytes),
                        .seed = seed,
                        .buffers = {}};
    add_epilogue(launch, p);
    add_operands(launch, p, input_rows, 2);
    add_output(launch, p, strstr(name, "gate_up"), strstr(name, "_fp32_") ? 4 : 2);
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
