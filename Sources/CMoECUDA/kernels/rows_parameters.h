// What conversion of rows and the shared expert's gate take; see parameters.h.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// convert_<from>_<to>: destination[r] = source[row_token[r]], each number rounded to nearest; columns from `width` to the
/// destination's pitch become 0. For rows 0 to `rows`, or *range to *range_end where those are given. Grid: any number of
/// blocks; block: MC_CONVERT_THREADS; no shared memory.
typedef struct {
    const void *source;          ///< [any, source_pitch]
    void *destination;           ///< [any, destination_pitch]
    const int32_t *row_token;    ///< [rows]: the source's row; null: the same as the destination's
    const int32_t *range;        ///< the first row; null: rows 0 to `rows`
    const int32_t *range_end;    ///< one past the last
    int32_t rows;
    int32_t width;               ///< at most either pitch
    int32_t source_pitch;
    int32_t destination_pitch;
} mc_convert_parameters;

enum { MC_CONVERT_THREADS = 256 };

/// shared_gate: scale[t] = 1 / (1 + exp(-logits[t · stride])). Grid: any number of blocks; block: MC_GATE_THREADS; no shared
/// memory.
typedef struct {
    const float *logits;  ///< [tokens, stride], from the gate's column on
    float *scale;         ///< [tokens]
    int32_t tokens;
    int32_t stride;
} mc_gate_parameters;

enum { MC_GATE_THREADS = 256 };

#ifdef __cplusplus
}
#endif
