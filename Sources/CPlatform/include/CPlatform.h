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
#include "PairDot.h"
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

/// Which of AMD's Zen processors it is, as far as tuning tells them apart: 1 (with Zen+: family 17h, models below 30h), 5 (family 1Ah),
/// and 0 for all others.
int cp_zen_generation(void);

/// The processor's own name, or an empty string; `capacity` bytes including the terminator.
void cp_processor_name(char *_Nonnull name, size_t capacity);

/// Bytes of a data cache level (1, 2 or 3) as the operating system tells it, 0 when it does not.
size_t cp_cache_bytes(int level);

/// Processors that the calling thread may run on (its affinity mask, not the machine's count).
int cp_available_processors(void);

/// The numbers of those processors, in order, as many as there is room for; returns how many there are, 0 where the system does not
/// tell.
int cp_allowed_processors(int *_Nullable numbers, int capacity);

/// The processor that runs the caller at this moment; -1 where the system does not tell.
int cp_current_processor(void);

/// Reads a small text file whole; returns its bytes, -1 where it cannot be read or is larger than `capacity` - 1.
long cp_read_text(const char *_Nonnull path, char *_Nonnull text, size_t capacity);

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

/// Starts a POSIX thread under a name of at most 15 characters, which stays on `count` processors; with a count of 0 it may run on
/// all. 0 on success, else errno.
int cp_thread_start(void *_Nullable *_Nonnull thread, const char *_Nonnull name, const int *_Nullable processors, int count,
                    void (*_Nonnull body)(void *_Nonnull), void *_Nonnull argument);
/// Keeps a thread on `count` processors, one excepted where there are others. A hint: nothing happens where the system refuses.
void cp_thread_keep(void *_Nonnull thread, const int *_Nullable processors, int count, int except);
void cp_thread_join(void *_Nonnull thread);

/// Where threads sleep until a 32-bit word in memory changes: a futex, or one mutex and one condition variable. It counts its sleepers,
/// so that waking nobody is free.
typedef struct cp_parking cp_parking;
cp_parking *_Nullable cp_parking_create(void);
void cp_parking_destroy(cp_parking *_Nonnull parking);
/// Whether nobody sleeps, at about this moment.
bool cp_parking_is_empty(const cp_parking *_Nonnull parking);
/// Sleeps unless the word differs from `seen`, until woken; also returns for no reason.
void cp_parking_sleep(cp_parking *_Nonnull parking, const void *_Nonnull word, uint32_t seen);
/// Wakes `count` of the threads that sleep on the word, or more, or all where they are fewer, after a sequentially consistent change of it.
void cp_parking_wake(cp_parking *_Nonnull parking, const void *_Nonnull word, int count);

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
