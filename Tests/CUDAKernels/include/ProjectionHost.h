// The experts' projections, run on the CPU: see CUDAKernelHost.h for what every entry point has in common.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../../../Sources/CMoECUDA/kernels/parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// decode_gate_up_<type>_<rows>, decode_down_<type>_<rows>, decode_finish_gate_up_<type>, decode_finish_down.
/// `input_rows`: how many rows `input` has.
int ck_decode(const char *_Nonnull kernel, const mc_decode_parameters *_Nonnull parameters, size_t input_rows, unsigned blocks,
              uint64_t seed, char *_Nonnull why, size_t capacity);

/// fp32_gate_up_<rows>, fp32_down_<rows>.
int ck_fp32(const char *_Nonnull kernel, const mc_projection_parameters *_Nonnull parameters, size_t input_rows,
            unsigned blocks, uint64_t seed, char *_Nonnull why, size_t capacity);

/// What an expert does between its matrices, before it is rounded to `type`: "fp32", "bf16" or "fp16".
float ck_activate(const char *_Nonnull type, const mc_activation_parameters *_Nonnull parameters, float gate, float up);

#ifdef __cplusplus
}
#endif
