// A CUDA runtime for tests on machines without a GPU: a table of entry points that behave as NVIDIA's do where the
// backend depends on it. Device memory is the host's, copies and fills really happen, those to pinned memory when they are
// waited for, kernels are C functions, and any call can be told to fail. Its state belongs to the thread that started it, so tests run
// beside each other.
#pragma once

#include "CMoECUDA.h"

#include <stdint.h>

/// A machine to pretend.
typedef struct {
    int runtime_version;
    /// 0: no driver.
    int driver_version;
    /// At most 4.
    int device_count;
    /// As 90 for 9.0.
    int compute_capability[4];
    int multiprocessors[4];
    int l2_bytes;
    /// Whether devices have stream-ordered pools.
    int memory_pools;
    /// Limits on what may be allocated at once.
    size_t device_bytes;
    size_t pinned_bytes;
} fake_machine;

/// What can be had of the runtime and has to be given back.
typedef enum {
    fake_device_memory,
    fake_pinned_memory,
    fake_pool,
    fake_stream,
    fake_event,
    fake_library,
    fake_graph,
    fake_executable,
    fake_context,
    fake_kinds
} fake_kind;

/// Two H200-like devices under CUDA 13.0.
fake_machine fake_two_devices(void);

/// Begins on this thread; the table is good until fake_stop.
const mc_cudart *_Nonnull fake_start(fake_machine machine);
void fake_stop(void);

/// The next call of an entry point (NULL: of any) after `after` others answers `code` and does nothing. Where the code
/// is one that ends a context, every later call on that device answers it too.
void fake_fail(const char *_Nullable call, int after, int code);
/// The next launched kernel runs into a fault, which calls tell of from the next wait on.
void fake_fault(int code);

/// How many are out. Something counts as given back when it was handed in, whatever the answer.
int fake_live(fake_kind kind);
int fake_live_in_all(void);
/// The first use that CUDA would punish with undefined behaviour or a spoilt graph, such as giving back twice; NULL
/// while there was none.
const char *_Nullable fake_misuse(void);

/// How often an entry point was called; NULL: any.
int fake_calls(const char *_Nullable call);
/// The name of the i-th call, from 0; NULL past the last.
const char *_Nullable fake_call(int i);

/// A launch that was executed, in order, from graphs as well.
typedef struct {
    const char *_Nullable kernel;
    mc_dim3 grid;
    mc_dim3 block;
    size_t dynamic_shared_bytes;
} fake_launch;

int fake_launches(void);
/// Without a kernel past the last.
fake_launch fake_launch_at(int i);

/// A kernel's twin on the CPU, run at once where the launch is executed. `arguments` points to the kernel's parameters, as
/// cudaLaunchKernelExC takes them. It tells of a fault of its own by fake_fault.
typedef void (*fake_kernel_body)(const void *_Nullable const *_Nonnull arguments, unsigned grid_x, unsigned grid_y,
                                 unsigned grid_z, unsigned block_x, size_t shared_bytes);

/// Images have a kernel of that name from now on, until fake_stop, in place of the fake's own of that name.
void fake_register_kernel(const char *_Nonnull name, fake_kernel_body _Nonnull body);
/// How many bytes the one parameter of a registered kernel has. Without, it cannot be launched into a graph, which has to
/// keep a copy.
void fake_register_parameters(const char *_Nonnull name, size_t bytes);

/// The kernel whose body runs.
const char *_Nullable fake_running_kernel(void);

/// What a body found wrong with its launch: told by fake_misuse, unless something was wrong before.
void fake_tell(const char *_Nonnull problem);

typedef struct {
    const void *_Nullable start;
    size_t bytes;
} fake_memory;

/// The device's memory that is out, at most `capacity` pieces; how many there are.
int fake_device_memories(fake_memory *_Nonnull memories, int capacity);

/// This thread's current device, as cudaSetDevice would set it.
void fake_set_device(int device);
int fake_device(void);
/// Makes a context that is not the device's primary one this thread's current one, as a caller's cuCtxCreate does. A call
/// in it is misuse.
void fake_enter_foreign_context(void);

/// An image that cudaLibraryLoadData reads. It takes the library's own too, for one with code for 8.0, 9.0 and PTX.
typedef struct {
    uint32_t magic;
    /// As 80 for sm_80; 0: none.
    int machine_code[2];
    int ptx;
} fake_image;

fake_image fake_image_for(int machine_code, int more_machine_code, int ptx);

/// Parameters of the kernel `fake_store`: *to = value.
typedef struct {
    float *_Nullable to;
    float value;
} fake_store_parameters;

/// Parameters of the kernel `fake_add`: x[i] += value. It declares 1 KiB of shared memory.
typedef struct {
    float *_Nullable x;
    float value;
    int count;
} fake_add_parameters;
