// Products of pairs of bf16 numbers, which Swift's SIMD types have no spelling for. As in VectorInstructions.h, seen only by a module
// that is compiled for the instruction, and always inlined.
#pragma once

#include "VectorInstructions.h"

#if defined(__AVX2__)

/// One word in all lanes. Hidden from the compiler, which would take halves of the word before it repeats them, in a general register.
CP_VECTOR cp_words8 cp_repeated8(uint32_t word) {
    cp_words8 words = word;
    __asm__("" : "+x"(words));
    return words;
}

#endif

#if defined(__AVX512BF16__)

/// In each lane, sum + the product of the upper halves, rounded, + that of the lower halves, rounded. Numbers below the normal range count
/// as zero on the way in and out.
CP_VECTOR cp_floats16 cp_pair_dot16(cp_floats16 sum, cp_words16 weights, cp_words16 activations) {
    typedef float v16 __attribute__((vector_size(64)));
    typedef __bf16 pairs __attribute__((vector_size(64)));
    return (cp_floats16)__builtin_ia32_dpbf16ps_512((v16)sum, (pairs)weights, (pairs)activations);
}

#endif
