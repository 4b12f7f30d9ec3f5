// The router's logits: x · weightsᵀ + bias, fp32 whatever the operands.
//
// A block makes one tile of the output, in slices of 128 bytes of the depth: 64 numbers of a 16-bit type, 32 of fp32. Copies
// run stages ahead of the tensor cores. Where the tiles are too few to fill the device, the depth is split over blocks and
// router_join adds the parts in a fixed order: every logit is the same in every run.
//
// fp32 by three products of tf32 (11 significant bits): each operand is hi + lo + r with |lo| ≤ 2⁻¹¹ |x| and |r| ≤ 2⁻²³ |x|,
// and hi·hi + hi·lo + lo·hi leaves out at most (2⁻²² + 2 · 2⁻²³) |x·w| = 2⁻²¹ |x·w|. The same three with bf16 (8 bits) leave
// out 2⁻¹⁵: experts whose logits are near would be mistaken for each other. Sums of one slice are made by the tensor cores,
// which cut off instead of rounding; the slices are added with rounding, so that this does not grow with the depth.

constexpr unsigned logits_slice = swizzled_row_bytes;

/// An operand's registers in the two parts that tf32 can hold.
template <unsigned count>
DEVICE void split_tf32(uint32_t (&high)[count], uint32_t (&low)[count]) {
    UNROLL
    for (unsigned i = 0; i < count; i++) {
        const float whole = float_of_bits(high[i]);
        high[i] = round_tf32(whole);
        low[i] = round_tf32(whole - float_of_bits(high[i]));
    }
}

