// Instructions that Swift's SIMD types have no spelling for: byte table look-up, byte interleaving, fp16 to fp32. Seen only by a
// module that is compiled for the instruction set; always inlined, so no body of them is shared with other modules.
#pragma once

#include <stdint.h>

#define CP_VECTOR static inline __attribute__((always_inline))

typedef uint32_t cp_words4 __attribute__((ext_vector_type(4)));

/// Stores to a 16-byte boundary past the caches: for memory that is written whole and not read soon, which is then not read first.
CP_VECTOR void cp_stream4(void *_Nonnull place, cp_words4 words) {
    __builtin_nontemporal_store(words, (cp_words4 *)place);
}

/// Streamed stores become visible before later ones.
CP_VECTOR void cp_stream_end(void) {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#if defined(__AVX2__) && defined(__F16C__)

typedef uint32_t cp_words8 __attribute__((ext_vector_type(8)));
typedef float cp_floats8 __attribute__((ext_vector_type(8)));
typedef int16_t cp_halves8 __attribute__((ext_vector_type(8)));
typedef uint8_t cp_bytes32 __attribute__((ext_vector_type(32)));
typedef _Float16 cp_float16x8 __attribute__((ext_vector_type(8)));
typedef char cp_chars32 __attribute__((vector_size(32)));

/// Each byte of `indices` (below 16) replaced by that byte of `table`, which repeats every 16 bytes.
CP_VECTOR cp_words8 cp_lookup8(cp_words8 table, cp_words8 indices) {
    return (cp_words8)__builtin_ia32_pshufb256((cp_chars32)table, (cp_chars32)indices);
}

/// The first eight bytes of each 16 of `low` and of `high`, taken in turn.
CP_VECTOR cp_words8 cp_interleave_first8(cp_words8 low, cp_words8 high) {
    return (cp_words8)__builtin_shufflevector(
        (cp_bytes32)low, (cp_bytes32)high, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 16, 48, 17, 49, 18,
        50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55);
}

/// The last eight bytes of each 16 of `low` and of `high`, taken in turn.
CP_VECTOR cp_words8 cp_interleave_last8(cp_words8 low, cp_words8 high) {
    return (cp_words8)__builtin_shufflevector(
        (cp_bytes32)low, (cp_bytes32)high, 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 24, 56, 25,
        57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63);
}

typedef int16_t cp_halves16 __attribute__((ext_vector_type(16)));

/// As cp_stream4, to a 32-byte boundary.
CP_VECTOR void cp_stream8(void *_Nonnull place, cp_words8 words) {
    __builtin_nontemporal_store(words, (cp_words8 *)place);
}

/// The first or last four halves, two words or one pair of words of each 16 bytes of `a` and of `b`, taken in turn.
CP_VECTOR cp_words8 cp_interleave_first_halves(cp_halves16 a, cp_halves16 b) {
    return (cp_words8)__builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 8, 24, 9, 25, 10, 26, 11, 27);
}
CP_VECTOR cp_words8 cp_interleave_last_halves(cp_halves16 a, cp_halves16 b) {
    return (cp_words8)__builtin_shufflevector(a, b, 4, 20, 5, 21, 6, 22, 7, 23, 12, 28, 13, 29, 14, 30, 15, 31);
}
CP_VECTOR cp_words8 cp_interleave_first_words(cp_words8 a, cp_words8 b) {
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
}
CP_VECTOR cp_words8 cp_interleave_last_words(cp_words8 a, cp_words8 b) {
    return __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
}
CP_VECTOR cp_words8 cp_interleave_first_pairs(cp_words8 a, cp_words8 b) {
    return __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
}
CP_VECTOR cp_words8 cp_interleave_last_pairs(cp_words8 a, cp_words8 b) {
    return __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
}

typedef float cp_floats4 __attribute__((ext_vector_type(4)));
typedef float cp_floats2 __attribute__((ext_vector_type(2)));

