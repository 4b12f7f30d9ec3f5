// What the generator of random weights takes; see parameters.h.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// generate_<type>: rows of the weights that `MoEWeights.random` makes on the host, bit by bit. A row holds one of up to two
/// tensors, which alternate by MC_GATE_GROUP rows where `gated`; rows past `outputs` and columns past `inputs` are 0.
/// Grid: any number of blocks, at best one a row; block: MC_GENERATE_THREADS; no shared memory.
typedef struct {
    void *destination;   ///< [rows, depth]
    uint64_t keys[2];    ///< of the tensor, and of up where `gated`
    int32_t rows;
    int32_t depth;
    int32_t outputs;     ///< rows of a tensor
    int32_t inputs;
    int32_t gated;
    float scale;
} mc_generate_parameters;

enum { MC_GENERATE_THREADS = 256 };

#ifdef __cplusplus
}
#endif
