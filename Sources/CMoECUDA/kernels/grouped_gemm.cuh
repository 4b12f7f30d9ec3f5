// Grouped matrix products for sm_80 and later: the rows of each expert times its weights, on tensor cores.
//
// Blocks stay for the whole kernel and walk the tiles of all experts in a fixed stride. Copies of a block run stages - 1
// steps of the depth ahead of its multiplications, over the ends of tiles too, so that a tile's epilogue hides the first
// copies of the next.
//
// A block finds its tiles by searching the offsets of the experts, which it keeps in shared memory. That takes some
// hundred cycles, of the ten thousands that a tile takes; a kernel that writes a list of tiles would be a launch more
// before each of the two products.

enum class GroupedUse { gate_up, up, down };

/// A tile shape and what follows from it. `rows` × `columns` are a tile's, in steps of `depth`.
template <int row_count, int column_count, int warp_row_count, int warp_column_count, int together_count>
struct GroupedShape {
    static constexpr int rows = row_count, columns = column_count, depth = MC_GROUPED_GEMM_DEPTH;
    static constexpr int stages = MC_GROUPED_GEMM_STAGES;
    static constexpr int warp_rows = warp_row_count, warp_columns = warp_column_count;
    /// Row tiles of a group: the tiles of a group run column by column. Blocks that run at the same time share a few rows and
    /// a few columns then, and the group's weights stay in L2 for the next group.
    static constexpr int together = together_count;
    static constexpr int threads = 32 * warp_rows * warp_columns;
    /// A warp's part of the tile in mma tiles: 16 rows, 8 columns.
    static constexpr int high = rows / warp_rows / 16, across = 8;
    static_assert(columns == warp_columns * across * 8 && rows == warp_rows * high * 16);

    /// A tile row of a stage is 8 chunks of 16 bytes; a thread copies one chunk of every `copy_stride`th row.
    static constexpr int chunks = depth / 8;
    static constexpr int copy_stride = threads / chunks;
    static constexpr int row_copies = rows / copy_stride, column_copies = columns / copy_stride;
    static constexpr SharedOffset row_bytes = depth * 2;
    static constexpr SharedOffset weights_start = rows * row_bytes;
    static constexpr SharedOffset stage_bytes = (rows + columns) * row_bytes;
    static constexpr SharedOffset map_start = stages * stage_bytes;
    static_assert(chunks == 8 && copy_stride % 8 == 0);
};

/// Offset of a chunk in a tile of 128-byte rows. Chunks of a row are exchanged according to the row, so that eight rows'
/// chunks of one depth, which ldmatrix reads at once, lie in different banks.
DEVICE SharedOffset swizzled(unsigned row, unsigned chunk) { return row * 128 + ((chunk ^ row) % 8) * 16; }

// The tile map

/// In shared memory: for every expert, and one past the last, the row tiles and the rows before it.
template <class Shape>
struct GroupedMap {
    int experts;
    int row_tiles;
    int column_tiles;

    DEVICE static SharedOffset start_place(int expert) { return Shape::map_start + 8 * unsigned(expert); }
    DEVICE static SharedOffset offset_place(int expert) { return start_place(expert) + 4; }
    DEVICE int start(int expert) const { return load_shared<int32_t>(start_place(expert)); }
    DEVICE int offset(int expert) const { return load_shared<int32_t>(offset_place(expert)); }
    DEVICE int tiles() const { return row_tiles * column_tiles; }
};

/// A tile of the output: `rows` rows from `first_row` of all rows, all of one expert; columns from `column`.
struct GroupedTile {
    int expert;
    int first_row;
    int rows;
    int column;
};

