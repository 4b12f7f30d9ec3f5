// The instructions that kernels use beyond plain C++. Each wrapper has two bodies: what nvcc assembles, and what it
// means, for the host, where the runner of the kernel tests (simt.h) executes the same kernels.
//
// Kernels go through these wrappers for every access to shared and global memory, so that the host can check it. Shared
// memory is one dynamic array, addressed by byte offset from its start, which is aligned to 1024 bytes.
#pragma once

#include <stdint.h>

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
/// KERNEL(threads of a block[, blocks per multiprocessor]) name(parameters) { … }
#define KERNEL(...) extern "C" __global__ void __launch_bounds__(__VA_ARGS__)
/// Unrolls the loop that follows. (The host keeps loops: only the device has registers to lose by indexing.)
#define UNROLL _Pragma("unroll")
/// Keeps the loop that follows as it is, where copies of a long body would only fill the instruction cache.
#define NO_UNROLL _Pragma("unroll 1")
#define PRAGMA(text) _Pragma(#text)
/// So many turns of the loop at a time.
#define UNROLL_BY(count) PRAGMA(unroll count)
// The place of the call, for messages: the device has no use for it.
#define SITE_PARAMETER
#define AND_SITE_PARAMETER

extern __shared__ __align__(1024) unsigned char dynamic_shared[];

#else

#include <math.h>
#include <string.h>

#include "simt.h"

#define DEVICE inline
#define KERNEL(...) [[maybe_unused]] static void
#define UNROLL
#define NO_UNROLL
#define UNROLL_BY(count)
#define SITE_PARAMETER simt::Site site = simt::Site::here()
#define AND_SITE_PARAMETER , SITE_PARAMETER

#endif

/// Byte offset in the block's shared memory.
using SharedOffset = uint32_t;

constexpr unsigned warp_size = 32;

// Element types

/// The upper half of an fp32.
struct alignas(2) bf16 {
    uint16_t bits;
};
/// IEEE half precision.
struct alignas(2) fp16 {
    uint16_t bits;
};
/// 16 bytes: the widest access.
struct alignas(16) Words4 {
    uint32_t word[4];
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

// Arithmetic

/// a · b + c with one rounding, on both sides.
DEVICE float multiply_add(float a, float b, float c) {
#ifdef __CUDACC__
    return __fmaf_rn(a, b, c);
#else
    return fmaf(a, b, c);
#endif
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

DEVICE float square_root(float a) {
#ifdef __CUDACC__
    return __fsqrt_rn(a);
#else
    return sqrtf(a);
#endif
}

DEVICE double square_root_fp64(double a) { return sqrt(a); }

DEVICE double power_fp64(double base, double exponent) { return pow(base, exponent); }

// Shared memory

/// The shared address of an offset, as PTX takes it.
#ifdef __CUDACC__
DEVICE uint32_t shared_address(SharedOffset offset) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(dynamic_shared)) + offset;
}
#endif

/// T: 1, 2, 4, 8 or 16 bytes, at a multiple of its size.
template <class T>
DEVICE T load_shared(SharedOffset offset AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return *reinterpret_cast<const T *>(dynamic_shared + offset);
#else
    T value;
    memcpy(&value, simt::shared(offset, sizeof(T), sizeof(T), "load from shared memory", site), sizeof(T));
    return value;
#endif
}

template <class T>
DEVICE void store_shared(SharedOffset offset, T value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    *reinterpret_cast<T *>(dynamic_shared + offset) = value;
#else
    memcpy(simt::shared(offset, sizeof(T), sizeof(T), "store to shared memory", site), &value, sizeof(T));
#endif
}

#ifdef __CUDACC__
// A struct of four words is copied word by word unless it goes through the built-in vector.
template <>
DEVICE Words4 load_shared<Words4>(SharedOffset offset) {
    const uint4 v = *reinterpret_cast<const uint4 *>(dynamic_shared + offset);
    return {{v.x, v.y, v.z, v.w}};
}
template <>
DEVICE void store_shared<Words4>(SharedOffset offset, Words4 value) {
    const uint4 v = make_uint4(value.word[0], value.word[1], value.word[2], value.word[3]);
    *reinterpret_cast<uint4 *>(dynamic_shared + offset) = v;
}
#endif

