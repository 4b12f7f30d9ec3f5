// What the kernels take: plain C structs, passed by value, that Swift sees through CMoECUDA.h. Pointers are device
// memory. Tensors are row-major and dense. Element types are part of a kernel's name.
//
// Counts are 32-bit: tokens · slots, tokens · experts and tokens · width / 8 are below 2³¹. The host checks that before a
// launch, and throws. A kernel that takes more than 48 KiB of dynamic shared memory needs the attribute
// cudaFuncAttributeMaxDynamicSharedMemorySize, set once to what it takes.
#pragma once

#include "activation_parameters.h"
#include "combine_parameters.h"
#include "decode_gemm_parameters.h"
#include "dispatch_parameters.h"
#include "expert_limit.h"
#include "fp32_gemm_parameters.h"
#include "generate_parameters.h"
#include "grouped_gemm_parameters.h"
#include "probe_parameters.h"
#include "projection_parameters.h"
#include "router_parameters.h"
#include "rows_parameters.h"
