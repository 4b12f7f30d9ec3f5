// The grouped kernels' parts, for copies of them; see projection_parts.h.
#include "grouped_tile.cuh"
#include "grouped_epilogue.cuh"
#include "grouped_gemm.cuh"
