// The few things the library needs from the platform that Swift does not offer: processor features, cache sizes, aligned
// memory that reports failure, and two instructions (prefetch and pause). Nothing here allocates or keeps state.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// For Swift, which sees the C library through this header under one name on every platform.
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "ByteDot.h"
#include "VectorInstructions.h"

#ifdef __cplusplus
extern "C" {
#endif

/// What this processor and operating system can run. `avx2` means all of x86-64-v3 (AVX2, FMA, F16C, BMI2), `avx512` all of
/// x86-64-v4 (F, BW, CD, DQ, VL), each with the operating system saving the registers.
typedef struct {
    bool avx2;
    bool avx512;
    bool avx512_bf16;
    bool avx512_vnni;
    bool avx_vnni;
    bool neon;
} cp_features;

cp_features cp_detect_features(void);

/// The processor's own name, or an empty string; `capacity` bytes including the terminator.
void cp_processor_name(char *_Nonnull name, size_t capacity);

/// Bytes of a data cache level (1, 2 or 3) as the operating system tells it, 0 when it does not.
size_t cp_cache_bytes(int level);

/// Processors this process may run on (its affinity mask, not the machine's count).
int cp_available_processors(void);

/// Physical memory and resident set (peak and now) in bytes; 0 when unknown.
size_t cp_physical_memory(void);
size_t cp_resident_peak(void);
size_t cp_resident_now(void);

/// Pages straight from the operating system, zeroed, aligned to at least 64 bytes (2 MiB for large regions, with huge pages
/// asked for). NULL when there is no memory; never aborts.
void *_Nullable cp_map(size_t bytes);
void cp_unmap(void *_Nullable pointer, size_t bytes);

/// Nanoseconds of the monotonic clock.
uint64_t cp_nanoseconds(void);

/// Starts a POSIX thread under a name of at most 15 characters; 0 on success, else errno.
int cp_thread_start(void *_Nullable *_Nonnull thread, const char *_Nonnull name, void (*_Nonnull body)(void *_Nonnull),
                    void *_Nonnull argument);
void cp_thread_join(void *_Nonnull thread);

/// A place to sleep until a word changes: one mutex and one condition variable. The word is only ever changed by
/// `cp_gate_store`, so a change between the look and the sleep is not missed.
typedef struct cp_gate cp_gate;
cp_gate *_Nullable cp_gate_create(void);
void cp_gate_destroy(cp_gate *_Nonnull gate);
uint32_t cp_gate_load(const cp_gate *_Nonnull gate);
/// Stores the word and wakes every sleeper.
void cp_gate_store(cp_gate *_Nonnull gate, uint32_t value);
/// Sleeps until the word differs from `seen`; returns its value.
uint32_t cp_gate_wait(cp_gate *_Nonnull gate, uint32_t seen);

static inline __attribute__((always_inline)) void cp_prefetch(const void *_Nonnull address) {
    __builtin_prefetch(address, 0, 3);
}

/// As cp_prefetch, but into the second-level cache only.
static inline __attribute__((always_inline)) void cp_prefetch_far(const void *_Nonnull address) {
    __builtin_prefetch(address, 0, 2);
}

static inline __attribute__((always_inline)) void cp_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#ifdef __cplusplus
}
#endif
