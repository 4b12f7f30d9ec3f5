#include "entry.h"
#include "instructions.h"
#include "parameters.h"
#include "projection_launch.h"
#include "ProjectionHost.h"

// Every copy of the kernels has a namespace of its own. None is global: a call with an argument of a global type would
// find the global copy's functions as well.
namespace right {
#include "projection_parts.h"
#include "fp32_gemm.cuh"
}  // namespace right

#define PROJECTION_KERNELS "fp32_gemm.cuh"
#include "projection_mistakes.h"

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
    simt::Launch launch{.grid = {blocks},
                        .block = {MC_PROJECTION_THREADS},
                        .shared_bytes = strstr(name, "_16") ? unsigned(MC_FP32_16_SHARED) : unsigned(MC_FP32_64_SHARED),
                        .seed = seed,
                        .buffers = {}};
    add_epilogue(launch, p);
    add_operands(launch, p, input_rows, 4);
    add_output(launch, p, strstr(name, "gate_up") && p.activation.gated, 4);
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
