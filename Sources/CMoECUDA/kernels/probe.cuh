// What a device's arithmetic can do at most: the instructions of the projections with nothing to wait for.

/// Independent chains, so that every product's latency is hidden by the others. The numbers are about one, of either sign, as
/// a device that multiplies zeros draws less power and runs faster.
template <class T>
DEVICE void probe_multiply(const mc_probe_parameters &p) {
    float total = 0.0f;
    if constexpr (sizeof(T) == 4) {
        float sums[MC_PROBE_CHAINS];
        UNROLL
        for (int i = 0; i < MC_PROBE_CHAINS; i++) sums[i] = float(int(threadIdx.x) + i);
        for (int step = 0; step < p.iterations; step++) {
            UNROLL
            for (int i = 0; i < MC_PROBE_CHAINS; i++) sums[i] = multiply_add(sums[i], -0.9990234375f, 0.75f);
        }
        UNROLL
        for (int i = 0; i < MC_PROBE_CHAINS; i++) total += sums[i];
    } else {
        float sums[MC_PROBE_CHAINS][4] = {};
        uint32_t a[4], b[2];
        UNROLL
        for (int i = 0; i < 4; i++) a[i] = pack<T>(1.0f + float(lane_index()) / 64.0f, -1.0f - float(i) / 4.0f);
        UNROLL
        for (int i = 0; i < 2; i++) b[i] = pack<T>(i ? -0.75f : 1.25f, 1.5f - float(lane_index()) / 32.0f);
        for (int step = 0; step < p.iterations; step++) {
            UNROLL
            for (int i = 0; i < MC_PROBE_CHAINS; i++) multiply_tile<T>(sums[i], a, b[0], b[1]);
        }
        UNROLL
        for (int i = 0; i < MC_PROBE_CHAINS; i++) {
            UNROLL
            for (int j = 0; j < 4; j++) total += sums[i][j];
        }
    }
    store_global(p.sink + size_t(blockIdx.x) * MC_PROBE_THREADS + threadIdx.x, total);
}

KERNEL(MC_PROBE_THREADS) probe_multiply_fp32(const mc_probe_parameters p) { probe_multiply<float>(p); }
KERNEL(MC_PROBE_THREADS) probe_multiply_bf16(const mc_probe_parameters p) { probe_multiply<bf16>(p); }
KERNEL(MC_PROBE_THREADS) probe_multiply_fp16(const mc_probe_parameters p) { probe_multiply<fp16>(p); }