/// Unaligned vectors: `cp_floats8` itself promises an aligned address.
typedef float cp_floats8u __attribute__((ext_vector_type(8), aligned(4)));
typedef float cp_floats4u __attribute__((ext_vector_type(4), aligned(4)));
typedef float cp_floats2u __attribute__((ext_vector_type(2), aligned(4)));

/// The first `count` of eight floats.
CP_VECTOR void cp_store_first(float *_Nonnull place, cp_floats8 values, long count) {
#if defined(__AVX512VL__)
    typedef float floats __attribute__((vector_size(32)));
    __builtin_ia32_storeups256_mask((floats *)place, (floats)values, (unsigned char)((1 << count) - 1));
#else
    if (count == 8) {
        *(cp_floats8u *)place = values;
        return;
    }
    cp_floats4 rest = values.lo;
    if (count & 4) {
        *(cp_floats4u *)place = values.lo;
        rest = values.hi;
        place += 4;
    }
    if (count & 2) {
        *(cp_floats2u *)place = rest.lo;
        rest.lo = rest.hi;
        place += 2;
    }
    if (count & 1) *place = rest.x;
#endif
}

/// Rows of eight floats, 64 bytes apart, to eight columns of `count` rows, `stride` floats apart. All eight rows are read.
CP_VECTOR void cp_transpose8(const float *_Nonnull rows, long count, float *_Nonnull columns, long stride) {
    const cp_floats8u *row = (const cp_floats8u *)rows;
    cp_floats8 a = row[0], b = row[2], c = row[4], d = row[6], e = row[8], f = row[10], g = row[12], h = row[14];
    // Neighbouring rows interleaved, then pairs of them, then halves exchanged.
    cp_floats8 ab = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    cp_floats8 AB = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    cp_floats8 cd = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13);
    cp_floats8 CD = __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    cp_floats8 ef = __builtin_shufflevector(e, f, 0, 8, 1, 9, 4, 12, 5, 13);
    cp_floats8 EF = __builtin_shufflevector(e, f, 2, 10, 3, 11, 6, 14, 7, 15);
    cp_floats8 gh = __builtin_shufflevector(g, h, 0, 8, 1, 9, 4, 12, 5, 13);
    cp_floats8 GH = __builtin_shufflevector(g, h, 2, 10, 3, 11, 6, 14, 7, 15);
    cp_floats8 p0 = __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13);
    cp_floats8 p1 = __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    cp_floats8 p2 = __builtin_shufflevector(AB, CD, 0, 1, 8, 9, 4, 5, 12, 13);
    cp_floats8 p3 = __builtin_shufflevector(AB, CD, 2, 3, 10, 11, 6, 7, 14, 15);
    cp_floats8 q0 = __builtin_shufflevector(ef, gh, 0, 1, 8, 9, 4, 5, 12, 13);
    cp_floats8 q1 = __builtin_shufflevector(ef, gh, 2, 3, 10, 11, 6, 7, 14, 15);
    cp_floats8 q2 = __builtin_shufflevector(EF, GH, 0, 1, 8, 9, 4, 5, 12, 13);
    cp_floats8 q3 = __builtin_shufflevector(EF, GH, 2, 3, 10, 11, 6, 7, 14, 15);
    cp_store_first(columns, __builtin_shufflevector(p0, q0, 0, 1, 2, 3, 8, 9, 10, 11), count);
    cp_store_first(columns + stride, __builtin_shufflevector(p1, q1, 0, 1, 2, 3, 8, 9, 10, 11), count);
    cp_store_first(columns + 2 * stride, __builtin_shufflevector(p2, q2, 0, 1, 2, 3, 8, 9, 10, 11), count);
    cp_store_first(columns + 3 * stride, __builtin_shufflevector(p3, q3, 0, 1, 2, 3, 8, 9, 10, 11), count);
    cp_store_first(columns + 4 * stride, __builtin_shufflevector(p0, q0, 4, 5, 6, 7, 12, 13, 14, 15), count);
    cp_store_first(columns + 5 * stride, __builtin_shufflevector(p1, q1, 4, 5, 6, 7, 12, 13, 14, 15), count);
    cp_store_first(columns + 6 * stride, __builtin_shufflevector(p2, q2, 4, 5, 6, 7, 12, 13, 14, 15), count);
    cp_store_first(columns + 7 * stride, __builtin_shufflevector(p3, q3, 4, 5, 6, 7, 12, 13, 14, 15), count);
}