/// Adds and returns the old value. T: int32_t or uint32_t (floating point sums would depend on the order).
template <class T>
DEVICE T atomic_add_shared(SharedOffset offset, T value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return atomicAdd(reinterpret_cast<T *>(dynamic_shared + offset), value);
#else
    T *place = static_cast<T *>(simt::shared(offset, sizeof(T), sizeof(T), "atomic add to shared memory", site));
    const T old = *place;
    *place = T(uint32_t(old) + uint32_t(value));
    return old;
#endif
}

// Global memory

/// T: 1, 2, 4, 8 or 16 bytes, at a multiple of its size.
template <class T>
DEVICE T load_global(const T *address AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return *address;
#else
    simt::check_global(address, sizeof(T), sizeof(T), false, "load", site);
    return *address;
#endif
}

template <class T>
DEVICE void store_global(T *address, T value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    *address = value;
#else
    simt::check_global(address, sizeof(T), sizeof(T), true, "store", site);
    *address = value;
#endif
}

/// 16 bytes, at a multiple of 16, of any type.
DEVICE Words4 load_global_16(const void *address AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    const uint4 v = *static_cast<const uint4 *>(address);
    return {{v.x, v.y, v.z, v.w}};
#else
    Words4 value;
    simt::check_global(address, 16, 16, false, "load of 16 bytes", site);
    memcpy(&value, address, 16);
    return value;
#endif
}

/// The same for memory that no thread writes during the kernel and that is read once: it should not displace what is in
/// L1.
DEVICE Words4 load_global_16_once(const void *address AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    Words4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
        : "l"(address));
    return v;
#else
    return load_global_16(address, site);
#endif
}

DEVICE void store_global_16(void *address, Words4 value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    *static_cast<uint4 *>(address) = make_uint4(value.word[0], value.word[1], value.word[2], value.word[3]);
#else
    simt::check_global(address, 16, 16, true, "store of 16 bytes", site);
    memcpy(address, &value, 16);
#endif
}

/// Adds and returns the old value. T: int32_t or uint32_t.
template <class T>
DEVICE T atomic_add_global(T *address, T value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return atomicAdd(address, value);
#else
    simt::check_global(address, sizeof(T), sizeof(T), true, "atomic add", site);
    const T old = *address;
    *address = T(uint32_t(old) + uint32_t(value));
    return old;
#endif
}

/// Orders this thread's writes to global memory before its later ones, for every thread of the device.
DEVICE void global_fence() {
#ifdef __CUDACC__
    __threadfence();
#endif
}

// Asynchronous copies: visible to the copying thread after its wait, to others after a barrier behind that wait.

/// cp.async: 16 bytes from global to shared memory past L1, both at multiples of 16. Only the first `source_bytes` (0
/// to 16) are read, the rest becomes zero; with 0 nothing is read, but the address must be a multiple of 16 still.
DEVICE void copy_async_16(SharedOffset destination, const void *source, uint32_t source_bytes = 16 AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(destination)), "l"(source),
                 "r"(source_bytes)
                 : "memory");
#else
    simt::copy_async_16(destination, source, source_bytes, site);
#endif
}

/// The same through L1, for bytes that other warps of the multiprocessor copy as well.
DEVICE void copy_async_16_cached(SharedOffset destination, const void *source, uint32_t source_bytes = 16 AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(destination)), "l"(source),
                 "r"(source_bytes)
                 : "memory");
#else
    simt::copy_async_16(destination, source, source_bytes, site);
#endif
}

/// Closes the group of the copies since the last call. A group may be empty.
DEVICE void copy_async_commit() {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    simt::copy_async_commit();
#endif
}

/// Waits for all of this thread's groups but the `left` latest.
template <unsigned left>
DEVICE void copy_async_wait() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#else
    simt::copy_async_wait(left);
