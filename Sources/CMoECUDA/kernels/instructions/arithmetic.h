// Arithmetic in which every rounding is known.
#pragma once

#include "platform.h"

/// a · b + c with one rounding, on both sides.
DEVICE float multiply_add(float a, float b, float c) {
#ifdef __CUDACC__
    return __fmaf_rn(a, b, c);
#else
    return fmaf(a, b, c);
#endif
}

/// The polynomial in x with these coefficients, the highest first, by Horner's rule.
template <class... Coefficients>
DEVICE float polynomial(float x, float highest, Coefficients... lower) {
    float sum = highest;
    ((sum = multiply_add(sum, x, lower)), ...);
    return sum;
}

/// The four operations with one rounding each. The compiler would fuse a · b + c where it finds it; these stay as they
/// are written, so that a kernel's numbers are those of the CPU backend's same formula.
DEVICE float add(float a, float b) {
#ifdef __CUDACC__
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

DEVICE float multiply(float a, float b) {
#ifdef __CUDACC__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

DEVICE float divide(float a, float b) {
#ifdef __CUDACC__
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

/// 1 / a with a relative error of at most 2⁻²³ (one unit in the last place) where a and 1 / a are normal numbers; a result
/// below the normal range is 0. The host's is the nearest number, the device's may be another one within that bound.
DEVICE float approximate_reciprocal(float a) {
#ifdef __CUDACC__
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(a));
    return result;
#else
    const float result = 1.0f / a;
    return result < 0x1p-126f && result > -0x1p-126f ? 0.0f : result;
#endif
}

DEVICE float square_root(float a) {
#ifdef __CUDACC__
    return __fsqrt_rn(a);
#else
    return sqrtf(a);
#endif
}

DEVICE double square_root_fp64(double a) { return sqrt(a); }

DEVICE double power_fp64(double base, double exponent) { return pow(base, exponent); }

/// Number of bits that are set.
DEVICE unsigned count_bits(uint32_t bits) {
#ifdef __CUDACC__
    return __popc(bits);
#else
    return unsigned(__builtin_popcount(bits));
#endif
}