/// The upper half of each word, with zeros below. The mask is hidden from the compiler, which would blend with zero in its place; but a
/// blend has fewer ports than a logical instruction, some of them those that multiply (a fifth of a tile's speed on Zen 1).
CP_VECTOR cp_words8 cp_upper_halves8(cp_words8 words) {
    cp_words8 mask = 0xffff0000u;
    __asm__("" : "+x"(mask));
    return words & mask;
}

/// No instruction, but what comes before and leads to `sum` stays before, and loads that come after stay after: so a long unrolled
/// body is worked off piece by piece and needs registers for one piece.
CP_VECTOR cp_floats8 cp_settle8(cp_floats8 sum) {
    __asm__ volatile("" : "+x"(sum) : : "memory");
    return sum;
}

/// Eight bytes with signs as fp32.
CP_VECTOR cp_floats8 cp_widen_int8x8(const void *_Nonnull place) {
    typedef int8_t bytes __attribute__((ext_vector_type(8)));
    bytes values;
    __builtin_memcpy(&values, place, 8);
    return __builtin_convertvector(values, cp_floats8);
}

/// fp16 numbers, subnormal ones included, exactly as fp32.
CP_VECTOR cp_floats8 cp_widen_float16x8(cp_halves8 bits) {
    return __builtin_convertvector((cp_float16x8)bits, cp_floats8);
}

#endif

#if defined(__AVX512BW__)

typedef uint32_t cp_words16 __attribute__((ext_vector_type(16)));
typedef float cp_floats16 __attribute__((ext_vector_type(16)));
typedef uint8_t cp_bytes64 __attribute__((ext_vector_type(64)));
typedef _Float16 cp_float16x16 __attribute__((ext_vector_type(16)));
typedef char cp_chars64 __attribute__((vector_size(64)));

/// As cp_lookup8.
CP_VECTOR cp_words16 cp_lookup16(cp_words16 table, cp_words16 indices) {
    return (cp_words16)__builtin_ia32_pshufb512((cp_chars64)table, (cp_chars64)indices);
}

/// As cp_interleave_first8.
CP_VECTOR cp_words16 cp_interleave_first16(cp_words16 low, cp_words16 high) {
    return (cp_words16)__builtin_shufflevector(
        (cp_bytes64)low, (cp_bytes64)high, 0, 64, 1, 65, 2, 66, 3, 67, 4, 68, 5, 69, 6, 70, 7, 71, 16, 80, 17, 81, 18,
        82, 19, 83, 20, 84, 21, 85, 22, 86, 23, 87, 32, 96, 33, 97, 34, 98, 35, 99, 36, 100, 37, 101, 38, 102, 39, 103,
        48, 112, 49, 113, 50, 114, 51, 115, 52, 116, 53, 117, 54, 118, 55, 119);
}

/// As cp_interleave_last8.
CP_VECTOR cp_words16 cp_interleave_last16(cp_words16 low, cp_words16 high) {
    return (cp_words16)__builtin_shufflevector(
        (cp_bytes64)low, (cp_bytes64)high, 8, 72, 9, 73, 10, 74, 11, 75, 12, 76, 13, 77, 14, 78, 15, 79, 24, 88, 25,
        89, 26, 90, 27, 91, 28, 92, 29, 93, 30, 94, 31, 95, 40, 104, 41, 105, 42, 106, 43, 107, 44, 108, 45, 109, 46,
        110, 47, 111, 56, 120, 57, 121, 58, 122, 59, 123, 60, 124, 61, 125, 62, 126, 63, 127);
}

/// Sixteen bytes with signs as fp32.
CP_VECTOR cp_floats16 cp_widen_int8x16(const void *_Nonnull place) {
    typedef int8_t bytes __attribute__((ext_vector_type(16)));
    bytes values;
    __builtin_memcpy(&values, place, 16);
    return __builtin_convertvector(values, cp_floats16);
}

