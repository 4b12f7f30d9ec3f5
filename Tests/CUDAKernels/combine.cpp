#include "CUDAKernelHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

// Every copy of the kernels has a namespace of its own. None is global: a call with an argument of a global type would
// find the global copy's functions as well.
namespace right {
#include "combine_parts.h"
#include "combine.cuh"
}

// Planted mistakes: the same text, with one of its wrappers bent.
namespace drops_weights {
#include "combine_parts.h"
#define multiply_add(a, b, c) multiply_add((a) != 0.0f ? 1.0f : 0.0f, b, c)
#include "combine.cuh"
#undef multiply_add
}  // namespace drops_weights

namespace reads_past_the_end {
#include "exponential.cuh"
#define load_global_16(address) load_global_16(reinterpret_cast<const unsigned char *>(address) + 16)
#include "rows.cuh"
#include "combine.cuh"
#undef load_global_16
}  // namespace reads_past_the_end

namespace {

using Kernel = void(mc_combine_parameters);

const Named<Kernel> kernels[] = {
    {"combine_fp32_fp32", right::combine_fp32_fp32},
    {"combine_fp32_bf16", right::combine_fp32_bf16},
    {"combine_fp32_fp16", right::combine_fp32_fp16},
    {"combine_bf16_fp32", right::combine_bf16_fp32},
    {"combine_bf16_bf16", right::combine_bf16_bf16},
    {"combine_fp16_fp32", right::combine_fp16_fp32},
    {"combine_fp16_fp16", right::combine_fp16_fp16},
    {"combine_fp32_fp32+drops_weights", drops_weights::combine_fp32_fp32},
    {"combine_bf16_fp32+reads_past_the_end", reads_past_the_end::combine_bf16_fp32},
};

}  // namespace

int ck_combine(const char *name, const mc_combine_parameters *parameters, size_t rows, unsigned blocks, uint64_t seed,
               char *why, size_t capacity) {
    Kernel *kernel = find(kernels, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_combine_parameters &p = *parameters;
    const size_t row_bytes = size_t(p.width) * (strstr(name, "combine_fp32") ? 4 : 2);
    const size_t output_bytes = size_t(p.tokens) * p.width * (strstr(name, "_fp32+") || strstr(name + 12, "_fp32") ? 4 : 2);
    const size_t pairs = size_t(p.tokens) * p.slots;
    simt::Launch launch{.grid = {blocks}, .block = {MC_COMBINE_THREADS}, .shared_bytes = 0, .seed = seed, .buffers = {}};
    launch.buffers = {
        {"rows", p.rows, rows * row_bytes, false},
        {"output", p.output, output_bytes, true},
    };
    if (p.weights) launch.buffers.push_back(simt::Buffer::input("weights", p.weights, pairs));
    if (p.row_of) launch.buffers.push_back(simt::Buffer::input("row_of", p.row_of, pairs));
    if (p.bias) launch.buffers.push_back(simt::Buffer::input("bias", p.bias, size_t(p.width)));
    if (p.shared) launch.buffers.push_back({"shared", p.shared, size_t(p.tokens) * row_bytes, false});
    if (p.shared_scale) launch.buffers.push_back(simt::Buffer::input("shared_scale", p.shared_scale, size_t(p.tokens)));
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
