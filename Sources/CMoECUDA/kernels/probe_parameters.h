// What the probes of the device's limits take; see parameters.h.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// probe_multiply_<type>: products in registers alone, as the projections make them: mma.sync for bf16 and fp16, fused
/// multiply-adds for fp32. Every block does mc_probe_operations of them an iteration. Grid: any number of blocks, at best as
/// many as the device holds; block: MC_PROBE_THREADS; no shared memory.
typedef struct {
    float *sink;  ///< [blocks · MC_PROBE_THREADS]: sums, so that they cannot be left out
    int32_t iterations;
} mc_probe_parameters;

enum { MC_PROBE_THREADS = 256, MC_PROBE_CHAINS = 8 };

/// Floating-point operations of a block in an iteration.
static inline int64_t mc_probe_operations(int element_bytes) {
    const int64_t warps = MC_PROBE_THREADS / 32;
    // A tile of 16 × 8 × 16 products for a warp; one product for a thread.
    return element_bytes == 2 ? MC_PROBE_CHAINS * warps * 2 * 16 * 8 * 16 : MC_PROBE_CHAINS * MC_PROBE_THREADS * 2;
}

#ifdef __cplusplus
}
#endif
