// Projections of the experts for few rows (decode): the weights are read once, at the speed of memory.
//
// Weights are on the M side of the tensor core's tile: 16 weight rows times 8 tokens. A warp has 32 weight rows and every
// eighth step of 32 of the depth (fewer warps share a short depth; the others have rows of their own then), so that a
// block reads 512 neighbouring bytes of each of its rows at a time. The warps' sums meet in shared memory, where they are
// added in order.
//
// A thread copies what it will multiply itself, and nothing else: 16 bytes, eight neighbours of the depth, of four weight
// rows and of one or two tokens. So the loop has no barrier: each thread waits for its own copies. The sum over the depth
// may take its terms in any order as long as weights and tokens agree, and here the eight elements that a thread holds
// are, for the tensor core, columns 2q, 2q + 1, 2q + 8 and 2q + 9 of two steps of 16 (q = lane % 4).
//
// Blocks are persistent and walk the tiles by a fixed stride. Copies run `decode_stages` steps ahead, over the ends of
// tiles: two blocks of a multiprocessor have 64 to 96 KiB of weights under way. A bandwidth of 4.3 TB/s times a latency of
// 1 µs is 4.3 MB, or 32 KiB for each of 132 multiprocessors. A warp spends about 100 instructions on 2 KiB of weights,
// which take 100 cycles to come, where four schedulers could issue 400: the tensor cores make one token cost as little
// as eight, and there is nothing to gain from other arithmetic for one.

using DecodeList = WorkList<MC_PROJECTION_THREADS>;

constexpr int decode_stages = 3;
constexpr int decode_step = 32;  // elements of the depth in a step of a warp
constexpr int decode_warps = MC_PROJECTION_THREADS / int(warp_size);
constexpr int decode_weight_copies = MC_DECODE_TILE_ROWS / 8;
constexpr unsigned decode_copy_stride = 16 * MC_PROJECTION_THREADS;

/// Where things are in shared memory, for `groups` of eight rows of an expert.
template <int groups>
struct DecodeLayout {
    static constexpr unsigned copies = decode_weight_copies + groups;
    static constexpr SharedOffset stage_bytes = copies * decode_copy_stride;
    /// Sums of a thread: 16 × 8 of a warp are four each.
    static constexpr int sums = MC_DECODE_TILE_ROWS / 16 * groups * 4;
    static constexpr SharedOffset sums_start = decode_stages * stage_bytes;
    static constexpr SharedOffset sums_bytes = sums * 4 * MC_PROJECTION_THREADS;
    // Two buffers: a warp that is a tile ahead must not overwrite what others still add.
    static constexpr SharedOffset list_start = sums_start + 2 * sums_bytes;
    static constexpr unsigned bytes = list_start + MC_WORK_LIST_BYTES(MC_PROJECTION_THREADS, MC_MAXIMUM_EXPERTS);

    static DEVICE SharedOffset sum(SharedOffset buffer, int warp, int number, int lane) {
        return buffer + 4 * SharedOffset((warp * sums + number) * int(warp_size) + lane);
    }
};
static_assert(DecodeLayout<1>::bytes == MC_DECODE_8_SHARED && DecodeLayout<2>::bytes == MC_DECODE_16_SHARED);

/// How a launch divides the sums: into splits, and those among the warps of a block.
struct DecodePlan {
    int depth_warps;  // that share a sum: 1, 2, 4 or 8
    int tiles;        // blocks of weight rows
    int split_steps;  // steps of a split
    int steps;        // of each warp for a tile

    DEVICE explicit DecodePlan(const mc_decode_parameters &p) {
        const int all_steps = (p.projection.depth + decode_step - 1) / decode_step;
        split_steps = (all_steps + p.splits - 1) / p.splits;
        depth_warps = decode_warps;
        while (depth_warps > 1 && depth_warps > split_steps) depth_warps /= 2;
        steps = (split_steps + depth_warps - 1) / depth_warps;
        const int height = tile_rows();
        tiles = (p.projection.height + height - 1) / height;
    }
    DEVICE int tile_rows() const { return MC_DECODE_TILE_ROWS * (decode_warps / depth_warps); }
    /// The warp's first row in a block's tile.
    DEVICE int warp_row(int warp) const { return MC_DECODE_TILE_ROWS * (warp / depth_warps); }
};

