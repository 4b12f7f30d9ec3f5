#include "LayerHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

namespace right {
#include "generate.cuh"
}

// Planted mistakes: the same text, with one of its names bent.

namespace wrong_groups {
#define MC_GATE_GROUP 4
#include "generate.cuh"
#undef MC_GATE_GROUP
}  // namespace wrong_groups

namespace no_padding {
#define inputs depth
#include "generate.cuh"
#undef inputs
}  // namespace no_padding

namespace drops_the_scale {
#define multiply(value, scale) ((void)(scale), value)
#include "generate.cuh"
#undef multiply
}  // namespace drops_the_scale

namespace truncates {
template <class T>
inline T truncated(float value) {
    if constexpr (sizeof(T) == 2) {
        return T{uint16_t(bits_of_float(value) >> 16)};
    } else {
        return value;
    }
}
#define from_float truncated
#include "generate.cuh"
#undef from_float
}  // namespace truncates

namespace off_by_one {
#define store_global(address, value) store_global((address) + 1, value)
#include "generate.cuh"
#undef store_global
}  // namespace off_by_one

namespace {

const Named<void(mc_generate_parameters)> kernels[] = {
    {"generate_fp32", right::generate_fp32},
    {"generate_bf16", right::generate_bf16},
    {"generate_fp16", right::generate_fp16},
    {"generate_bf16+wrong_groups", wrong_groups::generate_bf16},
    {"generate_bf16+no_padding", no_padding::generate_bf16},
    {"generate_bf16+drops_the_scale", drops_the_scale::generate_bf16},
    {"generate_bf16+truncates", truncates::generate_bf16},
    {"generate_bf16+off_by_one", off_by_one::generate_bf16},
};

}  // namespace

int ck_generate(const char *name, const mc_generate_parameters *parameters, unsigned blocks, uint64_t seed, char *why,
                size_t capacity) {
    auto *kernel = find(kernels, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_generate_parameters &p = *parameters;
    const size_t bytes = size_t(p.rows) * p.depth * (strstr(name, "fp32") ? 4 : 2);
    simt::Launch launch{.grid = {blocks}, .block = {MC_GENERATE_THREADS}, .shared_bytes = 0, .seed = seed, .buffers = {}};
    launch.buffers = {{"destination", p.destination, bytes, true}};
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
