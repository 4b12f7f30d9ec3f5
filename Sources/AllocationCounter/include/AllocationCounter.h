// Counts what a process asks of the heap, by standing in for the allocator's entry points of a shared glibc.
//
// Elsewhere (another C library, a statically linked glibc, a sanitizer's allocator) nothing is replaced and nothing is counted;
// allocation_counter_works() tells. The symbols are weak: a static link, whose allocator has strong ones, takes the library's own.
#pragma once

#include <stdbool.h>
#include <stdint.h>

/// Requests for memory, those that resize a block included, and the bytes that they asked for.
typedef struct {
    uint64_t calls;
    uint64_t bytes;
} allocation_totals;

/// Whether counting counts: allocates a block and looks.
bool allocation_counter_works(void);

/// Counting goes on from the first begin to the last end, on every thread; at other times a request costs one load more than usual.
void allocation_counting_begin(void);
void allocation_counting_end(void);

/// What was counted so far.
allocation_totals allocation_totals_now(void);