/// Fills the map; the whole block calls it.
template <class Shape>
DEVICE GroupedMap<Shape> make_map(const mc_projection_parameters &p) {
    using Map = GroupedMap<Shape>;
    const int thread = int(threadIdx.x), lane = thread % 32, warp = thread / 32;
    for (int expert = thread; expert <= p.experts; expert += Shape::threads) {
        store_shared<int32_t>(Map::offset_place(expert), load_global(p.offsets + expert));
    }
    __syncthreads();
    Map map{p.experts, 0, (p.height + Shape::columns - 1) / Shape::columns};
    // Each warp needs the sum over all experts before its own; 512 experts are few enough that every warp adds up all of
    // them, 32 at a time, and writes its share.
    constexpr int warps = Shape::threads / 32;
    int before = 0;
    for (int first = 0; first <= p.experts; first += 32) {
        const int expert = first + lane;
        const int rows = expert < p.experts ? map.offset(expert + 1) - map.offset(expert) : 0;
        const int tiles = (rows + Shape::rows - 1) / Shape::rows;
        int sum = tiles;
        UNROLL
        for (int distance = 1; distance < 32; distance *= 2) {
            const int below = warp_shuffle_up(sum, unsigned(distance));
            if (lane >= distance) sum += below;
        }
        if (first / 32 % warps == warp && expert <= p.experts) {
            store_shared<int32_t>(Map::start_place(expert), before + sum - tiles);
        }
        before += warp_shuffle(sum, 31);
    }
    map.row_tiles = before;
    __syncthreads();
    return map;
}

template <class Shape>
DEVICE GroupedTile locate(const GroupedMap<Shape> &map, int tile) {
    const unsigned group_tiles = unsigned(Shape::together * map.column_tiles);
    const unsigned group = unsigned(tile) / group_tiles, within = unsigned(tile) - group * group_tiles;
    const int first = int(group) * Shape::together;
    const unsigned height = unsigned(map.row_tiles - first < Shape::together ? map.row_tiles - first : Shape::together);
    const unsigned column_tile = within / height;
    const int row_tile = first + int(within - column_tile * height);
    // The last expert that starts at or before the row tile: those without rows start where the next one does.
    int low = 0, high = map.experts;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (map.start(middle) <= row_tile) {
            low = middle;
        } else {
            high = middle;
        }
    }
    GroupedTile result;
    result.expert = low;
    result.first_row = map.offset(low) + (row_tile - map.start(low)) * Shape::rows;
    const int left = map.offset(low + 1) - result.first_row;
    result.rows = left < Shape::rows ? left : Shape::rows;
    result.column = int(column_tile) * Shape::columns;
    return result;
}

// Copies to shared memory

/// Where a thread's copies are: a step of a tile, and its addresses there. Past the last tile it copies nothing but zeros.
template <class Shape>
struct GroupedLoader {
    const mc_projection_parameters &p;
    const GroupedMap<Shape> &map;
    int tile;
    int chunks_left;                 // of the depth from this thread's chunk on
    int rows_left;                   // of the tile from this thread's first on
    int columns_left;                // of the weights from this thread's first on
    int sources[Shape::row_copies];  // the rows to copy
    const unsigned char *rows;       // this thread's chunk of row 0
    const unsigned char *weights;    // and of its first column

    DEVICE GroupedLoader(const mc_projection_parameters &p, const GroupedMap<Shape> &map) : p(p), map(map) {
        tile = int(blockIdx.x);
        start_tile();  // there is one: blocks without a tile have no loader
    }

    /// A thread's first row in every tile, of rows as of weights, and its chunk of all its rows.
    DEVICE static int own_row() { return int(threadIdx.x) / Shape::chunks; }
    DEVICE static int own_chunk() { return int(threadIdx.x) % Shape::chunks; }

    DEVICE void start_tile() {
        chunks_left = p.depth / 8 - own_chunk();
        rows = static_cast<const unsigned char *>(p.input) + own_chunk() * 16;
        if (tile >= map.tiles()) {
            rows_left = columns_left = 0;
            return;
        }
        const GroupedTile t = locate(map, tile);
        const int column = t.column + own_row();
        rows_left = t.rows - own_row();
        columns_left = p.height - column;
        weights = static_cast<const unsigned char *>(p.weights) +
                  ((int64_t(t.expert) * p.height + column) * p.depth + own_chunk() * 8) * 2;
        // Without a branch a row: nothing waits for the loads before the next step's copies.
        UNROLL
        for (int i = 0; i < Shape::row_copies; i++) {
            sources[i] = t.first_row + (i * Shape::copy_stride < rows_left ? own_row() + i * Shape::copy_stride : 0);
        }
        if (p.row_token) {
            UNROLL
            for (int i = 0; i < Shape::row_copies; i++) sources[i] = load_global(p.row_token + sources[i]);
        }
    }

