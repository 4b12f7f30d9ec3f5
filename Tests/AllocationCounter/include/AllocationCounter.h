// Counts what a process asks of the heap, by standing in for the allocator's entry points. For tests on glibc; elsewhere the count
// stays 0.
#pragma once
#include <stdint.h>
uint64_t allocation_count(void);