/// rows × columns: the block's tile; warp_rows × warp_columns: a warp's part of it, four of them a block.
template <class T, unsigned rows, unsigned columns, unsigned warp_rows, unsigned warp_columns, unsigned stages>
DEVICE void router_logits(const mc_logits_parameters &p) {
    constexpr unsigned threads = MC_LOGITS_THREADS, warps_across = columns / warp_columns;
    static_assert(rows / warp_rows * warps_across * warp_size == threads);
    constexpr unsigned stage_bytes = (rows + columns) * logits_slice;
    constexpr bool is_fp32 = sizeof(T) == 4;

    const unsigned tiles_across = (unsigned(p.columns) + columns - 1) / columns;
    const int first_row = int(blockIdx.x / tiles_across * rows), first_column = int(blockIdx.x % tiles_across * columns);
    const size_t pitch = size_t(p.depth) * sizeof(T);
    const unsigned slices = unsigned((pitch + logits_slice - 1) / logits_slice);
    const unsigned slices_of_split = (slices + gridDim.y - 1) / gridDim.y;
    const unsigned begin = blockIdx.y * slices_of_split;
    const unsigned end = begin + slices_of_split < slices ? begin + slices_of_split : slices;

    // Copies: a thread has the same 16 bytes of every 16th row. Bit i of `exists`: its i-th row is in the tensor.
    constexpr unsigned copied_rows = threads / 8, copies = (rows + columns) / copied_rows, copies_of_x = rows / copied_rows;
    static_assert(rows % copied_rows == 0 && columns % copied_rows == 0 && copies <= 32);
    const unsigned copy_row = threadIdx.x / 8, copy_column = threadIdx.x % 8;
    const unsigned char *x = static_cast<const unsigned char *>(p.x) + (first_row + copy_row) * pitch + copy_column * 16;
    const unsigned char *weights =
        static_cast<const unsigned char *>(p.weights) + (first_column + copy_row) * pitch + copy_column * 16;
    uint32_t exists = 0;
    UNROLL
    for (unsigned i = 0; i < copies; i++) {
        const int row = int(copy_row + i * copied_rows);
        const bool inside = i < copies_of_x ? first_row + row < p.tokens : first_column + row - int(rows) < p.columns;
        exists |= uint32_t(inside) << i;
    }
    auto copy = [&](unsigned slice) {
        const size_t depth = size_t(slice) * logits_slice;
        // Rows are whole 16 bytes, so these are there or not; the last slice's missing ones become zero.
        const uint32_t there = depth + copy_column * 16 < pitch ? exists : 0;
        const SharedOffset stage = slice % stages * stage_bytes;
        UNROLL
        for (unsigned i = 0; i < copies; i++) {
            const unsigned char *source = i < copies_of_x ? x + i * copied_rows * pitch
                                                          : weights + (i - copies_of_x) * copied_rows * pitch;
            copy_async_16(stage + swizzled(copy_row + i * copied_rows, copy_column), source + depth,
                          there >> i & 1 ? 16 : 0);
        }
    };

    const unsigned warp = threadIdx.x / warp_size, lane = lane_index();
    const unsigned warp_row = warp / warps_across * warp_rows, warp_column = warp % warps_across * warp_columns;
    constexpr unsigned tall = warp_rows / 16, wide = warp_columns / 8;
    float sums[tall][wide][4] = {};

    for (unsigned i = 0; i < stages - 1; i++) {
        if (begin + i < end) copy(begin + i);
        copy_async_commit();
    }
    for (unsigned slice = begin; slice < end; slice++) {
        copy_async_wait<stages - 2>();
        // Everybody's copies of this slice are there, and everybody is done with the stage that the next ones overwrite.
        __syncthreads();
        if (slice + stages - 1 < end) copy(slice + stages - 1);
        copy_async_commit();

        const SharedOffset stage = slice % stages * stage_bytes;
        float part[is_fp32 ? tall : 1][is_fp32 ? wide : 1][4] = {};
        UNROLL
        for (unsigned step = 0; step < logits_slice / 32; step++) {
            uint32_t a[tall][4], a_low[is_fp32 ? tall : 1][4];
            UNROLL
            for (unsigned m = 0; m < tall; m++) {
                load_matrices(a[m], stage + swizzled(warp_row + m * 16 + lane % 16, step * 2 + lane / 16));
                if constexpr (is_fp32) split_tf32(a[m], a_low[m]);
            }
            UNROLL
            for (unsigned n = 0; n < wide; n += 2) {
                // Registers 0 and 1: columns 0 to 7 and both halves of the step's depth; 2 and 3: columns 8 to 15.
                uint32_t b[4], b_low[4];
                const unsigned row = rows + warp_column + n * 8 + lane / 16 * 8 + lane % 8;
                load_matrices(b, stage + swizzled(row, step * 2 + lane / 8 % 2));
                if constexpr (is_fp32) split_tf32(b, b_low);
                UNROLL
                for (unsigned m = 0; m < tall; m++) {
                    UNROLL
                    for (unsigned i = 0; i < 2; i++) {
                        if constexpr (is_fp32) {
                            // Small ones first.
                            multiply_tile_tf32(part[m][n + i], a_low[m], b[2 * i], b[2 * i + 1]);
                            multiply_tile_tf32(part[m][n + i], a[m], b_low[2 * i], b_low[2 * i + 1]);
                            multiply_tile_tf32(part[m][n + i], a[m], b[2 * i], b[2 * i + 1]);
                        } else {
                            multiply_tile<T>(sums[m][n + i], a[m], b[2 * i], b[2 * i + 1]);
                        }
                    }
                }
            }
        }
        if constexpr (is_fp32) {
            UNROLL
            for (unsigned m = 0; m < tall; m++) {
                UNROLL
                for (unsigned n = 0; n < wide; n++) {
                    UNROLL
                    for (unsigned i = 0; i < 4; i++) sums[m][n][i] += part[m][n][i];
                }
            }
        }
    }

    const float *bias = gridDim.y == 1 ? p.bias : nullptr;
    float *output = p.output + size_t(blockIdx.y) * p.tokens * p.columns;
    const bool by_two = p.columns % 2 == 0 && reinterpret_cast<uintptr_t>(p.output) % 8 == 0;
    const int left_column = first_column + int(warp_column + lane % 4 * 2);
    float added[wide][2];
    UNROLL
    for (unsigned n = 0; n < wide; n++) {
        UNROLL
        for (unsigned i = 0; i < 2; i++) {
            const int column = left_column + int(n * 8 + i);
            added[n][i] = bias && column < p.columns ? load_global(bias + column) : 0.0f;
        }
    }
    UNROLL
    for (unsigned m = 0; m < tall; m++) {
        UNROLL
        for (unsigned half = 0; half < 2; half++) {
            const int row = first_row + int(warp_row + m * 16 + half * 8 + lane / 4);
            if (row >= p.tokens) continue;
            float *place = output + size_t(row) * p.columns + left_column;
            UNROLL
            for (unsigned n = 0; n < wide; n++) {
                const int left = p.columns - left_column - int(n * 8);
                const float first = sums[m][n][half * 2] + added[n][0], second = sums[m][n][half * 2 + 1] + added[n][1];
                if (by_two && left > 0) {
                    store_global(reinterpret_cast<uint64_t *>(place + n * 8),
                                 uint64_t(bits_of_float(first)) | uint64_t(bits_of_float(second)) << 32);
                } else {
                    if (left > 0) store_global(place + n * 8, first);
                    if (left > 1) store_global(place + n * 8 + 1, second);
                }
            }
        }
    }
}

