// Rows of numbers: eight at a time, in any type; conversion of activations; the shared expert's gate.

/// Columns of a thread: 16 bytes of a 16-bit type, 32 of fp32.
constexpr int row_columns = 8;

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

/// Columns `column` to `column` + 8 of a row: what the source has of them, then zeros up to what the destination has.
template <bool whole, class From, class To>
DEVICE void convert_eight(const mc_convert_parameters &p, size_t from, size_t to, int column) {
    const From *source = static_cast<const From *>(p.source) + from * p.source_pitch + column;
    To *destination = static_cast<To *>(p.destination) + to * p.destination_pitch + column;
    float values[8];
    if constexpr (whole) {
        load_eight(values, source);
        store_eight(destination, values);
    } else {
        load_some(values, source, p.width - column);
        store_some(destination, values, p.destination_pitch - column);
    }
}

template <class From, class To>
DEVICE void convert(const mc_convert_parameters &p) {
    const size_t begin = p.range ? size_t(load_global(p.range)) : 0;
    const size_t end = p.range ? size_t(load_global(p.range_end)) : size_t(p.rows);
    const size_t pieces = size_t(p.destination_pitch + row_columns - 1) / row_columns;
    // Every row of both starts at a multiple of 16 bytes, and all pieces are whole.
    const bool whole = p.width % row_columns == 0 && p.destination_pitch == p.width &&
                       p.source_pitch * sizeof(From) % 16 == 0 && is_aligned_16(p.source) && is_aligned_16(p.destination);
    const size_t step = size_t(gridDim.x) * blockDim.x;
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < (end - begin) * pieces; i += step) {
        const size_t to = begin + i / pieces;
        const int column = int(i % pieces) * row_columns;
        const size_t from = p.row_token ? size_t(load_global(p.row_token + to)) : to;
        if (whole) {
            convert_eight<true, From, To>(p, from, to, column);
        } else {
            convert_eight<false, From, To>(p, from, to, column);
        }
    }
}

#define CONVERT_KERNEL(FROM, FROM_TYPE, TO, TO_TYPE)                                                                           \
    KERNEL(MC_CONVERT_THREADS) convert_##FROM##_##TO(const mc_convert_parameters p) { convert<FROM_TYPE, TO_TYPE>(p); }
CONVERT_KERNEL(fp32, float, fp32, float)
CONVERT_KERNEL(fp32, float, bf16, bf16)
CONVERT_KERNEL(fp32, float, fp16, fp16)
CONVERT_KERNEL(bf16, bf16, fp32, float)
CONVERT_KERNEL(bf16, bf16, bf16, bf16)
CONVERT_KERNEL(bf16, bf16, fp16, fp16)
CONVERT_KERNEL(fp16, fp16, fp32, float)
CONVERT_KERNEL(fp16, fp16, bf16, bf16)
CONVERT_KERNEL(fp16, fp16, fp16, fp16)
#undef CONVERT_KERNEL

KERNEL(MC_GATE_THREADS) shared_gate(const mc_gate_parameters p) {
    const unsigned step = gridDim.x * blockDim.x;
    for (unsigned token = blockIdx.x * blockDim.x + threadIdx.x; token < unsigned(p.tokens); token += step) {
        const float logit = load_global(p.logits + size_t(token) * p.stride);
        store_global(p.scale + token, 1.0f / (1.0f + exponential(-logit)));
    }
}
