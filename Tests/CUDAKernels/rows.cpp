#include "LayerHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

namespace right {
#include "exponential.cuh"
#include "rows.cuh"
}  // namespace right

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

namespace wrong_sign {
#include "exponential.cuh"
#define exponential(x) exponential(-(x))
#include "rows.cuh"
#undef exponential
}  // namespace wrong_sign

namespace ignores_the_stride {
#include "exponential.cuh"
#define stride tokens / p.tokens
#include "rows.cuh"
#undef stride
}  // namespace ignores_the_stride

namespace {

const Named<void(mc_convert_parameters)> conversions[] = {
    {"convert_fp32_bf16+off_by_one", off_by_one::convert_fp32_bf16},
    {"convert_fp32_bf16+truncates", truncates::convert_fp32_bf16},
};

const Named<void(mc_gate_parameters)> gates[] = {
    {"shared_gate", right::shared_gate},
    {"shared_gate+off_by_one", off_by_one::shared_gate},
    {"shared_gate+wrong_sign", wrong_sign::shared_gate},
    {"shared_gate+ignores_the_stride", ignores_the_stride::shared_gate},
};

}  // namespace

int ck_gate(const char *name, const mc_gate_parameters *parameters, unsigned blocks, uint64_t seed, char *why,
            size_t capacity) {
    auto *kernel = find(gates, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_gate_parameters &p = *parameters;
    simt::Launch launch{.grid = {blocks}, .block = {MC_GATE_THREADS}, .shared_bytes = 0, .seed = seed, .buffers = {}};
    launch.buffers = {simt::Buffer::input("logits", p.logits, size_t(p.tokens) * p.stride),
                      simt::Buffer::output("scale", p.scale, size_t(p.tokens))};
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}

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
