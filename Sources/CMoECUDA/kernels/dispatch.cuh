// Dispatch: (token, slot) pairs grouped by expert, in the order of pairs, without sorting and without waiting for the host.
//
// Each block counts its pairs by expert; a scan turns the counts into sums over earlier blocks; each block then knows where
// its first row of every expert is. In a block the same again for its warps, and in a warp lanes with the same expert find
// each other. Every row is a function of the routing alone.

/// Of no expert, or of one that does not exist: the pair is dropped.
constexpr uint32_t no_expert = ~0u;

DEVICE uint32_t expert_of(const mc_dispatch_parameters &p, int pair) {
    if (p.kept && !load_global(p.kept + pair)) return no_expert;
    if (p.mask && !load_global(p.mask + pair / p.slots)) return no_expert;
    // The host checks experts that a caller gives; one that does not exist must not become an address all the same.
    const uint32_t expert = uint32_t(load_global(p.chosen + pair));
    return expert < uint32_t(p.experts) ? expert : no_expert;
}

/// Pairs of a block: [begin, end).
struct PairRange {
    int begin, end;
};

DEVICE PairRange pairs_of_block(const mc_dispatch_parameters &p) {
    const int begin = int(blockIdx.x) * p.chunk, end = begin + p.chunk < p.tokens ? begin + p.chunk : p.tokens;
    return {begin * p.slots, end * p.slots};
}

KERNEL(MC_DISPATCH_THREADS) dispatch_count(const mc_dispatch_parameters p) {
    for (unsigned i = threadIdx.x; i < unsigned(p.experts); i += blockDim.x) store_shared(i * 4, int32_t(0));
    __syncthreads();
    const PairRange pairs = pairs_of_block(p);
    for (int pair = pairs.begin + int(threadIdx.x); pair < pairs.end; pair += int(blockDim.x)) {
        const uint32_t expert = expert_of(p, pair);
        if (expert != no_expert) atomic_add_shared(expert * 4, int32_t(1));
    }
    __syncthreads();
    int32_t *counts = p.block_counts + size_t(blockIdx.x) * p.experts;
    for (unsigned i = threadIdx.x; i < unsigned(p.experts); i += blockDim.x) {
        store_global(counts + i, load_shared<int32_t>(i * 4));
    }
}

/// What is the same whatever was chosen; by one thread of the grid.
DEVICE void store_all_tokens(const mc_dispatch_parameters &p) {
    if (!p.all || blockIdx.x > 0 || threadIdx.x > 0) return;
    store_global(p.all, int32_t(0));
    store_global(p.all + 1, p.tokens);
}

/// A lane has an expert, a warp a range of blocks.
KERNEL(MC_DISPATCH_SCAN_THREADS) dispatch_scan(const mc_dispatch_parameters p) {
    store_all_tokens(p);
    constexpr int warps = MC_DISPATCH_SCAN_THREADS / warp_size;
    const int warp = int(threadIdx.x / warp_size), lane = int(lane_index());
    const int expert = int(blockIdx.x * warp_size) + lane;
    const bool exists = expert < p.experts;
    const int blocks_of_warp = (p.blocks + warps - 1) / warps;
    const int begin = warp * blocks_of_warp;
    const int end = begin + blocks_of_warp < p.blocks ? begin + blocks_of_warp : p.blocks;
    // Several counts are loaded before the first is used, so that their latencies overlap.
    constexpr int at_once = 8;
    auto load_counts = [&](int32_t(&counts)[at_once], int first) {
        UNROLL
        for (int i = 0; i < at_once; i++) {
            const size_t place = size_t(first + i) * p.experts + expert;
            counts[i] = exists && first + i < end ? load_global(p.block_counts + place) : 0;
        }
    };
    int32_t sum = 0;
    for (int first = begin; first < end; first += at_once) {
        int32_t counts[at_once];
        load_counts(counts, first);
        UNROLL
        for (int i = 0; i < at_once; i++) sum += counts[i];
    }
    store_shared(threadIdx.x * 4, sum);
    __syncthreads();
    int32_t before = 0;
    for (int other = 0; other < warp; other++) before += load_shared<int32_t>(unsigned(other * int(warp_size) + lane) * 4);
    if (exists && warp == warps - 1) store_global(p.counts + expert, before + sum);
    for (int first = begin; first < end; first += at_once) {
        int32_t counts[at_once];
        load_counts(counts, first);
        UNROLL
        for (int i = 0; i < at_once; i++) {
            if (!exists || first + i >= end) continue;
            store_global(p.block_counts + size_t(first + i) * p.experts + expert, before);
            before += counts[i];
        }
    }
}

