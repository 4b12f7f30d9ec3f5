// Tensor cores.
#pragma once

#include "elements.h"
#include "memory.h"

/// ldmatrix of four 8 × 8 matrices of 16-bit elements. Lane 8m + i gives the offset (a multiple of 16) of row i of
/// matrix m. Register m of lane l gets the elements 2(l % 4) and 2(l % 4) + 1 of row l / 4 of matrix m.
DEVICE void load_matrices(uint32_t (&registers)[4], SharedOffset row AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared_address(row))
                 : "memory");
#else
    simt::warp_collective(
        "ldmatrix",
        [](const simt::LaneArguments(&lanes)[32]) {
            for (unsigned m = 0; m < 4; m++) {
                for (unsigned l = 0; l < 32; l++) {
                    const unsigned char *elements = static_cast<const unsigned char *>(lanes[8 * m + l / 4].input);
                    memcpy(static_cast<uint32_t *>(lanes[l].output) + m, elements + l % 4 * 4, 4);
                }
            }
        },
        simt::shared(row, 16, 16, "ldmatrix", site), registers, site);
#endif
}

#ifndef __CUDACC__
struct MultiplyInput {
    uint32_t a[4], b[2];
};
/// mma m16n8k16: with g = lane / 4 and q = 2 (lane % 4), the registers hold
/// a: rows g, g + 8, g, g + 8; columns q and q + 1, in the last two registers 8 more;
/// b: rows q and q + 1, in the second register 8 more; column g;
/// c: rows g, g, g + 8, g + 8; columns q, q + 1, q, q + 1.
template <class T>
DEVICE void multiply_tile_host(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, simt::Site site) {
    const MultiplyInput input{{a[0], a[1], a[2], a[3]}, {b0, b1}};
    simt::warp_collective(
        "mma", [](const simt::LaneArguments(&lanes)[32]) {
            float left[16][16], right[16][8];
            for (unsigned l = 0; l < 32; l++) {
                const MultiplyInput &in = *static_cast<const MultiplyInput *>(lanes[l].input);
                const unsigned g = l / 4, q = l % 4 * 2;
                for (unsigned i = 0; i < 4; i++) {
                    left[g + i % 2 * 8][q + i / 2 * 8] = low_half<T>(in.a[i]);
                    left[g + i % 2 * 8][q + i / 2 * 8 + 1] = high_half<T>(in.a[i]);
                }
                for (unsigned i = 0; i < 2; i++) {
                    right[q + i * 8][g] = low_half<T>(in.b[i]);
                    right[q + i * 8 + 1][g] = high_half<T>(in.b[i]);
                }
            }
            float sums[16][8] = {};
            for (unsigned m = 0; m < 16; m++) {
                for (unsigned k = 0; k < 16; k++) {
                    for (unsigned n = 0; n < 8; n++) sums[m][n] += left[m][k] * right[k][n];
                }
            }
            for (unsigned l = 0; l < 32; l++) {
                float *c = static_cast<float *>(lanes[l].output);
                for (unsigned i = 0; i < 4; i++) c[i] += sums[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
            }
        },
        &input, c, site);
}
#endif

/// c (16 × 8, fp32) += a (16 × 16) · b (16 × 8), with bf16 or fp16 operands; b by columns, that is, two k of one n in a
/// register.
template <class T>
DEVICE void multiply_tile(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1 AND_SITE_PARAMETER);

#ifdef __CUDACC__
#define MULTIPLY_TILE(TYPE)                                                                                                    \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE                                                                 \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                        \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                              \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
template <>
DEVICE void multiply_tile<bf16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    MULTIPLY_TILE("bf16");
}
template <>
DEVICE void multiply_tile<fp16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    MULTIPLY_TILE("f16");
}
#undef MULTIPLY_TILE
#else
template <class T>
DEVICE void multiply_tile(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, simt::Site site) {
    multiply_tile_host<T>(c, a, b0, b1, site);
}
#endif

/// c (16 × 8, fp32) += a (16 × 8) · b (8 × 8), with tf32 operands: fp32 of which the lowest 13 bits do not count. With
/// g = lane / 4 and q = lane % 4, a: rows g, g + 8, g, g + 8; columns q, q, q + 4, q + 4; b: rows q, q + 4; column g; c as
/// for multiply_tile. So ldmatrix fills a and b of tf32 as it does of 16-bit types, 16 bytes of a row for 16 bytes.
DEVICE void multiply_tile_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1 AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    const MultiplyInput input{{a[0], a[1], a[2], a[3]}, {b0, b1}};
    simt::warp_collective(
        "mma of tf32",
        [](const simt::LaneArguments(&lanes)[32]) {
            float left[16][8], right[8][8];
            for (unsigned l = 0; l < 32; l++) {
                const MultiplyInput &in = *static_cast<const MultiplyInput *>(lanes[l].input);
                for (unsigned i = 0; i < 4; i++) left[l / 4 + i % 2 * 8][l % 4 + i / 2 * 4] = float_of_bits(in.a[i] & ~0x1FFFu);
                for (unsigned i = 0; i < 2; i++) right[l % 4 + i * 4][l / 4] = float_of_bits(in.b[i] & ~0x1FFFu);
            }
            for (unsigned l = 0; l < 32; l++) {
                float *c = static_cast<float *>(lanes[l].output);
                for (unsigned i = 0; i < 4; i++) {
                    float sum = 0.0f;
                    for (unsigned k = 0; k < 8; k++) sum += left[l / 4 + i / 2 * 8][k] * right[k][l % 4 * 2 + i % 2];
                    c[i] += sum;
                }
            }
        },
        &input, c, site);
#endif
}