/// What a thread copies, one step after the other, over all tiles of its block.
template <class T, int groups>
struct DecodeLoader {
    using Layout = DecodeLayout<groups>;

    int index;  // of the tile after the one being copied
    int step;
    // The tile being copied.
    const T *weights;
    int rows_left;  // weight rows from the thread's first to the end
    const T *inputs[groups];
    bool has_input[groups];
    int column;  // of the next step
    int end;     // of the split's columns
    // The tile after it: its rows are looked up a tile ahead, so that no copy waits for them.
    WorkItem next;
    int next_inputs[groups];

    /// Looks up tile `index`.
    DEVICE void look_up(const mc_projection_parameters &p, const DecodeList &list) {
        if (index >= list.items) return;
        next = list.item(index);
        UNROLL
        for (int i = 0; i < groups; i++) {
            const int within = 8 * i + int(lane_index() / 4);
            next_inputs[i] = -1;
            if (within < next.count) {
                next_inputs[i] = p.row_token ? load_global(p.row_token + next.row + within) : next.row + within;
            }
        }
    }

    /// Makes the tile that was looked up the one being copied.
    DEVICE void begin(const mc_decode_parameters &parameters, const DecodePlan &plan, const DecodeList &list) {
        const mc_projection_parameters &p = parameters.projection;
        const int warp = int(threadIdx.x / warp_size), lane = int(lane_index());
        const int tile = next.part / parameters.splits, split = next.part % parameters.splits;
        const int row = tile * plan.tile_rows() + plan.warp_row(warp) + lane / 4;
        rows_left = p.height - row;
        weights = static_cast<const T *>(p.weights) + (size_t(next.expert) * p.height + row) * p.depth;
        UNROLL
        for (int i = 0; i < groups; i++) {
            has_input[i] = next_inputs[i] >= 0;
            inputs[i] = static_cast<const T *>(p.input) + (has_input[i] ? size_t(next_inputs[i]) * p.depth : 0);
        }
        const int first_step = split * plan.split_steps;
        column = (first_step + warp % plan.depth_warps) * decode_step + lane % 4 * 8;
        end = (first_step + plan.split_steps) * decode_step;
        end = end < p.depth ? end : p.depth;
        step = 0;
        index += int(gridDim.x);
        look_up(p, list);
    }

    DEVICE void start(const mc_decode_parameters &p, const DecodePlan &plan, const DecodeList &list) {
        index = int(blockIdx.x);
        look_up(p.projection, list);
        begin(p, plan, list);
    }

    /// Starts the copies of a step into a stage, as one group; past the last tile the group is empty.
    DEVICE void copy(const mc_decode_parameters &parameters, const DecodePlan &plan, const DecodeList &list,
                     SharedOffset stage) {
        const mc_projection_parameters &p = parameters.projection;
        if (step == plan.steps && index < list.items) begin(parameters, plan, list);
        if (step < plan.steps) {
            const SharedOffset place = stage + 16 * threadIdx.x;
            // Past the end of a row or of the rows there are zeros; nothing is read then.
            const bool inside = column < end;
            UNROLL
            for (int i = 0; i < decode_weight_copies; i++) {
                const bool exists = inside && 8 * i < rows_left;
                const T *source = exists ? weights + size_t(8 * i) * p.depth + column : static_cast<const T *>(p.weights);
                copy_async_16(place + unsigned(i) * decode_copy_stride, source, exists ? 16 : 0);
            }
            UNROLL
            for (int i = 0; i < groups; i++) {
                const bool exists = inside && has_input[i];
                const T *source = exists ? inputs[i] + column : static_cast<const T *>(p.input);
                copy_async_16_cached(place + unsigned(decode_weight_copies + i) * decode_copy_stride, source, exists ? 16 : 0);
            }
            column += plan.depth_warps * decode_step;
            step++;
        }
        copy_async_commit();
    }
};

