// Element types and conversions between them.
#pragma once

#include "platform.h"

/// The upper half of an fp32.
struct alignas(2) bf16 {
    uint16_t bits;
};
/// IEEE half precision.
struct alignas(2) fp16 {
    uint16_t bits;
};

DEVICE float float_of_bits(uint32_t bits) {
#ifdef __CUDACC__
    return __uint_as_float(bits);
#else
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
#endif
}

DEVICE uint32_t bits_of_float(float value) {
#ifdef __CUDACC__
    return __float_as_uint(value);
#else
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
#endif
}

DEVICE float to_float(float value) { return value; }

DEVICE float to_float(bf16 value) { return float_of_bits(uint32_t(value.bits) << 16); }

DEVICE float to_float(fp16 value) {
#ifdef __CUDACC__
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
#else
    const uint32_t sign = uint32_t(value.bits & 0x8000) << 16, exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
    if (exponent == 31) return float_of_bits(sign | 0x7F800000 | fraction << 13);
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * float(fraction) * 0x1p-24f;
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
#endif
}

/// Conversion from fp32, to nearest, ties to even; every NaN becomes 0x7FFF.
template <class T>
DEVICE T from_float(float value);

template <>
DEVICE float from_float<float>(float value) {
    return value;
}

template <>
DEVICE bf16 from_float<bf16>(float value) {
#ifdef __CUDACC__
    bf16 result;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
#else
    if (value != value) return {0x7FFF};
    const uint32_t bits = bits_of_float(value);
    return {uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
#endif
}

template <>
DEVICE fp16 from_float<fp16>(float value) {
#ifdef __CUDACC__
    fp16 result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
#else
    if (value != value) return {0x7FFF};
    const uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude >= 0x477FF000) return {uint16_t(sign | 0x7C00)};  // 65520 and above round to infinity
    if (magnitude < 0x38800000) {                                   // below 2⁻¹⁴: steps of 2⁻²⁴, and nearbyint rounds to even
        return {uint16_t(sign | uint32_t(nearbyintf(float_of_bits(magnitude) * 0x1p24f)))};
    }
    return {uint16_t(sign | ((magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13))};
#endif
}

/// Two numbers in a register, the first in the lower half.
template <class T>
DEVICE uint32_t pack(float low, float high);

template <>
DEVICE uint32_t pack<bf16>(float low, float high) {
#ifdef __CUDACC__
    uint32_t result;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
#else
    return uint32_t(from_float<bf16>(low).bits) | uint32_t(from_float<bf16>(high).bits) << 16;
#endif
}

template <>
DEVICE uint32_t pack<fp16>(float low, float high) {
#ifdef __CUDACC__
    uint32_t result;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
    return result;
#else
    return uint32_t(from_float<fp16>(low).bits) | uint32_t(from_float<fp16>(high).bits) << 16;
#endif
}

template <class T>
DEVICE float low_half(uint32_t packed) {
    return to_float(T{uint16_t(packed)});
}

template <class T>
DEVICE float high_half(uint32_t packed) {
    return to_float(T{uint16_t(packed >> 16)});
}

/// fp32 to the 10 fraction bits of tf32, to nearest, ties away from zero.
DEVICE uint32_t round_tf32(float value) {
#ifdef __CUDACC__
    uint32_t result;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(value));
    return result;
#else
    const uint32_t bits = bits_of_float(value);
    return (bits & 0x7F800000) == 0x7F800000 ? bits : (bits + 0x1000) & ~0x1FFFu;
#endif
}
