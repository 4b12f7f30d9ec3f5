// Launch of the fp32 kernels: fp32_gate_up_<rows>, fp32_down_<rows>, with mc_projection_parameters.
#pragma once

#include "projection_parameters.h"

/// <rows>: 16 or 64 rows of an expert in a tile. 16 where experts have at most that many. Input, weights and outputs are fp32.
///
/// Grid: multiprocessors × MC_FP32_BLOCKS_PER_MULTIPROCESSOR (any other is right as well); block: MC_PROJECTION_THREADS;
/// dynamic shared memory: MC_FP32_16_SHARED or MC_FP32_64_SHARED.
enum {
    MC_FP32_BLOCKS_PER_MULTIPROCESSOR = 2,
    MC_FP32_16_SHARED = 38704,
    MC_FP32_64_SHARED = 50224,
};
