#if defined(__APPLE__)
#define _XOPEN_SOURCE 700  // ucontext
#define _DARWIN_C_SOURCE
#endif

#include "simt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <numeric>

// The address sanitizer keeps a shadow of every stack and has to be told of switches between them.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ADDRESS_SANITIZER 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#endif

namespace simt {
namespace {

constexpr unsigned warp_size = 32;
constexpr unsigned maximum_threads = 1024;
constexpr size_t stack_bytes = 128 << 10;

/// xorshift64*: small, and the same everywhere.
struct Random {
    uint64_t state;

    explicit Random(uint64_t seed) : state(seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du) {
        if (state == 0) state = 1;
        for (int i = 0; i < 4; i++) next();
    }
    uint64_t next() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * 0x2545F4914F6CDD1Du;
    }
    unsigned below(size_t limit) { return unsigned((next() >> 32) * uint64_t(limit) >> 32); }
};

/// A copy in flight.
struct Copy {
    uint32_t offset;
    const unsigned char *source;
    uint32_t source_bytes;
    uint64_t group;
};

/// A stack, and where what runs on it was left.
struct Stack {
    char *base = nullptr;
    jmp_buf resume;
    // Whether somebody was left there; else it has to be started.
    bool lives = false;
#ifdef SIMT_ADDRESS_SANITIZER
    void *fake_stack = nullptr;
#endif
};

/// Stacks of one OS thread, kept from launch to launch: to map, guard and start hundreds takes longer than most launches do.
struct Stacks {
    Stack each[maximum_threads];
    char *memory = nullptr;
    size_t stride = 0, page = 0;
    unsigned guarded = 0;

    ~Stacks() {
        if (memory) munmap(memory, stride * maximum_threads);
    }

    bool provide(unsigned count) {
        if (!memory) {
            page = size_t(sysconf(_SC_PAGESIZE));
            stride = stack_bytes + page;
            void *mapped =
                mmap(nullptr, stride * maximum_threads, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
            if (mapped == MAP_FAILED) return false;
            memory = static_cast<char *>(mapped);
        }
        // A page below each stack that traps: a kernel that overflows its stack must not overwrite its neighbour's.
        for (; guarded < count; guarded++) {
            char *place = memory + stride * guarded;
            if (mprotect(place, page, PROT_NONE) != 0) return false;
            each[guarded].base = place + page;
        }
        return true;
    }
};

thread_local Stacks stacks;

Stack &stack(unsigned thread) { return stacks.each[thread]; }

struct Fiber {
    bool finished = false;
    // What the fiber waits for, or null.
    const char *waits_for = nullptr;
    unsigned barrier = 0;
    Site site{"", 0};
    LaneArguments arguments{};
    std::vector<Copy> copies;
    uint64_t group = 0;  // the group that new copies join
};

struct Warp {
    unsigned arrived = 0;
    const char *what = nullptr;
    WarpOperation operation = nullptr;
    Site site{"", 0};
    std::vector<unsigned> ready;  // threads that can run
};

struct Barrier {
    unsigned arrived = 0;
    unsigned expected = 0;
    std::vector<unsigned> waiting;
};

/// How the next thread is chosen. No single way finds every mistake: an even choice keeps warps together, a fixed order
/// leaves one warp far behind.
enum class Policy { even, ranked };

/// One launch in progress.
struct Runner {
    const Launch &launch;
    const std::function<void()> &kernel;
    Random random;
    unsigned threads;
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    std::vector<unsigned> order;  // warps, first the ones that run first
    std::map<unsigned, Barrier> barriers;
    std::vector<unsigned char> arena;  // shared memory, with room to align it
    unsigned char *shared = nullptr;
    jmp_buf scheduler;
    ucontext_t start;
    unsigned current = 0;
    unsigned left = 0;
    Position where;
    Policy policy = Policy::even;
    unsigned landing_odds = 0;  // of 256, that a copy lands at a switch of threads
    std::string failure;
#ifdef SIMT_ADDRESS_SANITIZER
    void *scheduler_fake_stack = nullptr;
    const void *scheduler_stack = nullptr;
    size_t scheduler_stack_bytes = 0;
#endif

    Runner(const Launch &launch, const std::function<void()> &kernel)
        : launch(launch), kernel(kernel), random(launch.seed), threads(launch.block.x * launch.block.y * launch.block.z) {}

