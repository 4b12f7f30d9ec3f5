// Capacity: which choices an expert accepts, and experts that choose tokens.
//
// Both take the best `limit` of a list, ties to the earlier one. The threshold is found digit by digit: count the numbers
// by their highest 8 bits, see in which count the limit falls, go on with those.

/// Place of the counts in shared memory, of what was found, and of each warp's ties.
constexpr SharedOffset capacity_counts = 0, capacity_found = 256 * 4, capacity_ties = capacity_found + 2 * 4;
static_assert(capacity_ties + MC_CAPACITY_THREADS / warp_size * 4 == MC_CAPACITY_SHARED);

/// The pairs that queue for one expert, in the order of pairs.
struct QueueItems {
    const mc_admit_parameters &p;

    DEVICE bool exists(int) const { return true; }
    DEVICE int pair(int item) const { return load_global(p.row_pair + item); }
    DEVICE uint8_t *kept() const { return p.kept; }

    DEVICE int highest_digit() const { return p.order == MC_QUEUE_POSITION ? -1 : p.order == MC_QUEUE_WEIGHT ? 3 : 4; }
    DEVICE int lowest_digit() const { return p.order == MC_QUEUE_CHOICE_RANK ? 4 : 0; }

    /// The slot's digit first, lower slots higher, then the weight.
    DEVICE uint64_t key(int pair) const {
        if (p.order == MC_QUEUE_POSITION) return 0;
        if (p.order == MC_QUEUE_WEIGHT) return ordered(load_global(p.weights + pair));
        const int token = pair / p.slots;
        const uint64_t slot = uint64_t(p.slots - 1 - (pair - token * p.slots)) << 32;
        if (p.order == MC_QUEUE_CHOICE_RANK) return slot;
        uint32_t best = nothing;
        NO_UNROLL
        for (int i = 0; i < p.slots; i++) {
            const uint32_t weight = ordered(load_global(p.weights + size_t(token) * p.slots + i));
            best = weight > best ? weight : best;
        }
        return slot | best;
    }
};

/// The tokens that an expert may choose among.
struct TokenItems {
    const mc_choose_parameters &p;
    int expert;

    DEVICE bool exists(int token) const { return !p.mask || load_global(p.mask + token); }
    DEVICE int pair(int token) const { return token * p.experts + expert; }
    DEVICE uint8_t *kept() const { return p.kept; }
    DEVICE int highest_digit() const { return 3; }
    DEVICE int lowest_digit() const { return 0; }
    DEVICE uint64_t key(int pair) const { return ordered(load_global(p.weights + pair)); }
};

/// Marks the items from `begin` to `end` that are among the `limit` best, by a block.
template <class Items>
DEVICE void keep_best(const Items &items, int begin, int end, int limit) {
    const unsigned threads = MC_CAPACITY_THREADS, thread = threadIdx.x, lane = lane_index(), warp = thread / warp_size;
    static_assert(MC_CAPACITY_THREADS == 256);  // a thread for each value of a digit
    // What is known of the threshold, and how many items to take among those that agree with it so far.
    uint64_t threshold = 0, known = 0;
    int32_t wanted = limit;
    for (int digit = items.highest_digit(); limit > 0 && digit >= items.lowest_digit(); digit--) {
        const unsigned shift = unsigned(digit) * 8;
        store_shared(capacity_counts + thread * 4, int32_t(0));
        __syncthreads();
        for (int item = begin + int(thread); item < end; item += int(threads)) {
            if (!items.exists(item)) continue;
            const uint64_t key = items.key(items.pair(item));
            if ((key & known) != threshold) continue;
            atomic_add_shared(capacity_counts + SharedOffset(key >> shift & 255) * 4, int32_t(1));
        }
        __syncthreads();
        if (warp == 0) {
            // A lane has eight values of the digit, the highest lane the highest ones.
            int32_t sum = 0;
            UNROLL
            for (unsigned i = 0; i < 8; i++) sum += load_shared<int32_t>(capacity_counts + (lane * 8 + i) * 4);
            int32_t through = sum;
            NO_UNROLL
            for (unsigned distance = 1; distance < warp_size; distance *= 2) {
                const int32_t upper = warp_shuffle_down(through, distance);
                if (lane + distance < warp_size) through += upper;
            }
            int32_t above = through - sum;
            // One lane has the threshold; lane 0 speaks where there are fewer than wanted, so that all are above it.
            if ((above < wanted && wanted <= through) || (lane == 0 && through < wanted)) {
                int32_t value = int32_t(lane * 8 + 7);
                NO_UNROLL
                for (; value > int32_t(lane * 8); value--) {
                    const int32_t count = load_shared<int32_t>(capacity_counts + SharedOffset(value) * 4);
                    if (above + count >= wanted) break;
                    above += count;
                }
                store_shared(capacity_found, value);
                store_shared(capacity_found + 4, wanted - above);
            }
        }
        __syncthreads();
        threshold |= uint64_t(uint32_t(load_shared<int32_t>(capacity_found))) << shift;
        known |= uint64_t(255) << shift;
        wanted = load_shared<int32_t>(capacity_found + 4);
        __syncthreads();
    }
    // Those above the threshold, and the first of those at it.
    int32_t taken = 0;
    for (int start = begin; start < end; start += int(threads)) {
        const int item = start + int(thread);
        const bool exists = item < end && items.exists(item);
        const int pair = item < end ? items.pair(item) : 0;
        const uint64_t key = exists ? items.key(pair) & known : 0;
        const bool ties = exists && key == threshold;
        const uint32_t tied = warp_ballot(ties);
        if (lane == 0) store_shared(capacity_ties + warp * 4, int32_t(count_bits(tied)));
        __syncthreads();
        int32_t before = taken + int32_t(count_bits(tied & ((1u << lane) - 1)));
        for (unsigned i = 0; i < threads / warp_size; i++) {
            const int32_t count = load_shared<int32_t>(capacity_ties + i * 4);
            if (i < warp) before += count;
            taken += count;
        }
        if (item < end) {
            store_global(items.kept() + pair, uint8_t(ties ? before < wanted : exists && key > threshold));
        }
        __syncthreads();
    }
}

