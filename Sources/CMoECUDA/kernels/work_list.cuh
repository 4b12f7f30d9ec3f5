// Which expert a piece of work belongs to. Routing decides how many rows an expert has, so every block makes the list
// for itself from the offsets: no host and no other kernel is needed.

/// In shared memory: first_item[experts + 1], offsets[experts + 1], and one sum per warp.
constexpr SharedOffset work_list_offsets = 4 * (MC_MAXIMUM_EXPERTS + 1);
constexpr SharedOffset work_list_sums = 2 * work_list_offsets;
constexpr unsigned work_list_warps = MC_PROJECTION_THREADS / warp_size;
/// Bytes of shared memory, a multiple of 16.
constexpr unsigned work_list_bytes = (work_list_sums + 4 * work_list_warps + 15) / 16 * 16;

/// Rows of one expert that are worked on together, and what to do with them.
struct WorkItem {
    int expert;
    int row;    // the first, of all rows
    int count;  // of rows, at most rows_per_item
    int part;   // 0 to parts_per_chunk
};

/// The list: each `rows_per_item` rows of an expert, the last ones fewer, make `parts` items.
struct WorkList {
    SharedOffset start;
    int experts;
    int rows_per_item;
    int parts;
    int items;  // of all experts

    DEVICE int first_item(int expert) const { return load_shared<int32_t>(start + 4 * SharedOffset(expert)); }
    DEVICE int offset(int expert) const {
        return load_shared<int32_t>(start + work_list_offsets + 4 * SharedOffset(expert));
    }

    /// Makes the list. All threads of the block come here; ends with a barrier.
    DEVICE void make(const int32_t *offsets) {
        static_assert(MC_MAXIMUM_EXPERTS == 2 * MC_PROJECTION_THREADS, "a thread counts for two experts");
        const unsigned warp = threadIdx.x / warp_size, lane = lane_index();
        int bounds[3], counts[2];
        UNROLL
        for (int i = 0; i < 3; i++) {
            const int expert = 2 * int(threadIdx.x) + i;
            bounds[i] = load_global(offsets + (expert < experts ? expert : experts));
        }
        UNROLL
        for (int i = 0; i < 2; i++) counts[i] = (bounds[i + 1] - bounds[i] + rows_per_item - 1) / rows_per_item * parts;
        int sum = counts[0] + counts[1];
        UNROLL
        for (unsigned distance = 1; distance < warp_size; distance *= 2) {
            const int below = warp_shuffle_up(sum, distance);
            if (lane >= distance) sum += below;
        }
        if (lane == warp_size - 1) store_shared<int32_t>(start + work_list_sums + 4 * warp, sum);
        __syncthreads();
        int before = sum - counts[0] - counts[1], all = 0;
        UNROLL
        for (unsigned w = 0; w < work_list_warps; w++) {
            const int of_warp = load_shared<int32_t>(start + work_list_sums + 4 * w);
            if (w < warp) before += of_warp;
            all += of_warp;
        }
        UNROLL
        for (int i = 0; i < 2; i++) {
            const int expert = 2 * int(threadIdx.x) + i;
            if (expert <= experts) {
                store_shared<int32_t>(start + 4 * SharedOffset(expert), before + (i ? counts[0] : 0));
                store_shared<int32_t>(start + work_list_offsets + 4 * SharedOffset(expert), bounds[i]);
            }
        }
        // With the most experts there is no thread for the end of the list.
        if (experts == MC_MAXIMUM_EXPERTS && threadIdx.x == MC_PROJECTION_THREADS - 1) {
            store_shared<int32_t>(start + 4 * MC_MAXIMUM_EXPERTS, all);
            store_shared<int32_t>(start + work_list_offsets + 4 * MC_MAXIMUM_EXPERTS, bounds[2]);
        }
        items = all;
        __syncthreads();
    }

    /// Item `index`, 0 to `items`. The chunks of an expert's rows that have the same part, and so read the same weights, follow
    /// each other.
    DEVICE WorkItem item(int index) const {
        int low = 0, high = experts;  // the expert is in low ..< high
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            if (first_item(middle) <= index) {
                low = middle;
            } else {
                high = middle;
            }
        }
        const int start_row = offset(low), rows = offset(low + 1) - start_row, inside = index - first_item(low);
        int part = inside, chunk = 0;
        if (rows > rows_per_item) {
            const int chunks = (rows + rows_per_item - 1) / rows_per_item;
            part = inside / chunks;
            chunk = inside % chunks;
        }
        const int done = chunk * rows_per_item;
        return {low, start_row + done, rows - done < rows_per_item ? rows - done : rows_per_item, part};
    }
};
