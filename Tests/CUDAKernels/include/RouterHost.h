// Entry points of the kernels of router, dispatch and capacity; see CUDAKernelHost.h.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../../../Sources/CMoECUDA/kernels/parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// router_logits_<type>_<rows>x<columns>, in `splits` parts.
int ck_router_logits(const char *_Nonnull kernel, const mc_logits_parameters *_Nonnull parameters, unsigned splits,
                     uint64_t seed, char *_Nonnull why, size_t capacity);
int ck_router_join(const char *_Nonnull kernel, const mc_join_parameters *_Nonnull parameters, unsigned blocks, uint64_t seed,
                   char *_Nonnull why, size_t capacity);
int ck_router_normalise(const char *_Nonnull kernel, const mc_normalise_parameters *_Nonnull parameters, unsigned blocks,
                        uint64_t seed, char *_Nonnull why, size_t capacity);
/// router_select_<experts>.
int ck_router_select(const char *_Nonnull kernel, const mc_select_parameters *_Nonnull parameters, uint64_t seed,
                     char *_Nonnull why, size_t capacity);

/// dispatch_block, dispatch_count, dispatch_scan or dispatch_place.
int ck_dispatch(const char *_Nonnull kernel, const mc_dispatch_parameters *_Nonnull parameters, uint64_t seed,
                char *_Nonnull why, size_t capacity);

/// capacity_admit. `rows`: rows of the dispatch.
int ck_capacity_admit(const char *_Nonnull kernel, const mc_admit_parameters *_Nonnull parameters, size_t rows, unsigned blocks,
                      uint64_t seed, char *_Nonnull why, size_t capacity);
/// capacity_choose or capacity_gather.
int ck_capacity_choose(const char *_Nonnull kernel, const mc_choose_parameters *_Nonnull parameters, unsigned blocks,
                       uint64_t seed, char *_Nonnull why, size_t capacity);
int ck_capacity_weigh(const char *_Nonnull kernel, const mc_weigh_parameters *_Nonnull parameters, unsigned blocks,
                      uint64_t seed, char *_Nonnull why, size_t capacity);

#ifdef __cplusplus
}
#endif
