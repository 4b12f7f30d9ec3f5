// The instructions that kernels use beyond plain C++. Each wrapper has two bodies: what nvcc assembles, and what it
// means, for the host, where the runner of the kernel tests (simt.h) executes the same kernels.
//
// Kernels go through these wrappers for every access to shared and global memory, so that the host can check it. Shared
// memory is one dynamic array, addressed by byte offset from its start, which is aligned to 1024 bytes.
#pragma once

#include "instructions/arithmetic.h"
#include "instructions/elements.h"
#include "instructions/matrices.h"
#include "instructions/memory.h"
#include "instructions/platform.h"
#include "instructions/warp.h"