#define LOGITS_KERNEL(NAME, TYPE, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, STAGES, BLOCKS)                                      \
    KERNEL(MC_LOGITS_THREADS, BLOCKS) router_logits_##NAME##_##ROWS##x##COLUMNS(const mc_logits_parameters p) {                \
        router_logits<TYPE, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, STAGES>(p);                                                \
    }
LOGITS_KERNEL(bf16, bf16, 16, 64, 16, 16, 4, 4)
LOGITS_KERNEL(fp16, fp16, 16, 64, 16, 16, 4, 4)
LOGITS_KERNEL(fp32, float, 16, 64, 16, 16, 4, 4)
LOGITS_KERNEL(bf16, bf16, 64, 64, 32, 32, 4, 3)
LOGITS_KERNEL(fp16, fp16, 64, 64, 32, 32, 4, 3)
LOGITS_KERNEL(fp32, float, 64, 64, 32, 32, 4, 3)
LOGITS_KERNEL(bf16, bf16, 128, 128, 64, 64, 3, 2)
LOGITS_KERNEL(fp16, fp16, 128, 128, 64, 64, 3, 2)
#undef LOGITS_KERNEL

KERNEL(MC_JOIN_THREADS) router_join(const mc_join_parameters p) {
    const unsigned count = unsigned(p.tokens) * unsigned(p.columns), step = gridDim.x * blockDim.x;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const float bias = p.bias ? load_global(p.bias + i % unsigned(p.columns)) : 0.0f;
        store_global(p.logits + i, split_sum<8>(bias, p.partial + i, count, p.splits));
    }
}

/// A warp has a row. Squares are summed in fp64, which is exact to fp32 in any order.
template <class T>
DEVICE void router_normalise(const mc_normalise_parameters &p) {
    const int warps = int(gridDim.x * blockDim.x / warp_size), lane = int(lane_index());
    for (int token = int((blockIdx.x * blockDim.x + threadIdx.x) / warp_size); token < p.tokens; token += warps) {
        const T *row = static_cast<const T *>(p.x) + size_t(token) * p.width;
        float *output = p.rows + size_t(token) * p.width;
        double squares = 0;
        for (int i = lane; i < p.width; i += int(warp_size)) {
            const double value = to_float(load_global(row + i));
            squares += value * value;
        }
        UNROLL
        for (unsigned mask = warp_size / 2; mask > 0; mask /= 2) squares += warp_shuffle_xor_fp64(squares, mask);
        const float factor = float(1 / square_root_fp64(squares / p.width + double(p.epsilon)));
        for (int i = lane; i < p.width; i += int(warp_size)) {
            const float value = multiply(multiply(to_float(load_global(row + i)), factor), p.scale);
            store_global(output + i, multiply(value, load_global(p.factors + i)));
        }
    }
}

KERNEL(MC_NORMALISE_THREADS) router_normalise_fp32(const mc_normalise_parameters p) { router_normalise<float>(p); }
KERNEL(MC_NORMALISE_THREADS) router_normalise_bf16(const mc_normalise_parameters p) { router_normalise<bf16>(p); }
KERNEL(MC_NORMALISE_THREADS) router_normalise_fp16(const mc_normalise_parameters p) { router_normalise<fp16>(p); }
