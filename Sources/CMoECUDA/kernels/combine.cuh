// Combine: what the experts made of a token, weighted and summed in the order of the token's slots, and the shared
// expert's row. The order is fixed and each element belongs to one thread, so the result is the same in every run.

/// The sum for columns `column` to `column` + `count` of a token. `whole`: eight columns, every row at a multiple of 16
/// bytes.
template <bool whole, class Row, class Output>
DEVICE void combine_eight(const mc_combine_parameters &p, int token, int column, int count) {
    const Row *rows = static_cast<const Row *>(p.rows) + column;
    const int first_slot = token * p.slots;
    // Rows of several slots are loaded before the first is added, so that their latencies overlap; not so where it
    // would make much code for the rare width that is no multiple of eight.
    constexpr int slots_at_once = whole ? 4 : 1;
    float sums[8] = {};
    for (int first = 0; first < p.slots; first += slots_at_once) {
        float values[slots_at_once][8], weight[slots_at_once];
        UNROLL
        for (int i = 0; i < slots_at_once; i++) {
            const int slot = first + i;
            int row = -1;
            if (slot < p.slots) row = p.row_of ? load_global(p.row_of + first_slot + slot) : first_slot + slot;
            // A slot that was dropped adds 0 · 0, which changes no sum. Its weight is not even read: it may be
            // anything.
            weight[i] = 0.0f;
            UNROLL
            for (int j = 0; j < 8; j++) values[i][j] = 0.0f;
            if (row >= 0) {
                weight[i] = p.weights ? multiply(load_global(p.weights + first_slot + slot), p.row_factor) : p.row_factor;
                const Row *source = rows + size_t(row) * p.width;
                if constexpr (whole) {
                    load_eight(values[i], source);
                } else {
                    load_some(values[i], source, count);
                }
            }
        }
        UNROLL
        for (int i = 0; i < slots_at_once; i++) {
            UNROLL
            for (int j = 0; j < 8; j++) sums[j] = multiply_add(weight[i], values[i][j], sums[j]);
        }
    }
    const size_t place = size_t(token) * p.width + column;
    if (p.shared) {
        const float scale = p.shared_scale ? load_global(p.shared_scale + token) : 1.0f;
        float values[8];
        if constexpr (whole) {
            load_eight(values, static_cast<const Row *>(p.shared) + place);
        } else {
            load_some(values, static_cast<const Row *>(p.shared) + place, count);
        }
        UNROLL
        for (int j = 0; j < 8; j++) sums[j] = multiply_add(scale, values[j], sums[j]);
    }
    if (p.bias) {
        float values[8];
        if constexpr (whole) {
            load_eight(values, p.bias + column);
        } else {
            load_some(values, p.bias + column, count);
        }
        UNROLL
        for (int j = 0; j < 8; j++) sums[j] = add(sums[j], values[j]);
    }
    UNROLL
    for (int j = 0; j < 8; j++) sums[j] = multiply(sums[j], p.output_factor);
    if constexpr (whole) {
        store_eight(static_cast<Output *>(p.output) + place, sums);
    } else {
        store_some(static_cast<Output *>(p.output) + place, sums, count);
    }
}

template <class Row, class Output>
DEVICE void combine(const mc_combine_parameters &p) {
    const unsigned pieces = unsigned(p.width + row_columns - 1) / row_columns;
    const unsigned count = unsigned(p.tokens) * pieces;
    const bool whole =
        p.width % row_columns == 0 && is_aligned_16(p.rows) && is_aligned_16(p.output) && is_aligned_16(p.shared) &&
        is_aligned_16(p.bias);
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int token = int(i / pieces), column = int(i % pieces) * row_columns;
        if (whole) {
            combine_eight<true, Row, Output>(p, token, column, row_columns);
        } else {
            combine_eight<false, Row, Output>(p, token, column, p.width - column);
        }
    }
}

// Three blocks of a multiprocessor leave the registers that four rows at once take.
#define COMBINE_KERNEL(NAME, ROW, OUTPUT)                                                                                      \
    KERNEL(MC_COMBINE_THREADS, 3) combine_##NAME(const mc_combine_parameters p) { combine<ROW, OUTPUT>(p); }
COMBINE_KERNEL(fp32_fp32, float, float)
COMBINE_KERNEL(fp32_bf16, float, bf16)
COMBINE_KERNEL(fp32_fp16, float, fp16)
COMBINE_KERNEL(bf16_fp32, bf16, float)
COMBINE_KERNEL(bf16_bf16, bf16, bf16)
COMBINE_KERNEL(fp16_fp32, fp16, float)
COMBINE_KERNEL(fp16_fp16, fp16, fp16)
#undef COMBINE_KERNEL