    /// A thread's copies of one step come in this many parts, between which there are multiplications.
    static constexpr int parts = 3;

    template <int part>
    DEVICE void copy(SharedOffset stage) const {
        constexpr int all = Shape::row_copies + Shape::column_copies, each = (all + parts - 1) / parts;
        const SharedOffset place = stage + swizzled(unsigned(own_row()), unsigned(own_chunk()));
        const int pitch = p.depth * 2;
        const bool in_depth = chunks_left > 0;
        UNROLL
        for (int i = part * each; i < (part + 1) * each && i < all; i++) {
            if (i < Shape::row_copies) {
                const int row = i * Shape::copy_stride;
                copy_async_16(place + SharedOffset(row) * Shape::row_bytes, rows + int64_t(sources[i]) * pitch,
                              in_depth && row < rows_left ? 16 : 0);
            } else {
                const int column = (i - Shape::row_copies) * Shape::copy_stride;
                copy_async_16(place + Shape::weights_start + SharedOffset(column) * Shape::row_bytes,
                              weights + int64_t(column) * pitch, in_depth && column < columns_left ? 16 : 0);
            }
        }
    }

    DEVICE void advance() {
        chunks_left -= Shape::chunks;
        rows += Shape::row_bytes;
        weights += Shape::row_bytes;
        if (chunks_left + own_chunk() <= 0) {
            tile += int(gridDim.x);
            start_tile();
        }
    }
};

// Multiplication

/// A warp's operands of 16 of the depth.
template <class Shape>
struct GroupedFragments {
    uint32_t rows[Shape::high][4];
    uint32_t columns[Shape::across / 2][4];

    /// `rows_place`, `columns_place`: this lane's address for slice 0 of stage 0. A slice is two chunks, and a multiple of 128
    /// comes before them, so the swizzle of slices is an exclusive or.
    DEVICE void load(SharedOffset stage, SharedOffset rows_place, SharedOffset columns_place, int slice) {
        const SharedOffset rows_from = stage + (rows_place ^ SharedOffset(slice * 32));
        const SharedOffset columns_from = stage + (columns_place ^ SharedOffset(slice * 32));
        UNROLL
        for (int i = 0; i < Shape::high; i++) load_matrices(rows[i], rows_from + i * 16 * Shape::row_bytes);
        UNROLL
        for (int j = 0; j < Shape::across / 2; j++) load_matrices(columns[j], columns_from + j * 16 * Shape::row_bytes);
    }
};

/// A warp's sums.
template <class Shape>
using GroupedSums = float[Shape::high][Shape::across][4];

template <class T, class Shape>
DEVICE void multiply_slice(GroupedSums<Shape> &sums, const GroupedFragments<Shape> &fragments) {
    UNROLL
    for (int i = 0; i < Shape::high; i++) {
        UNROLL
        for (int j = 0; j < Shape::across; j++) {
            const uint32_t(&b)[4] = fragments.columns[j / 2];
            multiply_tile<T>(sums[i][j], fragments.rows[i], b[j % 2 * 2], b[j % 2 * 2 + 1]);
        }
    }
}

// Epilogue

/// Lane q of four gives word j of row q, and gets word q of row j.
DEVICE void transpose_quad(uint32_t (&words)[4]) {
    const unsigned lane = lane_index();
    UNROLL
    for (unsigned distance = 1; distance <= 2; distance *= 2) {
        const bool upper = lane & distance;
        UNROLL
        for (unsigned j = 0; j < 4; j++) {
            if (j & distance) continue;
            const uint32_t received = warp_shuffle_xor(upper ? words[j] : words[j | distance], distance);
            if (upper) {
                words[j] = received;
            } else {
                words[j | distance] = received;
            }
        }
    }
}