    bool allocate();
    void run_block();
    void resume(unsigned thread);
    void suspend();
    unsigned choose();
    void land(Copy copy);
    void land_one();
    void make_ready(unsigned thread);
    void describe_deadlock();
};

// Launches of different OS threads are independent.
thread_local Runner *runner = nullptr;

// Not inlined: the compiler may keep a thread-local's address over a switch of stacks, which is the same OS thread
// here.
Runner &active() { return *runner; }

void enter_fiber() {
#ifdef SIMT_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(nullptr, &active().scheduler_stack, &active().scheduler_stack_bytes);
#endif
    // A stack serves one thread after another, of this launch and of later ones.
    for (;;) {
        Runner &r = active();
        r.kernel();
        r.fibers[r.current].finished = true;
        r.left--;
        r.suspend();
    }
}

bool Runner::allocate() {
    if (!stacks.provide(threads)) return false;
    constexpr size_t alignment = 1024;
    arena.resize(launch.shared_bytes + alignment);
    shared = arena.data() + (alignment - reinterpret_cast<uintptr_t>(arena.data()) % alignment) % alignment;
    fibers.resize(threads);
    warps.resize(threads / warp_size);
    return true;
}

void Runner::make_ready(unsigned thread) {
    fibers[thread].waits_for = nullptr;
    warps[thread / warp_size].ready.push_back(thread);
}

/// Switches to a thread until it waits or ends. Contexts start threads; jumps switch between them, without the system
/// calls of swapcontext.
void Runner::resume(unsigned thread) {
    Stack &own = stack(thread);
    current = thread;
    const Size3 b = launch.block;
    where.thread = {thread % b.x, thread / b.x % b.y, thread / (b.x * b.y)};
#ifdef SIMT_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, own.base, stack_bytes);
#endif
    if (_setjmp(scheduler) == 0) {
        if (own.lives) _longjmp(own.resume, 1);
        own.lives = true;
        getcontext(&start);
        start.uc_stack.ss_sp = own.base;
        start.uc_stack.ss_size = stack_bytes;
        start.uc_link = nullptr;
        makecontext(&start, enter_fiber, 0);
        setcontext(&start);
    }
#ifdef SIMT_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
#endif
}

/// Switches from the running thread to the scheduler.
void Runner::suspend() {
    Stack &own = stack(current);
#ifdef SIMT_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(failure.empty() ? &own.fake_stack : nullptr, scheduler_stack, scheduler_stack_bytes);
#endif
    if (_setjmp(own.resume) == 0) _longjmp(scheduler, 1);
    // A thread that had finished comes back in another block, or in another launch: `this` may be gone.
#ifdef SIMT_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(own.fake_stack, &active().scheduler_stack, &active().scheduler_stack_bytes);
#endif
}

void Runner::land(Copy copy) {
    if (copy.source_bytes) memcpy(shared + copy.offset, copy.source, copy.source_bytes);
    memset(shared + copy.offset + copy.source_bytes, 0, 16 - copy.source_bytes);
}

/// Lands one copy of a random thread, if it has any, in no particular order.
void Runner::land_one() {
    std::vector<Copy> &copies = fibers[random.below(threads)].copies;
    if (copies.empty()) return;
    std::swap(copies[random.below(copies.size())], copies.back());
    land(copies.back());
    copies.pop_back();
}

/// Takes a thread that can run, or `threads` when there is none.
unsigned Runner::choose() {
    const size_t count = warps.size();
    const unsigned first = policy == Policy::even ? random.below(count) : 0;
    for (size_t i = 0; i < count; i++) {
        std::vector<unsigned> &ready = warps[order[(first + i) % count]].ready;
        if (ready.empty()) continue;
        std::swap(ready[random.below(ready.size())], ready.back());
        const unsigned thread = ready.back();
        ready.pop_back();
        return thread;
    }
    return threads;
}

void Runner::describe_deadlock() {
    // Threads that wait for the same thing are one line, with the first of them.
    struct Group {
        unsigned count, first;
    };
    std::map<std::string, Group> groups;
    for (unsigned i = 0; i < threads; i++) {
        const Fiber &f = fibers[i];
        char text[300];
        if (f.finished) {
            snprintf(text, sizeof text, "ended");
        } else if (f.waits_for && !strcmp(f.waits_for, "barrier")) {
            snprintf(text, sizeof text, "wait at barrier %u, %s:%d", f.barrier, f.site.file, f.site.line);
        } else {
            snprintf(text, sizeof text, "wait in %s, %s:%d", f.waits_for ? f.waits_for : "nothing", f.site.file, f.site.line);
        }
        groups.try_emplace(text, Group{0, i}).first->second.count++;
    }
    char text[400];
    snprintf(text, sizeof text, "deadlock in block (%u, %u, %u):", where.block.x, where.block.y, where.block.z);
    failure = text;
    for (const auto &[what, group] : groups) {
        snprintf(text, sizeof text, " %u threads (first %u) %s;", group.count, group.first, what.c_str());
        failure += text;
    }
    failure.pop_back();
}

void Runner::run_block() {
    memset(shared, 0xFF, launch.shared_bytes);  // NaN as fp32, fp16 and bf16; -1 as an integer
    barriers.clear();
    policy = random.below(2) ? Policy::even : Policy::ranked;
    const unsigned odds[] = {0, 16, 128};
    landing_odds = odds[random.below(3)];
    order.resize(warps.size());
    std::iota(order.begin(), order.end(), 0u);
    for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random.below(i)]);
    for (Warp &warp : warps) {
        warp.ready.clear();
        warp.arrived = 0;
    }
    for (unsigned i = 0; i < threads; i++) {
        Fiber &fiber = fibers[i];
        fiber.finished = false;
        fiber.copies.clear();
        fiber.group = 0;
        make_ready(i);
    }
    left = threads;
    while (left && failure.empty()) {
        if (random.below(256) < landing_odds) land_one();
        const unsigned thread = choose();
        if (thread == threads) {
            describe_deadlock();
            return;
        }
        resume(thread);
    }
}

