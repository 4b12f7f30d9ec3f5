#include "CUDAKernelHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

namespace right {
#include "ordered.cuh"
#include "dispatch.cuh"
#include "capacity.cuh"
}

// Planted mistakes: the same text, with one of its wrappers bent.

namespace missing_barrier {
#include "ordered.cuh"
#define __syncthreads()
#include "dispatch.cuh"
#include "capacity.cuh"
#undef __syncthreads
}  // namespace missing_barrier

namespace missing_warp_barrier {
#define __syncwarp()
#include "dispatch.cuh"
#undef __syncwarp
}  // namespace missing_warp_barrier

namespace forgets_peers {
#define count_bits(bits) (count_bits(bits) ? 1u : 0u)
#include "ordered.cuh"
#include "dispatch.cuh"
#include "capacity.cuh"
#undef count_bits
}  // namespace forgets_peers

namespace short_scan {
// The last step of the scan over lanes is missing.
#define warp_shuffle_up(value, distance) ((distance) == 16 ? 0 : warp_shuffle_up(value, distance))
#define warp_shuffle_down(value, distance) ((distance) == 16 ? 0 : warp_shuffle_down(value, distance))
#include "ordered.cuh"
#include "dispatch.cuh"
#include "capacity.cuh"
#undef warp_shuffle_up
#undef warp_shuffle_down
}  // namespace short_scan

namespace {

using Dispatch = void(mc_dispatch_parameters);
const Named<Dispatch> dispatches[] = {
    {"dispatch_block", right::dispatch_block},
    {"dispatch_count", right::dispatch_count},
    {"dispatch_scan", right::dispatch_scan},
    {"dispatch_place", right::dispatch_place},
    {"dispatch_block+missing_barrier", missing_barrier::dispatch_block},
    {"dispatch_count+missing_barrier", missing_barrier::dispatch_count},
    {"dispatch_scan+missing_barrier", missing_barrier::dispatch_scan},
    {"dispatch_place+missing_barrier", missing_barrier::dispatch_place},
    {"dispatch_place+missing_warp_barrier", missing_warp_barrier::dispatch_place},
    {"dispatch_place+forgets_peers", forgets_peers::dispatch_place},
    {"dispatch_block+short_scan", short_scan::dispatch_block},
};
const Named<void(mc_admit_parameters)> admits[] = {
    {"capacity_admit", right::capacity_admit},
    {"capacity_admit+missing_barrier", missing_barrier::capacity_admit},
    {"capacity_admit+forgets_peers", forgets_peers::capacity_admit},
    {"capacity_admit+short_scan", short_scan::capacity_admit},
};
const Named<void(mc_choose_parameters)> choices[] = {
    {"capacity_choose", right::capacity_choose},
    {"capacity_gather", right::capacity_gather},
};
const Named<void(mc_weigh_parameters)> weighings[] = {{"capacity_weigh", right::capacity_weigh}};

}  // namespace

