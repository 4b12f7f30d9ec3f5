#include "entry.h"
#include "instructions.h"
#include "parameters.h"
#include "projection_launch.h"
#include "ProjectionHost.h"

// Every copy of the kernels has a namespace of its own. None is global: a call with an argument of a global type would
// find the global copy's functions as well.
namespace right {
#include "projection_parts.h"
#include "decode_gemm.cuh"
}  // namespace right

#define PROJECTION_KERNELS "decode_gemm.cuh"
#include "projection_mistakes.h"

// Mistakes of these kernels.

namespace wrong_token {
#include "projection_parts.h"
#define lane_index() (lane_index() ^ 4)
#include "decode_gemm.cuh"
#undef lane_index
}  // namespace wrong_token

namespace wrong_columns {
template <class T>
inline void multiply_wrong_columns(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    multiply_tile<T>(c, a, b1, b0);
}
#include "projection_parts.h"
#define multiply_tile multiply_wrong_columns
#include "decode_gemm.cuh"
#undef multiply_tile
}  // namespace wrong_columns

namespace wrong_scan {
#define warp_shuffle_up(value, distance) warp_shuffle_up(value, distance + 1)
#include "projection_parts.h"
#include "decode_gemm.cuh"
#undef warp_shuffle_up
}  // namespace wrong_scan

namespace drops_a_part {
#include "projection_parts.h"
template <int at_once>
inline float sum_of_fewer(float start, const float *parts, size_t stride, int count) {
    return split_sum<at_once>(start, parts, stride, count - 1);
}
#define split_sum sum_of_fewer
#include "decode_gemm.cuh"
#undef split_sum
}  // namespace drops_a_part

namespace {

using Kernel = void(mc_decode_parameters);

#define DECODE(PLACE, NAME, MISTAKE) {#NAME MISTAKE, PLACE::NAME}
#define MISTAKEN(PLACE) DECODE(PLACE, decode_gate_up_bf16_8, "+" #PLACE)
const Named<Kernel> kernels[] = {
    DECODE(right, decode_gate_up_bf16_8, ""),
    DECODE(right, decode_gate_up_bf16_16, ""),
    DECODE(right, decode_gate_up_fp16_8, ""),
    DECODE(right, decode_gate_up_fp16_16, ""),
    DECODE(right, decode_down_bf16_8, ""),
    DECODE(right, decode_down_bf16_16, ""),
    DECODE(right, decode_down_fp16_8, ""),
    DECODE(right, decode_down_fp16_16, ""),
    DECODE(right, decode_finish_gate_up_bf16, ""),
    DECODE(right, decode_finish_gate_up_fp16, ""),
    DECODE(right, decode_finish_down, ""),
    DECODE(drops_a_part, decode_finish_gate_up_bf16, "+drops_a_part"),
    DECODE(drops_a_part, decode_finish_down, "+drops_a_part"),
    MISTAKEN(short_wait),
    MISTAKEN(missing_barrier),
    MISTAKEN(wrong_token),
    MISTAKEN(wrong_columns),
    MISTAKEN(no_zero_fill),
    MISTAKEN(wrong_scan),
};

}  // namespace

int ck_decode(const char *name, const mc_decode_parameters *parameters, size_t input_rows, unsigned blocks, uint64_t seed,
              char *why, size_t capacity) {
    Kernel *kernel = find(kernels, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_projection_parameters &p = parameters->projection;
    const bool finishes = strstr(name, "finish"), down = strstr(name, "down"), wide = strstr(name, "_16");
    const size_t partials = size_t(parameters->splits) * parameters->rows * p.height;
    simt::Launch launch{.grid = {blocks},
                        .block = {MC_PROJECTION_THREADS},
                        .shared_bytes = finishes ? 0u : unsigned(wide ? MC_DECODE_16_SHARED : MC_DECODE_8_SHARED),
                        .seed = seed,
                        .buffers = {}};
    add_epilogue(launch, p);
    if (!finishes) add_operands(launch, p, input_rows, 2);
    if (finishes || parameters->splits == 1) add_output(launch, p, !down && p.activation.gated, down ? 4 : 2);
    if (parameters->splits > 1) add(launch, {"partial", parameters->partial, partials * 4, !finishes});
    return report(simt::run(launch, [&] { kernel(*parameters); }), why, capacity);
}

float ck_activate(const char *type, const mc_activation_parameters *parameters, float gate, float up) {
    return strcmp(type, "fp32") ? right::activate<bf16>(*parameters, gate, up) : right::activate<float>(*parameters, gate, up);
}
