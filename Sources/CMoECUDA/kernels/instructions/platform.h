// What all wrappers are written with: the same words for nvcc and for the host.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
/// KERNEL(threads of a block[, blocks per multiprocessor]) name(parameters) { … }
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)
/// Unrolls the loop that follows. (The host keeps loops: only the device has registers to lose by indexing.)
#define UNROLL _Pragma("unroll")
/// Keeps the loop that follows as it is, where copies of a long body would only fill the instruction cache.
#define NO_UNROLL _Pragma("unroll 1")
#define PRAGMA(text) _Pragma(#text)
/// So many turns of the loop at a time.
#define UNROLL_BY(count) PRAGMA(unroll count)
// The place of the call, for messages: the device has no use for it.
#define SITE_PARAMETER
#define AND_SITE_PARAMETER

extern __shared__ __align__(1024) unsigned char dynamic_shared[];

#else

#include <math.h>
#include <string.h>

#include "simt.h"

#define DEVICE inline
#define KERNEL(...) [[maybe_unused]] static void
#define UNROLL
#define NO_UNROLL
#define UNROLL_BY(count)
#define SITE_PARAMETER simt::Site site = simt::Site::here()
#define AND_SITE_PARAMETER , SITE_PARAMETER

#endif

/// Byte offset in the block's shared memory.
using SharedOffset = uint32_t;

constexpr unsigned warp_size = 32;
