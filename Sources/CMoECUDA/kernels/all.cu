// Every kernel of the image: one translation unit. A kernel's file includes nothing itself, so that the host tests can
// include it in a namespace; what several kernels share is a header.
#include "instructions.h"
#include "parameters.h"

#include "activation.cuh"
#include "combine.cuh"
#include "grouped_gemm.cuh"
