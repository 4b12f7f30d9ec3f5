#include "LayerHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

// Planted mistakes: the same text, with one of its wrappers bent.

namespace off_by_one {
#include "exponential.cuh"
#define load_global(address) load_global((address) + 1)
#include "rows.cuh"
#undef load_global
}  // namespace off_by_one

namespace truncates {
#include "exponential.cuh"
#define pack truncate_pair
template <class T>
inline uint32_t truncate_pair(float low, float high) {
    return (bits_of_float(low) >> 16) | (bits_of_float(high) & 0xFFFF0000u);
}
#include "rows.cuh"
#undef pack
}  // namespace truncates

namespace {

const Named<void(mc_convert_parameters)> conversions[] = {
    {"convert_fp32_bf16+off_by_one", off_by_one::convert_fp32_bf16},
    {"convert_fp32_bf16+truncates", truncates::convert_fp32_bf16},
};

}  // namespace

int ck_convert_mistake(const char *name, const mc_convert_parameters *parameters, unsigned blocks, uint64_t seed, char *why,
                       size_t capacity) {
    auto *kernel = find(conversions, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_convert_parameters &p = *parameters;
    simt::Launch launch{.grid = {blocks}, .block = {MC_CONVERT_THREADS}, .shared_bytes = 0, .seed = seed, .buffers = {}};
    launch.buffers = {{"source", p.source, size_t(p.rows) * p.source_pitch * 4, false},
                      {"destination", p.destination, size_t(p.rows) * p.destination_pitch * 2, true}};
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
