// Every kernel of the image: one translation unit. A kernel's file includes nothing itself, so that the host tests can
// include it in a namespace; what several kernels share is a header.
#include "instructions.h"
#include "parameters.h"

#include "activation.cuh"
#include "combine.cuh"
#include "work_list.cuh"
#include "projection_output.cuh"
#include "decode_gemm.cuh"
#include "fp32_gemm.cuh"
