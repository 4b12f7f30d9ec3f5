#define _GNU_SOURCE
#include "CPlatform.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__x86_64__)

// Which register files the operating system saves (XCR0); only meaningful where OSXSAVE is set.
static uint64_t saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

cp_features cp_detect_features(void) {
    cp_features found = {0};
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
    const unsigned fma = 1u << 12, movbe = 1u << 22, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    const unsigned leaf1 = fma | movbe | osxsave | avx | f16c;
    if ((c & leaf1) != leaf1) return found;
    const uint64_t ymm = 0x6, zmm = 0xe6;
    const uint64_t saved = saved_registers();
    if ((saved & ymm) != ymm) return found;

    unsigned a7, b7, c7, d7;
    if (!__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) return found;
    unsigned ax, bx, cx, dx;
    const bool lzcnt = __get_cpuid(0x80000001, &ax, &bx, &cx, &dx) && (cx & (1u << 5));
    const unsigned bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8;
    found.avx2 = lzcnt && (b7 & (bmi1 | avx2 | bmi2)) == (bmi1 | avx2 | bmi2);

    const unsigned f = 1u << 16, dq = 1u << 17, cd = 1u << 28, bw = 1u << 30, vl = 1u << 31;
    const unsigned v4 = f | dq | cd | bw | vl;
    found.avx512 = found.avx2 && (b7 & v4) == v4 && (saved & zmm) == zmm;
    found.avx512_vnni = found.avx512 && (c7 & (1u << 11));
    unsigned a71, b71, c71, d71;
    if (a7 >= 1 && __get_cpuid_count(7, 1, &a71, &b71, &c71, &d71)) {
        found.avx_vnni = found.avx2 && (a71 & (1u << 4));
        found.avx512_bf16 = found.avx512 && (a71 & (1u << 5));
    }
    return found;
}

int cp_zen_generation(void) {
    unsigned a, b, c, d;
    // "AuthenticAMD"
    if (!__get_cpuid(0, &a, &b, &c, &d) || b != 0x68747541 || d != 0x69746e65 || c != 0x444d4163) return 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const unsigned family = (a >> 8 & 0xf) + (a >> 20 & 0xff), model = (a >> 4 & 0xf) | (a >> 12 & 0xf0);
    return family == 0x1a ? 5 : family == 0x17 && model < 0x30 ? 1 : 0;
}

void cp_processor_name(char *name, size_t capacity) {
    char text[49] = {0};
    unsigned a, b, c, d;
    if (capacity == 0) return;
    name[0] = 0;
    if (!__get_cpuid(0x80000000, &a, &b, &c, &d) || a < 0x80000004) return;
    for (unsigned leaf = 0; leaf < 3; leaf++) {
        __get_cpuid(0x80000002 + leaf, &a, &b, &c, &d);
        const unsigned part[4] = {a, b, c, d};
        memcpy(text + 16 * leaf, part, sizeof part);
    }
    const char *start = text;
    while (*start == ' ') start++;
    snprintf(name, capacity, "%s", start);
}

#else

int cp_zen_generation(void) { return 0; }

cp_features cp_detect_features(void) {
    cp_features found = {0};
#if defined(__aarch64__)
    found.neon = true;
#endif
    return found;
}

void cp_processor_name(char *name, size_t capacity) {
    if (capacity == 0) return;
    name[0] = 0;
#if defined(__APPLE__)
    sysctlbyname("machdep.cpu.brand_string", name, &capacity, NULL, 0);
#else
    snprintf(name, capacity, "arm64");
#endif
}

#endif

#if defined(__linux__)
// The first processor's cache as the kernel describes it: 0 where it does not. The C library counts all third-level caches of some packages
// together, of which a processor uses one.
static size_t described_cache_bytes(int level) {
    for (int index = 0; index < 8; index++) {
        char path[96], text[32];
        const char *folder = "/sys/devices/system/cpu/cpu0/cache";
        snprintf(path, sizeof path, "%s/index%d/level", folder, index);
        long length = cp_read_text(path, text, sizeof text - 1);
        if (length <= 0) return 0;
        text[length] = 0;
        if (strtol(text, NULL, 10) != level) continue;
        snprintf(path, sizeof path, "%s/index%d/type", folder, index);
        if ((length = cp_read_text(path, text, sizeof text - 1)) <= 0 || text[0] == 'I') continue;
        snprintf(path, sizeof path, "%s/index%d/size", folder, index);
        if ((length = cp_read_text(path, text, sizeof text - 1)) <= 0) return 0;
        text[length] = 0;
        char *unit;
        const long number = strtol(text, &unit, 10);
        if (number <= 0 || number > 1 << 24) return 0;
        return (size_t)number << (*unit == 'G' ? 30 : *unit == 'M' ? 20 : *unit == 'K' ? 10 : 0);
    }
    return 0;
}
#endif

