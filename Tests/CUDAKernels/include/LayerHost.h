// Launches by name, as a CUDA runtime gets them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../../../Sources/CMoECUDA/kernels/parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// The image's kernels, from 0; NULL past the last. `parameter_bytes`: of its one parameter.
const char *_Nullable ck_kernel(size_t index, size_t *_Nonnull parameter_bytes);

typedef struct {
    const char *_Nonnull kernel;
    const void *_Nonnull parameters;
    unsigned grid_x;
    unsigned grid_y;
    unsigned grid_z;
    unsigned threads;
    size_t shared_bytes;
} ck_launch;

/// Memory that kernels may read and write.
typedef struct {
    const void *_Nonnull start;
    size_t bytes;
} ck_memory;

int ck_run(const ck_launch *_Nonnull launch, const ck_memory *_Nonnull memory, size_t count, uint64_t seed, char *_Nonnull why,
           size_t capacity);

/// generate_<type>.
int ck_generate(const char *_Nonnull kernel, const mc_generate_parameters *_Nonnull parameters, unsigned blocks, uint64_t seed,
                char *_Nonnull why, size_t capacity);

/// shared_gate.
int ck_gate(const char *_Nonnull kernel, const mc_gate_parameters *_Nonnull parameters, unsigned blocks, uint64_t seed,
            char *_Nonnull why, size_t capacity);

/// probe_multiply_<type>.
int ck_probe(const char *_Nonnull kernel, const mc_probe_parameters *_Nonnull parameters, unsigned blocks, uint64_t seed,
             char *_Nonnull why, size_t capacity);

/// convert_fp32_bf16+mistake, on rows of fp32.
int ck_convert_mistake(const char *_Nonnull kernel, const mc_convert_parameters *_Nonnull parameters, unsigned blocks,
                       uint64_t seed, char *_Nonnull why, size_t capacity);

#ifdef __cplusplus
}
#endif
