#include "AllocationCounter.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

static int listeners;
static uint64_t calls;
static uint64_t bytes;

void allocation_counting_begin(void) { __atomic_fetch_add(&listeners, 1, __ATOMIC_SEQ_CST); }
void allocation_counting_end(void) { __atomic_fetch_sub(&listeners, 1, __ATOMIC_SEQ_CST); }

allocation_totals allocation_totals_now(void) {
    return (allocation_totals){
        .calls = __atomic_load_n(&calls, __ATOMIC_RELAXED),
        .bytes = __atomic_load_n(&bytes, __ATOMIC_RELAXED),
    };
}

bool allocation_counter_works(void) {
    allocation_counting_begin();
    const uint64_t before = allocation_totals_now().calls;
    // Through a pointer that the compiler cannot see through, or it would leave the pair out.
    void *(*volatile allocate)(size_t) = malloc;
    free(allocate(1));
    const bool works = allocation_totals_now().calls != before;
    allocation_counting_end();
    return works;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define HAS_ANOTHER_ALLOCATOR 1
#endif
#endif

#if defined(__GLIBC__) && !defined(HAS_ANOTHER_ALLOCATOR)

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

#define STANDS_IN __attribute__((weak))

static void add(size_t size) {
    if (__atomic_load_n(&listeners, __ATOMIC_RELAXED) == 0) return;
    __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&bytes, size, __ATOMIC_RELAXED);
}

STANDS_IN void *malloc(size_t size) {
    add(size);
    return __libc_malloc(size);
}

STANDS_IN void *calloc(size_t number, size_t size) {
    size_t total;
    add(__builtin_mul_overflow(number, size, &total) ? 0 : total);
    return __libc_calloc(number, size);
}

STANDS_IN void *realloc(void *block, size_t size) {
    add(size);
    return __libc_realloc(block, size);
}

STANDS_IN void *aligned_alloc(size_t alignment, size_t size) {
    add(size);
    return __libc_memalign(alignment, size);
}

STANDS_IN int posix_memalign(void **block, size_t alignment, size_t size) {
    if (alignment < sizeof(void *) || alignment & (alignment - 1)) return EINVAL;
    add(size);
    void *found = __libc_memalign(alignment, size);
    if (!found) return ENOMEM;
    *block = found;
    return 0;
}

#endif
