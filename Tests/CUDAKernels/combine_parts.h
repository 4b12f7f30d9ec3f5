// What combine builds on. No #pragma once: every copy of the kernel includes it in its own namespace.
#include "exponential.cuh"
#include "rows.cuh"
