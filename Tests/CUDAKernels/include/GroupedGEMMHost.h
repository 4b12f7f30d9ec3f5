// The entry point of the grouped matrix products; included by CUDAKernelHost.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../../../Sources/CMoECUDA/kernels/parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// grouped_<use>_<types>_<shape>, with threads and shared memory of the shape. `input_rows`: how many rows
/// `parameters->input` has.
int ck_grouped_gemm(const char *_Nonnull kernel, const mc_projection_parameters *_Nonnull parameters, size_t input_rows,
                    unsigned blocks, uint64_t seed, char *_Nonnull why, size_t capacity);

#ifdef __cplusplus
}
#endif