/// What becomes of a warp's sums.
template <GroupedUse use, class T, class Output, class Shape>
struct GroupedEpilogue {
    const mc_projection_parameters &p;
    GroupedTile tile;
    int warp_row, warp_column;

    DEVICE GroupedEpilogue(const mc_projection_parameters &p, const GroupedTile &tile) : p(p), tile(tile) {
        const int warp = int(threadIdx.x) / 32;
        warp_row = warp / Shape::warp_columns * Shape::high * 16;
        warp_column = warp % Shape::warp_columns * Shape::across * 8;
    }

    DEVICE void scale(GroupedSums<Shape> &sums) const {
        const int first = warp_row + int(lane_index()) / 4;
        UNROLL
        for (int i = 0; i < 2 * Shape::high; i++) {
            const int row = first + i * 8;
            const float scale = row < tile.rows ? load_global(p.row_scale + tile.first_row + row) : 0.0f;
            UNROLL
            for (int j = 0; j < Shape::across; j++) {
                float(&pair)[4] = sums[i / 2][j];
                pair[i % 2 * 2] = multiply(pair[i % 2 * 2], scale);
                pair[i % 2 * 2 + 1] = multiply(pair[i % 2 * 2 + 1], scale);
            }
        }
    }

    DEVICE void add_bias(GroupedSums<Shape> &sums) const {
        const int first = tile.column + warp_column + int(lane_index()) % 4 * 2;
        const float *bias = p.bias + int64_t(tile.expert) * p.height;
        UNROLL
        for (int j = 0; j < Shape::across; j++) {
            UNROLL
            for (int k = 0; k < 2; k++) {
                const int column = first + j * 8 + k;
                const float value = column < p.height ? load_global(bias + column) : 0.0f;
                UNROLL
                for (int i = 0; i < Shape::high; i++) {
                    sums[i][j][k] = add(sums[i][j][k], value);
                    sums[i][j][k + 2] = add(sums[i][j][k + 2], value);
                }
            }
        }
    }

    /// 16 bytes of a row of the output, if they are part of it.
    DEVICE void store(int row, int column, int width, const uint32_t (&words)[4]) const {
        if (row >= tile.rows || column >= width) return;
        Output *output = static_cast<Output *>(p.output) + int64_t(tile.first_row + row) * width + column;
        store_global_16(output, Words4{{words[0], words[1], words[2], words[3]}});
    }

    /// Puts activations in the place of sums; of a gate and its up value in the gate's. The kind is chosen once
    /// for all of them, not at each value.
    template <int kind = 0>
    DEVICE void activate_all(float (&values)[Shape::across][2]) const {
        if constexpr (kind < MC_ACTIVATION_COUNT) {
            if (p.activation.kind != kind) return activate_all<kind + 1>(values);
            mc_activation_parameters activation = p.activation;
            activation.kind = kind;
            activation.gated = use == GroupedUse::gate_up;
            constexpr int distance = use == GroupedUse::gate_up ? 2 : 1;
            UNROLL
            for (int j = 0; j < Shape::across; j += distance) {
                UNROLL
                for (int k = 0; k < 2; k++) {
                    // With distance 1 the gate is not used.
                    values[j][k] = activate(activation, values[j][k], values[j + distance - 1][k]);
                }
            }
        }
    }