/// As cp_settle8.
CP_VECTOR cp_floats16 cp_settle16(cp_floats16 sum) {
    __asm__ volatile("" : "+v"(sum) : : "memory");
    return sum;
}

/// Sixteen bf16 numbers as fp32, of a row that holds columns i and 8 + i in word i: read to both halves of a vector at once, then one
/// byte look-up puts each number into the upper half of its word and zeros below.
CP_VECTOR cp_floats16 cp_widen_bfloat16x16(const void *_Nonnull row) {
    cp_words8 words;
    __builtin_memcpy(&words, row, 32);
    cp_words16 both = __builtin_shufflevector(words, words, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    const cp_words4 low = {0x01008080, 0x05048080, 0x09088080, 0x0d0c8080};
    const cp_words4 high = {0x03028080, 0x07068080, 0x0b0a8080, 0x0f0e8080};
    cp_words16 places = __builtin_shufflevector(low, high, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7);
    return (cp_floats16)__builtin_ia32_pshufb512((cp_chars64)both, (cp_chars64)places);
}

/// Eight rows of sixteen floats to sixteen columns of `count` rows, `stride` floats apart.
CP_VECTOR void cp_transpose8x16(
    cp_floats16 a, cp_floats16 b, cp_floats16 c, cp_floats16 d, cp_floats16 e, cp_floats16 f, cp_floats16 g, cp_floats16 h,
    long count, float *_Nonnull columns, long stride
) {
// Neighbouring rows interleaved, then pairs of them: each quarter of q0 … q3, and of the last four rows' r0 … r3, is four rows of one column.
#define CP_FIRST(x, y) __builtin_shufflevector(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define CP_LAST(x, y) __builtin_shufflevector(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define CP_FIRST_PAIRS(x, y) __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define CP_LAST_PAIRS(x, y) __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
    cp_floats16 ab = CP_FIRST(a, b), AB = CP_LAST(a, b), cd = CP_FIRST(c, d), CD = CP_LAST(c, d);
    cp_floats16 ef = CP_FIRST(e, f), EF = CP_LAST(e, f), gh = CP_FIRST(g, h), GH = CP_LAST(g, h);
    cp_floats16 q[4] = {CP_FIRST_PAIRS(ab, cd), CP_LAST_PAIRS(ab, cd), CP_FIRST_PAIRS(AB, CD), CP_LAST_PAIRS(AB, CD)};
    cp_floats16 r[4] = {CP_FIRST_PAIRS(ef, gh), CP_LAST_PAIRS(ef, gh), CP_FIRST_PAIRS(EF, GH), CP_LAST_PAIRS(EF, GH)};
#undef CP_FIRST
#undef CP_LAST
#undef CP_FIRST_PAIRS
#undef CP_LAST_PAIRS
    for (int i = 0; i < 4; i++) {
        // Columns i and 4 + i, then 8 + i and 12 + i.
        cp_floats16 low = __builtin_shufflevector(
            q[i], r[i], 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
        cp_floats16 high = __builtin_shufflevector(
            q[i], r[i], 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
        cp_store_first(columns + i * stride, low.lo, count);
        cp_store_first(columns + (4 + i) * stride, low.hi, count);
        cp_store_first(columns + (8 + i) * stride, high.lo, count);
        cp_store_first(columns + (12 + i) * stride, high.hi, count);
    }
}

/// As cp_upper_halves8: the compiler would move words by a mask, which has fewer ports.
CP_VECTOR cp_words16 cp_upper_halves16(cp_words16 words) {
    cp_words16 mask = 0xffff0000u;
    __asm__("" : "+v"(mask));
    return words & mask;
}

/// As cp_widen_float16x8.
CP_VECTOR cp_floats16 cp_widen_float16x16(cp_halves16 bits) {
    return __builtin_convertvector((cp_float16x16)bits, cp_floats16);
}

#endif
