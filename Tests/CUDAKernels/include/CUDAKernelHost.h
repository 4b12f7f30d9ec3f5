// The CUDA kernels, run on the CPU by the SIMT runner (simt.h). For the tests.
//
// Every function runs one launch: the named kernel, in an order of threads that `seed` fixes, allowed to touch only the
// memory that its parameters describe. It returns 1, or 0 with the reason in `why` (at most `capacity` bytes, always
// terminated). A kernel's name may end in "+mistake": a second copy of the kernel with that mistake planted, which a
// test has to notice.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../../../Sources/CMoECUDA/kernels/parameters.h"
#include "GroupedGEMMHost.h"
#include "LayerHost.h"
#include "ProjectionHost.h"
#include "RouterHost.h"

#ifdef __cplusplus
extern "C" {
#endif

/// combine_<rows>_<output>. `rows`: how many rows `parameters->rows` has.
int ck_combine(const char *_Nonnull kernel, const mc_combine_parameters *_Nonnull parameters, size_t rows, unsigned blocks,
               uint64_t seed, char *_Nonnull why, size_t capacity);

/// exercise_product_…: c [16, 16] = a [16, depth] · bᵀ, b [16, depth], of 16-bit elements. `shared_bytes`: 0 for what the
/// kernel needs.
int ck_exercise_product(const char *_Nonnull kernel, const uint16_t *_Nonnull a, const uint16_t *_Nonnull b, float *_Nonnull c,
                        int32_t depth, size_t shared_bytes, uint64_t seed, char *_Nonnull why, size_t capacity);

enum { CK_WARP_THREADS = 96, CK_WARP_RESULTS = 7, CK_WARP_BINS = 8 };

/// exercise_warp: `in` [CK_WARP_THREADS], `out` [CK_WARP_RESULTS, CK_WARP_THREADS] with the results of shuffle from
/// lane 7l + 3, shuffle_xor 5, shuffle_down 3, shuffle_up 3, ballot of odd, match and histogram modulo CK_WARP_BINS.
int ck_exercise_warp(const char *_Nonnull kernel, const uint32_t *_Nonnull in, uint32_t *_Nonnull out, uint64_t seed,
                     char *_Nonnull why, size_t capacity);

/// exercise_wide: out = in, 128 numbers.
int ck_exercise_wide(const char *_Nonnull kernel, const float *_Nonnull in, float *_Nonnull out, uint64_t seed,
                     char *_Nonnull why, size_t capacity);

/// The conversions that kernels use, one number at a time. `type`: "bf16" or "fp16".
uint16_t ck_from_float(const char *_Nonnull type, float value);
float ck_to_float(const char *_Nonnull type, uint16_t bits);

#ifdef __cplusplus
}
#endif
