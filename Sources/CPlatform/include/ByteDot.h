// Products of bytes summed to words, which Swift's SIMD types have no spelling for. As in VectorInstructions.h, seen only by a module
// that is compiled for the instructions, and always inlined.
#pragma once

#include "VectorInstructions.h"

#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

typedef int32_t cp_ints4 __attribute__((ext_vector_type(4)));
typedef float cp_vector4 __attribute__((ext_vector_type(4)));

/// Four floats to the nearest whole numbers, even ones in the middle, each within a byte, as bytes side by side. Plain, for the
/// baseline: adding 1.5 · 2^23 leaves the number in the low bits of the significand.
CP_VECTOR uint32_t cp_rounded_bytes4(cp_vector4 values) {
    cp_words4 bits = (cp_words4)(values + 12582912.0f) & 255;
    return bits.x | bits.y << 8 | bits.z << 16 | bits.w << 24;
}

/// sum + the four products of signed bytes in each word.
CP_VECTOR cp_words4 cp_byte_dot4(cp_words4 sum, cp_words4 weights, cp_words4 activations) {
#if defined(__ARM_FEATURE_DOTPROD)
    return (cp_words4)vdotq_s32((int32x4_t)sum, (int8x16_t)weights, (int8x16_t)activations);
#else
    cp_ints4 w = (cp_ints4)weights, a = (cp_ints4)activations, total = (cp_ints4)sum;
    total += (w << 24 >> 24) * (a << 24 >> 24);
    total += (w << 16 >> 24) * (a << 16 >> 24);
    total += (w << 8 >> 24) * (a << 8 >> 24);
    total += (w >> 24) * (a >> 24);
    return (cp_words4)total;
#endif
}

CP_VECTOR cp_vector4 cp_floats_of4(cp_words4 sums) {
    return __builtin_convertvector((cp_ints4)sums, cp_vector4);
}

#if defined(__AVX2__)

typedef int32_t cp_ints8 __attribute__((ext_vector_type(8)));
typedef short cp_shorts16 __attribute__((vector_size(32)));

/// Eight floats as cp_rounded_bytes4, by the conversion instruction.
CP_VECTOR uint64_t cp_rounded_bytes8(cp_floats8 values) {
    typedef int v8 __attribute__((vector_size(32)));
    typedef float f8 __attribute__((vector_size(32)));
    typedef int8_t bytes __attribute__((ext_vector_type(8)));
    const v8 words = __builtin_ia32_cvtps2dq256((f8)values);
    const bytes narrow = __builtin_convertvector(words, bytes);
    uint64_t result;
    __builtin_memcpy(&result, &narrow, 8);
    return result;
}

CP_VECTOR cp_floats8 cp_floats_of8(cp_words8 sums) { return __builtin_convertvector((cp_ints8)sums, cp_floats8); }

/// sum + the products of pairs of unsigned and signed bytes, in words of 16 bits: what eight pairs of 15 · 127 at most stay within.
CP_VECTOR cp_words8 cp_nibble_dot8(cp_words8 sum, cp_words8 weights, cp_words8 activations) {
    cp_shorts16 pairs = __builtin_ia32_pmaddubsw256((cp_chars32)weights, (cp_chars32)activations);
    return (cp_words8)((cp_shorts16)sum + pairs);
}

/// Pairs of 16-bit words summed.
CP_VECTOR cp_words8 cp_pair_sums8(cp_words8 sums) {
    const cp_shorts16 ones = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    return (cp_words8)__builtin_ia32_pmaddwd256((cp_shorts16)sums, ones);
}

/// sum + the four products of signed bytes in each word, the activations above -128. The instruction wants one side without signs: the
/// weights' magnitudes, their signs moved to the activations. Two products of 128 · 127 are within 16 bits.
CP_VECTOR cp_words8 cp_byte_dot8(cp_words8 sum, cp_words8 weights, cp_words8 activations) {
    typedef char v32 __attribute__((vector_size(32)));
    v32 magnitudes = (v32)__builtin_elementwise_abs((__attribute__((ext_vector_type(32))) signed char)weights);
    v32 turned = __builtin_ia32_psignb256((v32)activations, (v32)weights);
    return sum + cp_pair_sums8((cp_words8)__builtin_ia32_pmaddubsw256(magnitudes, turned));
}

#endif

#if defined(__AVXVNNI__) || defined(__AVX512VNNI__) && defined(__AVX512VL__)

/// sum + the four products of unsigned and signed bytes in each word.
CP_VECTOR cp_words8 cp_unsigned_dot8(cp_words8 sum, cp_words8 weights, cp_words8 activations) {
    typedef int v8 __attribute__((vector_size(32)));
    return (cp_words8)__builtin_ia32_vpdpbusd256((v8)sum, (v8)weights, (v8)activations);
}

#endif

#if defined(__AVX512VNNI__)

typedef int32_t cp_ints16 __attribute__((ext_vector_type(16)));

/// As cp_unsigned_dot8.
CP_VECTOR cp_words16 cp_unsigned_dot16(cp_words16 sum, cp_words16 weights, cp_words16 activations) {
    typedef int v16 __attribute__((vector_size(64)));
    return (cp_words16)__builtin_ia32_vpdpbusd512((v16)sum, (v16)weights, (v16)activations);
}

CP_VECTOR cp_floats16 cp_floats_of16(cp_words16 sums) { return __builtin_convertvector((cp_ints16)sums, cp_floats16); }

#endif
