#include "LayerHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

namespace right {
#include "probe.cuh"
}

// Planted mistakes: the same text, with one of its names bent. Each of them does less than mc_probe_operations counts, and so would
// make a device seem faster than it is.

namespace skips_a_chain {
#define multiply_tile if (i != 0) multiply_tile
#define multiply_add(a, b, c) (i != 0 ? multiply_add(a, b, c) : (a))
#include "probe.cuh"
#undef multiply_tile
#undef multiply_add
}  // namespace skips_a_chain

namespace one_step_less {
#define iterations iterations - 1
#include "probe.cuh"
#undef iterations
}  // namespace one_step_less

namespace {

const Named<void(mc_probe_parameters)> kernels[] = {
    {"probe_multiply_fp32", right::probe_multiply_fp32},
    {"probe_multiply_bf16", right::probe_multiply_bf16},
    {"probe_multiply_fp16", right::probe_multiply_fp16},
    {"probe_multiply_fp32+skips_a_chain", skips_a_chain::probe_multiply_fp32},
    {"probe_multiply_bf16+skips_a_chain", skips_a_chain::probe_multiply_bf16},
    {"probe_multiply_fp16+skips_a_chain", skips_a_chain::probe_multiply_fp16},
    {"probe_multiply_fp32+one_step_less", one_step_less::probe_multiply_fp32},
    {"probe_multiply_bf16+one_step_less", one_step_less::probe_multiply_bf16},
    {"probe_multiply_fp16+one_step_less", one_step_less::probe_multiply_fp16},
};

}  // namespace

int ck_probe(const char *name, const mc_probe_parameters *parameters, unsigned blocks, uint64_t seed, char *why,
             size_t capacity) {
    auto *kernel = find(kernels, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_probe_parameters &p = *parameters;
    simt::Launch launch{.grid = {blocks}, .block = {MC_PROBE_THREADS}, .shared_bytes = 0, .seed = seed, .buffers = {}};
    launch.buffers = {simt::Buffer::output("sink", p.sink, size_t(blocks) * MC_PROBE_THREADS)};
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