#endif
}

// Barriers

#ifndef __CUDACC__
DEVICE void __syncthreads(SITE_PARAMETER) { simt::block_barrier(site); }
DEVICE void __syncwarp(SITE_PARAMETER) { simt::warp_collective("__syncwarp", nullptr, nullptr, nullptr, site); }
#endif

/// Waits at barrier `number` (1 to 15; 0 is __syncthreads) until `threads` threads, whole warps, have come or arrived.
DEVICE void barrier_wait(unsigned number, unsigned threads AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
#else
    simt::barrier(number, threads, true, site);
#endif
}

/// Counts this thread at a barrier without waiting.
DEVICE void barrier_arrive(unsigned number, unsigned threads AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
#else
    simt::barrier(number, threads, false, site);
#endif
}

// Operations of a whole warp: all 32 lanes come to the same call.

DEVICE unsigned lane_index() {
#ifdef __CUDACC__
    unsigned lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
#else
    return simt::lane();
#endif
}

#ifndef __CUDACC__
/// What a lane brings to a shuffle: its value, and the lane it wants to read.
template <class T>
struct ShuffleInput {
    T value;
    unsigned source;
};
template <class T>
DEVICE T warp_shuffle_host(const char *what, T value, unsigned source, simt::Site site) {
    static_assert(sizeof(T) == 4);
    const ShuffleInput<T> input{value, source};
    T output{};
    simt::warp_collective(
        what,
        [](const simt::LaneArguments(&lanes)[32]) {
            for (const simt::LaneArguments &lane : lanes) {
                const unsigned source = static_cast<const ShuffleInput<T> *>(lane.input)->source;
                *static_cast<T *>(lane.output) = static_cast<const ShuffleInput<T> *>(lanes[source].input)->value;
            }
        },
        &input, &output, site);
    return output;
}
#endif

/// The value of lane `source` (modulo 32). T: 4 bytes.
template <class T>
DEVICE T warp_shuffle(T value, unsigned source AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return __shfl_sync(0xFFFFFFFFu, value, source);
#else
    return warp_shuffle_host("warp_shuffle", value, source % 32, site);
#endif
}

/// The value of the lane whose index differs from this one's in the bits of `mask` (0 to 31).
template <class T>
DEVICE T warp_shuffle_xor(T value, unsigned mask AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
#else
    return warp_shuffle_host("warp_shuffle_xor", value, (simt::lane() ^ mask) % 32, site);
#endif
}

DEVICE double warp_shuffle_xor_fp64(double value, unsigned mask AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return __shfl_xor_sync(0xFFFFFFFFu, value, mask);
#else
    uint32_t halves[2];
    memcpy(halves, &value, sizeof value);
    for (uint32_t &half : halves) half = warp_shuffle_xor(half, mask, site);
    memcpy(&value, halves, sizeof value);
    return value;
#endif
}

/// The value of the lane `distance` (0 to 31) above; lanes without one keep their own.
template <class T>
DEVICE T warp_shuffle_down(T value, unsigned distance AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return __shfl_down_sync(0xFFFFFFFFu, value, distance);
#else
    const unsigned source = simt::lane() + distance;
    return warp_shuffle_host("warp_shuffle_down", value, source < 32 ? source : simt::lane(), site);
#endif
}

/// The value of the lane `distance` (0 to 31) below; lanes without one keep their own.
template <class T>
DEVICE T warp_shuffle_up(T value, unsigned distance AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return __shfl_up_sync(0xFFFFFFFFu, value, distance);
#else
    const unsigned lane = simt::lane();
    return warp_shuffle_host("warp_shuffle_up", value, lane >= distance ? lane - distance : lane, site);
#endif
}

/// Bit i: lane i's predicate.
DEVICE uint32_t warp_ballot(bool predicate AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return __ballot_sync(0xFFFFFFFFu, predicate);
#else
    uint32_t output = 0;
    simt::warp_collective(
        "warp_ballot",
        [](const simt::LaneArguments(&lanes)[32]) {
            uint32_t bits = 0;
            for (unsigned i = 0; i < 32; i++) bits |= uint32_t(*static_cast<const bool *>(lanes[i].input)) << i;
            for (const simt::LaneArguments &lane : lanes) *static_cast<uint32_t *>(lane.output) = bits;
        },
        &predicate, &output, site);
    return output;
#endif
}

