// Random weights made where they are needed, so that a layer of many gigabytes is there in milliseconds.

/// SplitMix64's finaliser. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
DEVICE uint64_t mix_64(uint64_t value) {
    uint64_t z = value + 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/// Column `column` of the row with that key, before it is scaled. Constants: Wellons, "Prospecting for Hash Functions", 2018.
DEVICE float random_number(uint64_t key, uint32_t column) {
    uint32_t hash = column * 0x9E3779B9u + uint32_t(key);
    hash ^= hash >> 16;
    hash *= 0x7FEB352Du;
    hash ^= hash >> 15 ^ uint32_t(key >> 32);
    hash *= 0x846CA68Bu;
    hash ^= hash >> 16;
    return float(int32_t(hash));
}

template <class T>
DEVICE void generate(const mc_generate_parameters &p) {
    for (int row = int(blockIdx.x); row < p.rows; row += int(gridDim.x)) {
        const bool is_up = p.gated && row / MC_GATE_GROUP % 2;
        const int source = p.gated ? row / (2 * MC_GATE_GROUP) * MC_GATE_GROUP + row % MC_GATE_GROUP : row;
        const uint64_t key = mix_64((is_up ? p.keys[1] : p.keys[0]) + uint64_t(source));
        T *destination = static_cast<T *>(p.destination) + size_t(row) * p.depth;
        for (int column = int(threadIdx.x); column < p.depth; column += MC_GENERATE_THREADS) {
            const bool exists = source < p.outputs && column < p.inputs;
            const float value = exists ? multiply(random_number(key, uint32_t(column)), p.scale) : 0.0f;
            store_global(destination + column, from_float<T>(value));
        }
    }
}

KERNEL(MC_GENERATE_THREADS) generate_fp32(const mc_generate_parameters p) { generate<float>(p); }
KERNEL(MC_GENERATE_THREADS) generate_bf16(const mc_generate_parameters p) { generate<bf16>(p); }
KERNEL(MC_GENERATE_THREADS) generate_fp16(const mc_generate_parameters p) { generate<fp16>(p); }