size_t cp_cache_bytes(int level) {
    if (level < 1 || level > 3) return 0;
#if defined(__linux__)
    const size_t described = described_cache_bytes(level);
    if (described > 0) return described;
    const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    const long bytes = sysconf(names[level - 1]);
    return bytes > 0 ? (size_t)bytes : 0;
#elif defined(__APPLE__)
    const char *names[] = {"hw.l1dcachesize", "hw.l2cachesize", "hw.l3cachesize"};
    size_t bytes = 0, size = sizeof bytes;
    return sysctlbyname(names[level - 1], &bytes, &size, NULL, 0) == 0 ? bytes : 0;
#else
    return 0;
#endif
}

#if defined(__linux__)
// Room for more processors than the C library's own set has.
enum { affinity_bits = 8192 };
typedef struct {
    unsigned long words[affinity_bits / (8 * sizeof(unsigned long))];
} affinity;

static affinity affinity_of(const int *processors, int count, int except) {
    affinity set = {{0}};
    for (int index = 0; index < count; index++) {
        if (processors[index] != except || count == 1) {
            CPU_SET_S(processors[index], sizeof set, (cpu_set_t *)&set);
        }
    }
    return set;
}
#endif

int cp_allowed_processors(int *numbers, int capacity) {
#if defined(__linux__)
    affinity set = {{0}};
    if (sched_getaffinity(0, sizeof set, (cpu_set_t *)&set) != 0) return 0;
    int count = 0;
    for (int number = 0; number < affinity_bits; number++) {
        if (!CPU_ISSET_S(number, sizeof set, (cpu_set_t *)&set)) continue;
        if (count < capacity) numbers[count] = number;
        count++;
    }
    return count;
#else
    return 0;
#endif
}

