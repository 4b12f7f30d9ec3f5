// The sum of what the parts of a split depth came to.

/// start + Σ parts[i · stride] for i below `count`, in ascending order. `at_once`: so many parts are loaded before the first is
/// added, so that their latencies overlap.
template <int at_once>
DEVICE float split_sum(float start, const float *parts, size_t stride, int count) {
    float sum = start;
    // Copies of the loop would only take registers.
    NO_UNROLL
    for (int first = 0; first < count; first += at_once) {
        float values[at_once];
        UNROLL
        for (int i = 0; i < at_once; i++) {
            values[i] = first + i < count ? load_global(parts + size_t(first + i) * stride) : 0.0f;
        }
        UNROLL
        for (int i = 0; i < at_once; i++) sum += values[i];
    }
    return sum;
}