/// Bit i: lane i has the same value as this lane.
DEVICE uint32_t warp_match(uint32_t value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return __match_any_sync(0xFFFFFFFFu, value);
#else
    uint32_t output = 0;
    simt::warp_collective(
        "warp_match",
        [](const simt::LaneArguments(&lanes)[32]) {
            for (const simt::LaneArguments &lane : lanes) {
                const uint32_t mine = *static_cast<const uint32_t *>(lane.input);
                uint32_t bits = 0;
                for (unsigned i = 0; i < 32; i++) bits |= uint32_t(*static_cast<const uint32_t *>(lanes[i].input) == mine) << i;
                *static_cast<uint32_t *>(lane.output) = bits;
            }
        },
        &value, &output, site);
    return output;
#endif
}

/// The largest of the warp's values.
DEVICE uint32_t warp_max(uint32_t value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return __reduce_max_sync(0xFFFFFFFFu, value);
#else
    uint32_t output = 0;
    simt::warp_collective(
        "warp_max",
        [](const simt::LaneArguments(&lanes)[32]) {
            uint32_t best = 0;
            for (const simt::LaneArguments &lane : lanes) {
                const uint32_t value = *static_cast<const uint32_t *>(lane.input);
                best = value > best ? value : best;
            }
            for (const simt::LaneArguments &lane : lanes) *static_cast<uint32_t *>(lane.output) = best;
        },
        &value, &output, site);
    return output;
#endif
}

/// Number of bits that are set.
DEVICE unsigned count_bits(uint32_t bits) {
#ifdef __CUDACC__
    return __popc(bits);
#else
    return unsigned(__builtin_popcount(bits));
#endif
}

// Tensor cores

#ifndef __CUDACC__
/// ldmatrix: lane 8m + i gives the address of row i of matrix m (8 rows of 8 16-bit elements). Register m of lane l
/// holds the elements 2(l % 4) and 2(l % 4) + 1 of row l / 4; transposed, the same of the transposed matrix.
template <bool transposed>
DEVICE void load_matrices_host(SharedOffset row, uint32_t (&registers)[4], simt::Site site) {
    const unsigned char *address = static_cast<unsigned char *>(simt::shared(row, 16, 16, "ldmatrix", site));
    simt::warp_collective(
        transposed ? "ldmatrix.trans" : "ldmatrix",
        [](const simt::LaneArguments(&lanes)[32]) {
            for (unsigned m = 0; m < 4; m++) {
                uint16_t matrix[8][8];
                for (unsigned i = 0; i < 8; i++) memcpy(matrix[i], lanes[8 * m + i].input, 16);
                for (unsigned l = 0; l < 32; l++) {
                    const unsigned r = l / 4, c = l % 4 * 2;
                    const uint16_t low = transposed ? matrix[c][r] : matrix[r][c];
                    const uint16_t high = transposed ? matrix[c + 1][r] : matrix[r][c + 1];
                    static_cast<uint32_t *>(lanes[l].output)[m] = uint32_t(low) | uint32_t(high) << 16;
                }
            }
        },
        address, registers, site);
}
#endif

/// ldmatrix of four 8 × 8 matrices of 16-bit elements. Lane 8m + i gives the offset (a multiple of 16) of row i of
/// matrix m.
DEVICE void load_matrices(uint32_t (&registers)[4], SharedOffset row AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared_address(row))
                 : "memory");
#else
    load_matrices_host<false>(row, registers, site);
#endif
}

/// The same, each matrix transposed.
DEVICE void load_matrices_transposed(uint32_t (&registers)[4], SharedOffset row AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared_address(row))
                 : "memory");
#else
    load_matrices_host<true>(row, registers, site);
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
    asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE                                                        \
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