    /// Eight rows, of which a thread has two columns of every eight. values[j]: the columns of mma tile j, of row `row`.
    DEVICE void finish(int row, float (&values)[Shape::across][2]) const {
        const int quad = int(lane_index()) % 4;
        if constexpr (use != GroupedUse::down) activate_all(values);
        if constexpr (use == GroupedUse::gate_up) {
            uint32_t words[4];
            UNROLL
            for (int j = 0; j < 4; j++) words[j] = pack<T>(values[2 * j][0], values[2 * j][1]);
            transpose_quad(words);
            store(row, (tile.column + warp_column) / 2 + quad * 8, p.height / 2, words);
        } else if constexpr (sizeof(Output) == 2) {
            UNROLL
            for (int first = 0; first < Shape::across; first += 4) {
                uint32_t words[4];
                UNROLL
                for (int j = 0; j < 4; j++) words[j] = pack<T>(values[first + j][0], values[first + j][1]);
                transpose_quad(words);
                store(row, tile.column + warp_column + (first + quad) * 8, p.height, words);
            }
        } else {
            // Of two mma tiles, an even lane takes four columns of the first, an odd one of the second.
            const bool odd = quad % 2;
            UNROLL
            for (int j = 0; j < Shape::across; j += 2) {
                float own[2], received[2];
                UNROLL
                for (int i = 0; i < 2; i++) {
                    own[i] = odd ? values[j + 1][i] : values[j][i];
                    received[i] = warp_shuffle_xor(odd ? values[j][i] : values[j + 1][i], 1);
                }
                const uint32_t words[4] = {
                    bits_of_float(odd ? received[0] : own[0]), bits_of_float(odd ? received[1] : own[1]),
                    bits_of_float(odd ? own[0] : received[0]), bits_of_float(odd ? own[1] : received[1])};
                store(row, tile.column + warp_column + (j + quad % 2) * 8 + quad / 2 * 4, p.height, words);
            }
        }
    }

    /// Ends with `sums` in disorder.
    DEVICE void run(GroupedSums<Shape> &sums) const {
        if (p.row_scale) scale(sums);
        if (p.bias) add_bias(sums);
        const int row = warp_row + int(lane_index()) / 4;
        float values[Shape::across][2];
        if constexpr (use == GroupedUse::down) {
            UNROLL
            for (int i = 0; i < 2 * Shape::high; i++) {
                UNROLL
                for (int j = 0; j < Shape::across; j++) {
                    values[j][0] = sums[i / 2][j][i % 2 * 2];
                    values[j][1] = sums[i / 2][j][i % 2 * 2 + 1];
                }
                finish(row + i * 8, values);
            }
        } else {
            // An activation is much code. Here it is there once for eight rows: the loops are not unrolled, and the sums move
            // instead, for registers have no index.
            NO_UNROLL
            for (int i = 0; i < Shape::high; i++) {
                NO_UNROLL
                for (int half = 0; half < 2; half++) {
                    UNROLL
                    for (int j = 0; j < Shape::across; j++) {
                        values[j][0] = sums[0][j][0];
                        values[j][1] = sums[0][j][1];
                        sums[0][j][0] = sums[0][j][2];
                        sums[0][j][1] = sums[0][j][3];
                    }
                    finish(row + i * 16 + half * 8, values);
                }
                UNROLL
                for (int next = 1; next < Shape::high; next++) {
                    UNROLL
                    for (int j = 0; j < Shape::across; j++) {
                        UNROLL
                        for (int k = 0; k < 4; k++) sums[next - 1][j][k] = sums[next][j][k];
                    }
                }
            }
        }
    }
};

// The kernel