/// The first row of [begin, end) whose pair is `pair` or a later one.
DEVICE int lower_bound(const int32_t *row_pair, int begin, int end, int pair) {
    while (begin < end) {
        const int middle = begin + (end - begin) / 2;
        if (load_global(row_pair + middle) < pair) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    return begin;
}

KERNEL(MC_CAPACITY_THREADS) capacity_admit(const mc_admit_parameters p) {
    const unsigned pairs = unsigned(p.tokens) * unsigned(p.slots), step = gridDim.x * blockDim.x;
    for (unsigned pair = blockIdx.x * blockDim.x + threadIdx.x; pair < pairs; pair += step) {
        if (load_global(p.row_of + pair) < 0) store_global(p.kept + pair, uint8_t(0));
    }
    const int sequences = p.tokens == 0 ? 0 : p.tokens / p.sequence, work = p.experts * sequences;
    for (int i = int(blockIdx.x); i < work; i += int(gridDim.x)) {
        const int expert = i % p.experts, sequence = i / p.experts;
        const int first = load_global(p.offsets + expert), last = load_global(p.offsets + expert + 1);
        const int begin = lower_bound(p.row_pair, first, last, sequence * p.sequence * p.slots);
        const int end =
            sequence == sequences - 1 ? last : lower_bound(p.row_pair, begin, last, (sequence + 1) * p.sequence * p.slots);
        if (expert >= p.limited || end - begin <= p.limit) {
            for (int row = begin + int(threadIdx.x); row < end; row += int(blockDim.x)) {
                store_global(p.kept + load_global(p.row_pair + row), uint8_t(1));
            }
        } else {
            keep_best(QueueItems{p}, begin, end, p.limit);
        }
    }
}

KERNEL(MC_CAPACITY_THREADS) capacity_choose(const mc_choose_parameters p) {
    for (int expert = int(blockIdx.x); expert < p.experts; expert += int(gridDim.x)) {
        keep_best(TokenItems{p, expert}, 0, p.tokens, p.limit);
    }
}

/// A warp has a token.
KERNEL(MC_CAPACITY_THREADS) capacity_gather(const mc_choose_parameters p) {
    constexpr unsigned held = MC_MAXIMUM_EXPERTS / warp_size;
    const unsigned experts = unsigned(p.experts), lane = lane_index();
    const int warps = int(gridDim.x * blockDim.x / warp_size);
    for (int token = int((blockIdx.x * blockDim.x + threadIdx.x) / warp_size); token < p.tokens; token += warps) {
        const size_t row = size_t(token) * experts;
        // All is read before anything is written: it is the same memory.
        uint32_t kept[held];
        float weights[held];
        unsigned filled = 0;
        UNROLL
        for (unsigned i = 0; i < held; i++) {
            const unsigned expert = i * warp_size + lane;
            const bool exists = expert < experts;
            weights[i] = exists ? load_global(p.weights + row + expert) : 0.0f;
            kept[i] = warp_ballot(exists && load_global(p.kept + row + expert));
            filled += count_bits(kept[i]);
        }
        __syncwarp();
        unsigned before = 0;
        UNROLL
        for (unsigned i = 0; i < held; i++) {
            const unsigned expert = i * warp_size + lane;
            if (expert < experts) {
                const bool is_kept = kept[i] >> lane & 1;
                const unsigned kept_before = before + count_bits(kept[i] & ((1u << lane) - 1));
                const unsigned place = is_kept ? kept_before : filled + expert - kept_before;
                store_global(p.chosen + row + place, int32_t(expert));
                store_global(p.weights + row + place, is_kept ? weights[i] : 0.0f);
                store_global(p.kept + row + place, uint8_t(is_kept));
            }
            before += count_bits(kept[i]);
        }
    }
}

KERNEL(MC_CAPACITY_THREADS) capacity_weigh(const mc_weigh_parameters p) {
    const int step = int(gridDim.x * blockDim.x);
    for (int token = int(blockIdx.x * blockDim.x + threadIdx.x); token < p.tokens; token += step) {
        const size_t row = size_t(token) * p.slots;
        float divisor = 1.0f;
        if (p.rule != MC_RENORMALISE_NONE) {
            float sum = 0.0f;
            NO_UNROLL
            for (int i = 0; i < p.slots; i++) {
                const bool counts = p.rule == MC_RENORMALISE_ALL || load_global(p.kept + row + i);
                if (counts) sum = add(sum, load_global(p.weights + row + i));
            }
            divisor = p.minimum > sum ? p.minimum : sum;
        }
        NO_UNROLL
        for (int i = 0; i < p.slots; i++) {
            const bool applies = load_global(p.kept + row + i) && divisor != 0.0f;
            store_global(p.applied + row + i, applies ? divide(load_global(p.weights + row + i), divisor) : 0.0f);
        }
    }
}
