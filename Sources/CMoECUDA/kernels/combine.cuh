// Combine: what the experts made of a token, weighted and summed in the order of the token's slots, and the shared
// expert's row. The order is fixed and each element belongs to one thread, so the result is the same in every run.

/// Columns of a thread: 16 bytes of a 16-bit type, 32 of fp32.
constexpr int combine_columns = 8;

/// Eight elements by 16-byte accesses.
template <class T>
DEVICE void load_eight(float (&values)[8], const T *source) {
    if constexpr (sizeof(T) == 4) {
        UNROLL
        for (int half = 0; half < 2; half++) {
            const Words4 words = load_global_16(source + 4 * half);
            UNROLL
            for (int i = 0; i < 4; i++) values[4 * half + i] = float_of_bits(words.word[i]);
        }
    } else {
        const Words4 words = load_global_16(source);
        UNROLL
        for (int i = 0; i < 4; i++) {
            values[2 * i] = low_half<T>(words.word[i]);
            values[2 * i + 1] = high_half<T>(words.word[i]);
        }
    }
}

template <class T>
DEVICE void store_eight(T *destination, const float (&values)[8]) {
    Words4 words;
    if constexpr (sizeof(T) == 4) {
        UNROLL
        for (int half = 0; half < 2; half++) {
            UNROLL
            for (int i = 0; i < 4; i++) words.word[i] = bits_of_float(values[4 * half + i]);
            store_global_16(destination + 4 * half, words);
        }
    } else {
        UNROLL
        for (int i = 0; i < 4; i++) words.word[i] = pack<T>(values[2 * i], values[2 * i + 1]);
        store_global_16(destination, words);
    }
}

/// The first `count` of eight elements, one by one: for the last columns of a ragged width, and for rows that are not
/// aligned.
template <class T>
DEVICE void load_some(float (&values)[8], const T *source, int count) {
    UNROLL
    for (int i = 0; i < 8; i++) values[i] = i < count ? to_float(load_global(source + i)) : 0.0f;
}

template <class T>
DEVICE void store_some(T *destination, const float (&values)[8], int count) {
    UNROLL
    for (int i = 0; i < 8; i++) {
        if (i < count) store_global(destination + i, from_float<T>(values[i]));
    }
}

DEVICE bool is_aligned_16(const void *pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

/// The sum for columns `column` to `column` + `count` of a token. `whole`: eight columns, every row at a multiple of 16
/// bytes.
template <bool whole, class Row, class Output>
DEVICE void combine_eight(const mc_combine_parameters &p, int token, int column, int count) {
    const Row *rows = static_cast<const Row *>(p.rows) + column;
    const int32_t *row_of = p.row_of + size_t(token) * p.slots;
    const float *weights = p.weights + size_t(token) * p.slots;
    // Rows of several slots are loaded before the first is added, so that their latencies overlap; not so where it
    // would make much code for the rare width that is no multiple of eight.
    constexpr int slots_at_once = whole ? 4 : 1;
    float sums[8] = {};
    for (int first = 0; first < p.slots; first += slots_at_once) {
        float values[slots_at_once][8], weight[slots_at_once];
        UNROLL
        for (int i = 0; i < slots_at_once; i++) {
            const int slot = first + i;
            const int row = slot < p.slots ? load_global(row_of + slot) : -1;
            // A slot that was dropped adds 0 · 0, which changes no sum. Its weight is not even read: it may be
            // anything.
            weight[i] = 0.0f;
            UNROLL
            for (int j = 0; j < 8; j++) values[i][j] = 0.0f;
            if (row >= 0) {
                weight[i] = load_global(weights + slot);
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
    if constexpr (whole) {
        store_eight(static_cast<Output *>(p.output) + place, sums);
    } else {
        store_some(static_cast<Output *>(p.output) + place, sums, count);
    }
}

template <class Row, class Output>
DEVICE void combine(const mc_combine_parameters &p) {
    const unsigned pieces = unsigned(p.width + combine_columns - 1) / combine_columns;
    const unsigned count = unsigned(p.tokens) * pieces;
    const bool whole =
        p.width % combine_columns == 0 && is_aligned_16(p.rows) && is_aligned_16(p.output) && is_aligned_16(p.shared);
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int token = int(i / pieces), column = int(i % pieces) * combine_columns;
        if (whole) {
            combine_eight<true, Row, Output>(p, token, column, combine_columns);
        } else {
            combine_eight<false, Row, Output>(p, token, column, p.width - column);
        }
    }
}

#define COMBINE_KERNEL(NAME, ROW, OUTPUT)                                                                                      \
    KERNEL(MC_COMBINE_THREADS) combine_##NAME(const mc_combine_parameters p) { combine<ROW, OUTPUT>(p); }
COMBINE_KERNEL(fp32_fp32, float, float)
COMBINE_KERNEL(fp32_bf16, float, bf16)
COMBINE_KERNEL(fp32_fp16, float, fp16)
COMBINE_KERNEL(bf16_fp32, bf16, float)
COMBINE_KERNEL(bf16_bf16, bf16, bf16)
COMBINE_KERNEL(fp16_fp32, fp16, float)
COMBINE_KERNEL(fp16_fp16, fp16, fp16)
#undef COMBINE_KERNEL