template <GroupedUse use, class T, class Output, class Shape>
DEVICE void grouped_gemm(const mc_projection_parameters &p) {
    constexpr int stages = Shape::stages, slices = Shape::depth / 16;
    static_assert(slices == GroupedLoader<Shape>::parts + 1);
    const GroupedMap<Shape> map = make_map<Shape>(p);
    const int tiles = map.tiles(), steps = (p.depth + Shape::depth - 1) / Shape::depth;
    if (int(blockIdx.x) >= tiles) return;

    GroupedLoader<Shape> loader(p, map);
    for (int stage = 0; stage < stages - 1; stage++) {
        const SharedOffset place = SharedOffset(stage) * Shape::stage_bytes;
        loader.template copy<0>(place);
        loader.template copy<1>(place);
        loader.template copy<2>(place);
        copy_async_commit();
        loader.advance();
    }

    const unsigned lane = lane_index(), warp = threadIdx.x / 32;
    // Matrices of 8 × 8: for rows, the two halves of 16 rows, then the next eight of the depth; for columns the other way
    // round, as mma takes them.
    const SharedOffset rows_place =
        swizzled(warp / Shape::warp_columns * Shape::high * 16 + lane % 16, lane / 16);
    const SharedOffset columns_place =
        Shape::weights_start + swizzled(warp % Shape::warp_columns * 64 + lane / 16 * 8 + lane % 8, lane / 8 % 2);

    // One step's fragments of slice s + 1 are loaded while slice s is multiplied, those of the next step's first slice while
    // the last one is.
    GroupedFragments<Shape> fragments[2];
    copy_async_wait<stages - 2>();
    __syncthreads();
    SharedOffset stage = 0;
    fragments[0].load(stage, rows_place, columns_place, 0);
    for (int tile = int(blockIdx.x); tile < tiles; tile += int(gridDim.x)) {
        GroupedSums<Shape> sums = {};
        NO_UNROLL
        for (int step = 0; step < steps; step++) {
            const SharedOffset next = stage == (stages - 1) * Shape::stage_bytes ? 0 : stage + Shape::stage_bytes;
            // The stage of the step before, which all have read: the last one's fragments were loaded before the barrier.
            const SharedOffset free = stage == 0 ? (stages - 1) * Shape::stage_bytes : stage - Shape::stage_bytes;
            fragments[1].load(stage, rows_place, columns_place, 1);
            loader.template copy<0>(free);
            multiply_slice<T, Shape>(sums, fragments[0]);
            fragments[0].load(stage, rows_place, columns_place, 2);
            loader.template copy<1>(free);
            multiply_slice<T, Shape>(sums, fragments[1]);
            fragments[1].load(stage, rows_place, columns_place, 3);
            loader.template copy<2>(free);
            copy_async_commit();
            loader.advance();
            multiply_slice<T, Shape>(sums, fragments[0]);
            copy_async_wait<stages - 2>();
            __syncthreads();
            fragments[0].load(next, rows_place, columns_place, 0);
            multiply_slice<T, Shape>(sums, fragments[1]);
            stage = next;
        }
        GroupedEpilogue<use, T, Output, Shape>(p, locate(map, tile)).run(sums);
        // Lanes may have parted in the epilogue, and ldmatrix and mma take a warp that is together.
        __syncwarp();
    }
}

#define GROUPED_GEMM_KERNELS(NAME, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, BLOCKS, TOGETHER)                                  \
    using grouped_##NAME = GroupedShape<ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, TOGETHER>;                                     \
    GROUPED_GEMM_KERNEL(gate_up_bf16_##NAME, gate_up, bf16, bf16, NAME, BLOCKS)                                                \
    GROUPED_GEMM_KERNEL(gate_up_fp16_##NAME, gate_up, fp16, fp16, NAME, BLOCKS)                                                \
    GROUPED_GEMM_KERNEL(up_bf16_##NAME, up, bf16, bf16, NAME, BLOCKS)                                                          \
    GROUPED_GEMM_KERNEL(up_fp16_##NAME, up, fp16, fp16, NAME, BLOCKS)                                                          \
    GROUPED_GEMM_KERNEL(down_bf16_bf16_##NAME, down, bf16, bf16, NAME, BLOCKS)                                                 \
    GROUPED_GEMM_KERNEL(down_bf16_fp32_##NAME, down, bf16, float, NAME, BLOCKS)                                                \
    GROUPED_GEMM_KERNEL(down_fp16_fp16_##NAME, down, fp16, fp16, NAME, BLOCKS)                                                 \
    GROUPED_GEMM_KERNEL(down_fp16_fp32_##NAME, down, fp16, float, NAME, BLOCKS)
#define GROUPED_GEMM_KERNEL(NAME, USE, T, OUTPUT, SHAPE, BLOCKS)                                                               \
    KERNEL(grouped_##SHAPE::threads, BLOCKS) grouped_##NAME(const mc_projection_parameters p) {                              \
        grouped_gemm<GroupedUse::USE, T, OUTPUT, grouped_##SHAPE>(p);                                                          \
    }
MC_GROUPED_GEMM_SHAPES(GROUPED_GEMM_KERNELS)
#undef GROUPED_GEMM_KERNEL
#undef GROUPED_GEMM_KERNELS