/// Multiplies the step in a stage.
template <class T, int groups>
DEVICE void decode_multiply(float (&sums)[MC_DECODE_TILE_ROWS / 16][groups][4], SharedOffset stage) {
    const SharedOffset place = stage + 16 * threadIdx.x;
    Words4 weights[decode_weight_copies], inputs[groups];
    UNROLL
    for (int i = 0; i < decode_weight_copies; i++) weights[i] = load_shared<Words4>(place + unsigned(i) * decode_copy_stride);
    UNROLL
    for (int i = 0; i < groups; i++) {
        inputs[i] = load_shared<Words4>(place + unsigned(decode_weight_copies + i) * decode_copy_stride);
    }
    UNROLL
    for (int half = 0; half < 2; half++) {
        UNROLL
        for (int m = 0; m < MC_DECODE_TILE_ROWS / 16; m++) {
            const Words4 &upper = weights[2 * m], &lower = weights[2 * m + 1];
            const uint32_t a[4] = {upper.word[2 * half], lower.word[2 * half], upper.word[2 * half + 1],
                                   lower.word[2 * half + 1]};
            UNROLL
            for (int n = 0; n < groups; n++) {
                multiply_tile<T>(sums[m][n], a, inputs[n].word[2 * half], inputs[n].word[2 * half + 1]);
            }
        }
    }
}

/// Adds the warps' sums of a tile, in the order of the warps, and writes them. The sums are shared out among the warps that
/// have them in common.
template <class Output, int groups>
DEVICE void decode_finish_tile(const mc_decode_parameters &parameters, const DecodePlan &plan, const WorkItem &item,
                               SharedOffset buffer) {
    const mc_projection_parameters &p = parameters.projection;
    const int warp = int(threadIdx.x / warp_size), lane = int(lane_index());
    const int first_warp = warp / plan.depth_warps * plan.depth_warps;
    const int tile = item.part / parameters.splits, split = item.part % parameters.splits;
    // A pair of sums: of weight rows g and g + 8 of an m tile, for one token.
    constexpr int pairs = DecodeLayout<groups>::sums / 2;
    NO_UNROLL
    for (int pair = warp - first_warp; pair < pairs; pair += plan.depth_warps) {
        const int m = pair / (2 * groups), n = pair / 2 % groups, side = pair % 2;
        const int number = (m * groups + n) * 4 + side;
        const int row = item.row + 8 * n + lane % 4 * 2 + side, end = item.row + item.count;
        const int height_row = tile * plan.tile_rows() + plan.warp_row(warp) + 16 * m + lane / 4;
        if (row >= end || height_row >= p.height) continue;
        float first = 0.0f, second = 0.0f;
        for (int w = first_warp; w < first_warp + plan.depth_warps; w++) {
            const SharedOffset place = DecodeLayout<groups>::sum(buffer, w, number, lane);
            first += load_shared<float>(place);
            second += load_shared<float>(place + 2 * 4 * warp_size);
        }
        if (parameters.splits == 1) {
            Output::store(p, item.expert, row, height_row, first, second);
        } else {
            float *partial = parameters.partial + (size_t(split) * parameters.rows + row) * p.height + height_row;
            store_global(partial, first);
            if (height_row + 8 < p.height) store_global(partial + 8, second);
        }
    }
}

