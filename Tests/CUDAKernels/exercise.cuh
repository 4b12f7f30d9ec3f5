// Kernels that exercise the wrappers that other kernels share, and the runner. Benchmarks/kernels.sh compiles them too, so
// that these wrappers' device bodies are known to assemble even where no kernel of the image calls them.

struct exercise_product_parameters {
    const void *a;  // [16, depth]
    const void *b;  // [16, depth]
    float *c;       // [16, 16]
    int32_t depth;
};

enum { exercise_product_threads = 64, exercise_stages = 3, exercise_tile_bytes = 16 * 16 * 2 };
/// Each stage holds a tile of a and a tile of b.
enum { exercise_product_shared = exercise_stages * 2 * exercise_tile_bytes };

/// Byte offset of row `row` and half `half` (8 elements) in a tile; every other four rows exchange the halves, which
/// spreads the rows of a matrix over the banks.
DEVICE SharedOffset exercise_place(unsigned row, unsigned half) { return row * 32 + (half ^ (row >> 2 & 1)) * 16; }

/// Starts the copies of step `step` into its stage: warp 0 copies a, warp 1 copies b. Elements past the depth become
/// zero.
DEVICE void exercise_copy(const exercise_product_parameters &p, int step) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 2, half = lane % 2;
    const SharedOffset tile = (step % exercise_stages * 2 + warp) * exercise_tile_bytes;
    const int k = step * 16 + int(half) * 8, left = (p.depth - k) * 2;
    const int bytes = left < 0 ? 0 : left > 16 ? 16 : left;
    const uint16_t *source = static_cast<const uint16_t *>(warp == 1 ? p.b : p.a) + (bytes ? int(row) * p.depth + k : 0);
    copy_async_16(tile + exercise_place(row, half), source, uint32_t(bytes));
}

/// c = a · bᵀ with copies two steps ahead; each of two warps makes eight columns.
template <class T>
DEVICE void exercise_product(const exercise_product_parameters &p) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int steps = (p.depth + 15) / 16;
    for (int step = 0; step < exercise_stages - 1; step++) {
        if (step < steps) exercise_copy(p, step);
        copy_async_commit();
    }
    float c[4] = {};
    for (int step = 0; step < steps; step++) {
        copy_async_wait<exercise_stages - 2>();
        // Everybody's copies of this step are there, and everybody has read the stage that the next copies overwrite.
        __syncthreads();
        if (step + exercise_stages - 1 < steps) exercise_copy(p, step + exercise_stages - 1);
        copy_async_commit();
        const SharedOffset tile_a = step % exercise_stages * 2 * exercise_tile_bytes, tile_b = tile_a + exercise_tile_bytes;
        uint32_t a[4], b[4];
        load_matrices(a, tile_a + exercise_place(lane % 16, lane / 16));
        load_matrices(b, tile_b + exercise_place(lane % 16, lane / 16));
        multiply_tile<T>(c, a, warp ? b[1] : b[0], warp ? b[3] : b[2]);
    }
    const unsigned row = lane / 4, column = warp * 8 + lane % 4 * 2;
    for (unsigned i = 0; i < 4; i++) store_global(p.c + (row + i / 2 * 8) * 16 + column + i % 2, c[i]);
}

KERNEL(exercise_product_threads) exercise_product_bf16(const exercise_product_parameters p) { exercise_product<bf16>(p); }
KERNEL(exercise_product_threads) exercise_product_fp16(const exercise_product_parameters p) { exercise_product<fp16>(p); }

/// What a thread sends through each operation of a warp; `out` has a row of results for each.
enum {
    exercise_shuffle,
    exercise_shuffle_xor,
    exercise_shuffle_down,
    exercise_shuffle_up,
    exercise_ballot,
    exercise_match,
    exercise_histogram,
    exercise_warp_results
};
enum { exercise_warp_threads = 96, exercise_bins = 8, exercise_warp_shared = exercise_bins * 4 };

/// in: [threads]; out: [exercise_warp_results, threads].
KERNEL(exercise_warp_threads) exercise_warp(const uint32_t *in, uint32_t *out) {
    const unsigned thread = threadIdx.x, lane = lane_index();
    const uint32_t value = load_global(in + thread);
    uint32_t results[exercise_warp_results];
    results[exercise_shuffle] = warp_shuffle(value, lane * 7 + 3);
    results[exercise_shuffle_xor] = warp_shuffle_xor(value, 5);
    results[exercise_shuffle_down] = warp_shuffle_down(value, 3);
    results[exercise_shuffle_up] = warp_shuffle_up(value, 3);
    results[exercise_ballot] = warp_ballot(value & 1);
    results[exercise_match] = warp_match(value % exercise_bins);
    if (thread < exercise_bins) store_shared(thread * 4, uint32_t(0));
    __syncthreads();
    atomic_add_shared(value % exercise_bins * 4, uint32_t(1));
    __syncthreads();
    results[exercise_histogram] = load_shared<uint32_t>(value % exercise_bins * 4);
    for (unsigned i = 0; i < exercise_warp_results; i++) store_global(out + i * exercise_warp_threads + thread, results[i]);
}

/// 16-byte accesses: out = in, 128 numbers, through shared memory and another lane.
enum { exercise_wide_threads = 32, exercise_wide_shared = exercise_wide_threads * 16 };
KERNEL(exercise_wide_threads) exercise_wide(const float *in, float *out) {
    const unsigned lane = threadIdx.x, other = lane ^ 1;
    store_shared(lane * 16, load_global_16(in + lane * 4));
    __syncwarp();
    store_global_16(out + other * 4, load_shared<Words4>(other * 16));
}
