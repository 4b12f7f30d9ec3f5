// What all projections' kernels build on. No #pragma once: every copy of the kernels includes it in its own namespace.
#include "exponential.cuh"
#include "activation.cuh"
#include "split_sum.cuh"
#include "swizzle.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
