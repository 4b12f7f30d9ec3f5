#include "entry.h"
#include "instructions.h"
#include "parameters.h"
#include "ProjectionHost.h"

// Every copy of the kernels has a namespace of its own. None is global: a call with an argument of a global type would
// find the global copy's functions as well.
namespace right {
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#include "fp32_gemm.cuh"
}  // namespace right

// Planted mistakes: the same text, with one of its wrappers bent.

namespace short_wait {
template <unsigned left>
inline void waits_for_one_less() {
    copy_async_wait<left + 1>();
}
#define copy_async_wait waits_for_one_less
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#include "fp32_gemm.cuh"
#undef copy_async_wait
}  // namespace short_wait

namespace missing_barrier {
// Only those of the product: without the list's own, nothing at all would work.
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#define __syncthreads()
#include "fp32_gemm.cuh"
#undef __syncthreads
}  // namespace missing_barrier

namespace no_zero_fill {
#define copy_async_16(destination, source, bytes) copy_async_16(destination, source, 16)
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#include "fp32_gemm.cuh"
#undef copy_async_16
}  // namespace no_zero_fill

namespace drops_bias {
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#define load_global(address) (load_global(address) * 0)
#include "projection_output.cuh"
#undef load_global
#include "fp32_gemm.cuh"
}  // namespace drops_bias

namespace {

using Kernel = void(mc_projection_parameters);

const Named<Kernel> kernels[] = {
    {"fp32_gate_up_16", right::fp32_gate_up_16},
    {"fp32_gate_up_64", right::fp32_gate_up_64},
    {"fp32_down_16", right::fp32_down_16},
    {"fp32_down_64", right::fp32_down_64},
    {"fp32_gate_up_16+short_wait", short_wait::fp32_gate_up_16},
    {"fp32_gate_up_16+missing_barrier", missing_barrier::fp32_gate_up_16},
    {"fp32_gate_up_16+no_zero_fill", no_zero_fill::fp32_gate_up_16},
    {"fp32_gate_up_16+drops_bias", drops_bias::fp32_gate_up_16},
};

}  // namespace

int ck_fp32(const char *name, const mc_projection_parameters *parameters, size_t input_rows, unsigned blocks, uint64_t seed,
            char *why, size_t capacity) {
    Kernel *kernel = find(kernels, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_projection_parameters &p = *parameters;
    const size_t rows = size_t(p.offsets[p.experts]), heights = size_t(p.experts) * p.height;
    const size_t width = size_t(strstr(name, "gate_up") && p.activation.gated ? p.height / 2 : p.height);
    simt::Launch launch{.grid = {blocks},
                        .block = {MC_PROJECTION_THREADS},
                        .shared_bytes = strstr(name, "_16") ? unsigned(MC_FP32_16_SHARED) : unsigned(MC_FP32_64_SHARED),
                        .seed = seed,
                        .buffers = {}};
    launch.buffers = {
        {"input", p.input, input_rows * p.depth * 4, false},
        {"weights", p.weights, heights * p.depth * 4, false},
        {"output", p.output, rows * width * 4, true},
        simt::Buffer::input("offsets", p.offsets, size_t(p.experts) + 1),
    };
    if (p.row_token) launch.buffers.push_back(simt::Buffer::input("row_token", p.row_token, rows));
    if (p.bias) launch.buffers.push_back(simt::Buffer::input("bias", p.bias, heights));
    if (p.row_scale) launch.buffers.push_back(simt::Buffer::input("row_scale", p.row_scale, rows));
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