template <class Output, int groups>
DEVICE void decode_gemm(const mc_decode_parameters &p) {
    using Layout = DecodeLayout<groups>;
    const DecodePlan plan(p);
    DecodeList list{Layout::list_start, p.projection.experts, 8 * groups, plan.tiles * p.splits, 0};
    list.make(p.projection.offsets);
    if (int(blockIdx.x) >= list.items) return;

    DecodeLoader<typename Output::Element, groups> loader;
    loader.start(p, plan, list);
    for (int stage = 0; stage < decode_stages; stage++) loader.copy(p, plan, list, SharedOffset(stage) * Layout::stage_bytes);

    SharedOffset stage = 0, buffer = Layout::sums_start;
    for (int index = int(blockIdx.x); index < list.items; index += int(gridDim.x)) {
        float sums[MC_DECODE_TILE_ROWS / 16][groups][4] = {};
        for (int step = 0; step < plan.steps; step++) {
            copy_async_wait<decode_stages - 1>();
            decode_multiply<typename Output::Element, groups>(sums, stage);
            loader.copy(p, plan, list, stage);
            stage = stage + Layout::stage_bytes == Layout::sums_start ? 0 : stage + Layout::stage_bytes;
        }
        const int warp = int(threadIdx.x / warp_size), lane = int(lane_index());
        UNROLL
        for (int m = 0; m < MC_DECODE_TILE_ROWS / 16; m++) {
            UNROLL
            for (int n = 0; n < groups; n++) {
                UNROLL
                for (int i = 0; i < 4; i++) {
                    store_shared<float>(Layout::sum(buffer, warp, (m * groups + n) * 4 + i, lane), sums[m][n][i]);
                }
            }
        }
        // The other buffer is free: whoever comes to this barrier has added the sums of the tile before.
        __syncthreads();
        decode_finish_tile<Output, groups>(p, plan, list.item(index), buffer);
        buffer = buffer == Layout::sums_start ? Layout::sums_start + Layout::sums_bytes : Layout::sums_start;
        // Lanes without output have parted from the others, and mma takes a warp that is together.
        __syncwarp();
    }
}

/// Adds the splits' sums in order and writes the output.
template <class Output>
DEVICE void decode_finish(const mc_decode_parameters &parameters) {
    const mc_projection_parameters &p = parameters.projection;
    const int rows = load_global(p.offsets + p.experts);
    for (int row = int(blockIdx.x); row < rows; row += int(gridDim.x)) {
        const int expert = last_at_or_before(row, p.experts, [&](int e) { return load_global(p.offsets + e); });
        for (int pair = int(threadIdx.x); pair < (p.height + 15) / 16 * 8; pair += MC_PROJECTION_THREADS) {
            const int height_row = pair / 8 * 16 + pair % 8;
            if (height_row >= p.height) continue;
            const bool has_second = height_row + 8 < p.height;
            const float *partial = parameters.partial + size_t(row) * p.height + height_row;
            const size_t stride = size_t(parameters.rows) * p.height;
            const float first = split_sum<4>(0.0f, partial, stride, parameters.splits);
            const float second = split_sum<4>(0.0f, partial + 8, stride, has_second ? parameters.splits : 0);
            Output::store(p, expert, row, height_row, first, second);
        }
    }
}

#define DECODE_KERNEL(NAME, OUTPUT, GROUPS)                                                                                    \
    KERNEL(MC_PROJECTION_THREADS, MC_DECODE_BLOCKS_PER_MULTIPROCESSOR)                                                         \
    decode_##NAME(const mc_decode_parameters p) { decode_gemm<OUTPUT, GROUPS>(p); }
#define DECODE_FINISH_KERNEL(NAME, OUTPUT)                                                                                     \
    KERNEL(MC_PROJECTION_THREADS) decode_finish_##NAME(const mc_decode_parameters p) { decode_finish<OUTPUT>(p); }
#define DECODE_KERNELS(TYPE)                                                                                                   \
    DECODE_KERNEL(gate_up_##TYPE##_8, StoreGateUp<TYPE>, 1)                                                                    \
    DECODE_KERNEL(gate_up_##TYPE##_16, StoreGateUp<TYPE>, 2)                                                                   \
    DECODE_KERNEL(down_##TYPE##_8, StoreDown<TYPE>, 1)                                                                         \
    DECODE_KERNEL(down_##TYPE##_16, StoreDown<TYPE>, 2)                                                                        \
    DECODE_FINISH_KERNEL(gate_up_##TYPE, StoreGateUp<TYPE>)
DECODE_KERNELS(bf16)
DECODE_KERNELS(fp16)
DECODE_FINISH_KERNEL(down, StoreDown<float>)
#undef DECODE_KERNELS
#undef DECODE_FINISH_KERNEL
#undef DECODE_KERNEL
