// Barriers, and what the threads of a warp do together.
#pragma once

#include "platform.h"

// Barriers

#ifndef __CUDACC__
DEVICE void __syncthreads(SITE_PARAMETER) { simt::block_barrier(site); }
DEVICE void __syncwarp(SITE_PARAMETER) { simt::warp_collective("__syncwarp", nullptr, nullptr, nullptr, site); }
#endif

// Operations of a whole warp: all 32 lanes come to the same call.

/// In blocks of one dimension. (Not %laneid: the compiler knows no bounds of it, and makes more code.)
DEVICE unsigned lane_index() {
#ifdef __CUDACC__
    return threadIdx.x % warp_size;
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