/// Rows of a block's pairs. Shared memory: [warps, experts], the next row of each warp and expert; then [experts], counts
/// of experts, then their first rows. `alone`: the block has all pairs and counts them itself.
template <int threads, bool alone>
DEVICE void dispatch_place_pairs(const mc_dispatch_parameters &p) {
    constexpr unsigned warps = threads / warp_size;
    const unsigned experts = unsigned(p.experts), warp = threadIdx.x / warp_size, lane = lane_index();
    const SharedOffset mine = warp * experts * 4, starts = warps * experts * 4;
    for (unsigned i = threadIdx.x; i < warps * experts; i += threads) store_shared(i * 4, int32_t(0));
    __syncthreads();

    // A warp has consecutive pairs, a multiple of its lanes.
    const PairRange pairs = alone ? PairRange{0, p.tokens * p.slots} : pairs_of_block(p);
    const int share = (pairs.end - pairs.begin + threads - 1) / threads * int(warp_size);
    const int begin = pairs.begin + int(warp) * share, end = begin + share < pairs.end ? begin + share : pairs.end;
    for (int pair = begin + int(lane); pair < end; pair += int(warp_size)) {
        const uint32_t expert = expert_of(p, pair);
        if (expert != no_expert) atomic_add_shared(mine + expert * 4, int32_t(1));
    }
    __syncthreads();

    for (unsigned expert = threadIdx.x; expert < experts; expert += threads) {
        int32_t count = 0;
        if constexpr (alone) {
            for (unsigned i = 0; i < warps; i++) count += load_shared<int32_t>((i * experts + expert) * 4);
            store_global(p.counts + expert, count);
        } else {
            count = load_global(p.counts + expert);
        }
        store_shared(starts + expert * 4, count);
    }
    __syncthreads();
    // Counts of experts become their first rows: a lane has some consecutive experts.
    if (warp == 0) {
        const unsigned held = (experts + warp_size - 1) / warp_size, first = lane * held;
        const unsigned last = first + held < experts ? first + held : experts;
        int32_t sum = 0;
        NO_UNROLL
        for (unsigned expert = first; expert < last; expert++) sum += load_shared<int32_t>(starts + expert * 4);
        int32_t through = sum;
        NO_UNROLL
        for (unsigned distance = 1; distance < warp_size; distance *= 2) {
            const int32_t lower = warp_shuffle_up(through, distance);
            if (lane >= distance) through += lower;
        }
        int32_t row = through - sum;
        NO_UNROLL
        for (unsigned expert = first; expert < last; expert++) {
            const int32_t count = load_shared<int32_t>(starts + expert * 4);
            store_shared(starts + expert * 4, row);
            if (blockIdx.x == 0) store_global(p.offsets + expert, row);
            row += count;
        }
        if (blockIdx.x == 0 && lane == warp_size - 1) store_global(p.offsets + experts, through);
    }
    __syncthreads();
    for (unsigned expert = threadIdx.x; expert < experts; expert += threads) {
        int32_t row = load_shared<int32_t>(starts + expert * 4);
        if constexpr (!alone) row += load_global(p.block_counts + size_t(blockIdx.x) * experts + expert);
        for (unsigned i = 0; i < warps; i++) {
            const SharedOffset place = (i * experts + expert) * 4;
            const int32_t count = load_shared<int32_t>(place);
            store_shared(place, row);
            row += count;
        }
    }
    __syncthreads();

    for (int start = begin; start < end; start += int(warp_size)) {
        const int pair = start + int(lane);
        const uint32_t expert = pair < end ? expert_of(p, pair) : no_expert;
        const uint32_t peers = warp_match(expert);
        const unsigned earlier = count_bits(peers & ((1u << lane) - 1));
        int32_t row = -1;
        if (expert != no_expert) row = load_shared<int32_t>(mine + expert * 4) + int32_t(earlier);
        __syncwarp();
        if (expert != no_expert && earlier == 0) store_shared(mine + expert * 4, row + int32_t(count_bits(peers)));
        __syncwarp();
        if (pair >= end) continue;
        store_global(p.row_of + pair, row);
        if (row < 0) continue;
        store_global(p.row_token + row, int32_t(pair / p.slots));
        if (p.row_pair) store_global(p.row_pair + row, int32_t(pair));
        if (p.row_scale) store_global(p.row_scale + row, load_global(p.weights + pair));
    }
}

KERNEL(MC_DISPATCH_THREADS) dispatch_place(const mc_dispatch_parameters p) {
    dispatch_place_pairs<MC_DISPATCH_THREADS, false>(p);
}
KERNEL(MC_DISPATCH_BLOCK_THREADS) dispatch_block(const mc_dispatch_parameters p) {
    store_all_tokens(p);
    dispatch_place_pairs<MC_DISPATCH_BLOCK_THREADS, true>(p);
}
