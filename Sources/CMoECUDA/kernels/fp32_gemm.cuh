// Projections of the experts in fp32, without tensor cores: each product is added by one fused operation, rounded once to
// fp32.
//
// A block multiplies a tile of 16 or 64 rows with 128 weight rows; copies of the next steps of the depth are under way
// meanwhile. A thread has every sixteenth row, and of the weights four pairs of rows that are 8 apart, a gate and its up.
// The sum over the depth is that over blocks of 256 elements, in ascending order; a block's is a chain from zero in
// ascending order. So a result depends on nothing but its own row and weights, and its error does not grow with the depth
// as that of one chain would: at most (256 + depth / 256) · 2⁻²⁴ · Σ|a||b|.

constexpr int fp32_stages = 3;
constexpr int fp32_step = 16;  // elements of the depth
constexpr int fp32_chunks = fp32_step / 4;  // of 16 bytes
constexpr int fp32_block_steps = 256 / fp32_step;
constexpr int fp32_weight_rows = 128;
constexpr int fp32_side = 16;  // threads along each side of the tile
constexpr int fp32_pairs = fp32_weight_rows / fp32_side / 2;
/// Bytes from a row of a stage to the next: eight neighbouring rows' chunks are in different banks.
constexpr SharedOffset fp32_pitch = 4 * fp32_step + 16;

/// Where things are in shared memory, for `height` rows of a thread.
template <int height>
struct FP32Layout {
    static constexpr int rows = fp32_side * height;
    static constexpr SharedOffset weights_start = rows * fp32_pitch;
    static constexpr SharedOffset stage_bytes = (rows + fp32_weight_rows) * fp32_pitch;
    static constexpr SharedOffset list_start = fp32_stages * stage_bytes;
    static constexpr unsigned bytes = list_start + MC_WORK_LIST_BYTES(MC_PROJECTION_THREADS, MC_MAXIMUM_EXPERTS);
    /// The sums of all threads, which take the place of the stages in the end.
    static_assert(height * 2 * fp32_pairs * 4 * MC_PROJECTION_THREADS <= list_start);
};
static_assert(FP32Layout<1>::bytes == MC_FP32_16_SHARED && FP32Layout<4>::bytes == MC_FP32_64_SHARED);

/// Copies `rows` rows of a step into a stage. `source(i)`: the start of the row of the thread's i-th chunk, or null for zeros.
/// `valid`: any address that may be given for a chunk of which nothing is read.
template <int rows, class Source>
DEVICE void fp32_copy_rows(SharedOffset start, int column, int depth, const void *valid, Source source) {
    UNROLL
    for (int first = 0; first < rows * fp32_chunks; first += MC_PROJECTION_THREADS) {
        const int chunk = first + int(threadIdx.x);
        if (chunk >= rows * fp32_chunks) break;
        const int row = chunk / fp32_chunks, c = column + chunk % fp32_chunks * 4;
        const float *row_start = source(first / MC_PROJECTION_THREADS);
        const bool exists = row_start && c < depth;
        copy_async_16(start + SharedOffset(row) * fp32_pitch + SharedOffset(chunk % fp32_chunks) * 16,
                      exists ? static_cast<const void *>(row_start + c) : valid, exists ? 16 : 0);
    }
}

/// Adds a step's products. `across`, `down`: the thread's place in the tile.
template <int height>
DEVICE void fp32_multiply(float (&sums)[height][2 * fp32_pairs], SharedOffset stage, int across, int down) {
    // With four rows the registers are full: those of a chunk have to do for the next one too.
    [[maybe_unused]] constexpr int at_once = height == 1 ? fp32_chunks : 1;
    UNROLL_BY(at_once)
    for (int chunk = 0; chunk < fp32_chunks; chunk++) {
        Words4 rows[height];
        UNROLL
        for (int i = 0; i < height; i++) {
            rows[i] = load_shared<Words4>(stage + SharedOffset(down + fp32_side * i) * fp32_pitch + 16 * SharedOffset(chunk));
        }
        UNROLL
        for (int j = 0; j < 2 * fp32_pairs; j++) {
            const int row = (across / 8 + 2 * (j / 2)) * 16 + j % 2 * 8 + across % 8;
            const Words4 weights = load_shared<Words4>(stage + FP32Layout<height>::weights_start +
                                                       SharedOffset(row) * fp32_pitch + 16 * SharedOffset(chunk));
            UNROLL
            for (int k = 0; k < 4; k++) {
                UNROLL
                for (int i = 0; i < height; i++) {
                    sums[i][j] = multiply_add(float_of_bits(rows[i].word[k]), float_of_bits(weights.word[k]), sums[i][j]);
                }
            }
        }
    }
}