int cp_available_processors(void) {
    const int allowed = cp_allowed_processors(NULL, 0);
    if (allowed > 0) return allowed;
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int cp_current_processor(void) {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

long cp_read_text(const char *path, char *text, size_t capacity) {
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    const size_t count = fread(text, 1, capacity, file);
    const bool whole = feof(file) && !ferror(file);
    fclose(file);
    return whole ? (long)count : -1;
}

size_t cp_physical_memory(void) {
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0;
}

size_t cp_resident_peak(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
#if defined(__APPLE__)
    return (size_t)usage.ru_maxrss;
#else
    return (size_t)usage.ru_maxrss * 1024;
#endif
}

size_t cp_resident_now(void) {
#if defined(__linux__)
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    unsigned long total = 0, resident = 0;
    const int read = fscanf(file, "%lu %lu", &total, &resident);
    fclose(file);
    return read == 2 ? (size_t)resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
#else
    return 0;
#endif
}

// Above this size a region is aligned to huge pages, which spare the streaming kernels most of their address translation.
static const size_t huge_page = (size_t)2 << 20;

static size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void *cp_map(size_t bytes) {
    if (bytes == 0 || bytes > (SIZE_MAX >> 2)) return NULL;
    const bool huge = bytes >= huge_page;
    const size_t unit = huge ? huge_page : (size_t)sysconf(_SC_PAGESIZE);
    const size_t wanted = rounded(bytes, unit);
    const size_t slack = huge ? huge_page : 0;
    char *base = mmap(NULL, wanted + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    if (!huge) return base;
    // Give back what lies before and after the aligned part.
    char *aligned = (char *)rounded((size_t)base, huge_page);
    if (aligned > base) munmap(base, (size_t)(aligned - base));
    char *end = base + wanted + slack;
    if (end > aligned + wanted) munmap(aligned + wanted, (size_t)(end - (aligned + wanted)));
#if defined(MADV_HUGEPAGE)
    madvise(aligned, wanted, MADV_HUGEPAGE);
#endif
    return aligned;
}

void cp_unmap(void *pointer, size_t bytes) {
    if (!pointer) return;
    const size_t unit = bytes >= huge_page ? huge_page : (size_t)sysconf(_SC_PAGESIZE);
    munmap(pointer, rounded(bytes, unit));
}

uint64_t cp_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

typedef struct {
    pthread_t handle;
    void (*body)(void *);
    void *argument;
    char name[16];
} thread_record;

static void *thread_main(void *raw) {
    thread_record *record = raw;
#if defined(__linux__)
    pthread_setname_np(pthread_self(), record->name);
#elif defined(__APPLE__)
    pthread_setname_np(record->name);
#endif
    record->body(record->argument);
    return NULL;
}

int cp_thread_start(void **thread, const char *name, const int *processors, int count, void (*body)(void *),
                    void *argument) {
    thread_record *record = calloc(1, sizeof *record);
    if (!record) return ENOMEM;
    record->body = body;
    record->argument = argument;
    snprintf(record->name, sizeof record->name, "%s", name);
    pthread_attr_t attributes;
    int failure = pthread_attr_init(&attributes);
    if (failure) {
        free(record);
        return failure;
    }
#if defined(__linux__)
    if (count > 0) {
        const affinity set = affinity_of(processors, count, -1);
        failure = pthread_attr_setaffinity_np(&attributes, sizeof set, (const cpu_set_t *)&set);
    }
#endif
    if (!failure) failure = pthread_create(&record->handle, &attributes, thread_main, record);
    pthread_attr_destroy(&attributes);
    if (failure) {
        free(record);
        return failure;
    }
    *thread = record;
    return 0;
}

void cp_thread_keep(void *thread, const int *processors, int count, int except) {
#if defined(__linux__)
    if (count == 0) return;
    const affinity set = affinity_of(processors, count, except);
    pthread_setaffinity_np(((thread_record *)thread)->handle, sizeof set, (const cpu_set_t *)&set);
#endif
}

void cp_thread_join(void *thread) {
    thread_record *record = thread;
    pthread_join(record->handle, NULL);
    free(record);
}

struct cp_parking {
    uint32_t sleepers;
#if !defined(__linux__)
    pthread_mutex_t mutex;
    pthread_cond_t changed;
#endif
};

cp_parking *cp_parking_create(void) {
    cp_parking *parking = NULL;
    // A cache line of its own: whoever changes a word looks at the sleepers.
    if (posix_memalign((void **)&parking, 128, rounded(sizeof *parking, 128)) != 0) return NULL;
    parking->sleepers = 0;
#if !defined(__linux__)
    pthread_mutex_init(&parking->mutex, NULL);
    pthread_cond_init(&parking->changed, NULL);
#endif
    return parking;
}

void cp_parking_destroy(cp_parking *parking) {
#if !defined(__linux__)
    pthread_cond_destroy(&parking->changed);
    pthread_mutex_destroy(&parking->mutex);
#endif
    free(parking);
}

bool cp_parking_is_empty(const cp_parking *parking) {
    return __atomic_load_n(&parking->sleepers, __ATOMIC_RELAXED) == 0;
}

// Sequentially consistent on both sides, as the change of the word must be: either who changes it sees the sleeper, or the sleeper
// sees the change. So the common case, nobody asleep, costs no system call.
void cp_parking_sleep(cp_parking *parking, const void *word, uint32_t seen) {
    __atomic_fetch_add(&parking->sleepers, 1, __ATOMIC_SEQ_CST);
#if defined(__linux__)
    // The system looks at the word once more before it lets the thread sleep. Whatever the call returns, the caller looks again.
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
#else
    pthread_mutex_lock(&parking->mutex);
    if (__atomic_load_n((const uint32_t *)word, __ATOMIC_SEQ_CST) == seen) {
        pthread_cond_wait(&parking->changed, &parking->mutex);
    }
    pthread_mutex_unlock(&parking->mutex);
#endif
    __atomic_fetch_sub(&parking->sleepers, 1, __ATOMIC_SEQ_CST);
}

void cp_parking_wake(cp_parking *parking, const void *word, int count) {
    if (__atomic_load_n(&parking->sleepers, __ATOMIC_SEQ_CST) == 0) return;
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
#else
    // One condition for all words, so all must look.
    pthread_mutex_lock(&parking->mutex);
    pthread_cond_broadcast(&parking->changed);
    pthread_mutex_unlock(&parking->mutex);
#endif
}
