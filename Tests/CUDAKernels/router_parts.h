// What the router's kernels build on. No #pragma once: every copy of the kernels includes it in its own namespace.
#include "exponential.cuh"
#include "ordered.cuh"
#include "split_sum.cuh"
#include "swizzle.cuh"