int ck_dispatch(const char *name, const mc_dispatch_parameters *parameters, uint64_t seed, char *why, size_t capacity) {
    Dispatch *kernel = find(dispatches, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_dispatch_parameters &p = *parameters;
    const size_t pairs = size_t(p.tokens) * p.slots, experts = size_t(p.experts);
    simt::Launch launch{.grid = {}, .block = {}, .shared_bytes = 0, .seed = seed, .buffers = {}};
    const bool alone = strstr(name, "_block"), counts = strstr(name, "_count"), scans = strstr(name, "_scan");
    if (alone) {
        launch.block = {MC_DISPATCH_BLOCK_THREADS};
        launch.shared_bytes = size_t(mc_dispatch_shared(MC_DISPATCH_BLOCK_THREADS, p.experts));
    } else if (counts) {
        launch.grid = {unsigned(p.blocks)};
        launch.block = {MC_DISPATCH_THREADS};
        launch.shared_bytes = 4 * experts;
    } else if (scans) {
        launch.grid = {unsigned((p.experts + 31) / 32)};
        launch.block = {MC_DISPATCH_SCAN_THREADS};
        launch.shared_bytes = 4 * MC_DISPATCH_SCAN_THREADS;
    } else {
        launch.grid = {unsigned(p.blocks)};
        launch.block = {MC_DISPATCH_THREADS};
        launch.shared_bytes = size_t(mc_dispatch_shared(MC_DISPATCH_THREADS, p.experts));
    }
    // Each kernel may touch what its part of the work needs.
    if (!scans) {
        launch.buffers.push_back(simt::Buffer::input("chosen", p.chosen, pairs));
        if (p.kept) launch.buffers.push_back(simt::Buffer::input("kept", p.kept, pairs));
        if (p.mask) launch.buffers.push_back(simt::Buffer::input("mask", p.mask, size_t(p.tokens)));
    }
    if (!alone) launch.buffers.push_back({"block_counts", p.block_counts, p.blocks * experts * 4, counts || scans});
    if (!counts) launch.buffers.push_back({"counts", p.counts, experts * 4, alone || scans});
    if (p.all && (alone || scans)) launch.buffers.push_back(simt::Buffer::output("all", p.all, 2));
    if (!counts && !scans) {
        launch.buffers.push_back(simt::Buffer::output("offsets", p.offsets, experts + 1));
        launch.buffers.push_back(simt::Buffer::output("row_token", p.row_token, pairs));
        launch.buffers.push_back(simt::Buffer::output("row_of", p.row_of, pairs));
        if (p.row_pair) launch.buffers.push_back(simt::Buffer::output("row_pair", p.row_pair, pairs));
        if (p.weights) launch.buffers.push_back(simt::Buffer::input("weights", p.weights, pairs));
        if (p.row_scale) launch.buffers.push_back(simt::Buffer::output("row_scale", p.row_scale, pairs));
    }
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}

int ck_capacity_admit(const char *name, const mc_admit_parameters *parameters, size_t rows, unsigned blocks, uint64_t seed,
                      char *why, size_t capacity) {
    auto *kernel = find(admits, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_admit_parameters &p = *parameters;
    const size_t pairs = size_t(p.tokens) * p.slots;
    const simt::Launch launch{
        .grid = {blocks},
        .block = {MC_CAPACITY_THREADS},
        .shared_bytes = MC_CAPACITY_SHARED,
        .seed = seed,
        .buffers = {simt::Buffer::input("offsets", p.offsets, size_t(p.experts) + 1),
                    simt::Buffer::input("row_pair", p.row_pair, rows), simt::Buffer::input("row_of", p.row_of, pairs),
                    simt::Buffer::input("weights", p.weights, pairs), simt::Buffer::output("kept", p.kept, pairs)},
    };
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}

int ck_capacity_choose(const char *name, const mc_choose_parameters *parameters, unsigned blocks, uint64_t seed, char *why,
                       size_t capacity) {
    auto *kernel = find(choices, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_choose_parameters &p = *parameters;
    const size_t pairs = size_t(p.tokens) * p.experts;
    simt::Launch launch{
        .grid = {blocks}, .block = {MC_CAPACITY_THREADS}, .shared_bytes = MC_CAPACITY_SHARED, .seed = seed, .buffers = {}};
    launch.buffers = {simt::Buffer::output("weights", p.weights, pairs), simt::Buffer::output("kept", p.kept, pairs)};
    if (strstr(name, "gather")) launch.buffers.push_back(simt::Buffer::output("chosen", p.chosen, pairs));
    if (p.mask) launch.buffers.push_back(simt::Buffer::input("mask", p.mask, size_t(p.tokens)));
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}

int ck_capacity_weigh(const char *name, const mc_weigh_parameters *parameters, unsigned blocks, uint64_t seed, char *why,
                      size_t capacity) {
    auto *kernel = find(weighings, name);
    if (!kernel) return unknown(name, why, capacity);
    const mc_weigh_parameters &p = *parameters;
    const size_t pairs = size_t(p.tokens) * p.slots;
    const simt::Launch launch{
        .grid = {blocks},
        .block = {MC_CAPACITY_THREADS},
        .shared_bytes = 0,
        .seed = seed,
        .buffers = {simt::Buffer::input("weights", p.weights, pairs), simt::Buffer::input("kept", p.kept, pairs),
                    simt::Buffer::output("applied", p.applied, pairs)},
    };
    return report(simt::run(launch, [&] { kernel(p); }), why, capacity);
}
