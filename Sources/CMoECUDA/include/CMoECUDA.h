// Reaches the CUDA runtime and carries the kernels' image. By default libcudart is opened at first use, so that one build
// serves every machine; with the trait CUDA it is linked.
#pragma once

#include "cudart.h"

#include "../kernels/parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// The runtime's entry points: of the library that MOE_CUDART names, else of libcudart 13 or 12 on the library path, the first
/// that has them all and that the driver serves. Opened once. NULL where there is none, with the reason in `why`, which stays
/// valid. A build that links libcudart has it always and does not look at MOE_CUDART.
const mc_cudart *_Nullable mc_cudart_load(const char *_Nullable *_Nonnull why);

/// Asks the runtime for the driver's entry points. On an error `missing` names the one that could not be had.
mc_error mc_driver_load(const mc_cudart *_Nonnull runtime, mc_driver *_Nonnull driver, const char *_Nullable *_Nonnull missing);

/// The kernels' image; NULL and 0 bytes where this was built without one.
const void *_Nullable mc_image(size_t *_Nonnull byte_count);

#ifdef __cplusplus
}
#endif
