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
#include "decode_gemm.cuh"
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
#include "decode_gemm.cuh"
#undef copy_async_wait
}  // namespace short_wait

namespace missing_barrier {
// Only that before the warps' sums are added: without the list's own, nothing at all would work.
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#define __syncthreads()
#include "decode_gemm.cuh"
#undef __syncthreads
}  // namespace missing_barrier

namespace wrong_token {
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#define lane_index() (lane_index() ^ 4)
#include "decode_gemm.cuh"
#undef lane_index
}  // namespace wrong_token

namespace wrong_columns {
template <class T>
inline void multiply_wrong_columns(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    multiply_tile<T>(c, a, b1, b0);
}
#define multiply_tile multiply_wrong_columns
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#include "decode_gemm.cuh"
#undef multiply_tile
}  // namespace wrong_columns

namespace no_zero_fill {
#define copy_async_16(destination, source, bytes) copy_async_16(destination, source, 16)
#define copy_async_16_cached(destination, source, bytes) copy_async_16_cached(destination, source, 16)
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#include "decode_gemm.cuh"
#undef copy_async_16
#undef copy_async_16_cached
}  // namespace no_zero_fill

namespace wrong_scan {
#define warp_shuffle_up(value, distance) warp_shuffle_up(value, distance + 1)
#include "exponential.cuh"
#include "activation.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#include "decode_gemm.cuh"
#undef warp_shuffle_up
}  // namespace wrong_scan

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
    const size_t rows = size_t(p.offsets[p.experts]), heights = size_t(p.experts) * p.height;
    const size_t output_bytes = down ? rows * p.height * 4 : rows * (p.activation.gated ? p.height / 2 : p.height) * 2;
    const size_t partials = size_t(parameters->splits) * parameters->rows * p.height;
    simt::Launch launch{.grid = {blocks},
                        .block = {MC_PROJECTION_THREADS},
                        .shared_bytes = finishes ? 0u : unsigned(wide ? MC_DECODE_16_SHARED : MC_DECODE_8_SHARED),
                        .seed = seed,
                        .buffers = {}};
    launch.buffers = {simt::Buffer::input("offsets", p.offsets, size_t(p.experts) + 1)};
    if (p.bias) launch.buffers.push_back(simt::Buffer::input("bias", p.bias, heights));
    if (p.row_scale) launch.buffers.push_back(simt::Buffer::input("row_scale", p.row_scale, rows));
    if (finishes || parameters->splits == 1) launch.buffers.push_back({"output", p.output, output_bytes, true});
    if (parameters->splits > 1) launch.buffers.push_back({"partial", parameters->partial, partials * 4, !finishes});
    if (!finishes) {
        launch.buffers.push_back({"input", p.input, input_rows * p.depth * 2, false});
        launch.buffers.push_back({"weights", p.weights, heights * p.depth * 2, false});
        if (p.row_token) launch.buffers.push_back(simt::Buffer::input("row_token", p.row_token, rows));
    }
    return report(simt::run(launch, [&] { kernel(*parameters); }), why, capacity);
}

float ck_activate(const mc_activation_parameters *parameters, float gate, float up) {
    return right::activate(*parameters, gate, up);
}
