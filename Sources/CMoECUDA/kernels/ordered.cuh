// Floats as integers of the same order: what warps reduce and what is sorted digit by digit.

/// Of no number.
constexpr uint32_t nothing = 0;

/// An integer that orders as the float does, above `nothing`. Both zeros are the same; NaN is below all.
DEVICE uint32_t ordered(float value) {
    if (value != value) return 1;
    const uint32_t bits = bits_of_float(value == 0.0f ? 0.0f : value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

DEVICE float unordered(uint32_t key) { return float_of_bits(key >> 31 ? key & 0x7FFFFFFF : ~key); }