template <class Output, int height>
DEVICE void fp32_gemm(const mc_projection_parameters &p) {
    using Layout = FP32Layout<height>;
    const int parts = (p.height + fp32_weight_rows - 1) / fp32_weight_rows;
    WorkList<MC_PROJECTION_THREADS> list{Layout::list_start, p.experts, Layout::rows, parts, 0};
    list.make(p.offsets);
    const int lane = int(lane_index()), warp = int(threadIdx.x / warp_size);
    // A warp is 8 × 4 threads, so that it reads few different rows at once.
    const int across = lane % 8 + warp % 2 * 8, down = lane / 8 + warp / 2 * 4;
    const int steps = (p.depth + fp32_step - 1) / fp32_step;

    for (int index = int(blockIdx.x); index < list.items; index += int(gridDim.x)) {
        const WorkItem item = list.item(index);
        // A thread copies the same chunks in every step: one row's, and those of two weight rows.
        constexpr int weight_copies = fp32_weight_rows * fp32_chunks / MC_PROJECTION_THREADS;
        const int copied_row = int(threadIdx.x) / fp32_chunks;
        const float *row_start = nullptr, *weight_start[weight_copies];
        if (copied_row < item.count) {
            const int row = item.row + copied_row;
            const int input_row = p.row_token ? load_global(p.row_token + row) : row;
            row_start = static_cast<const float *>(p.input) + size_t(input_row) * p.depth;
        }
        const int first_height = item.part * fp32_weight_rows;
        UNROLL
        for (int i = 0; i < weight_copies; i++) {
            const int height_row = first_height + copied_row + i * (MC_PROJECTION_THREADS / fp32_chunks);
            weight_start[i] = height_row >= p.height ? nullptr
                                                     : static_cast<const float *>(p.weights) +
                                                           (size_t(item.expert) * p.height + height_row) * p.depth;
        }
        auto copy = [&](int step) {
            if (step < steps) {
                const SharedOffset stage = SharedOffset(step % fp32_stages) * Layout::stage_bytes;
                const int column = step * fp32_step;
                fp32_copy_rows<Layout::rows>(stage, column, p.depth, p.input, [&](int) { return row_start; });
                fp32_copy_rows<fp32_weight_rows>(stage + Layout::weights_start, column, p.depth, p.weights,
                                                 [&](int i) { return weight_start[i]; });
            }
            copy_async_commit();
        };
        // All have read the sums of the tile before.
        __syncthreads();
        for (int step = 0; step < fp32_stages - 1; step++) copy(step);
        float sums[height][2 * fp32_pairs] = {}, block_sums[height][2 * fp32_pairs] = {};
        for (int step = 0; step < steps; step++) {
            copy_async_wait<fp32_stages - 2>();
            // The copies of all threads are there, and all have multiplied the stage that is filled next.
            __syncthreads();
            copy(step + fp32_stages - 1);
            fp32_multiply<height>(block_sums, SharedOffset(step % fp32_stages) * Layout::stage_bytes, across, down);
            if ((step + 1) % fp32_block_steps == 0 || step + 1 == steps) {
                UNROLL
                for (int i = 0; i < height; i++) {
                    UNROLL
                    for (int j = 0; j < 2 * fp32_pairs; j++) {
                        sums[i][j] = add(sums[i][j], block_sums[i][j]);
                        block_sums[i][j] = 0.0f;
                    }
                }
            }
        }
        // The sums go through shared memory, each thread's its own, so that the code of the activation is not repeated
        // for each of them.
        __syncthreads();
        const SharedOffset place = 4 * threadIdx.x;
        constexpr SharedOffset stride = 4 * MC_PROJECTION_THREADS;
        UNROLL
        for (int i = 0; i < height; i++) {
            UNROLL
            for (int j = 0; j < 2 * fp32_pairs; j++) {
                store_shared<float>(place + SharedOffset(i * 2 * fp32_pairs + j) * stride, sums[i][j]);
            }
        }
        NO_UNROLL
        for (int number = 0; number < height * fp32_pairs; number++) {
            const int within = down + fp32_side * (number / fp32_pairs);
            const int height_row = first_height + (across / 8 + 2 * (number % fp32_pairs)) * 16 + across % 8;
            if (within >= item.count || height_row >= p.height) continue;
            const float first = load_shared<float>(place + SharedOffset(2 * number) * stride);
            const float second = load_shared<float>(place + SharedOffset(2 * number + 1) * stride);
            Output::store(p, item.expert, item.row + within, height_row, first, second);
        }
    }
}

#define FP32_KERNEL(NAME, OUTPUT, ROWS)                                                                                        \
    KERNEL(MC_PROJECTION_THREADS, MC_FP32_BLOCKS_PER_MULTIPROCESSOR)                                                           \
    fp32_##NAME##_##ROWS(const mc_projection_parameters p) { fp32_gemm<OUTPUT<float>, ROWS / fp32_side>(p); }
FP32_KERNEL(gate_up, StoreGateUp, 16)
FP32_KERNEL(gate_up, StoreGateUp, 64)
FP32_KERNEL(down, StoreDown, 16)
FP32_KERNEL(down, StoreDown, 64)
#undef FP32_KERNEL
