// Runs CUDA kernels on the CPU: the runner behind the host bodies of the wrappers in `instructions.h`.
//
// One block at a time, in random order; a block's threads are fibers that run until they have to wait, in a random
// order that a seed fixes. Shared memory is one arena, addressed by offset and poisoned before every block.
// Asynchronous copies land late. Mistakes (an address outside its buffer, lanes of a warp in different calls, a
// deadlock) end the launch and come back as text.
//
// What this cannot show: two blocks at once, the hardware's memory model beyond copies that land late, speed.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <string>
#include <vector>

namespace simt {

struct Size3 {
    unsigned x = 1, y = 1, z = 1;
};

/// Where in a kernel a call stands: found by default arguments, so that it names the kernel's line and not the
/// wrapper's.
struct Site {
    const char *file;
    int line;

    static constexpr Site here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
    bool operator==(const Site &other) const { return line == other.line && file == other.file; }
};

/// A range of global memory that the kernel may touch through the wrappers.
struct Buffer {
    const char *name;
    const void *start;
    size_t bytes;
    bool writable;

    template <class T>
    static Buffer input(const char *name, const T *start, size_t count) {
        return {name, start, count * sizeof(T), false};
    }
    template <class T>
    static Buffer output(const char *name, T *start, size_t count) {
        return {name, start, count * sizeof(T), true};
    }
};

struct Launch {
    Size3 grid;
    Size3 block;
    size_t shared_bytes = 0;
    uint64_t seed = 0;
    std::vector<Buffer> buffers;
};

/// Runs `kernel` for every thread of the launch. Returns an empty text, or what went wrong and where.
std::string run(const Launch &launch, const std::function<void()> &kernel);

// What follows is for the wrappers in `instructions.h`: each acts for the thread that is running.

/// Position of the running thread; `threadIdx` and its like are these.
struct Position {
    Size3 thread, block, block_size, grid_size;
};
const Position &position();

/// Index of the running thread in its warp.
unsigned lane();

/// The bytes of shared memory at `offset`, checked for bounds and for alignment to the access.
void *shared(uint32_t offset, uint32_t bytes, uint32_t alignment, const char *what, Site site);

/// Checks an access to global memory: inside one of the launch's buffers, aligned to its size, writable for a store.
void check_global(const void *address, uint32_t bytes, uint32_t alignment, bool store, const char *what, Site site);

/// A copy of 16 bytes to shared memory that lands at some later time: `source_bytes` from `source`, then zeros.
void copy_async_16(uint32_t offset, const void *source, uint32_t source_bytes, Site site);
void copy_async_commit();
/// Lands all committed groups of this thread but the `left` latest ones.
void copy_async_wait(unsigned left);

/// Every thread of the block, or `threads` of them for a barrier with a number. `wait` false arrives and goes on.
void barrier(unsigned number, unsigned threads, bool wait, Site site);
/// Every thread of the block.
void block_barrier(Site site);

/// What one lane brings to, and takes from, an operation of the whole warp.
struct LaneArguments {
    const void *input;
    void *output;
};
using WarpOperation = void (*)(const LaneArguments (&lanes)[32]);

/// Waits until all 32 lanes have come to this call, then runs `operation` once for all of them. Lanes that come to
/// different calls are a mistake: the hardware's result is undefined then.
void warp_collective(const char *what, WarpOperation operation, const void *input, void *output, Site site);

/// Ends the launch with a message. Does not return to the kernel.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char *format, ...);

}  // namespace simt

#define threadIdx (simt::position().thread)
#define blockIdx (simt::position().block)
#define blockDim (simt::position().block_size)
#define gridDim (simt::position().grid_size)
