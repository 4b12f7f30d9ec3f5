// Launches of projections: the memory that a kernel may touch.
#pragma once

#include "entry.h"
#include "parameters.h"

/// Rows of all experts together.
inline size_t rows_of(const mc_projection_parameters &p) { return size_t(p.offsets[p.experts]); }
/// Rows of all experts' weights.
inline size_t heights_of(const mc_projection_parameters &p) { return size_t(p.experts) * p.height; }

inline void add(simt::Launch &launch, simt::Buffer buffer) {
    if (buffer.start) launch.buffers.push_back(buffer);
}

/// What the sums are made of. `input_rows`: rows of `input`.
inline void add_operands(simt::Launch &launch, const mc_projection_parameters &p, size_t input_rows, size_t element_bytes) {
    add(launch, {"input", p.input, input_rows * p.depth * element_bytes, false});
    add(launch, {"weights", p.weights, heights_of(p) * p.depth * element_bytes, false});
    add(launch, simt::Buffer::input("row_token", p.row_token, rows_of(p)));
}

/// What follows the sums.
inline void add_epilogue(simt::Launch &launch, const mc_projection_parameters &p) {
    add(launch, simt::Buffer::input("offsets", p.offsets, size_t(p.experts) + 1));
    add(launch, simt::Buffer::input("bias", p.bias, heights_of(p)));
    add(launch, simt::Buffer::input("row_scale", p.row_scale, rows_of(p)));
}

/// `has_gates`: the output has one column for a gate and an up value.
inline void add_output(simt::Launch &launch, const mc_projection_parameters &p, bool has_gates, size_t element_bytes) {
    add(launch, {"output", p.output, rows_of(p) * (has_gates ? p.height / 2 : p.height) * element_bytes, true});
}
