// Grouped matrix products for sm_80 and later: the rows of each expert times its weights, on tensor cores.
//
// Blocks stay for the whole kernel and walk the tiles of all experts in a fixed stride. Copies of a block run stages - 1
// steps of the depth ahead of its multiplications, over the ends of tiles too, so that a tile's epilogue hides the first
// copies of the next.
//
// A block finds its tiles in its list of the experts' work. That takes some hundred cycles, of the ten thousands that a tile
// takes; a kernel that writes a list of tiles would be a launch more before each of the two products.

/// The tiles: row tiles are the items of the list, and each has all the columns. The order of tiles is in GroupedShape.
template <class Shape>
struct GroupedTiles {
    WorkList<Shape::threads> list;
    int across;  // column tiles

    /// All threads of the block come here; ends with a barrier.
    DEVICE explicit GroupedTiles(const mc_projection_parameters &p)
        : list{Shape::list_start, p.experts, Shape::rows, 1, 0}, across((p.height + Shape::columns - 1) / Shape::columns) {
        list.make(p.offsets);
    }

    DEVICE int count() const { return list.items * across; }

    /// A tile, whose `part` is its column tile.
    DEVICE WorkItem tile(int index) const {
        const unsigned group_tiles = unsigned(Shape::together * across);
        const unsigned group = unsigned(index) / group_tiles, within = unsigned(index) - group * group_tiles;
        const int first = int(group) * Shape::together;
        const unsigned height = unsigned(list.items - first < Shape::together ? list.items - first : Shape::together);
        const unsigned column_tile = within / height;
        WorkItem tile = list.item(first + int(within - column_tile * height));
        tile.part = int(column_tile);
        return tile;
    }
};

// Copies to shared memory

/// Where a thread's copies are: a step of a tile, and its addresses there. Past the last tile it copies nothing but zeros.
template <class Shape>
struct GroupedLoader {
    const mc_projection_parameters &p;
    const GroupedTiles<Shape> &tiles;
    int tile;
    int chunks_left;                 // of the depth from this thread's chunk on
    int rows_left;                   // of the tile from this thread's first on
    int columns_left;                // of the weights from this thread's first on
    int sources[Shape::row_copies];  // the rows to copy
    const unsigned char *rows;       // this thread's chunk of row 0
    const unsigned char *weights;    // and of its first column

    DEVICE GroupedLoader(const mc_projection_parameters &p, const GroupedTiles<Shape> &tiles) : p(p), tiles(tiles) {
        tile = int(blockIdx.x);
        start_tile();  // there is one: blocks without a tile have no loader
    }

    /// A thread's first row in every tile, of rows as of weights, and its chunk of all its rows.
    DEVICE static int own_row() { return int(threadIdx.x) / Shape::chunks; }
    DEVICE static int own_chunk() { return int(threadIdx.x) % Shape::chunks; }

    DEVICE void start_tile() {
        chunks_left = p.depth / 8 - own_chunk();
        rows = static_cast<const unsigned char *>(p.input) + own_chunk() * 16;
        if (tile >= tiles.count()) {
            rows_left = columns_left = 0;
            return;
        }
        const WorkItem t = tiles.tile(tile);
        const int column = t.part * Shape::columns + own_row();
        rows_left = t.count - own_row();
        columns_left = p.height - column;
        weights = static_cast<const unsigned char *>(p.weights) +
                  ((int64_t(t.expert) * p.height + column) * p.depth + own_chunk() * 8) * 2;
        // Without a branch a row: nothing waits for the loads before the next step's copies.
        UNROLL
        for (int i = 0; i < Shape::row_copies; i++) {
            sources[i] = t.row + (i * Shape::copy_stride < rows_left ? own_row() + i * Shape::copy_stride : 0);
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

// The kernel

template <GroupedUse use, class T, class Output, class Shape>
DEVICE void grouped_gemm(const mc_projection_parameters &p) {
    constexpr int stages = Shape::stages, slices = Shape::depth / 16;
    static_assert(slices == GroupedLoader<Shape>::parts + 1);
    const GroupedTiles<Shape> tiles(p);
    const int count = tiles.count(), steps = (p.depth + Shape::depth - 1) / Shape::depth;
    if (int(blockIdx.x) >= count) return;

    GroupedLoader<Shape> loader(p, tiles);
    for (int stage = 0; stage < stages - 1; stage++) {
        const SharedOffset place = SharedOffset(stage) * Shape::stage_bytes;
        loader.template copy<0>(place);
        loader.template copy<1>(place);
        loader.template copy<2>(place);
        copy_async_commit();
        loader.advance();
    }

    const unsigned lane = lane_index(), warp = threadIdx.x / warp_size;
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
    for (int tile = int(blockIdx.x); tile < count; tile += int(gridDim.x)) {
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
        GroupedEpilogue<use, T, Output, Shape>(p, tiles.tile(tile)).run(sums);
        // Lanes may have parted in the epilogue, and ldmatrix and mma take a warp that is together.
        __syncwarp();
    }
}

#define GROUPED_GEMM_KERNELS(NAME, CONSTANT, ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, BLOCKS, TOGETHER)                         \
    using grouped_##NAME = GroupedShape<ROWS, COLUMNS, WARP_ROWS, WARP_COLUMNS, TOGETHER>;                                     \
    static_assert(grouped_##NAME::most_bytes <= MC_GROUPED_GEMM_MOST_SHARED);                                                  \
    GROUPED_GEMM_KERNEL(gate_up_bf16_##NAME, gate_up, bf16, bf16, NAME, BLOCKS)                                                \
    GROUPED_GEMM_KERNEL(gate_up_fp16_##NAME, gate_up, fp16, fp16, NAME, BLOCKS)                                                \
    GROUPED_GEMM_KERNEL(up_bf16_##NAME, up, bf16, bf16, NAME, BLOCKS)                                                          \
    GROUPED_GEMM_KERNEL(up_fp16_##NAME, up, fp16, fp16, NAME, BLOCKS)                                                          \
    GROUPED_GEMM_KERNEL(down_bf16_bf16_##NAME, down, bf16, bf16, NAME, BLOCKS)                                                 \
    GROUPED_GEMM_KERNEL(down_bf16_fp32_##NAME, down, bf16, float, NAME, BLOCKS)                                                \
    GROUPED_GEMM_KERNEL(down_fp16_fp16_##NAME, down, fp16, fp16, NAME, BLOCKS)                                                 \
    GROUPED_GEMM_KERNEL(down_fp16_fp32_##NAME, down, fp16, float, NAME, BLOCKS)
#define GROUPED_GEMM_KERNEL(NAME, USE, T, OUTPUT, SHAPE, BLOCKS)                                                               \
    KERNEL(grouped_##SHAPE::threads, BLOCKS) grouped_##NAME(const mc_projection_parameters p) {                                \
        grouped_gemm<GroupedUse::USE, T, OUTPUT, grouped_##SHAPE>(p);                                                          \
    }
MC_GROUPED_GEMM_SHAPES(GROUPED_GEMM_KERNELS)
#undef GROUPED_GEMM_KERNEL
#undef GROUPED_GEMM_KERNELS