/// Sometimes lets other threads run between two accesses of this one.
void maybe_yield(Runner &r) {
    if (r.random.below(256) != 0) return;
    r.make_ready(r.current);
    r.suspend();
}

}  // namespace

std::string run(const Launch &launch, const std::function<void()> &kernel) {
    if (runner) return "a launch inside a launch";
    const Size3 b = launch.block, g = launch.grid;
    const uint64_t threads = uint64_t(b.x) * b.y * b.z;
    if (threads == 0 || threads > maximum_threads || threads % warp_size) {
        return "a block of " + std::to_string(threads) + " threads: need whole warps, at most 1024 threads";
    }
    if (uint64_t(g.x) * g.y * g.z == 0 || g.y > 65535 || g.z > 65535) return "an empty grid, or one past the hardware's limits";
    if (launch.shared_bytes > 227 << 10) return "more than 227 KiB of shared memory";

    Runner r(launch, kernel);
    if (!r.allocate()) return "no memory for the stacks of the threads";
    r.where.block_size = b;
    r.where.grid_size = g;
    runner = &r;
    std::vector<unsigned> blocks(size_t(g.x) * g.y * g.z);
    std::iota(blocks.begin(), blocks.end(), 0u);
    for (size_t i = blocks.size(); i > 1; i--) std::swap(blocks[i - 1], blocks[r.random.below(i)]);
    for (unsigned block : blocks) {
        r.where.block = {block % g.x, block / g.x % g.y, block / (g.x * g.y)};
        r.run_block();
        if (!r.failure.empty()) break;
    }
    for (unsigned i = 0; i < r.threads; i++) {
        if (r.fibers[i].finished) continue;
        // Abandoned: the next thread starts there anew.
        stack(i).lives = false;
#ifdef SIMT_ADDRESS_SANITIZER
        __asan_unpoison_memory_region(stack(i).base, stack_bytes);
#endif
    }
    runner = nullptr;
    return r.failure;
}

void fail(const char *format, ...) {
    Runner &r = active();
    char text[500], message[700];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const Size3 b = r.where.block;
    snprintf(message, sizeof message, "thread %u of block (%u, %u, %u): %s", r.current, b.x, b.y, b.z, text);
    r.failure = message;
    r.suspend();  // the scheduler ends the launch and never comes back here
    __builtin_unreachable();
}

const Position &position() { return active().where; }

unsigned lane() { return active().current % warp_size; }

void *shared(uint32_t offset, uint32_t bytes, uint32_t alignment, const char *what, Site site) {
    Runner &r = active();
    if (uint64_t(offset) + bytes > r.launch.shared_bytes) {
        fail("%s, %s:%d: %u bytes at shared offset %u of %zu", what, site.file, site.line, bytes, offset,
             r.launch.shared_bytes);
    }
    if (offset % alignment) {
        fail("%s, %s:%d: shared offset %u is no multiple of %u", what, site.file, site.line, offset, alignment);
    }
    maybe_yield(r);
    return r.shared + offset;
}

