// Which expert a piece of work belongs to. Routing decides how many rows an expert has, so every block makes the list
// for itself from the offsets: no host and no other kernel is needed. It takes some hundred cycles.

/// The last of `count` ascending numbers that is at or before `place`; the first one is. Of equal ones the last: an expert
/// without rows starts where the next one does.
template <class Number>
DEVICE int last_at_or_before(int place, int count, Number number) {
    int low = 0, high = count;  // it is in low ..< high
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (number(middle) <= place) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/// Rows of one expert that are worked on together, and what to do with them.
struct WorkItem {
    int expert;
    int row;    // the first, of all rows
    int count;  // of rows, at most rows_per_item
    int part;   // 0 to parts
};

/// The list: each `rows_per_item` rows of an expert, the last ones fewer, make `parts` items. For blocks of `threads`.
///
/// In shared memory: for every expert, and one past the last, the first item and the first row; then one sum per warp.
template <int threads>
struct WorkList {
    SharedOffset start;
    int experts;
    int rows_per_item;
    int parts;
    int items;  // of all experts

    static constexpr int warps = threads / int(warp_size);
    static_assert(MC_WORK_LIST_BYTES(threads, MC_MAXIMUM_EXPERTS) >= 8 * (MC_MAXIMUM_EXPERTS + 1) + 4 * warps);

    DEVICE SharedOffset place(int expert) const { return start + 8 * SharedOffset(expert); }
    DEVICE int first_item(int expert) const { return load_shared<int32_t>(place(expert)); }
    DEVICE int first_row(int expert) const { return load_shared<int32_t>(place(expert) + 4); }
    DEVICE void set(int expert, int item, int row) const {
        store_shared<int32_t>(place(expert), item);
        store_shared<int32_t>(place(expert) + 4, row);
    }

    /// Makes the list. All threads of the block come here; ends with a barrier.
    DEVICE void make(const int32_t *offsets) {
        // A thread counts for some neighbouring experts.
        constexpr int held = MC_MAXIMUM_EXPERTS / threads;
        static_assert(held * threads == MC_MAXIMUM_EXPERTS);
        const int warp = int(threadIdx.x / warp_size), lane = int(lane_index()), first = held * int(threadIdx.x);
        const SharedOffset sums = place(experts + 1);
        int bounds[held + 1], counts[held], own = 0;
        UNROLL
        for (int i = 0; i <= held; i++) bounds[i] = load_global(offsets + (first + i < experts ? first + i : experts));
        UNROLL
        for (int i = 0; i < held; i++) {
            counts[i] = (bounds[i + 1] - bounds[i] + rows_per_item - 1) / rows_per_item * parts;
            own += counts[i];
        }
        int sum = own;
        UNROLL
        for (int distance = 1; distance < int(warp_size); distance *= 2) {
            const int below = warp_shuffle_up(sum, unsigned(distance));
            if (lane >= distance) sum += below;
        }
        if (lane == int(warp_size) - 1) store_shared<int32_t>(sums + 4 * SharedOffset(warp), sum);
        __syncthreads();
        int before = sum - own, all = 0;
        UNROLL
        for (int w = 0; w < warps; w++) {
            const int of_warp = load_shared<int32_t>(sums + 4 * SharedOffset(w));
            if (w < warp) before += of_warp;
            all += of_warp;
        }
        UNROLL
        for (int i = 0; i < held; i++) {
            if (first + i <= experts) set(first + i, before, bounds[i]);
            before += counts[i];
        }
        // With the most experts there is no thread for the end of the list.
        if (experts == MC_MAXIMUM_EXPERTS && threadIdx.x == threads - 1) set(experts, all, bounds[held]);
        items = all;
        __syncthreads();
    }

    /// Item `index`, 0 to `items`. The chunks of an expert's rows that have the same part, and so read the same weights, follow
    /// each other.
    DEVICE WorkItem item(int index) const {
        const int expert = last_at_or_before(index, experts, [&](int e) { return first_item(e); });
        const int start_row = first_row(expert), rows = first_row(expert + 1) - start_row;
        int part = 0, chunk = index - first_item(expert);
        if (parts > 1) {
            const int inside = chunk;
            part = inside;
            chunk = 0;
            if (rows > rows_per_item) {
                const int chunks = (rows + rows_per_item - 1) / rows_per_item;
                part = inside / chunks;
                chunk = inside % chunks;
            }
        }
        const int done = chunk * rows_per_item;
        return {expert, start_row + done, rows - done < rows_per_item ? rows - done : rows_per_item, part};
    }
};
