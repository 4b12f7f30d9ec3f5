// Finds the CUDA runtime without needing it: libcudart is opened at first use, so that one build serves every machine.
#pragma once

#include <stddef.h>

#include "../kernels/parameters.h"

#ifdef __cplusplus
extern "C" {
#endif

/// What was found of CUDA. `runtime_version` and `driver_version` are CUDA's own (1000 × major + 10 × minor), 0 when absent.
typedef struct {
    int runtime_version;
    int driver_version;
    int device_count;
} mc_status;

/// Looks for libcudart (the environment variable MOE_CUDART, then versions 13 and 12). Returns 1 when a runtime, a driver and
/// at least one device were found, else 0 with the reason in `why` (at most `capacity` bytes, always terminated).
int mc_probe(mc_status *_Nonnull status, char *_Nonnull why, size_t capacity);

#ifdef __cplusplus
}
#endif