void check_global(const void *address, uint32_t bytes, uint32_t alignment, bool store, const char *what, Site site) {
    Runner &r = active();
    const uintptr_t a = reinterpret_cast<uintptr_t>(address);
    if (a % alignment) fail("%s, %s:%d: address %p is no multiple of %u", what, site.file, site.line, address, alignment);
    if (bytes == 0) return;
    const Buffer *near = nullptr;
    for (const Buffer &buffer : r.launch.buffers) {
        const uintptr_t start = reinterpret_cast<uintptr_t>(buffer.start);
        if (a >= start && a - start + bytes <= buffer.bytes) {
            if (store && !buffer.writable) fail("%s, %s:%d: a store to the input %s", what, site.file, site.line, buffer.name);
            return;
        }
        // For the message: the last buffer that starts at or before the address.
        if (start <= a && (!near || near->start < buffer.start)) near = &buffer;
    }
    if (near) {
        const size_t offset = a - reinterpret_cast<uintptr_t>(near->start);
        fail("%s, %s:%d: %u bytes at offset %zu of %s, which has %zu", what, site.file, site.line, bytes, offset, near->name,
             near->bytes);
    }
    fail("%s, %s:%d: %u bytes at %p, in no buffer of the launch", what, site.file, site.line, bytes, address);
}

void copy_async_16(uint32_t offset, const void *source, uint32_t source_bytes, Site site) {
    Runner &r = active();
    if (source_bytes > 16) fail("cp.async, %s:%d: %u source bytes, at most 16", site.file, site.line, source_bytes);
    void *destination = shared(offset, 16, 16, "cp.async", site);
    check_global(source, source_bytes, 16, false, "cp.async", site);
    // From now until the copy is waited for, nobody may rely on the old bytes or on the new ones.
    memset(destination, 0xFF, 16);
    Fiber &fiber = r.fibers[r.current];
    fiber.copies.push_back({offset, static_cast<const unsigned char *>(source), source_bytes, fiber.group});
}

void copy_async_commit() {
    Runner &r = active();
    r.fibers[r.current].group++;
}

void copy_async_wait(unsigned left) {
    Runner &r = active();
    Fiber &fiber = r.fibers[r.current];
    // Groups are numbered from 0, and `group` is the open one: committed groups below group - left have to land.
    auto due = [&](const Copy &copy) { return copy.group + left < fiber.group; };
    const auto kept = std::partition(fiber.copies.begin(), fiber.copies.end(), [&](const Copy &c) { return !due(c); });
    for (auto copy = kept; copy != fiber.copies.end(); ++copy) r.land(*copy);
    fiber.copies.erase(kept, fiber.copies.end());
}

void barrier(unsigned number, unsigned threads, bool wait, Site site) {
    Runner &r = active();
    if (number > 15) fail("barrier, %s:%d: there is no barrier %u", site.file, site.line, number);
    if (threads == 0 || threads % warp_size || threads > r.threads) {
        fail("barrier %u, %s:%d: %u threads: need whole warps, at most the block's %u", number, site.file, site.line, threads,
             r.threads);
    }
    Barrier &b = r.barriers[number];
    if (b.arrived == 0) b.expected = threads;
    if (b.expected != threads) {
        fail("barrier %u, %s:%d: %u threads here, %u at another call", number, site.file, site.line, threads, b.expected);
    }
    b.arrived++;
    if (b.arrived == b.expected) {
        for (unsigned thread : b.waiting) r.make_ready(thread);
        b.waiting.clear();
        b.arrived = 0;
        if (wait) {  // the last to come has no right to go on first
            r.make_ready(r.current);
            r.suspend();
        }
        return;
    }
    if (!wait) return;
    b.waiting.push_back(r.current);
    Fiber &fiber = r.fibers[r.current];
    fiber.waits_for = "barrier";
    fiber.barrier = number;
    fiber.site = site;
    r.suspend();
}

void block_barrier(Site site) { barrier(0, active().threads, true, site); }

void warp_collective(const char *what, WarpOperation operation, const void *input, void *output, Site site) {
    Runner &r = active();
    Warp &warp = r.warps[r.current / warp_size];
    const unsigned first = r.current / warp_size * warp_size;
    Fiber &fiber = r.fibers[r.current];
    fiber.arguments = {input, output};
    fiber.site = site;
    if (warp.arrived == 0) {
        warp.what = what;
        warp.operation = operation;
        warp.site = site;
    } else if (warp.operation != operation || strcmp(warp.what, what) || !(warp.site == site)) {
        fail("lanes of one warp in different calls: %s at %s:%d, and %s at %s:%d", what, site.file, site.line, warp.what,
             warp.site.file, warp.site.line);
    }
    warp.arrived++;
    if (warp.arrived < warp_size) {
        fiber.waits_for = what;
        r.suspend();
        return;
    }
    LaneArguments lanes[warp_size];
    for (unsigned i = 0; i < warp_size; i++) lanes[i] = r.fibers[first + i].arguments;
    warp.arrived = 0;
    if (operation) operation(lanes);
    for (unsigned i = 0; i < warp_size; i++) r.make_ready(first + i);
    r.suspend();
}

}  // namespace simt
