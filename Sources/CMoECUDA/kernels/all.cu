// Every kernel of the image: one translation unit.
//
// To add a kernel: a .cuh that includes nothing itself, so that the host tests can include it in a namespace, after those that
// it builds on (such as exponential.cuh); its parameters in a header that parameters.h includes; its line in machine_code.txt;
// then Benchmarks/kernels.sh build, and a test on the CPU: an entry point in Tests/CUDAKernels, which plants mistakes by
// including the .cuh once more with a wrapper bent by a macro, and its caller in Tests/CUDAKernelTests.
#include "instructions.h"
#include "parameters.h"

#include "exponential.cuh"
#include "activation.cuh"
#include "ordered.cuh"
#include "split_sum.cuh"
#include "swizzle.cuh"
#include "work_list.cuh"

#include "router_logits.cuh"
#include "router_select.cuh"
#include "capacity.cuh"
#include "dispatch.cuh"
#include "projection_output.cuh"
#include "grouped_tile.cuh"
#include "grouped_epilogue.cuh"
#include "grouped_gemm.cuh"
#include "decode_gemm.cuh"
#include "fp32_gemm.cuh"
#include "rows.cuh"
#include "combine.cuh"
#include "generate.cuh"
#include "probe.cuh"
