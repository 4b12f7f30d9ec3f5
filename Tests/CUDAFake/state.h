// What the parts of the fake share.
#pragma once

#include "CUDAFake.h"

#include <stdbool.h>

enum { devices = 4, trace_length = 1 << 14, launch_length = 1 << 14 };

typedef struct kernel_code {
    const char *name;
    /// 0: unknown.
    size_t parameter_bytes;
    int static_shared_bytes;
    /// Answers an error code.
    int (*run)(const void *parameters);
    /// In place of it, for a kernel that a test registered.
    fake_kernel_body body;
    struct kernel_code *next;
} kernel_code;

typedef struct operation {
    enum { copy, fill, launch } kind;
    void *target;
    const void *source;
    size_t bytes;
    int value;
    mc_copy_kind copy_kind;
    struct object *kernel;
    mc_launch launch;
    /// The caller's, or in a graph a copy.
    const void *parameters;
    struct operation *next;
} operation;

/// Anything that has a handle. It stays here when it is given back, so that a later use is noticed.
typedef struct object {
    int kind;
    bool is_live;
    int device;
    struct object *next;
    // Memory.
    void *address;
    size_t bytes;
    bool is_pooled;
    // A stream: the graph that it is captured into, and what lands on the host when it is waited for.
    struct object *capture;
    mc_capture_mode capture_mode;
    bool capture_is_broken;
    bool is_default;
    /// Whether it and the default stream wait for each other.
    bool is_blocking;
    bool is_busy;
    operation *landing;
    // An event.
    struct object *stream;
    float time;
    // A graph, executable or not.
    operation *first;
    operation **last;
    // A library and its kernels.
    const fake_image *image;
    const kernel_code *code;
    int shared_limit;
} object;

/// Kinds beyond those that have to be given back.
enum { kernel_handle = fake_kinds };

typedef struct {
    fake_machine machine;
    object *objects;
    kernel_code *registered;
    const char *running;
    char misuse[256];
    const char *trace[trace_length];
    int calls;
    fake_launch launches[launch_length];
    int launch_count;
    /// Empty: any.
    char fail_call[64];
    int fail_after;
    int fail_code;
    int fault;
    /// A fault that no call has told of yet, and the code of one that was told of.
    int hidden_fault[devices];
    int lost[devices];
    int device;
    bool is_foreign;
    const object *pushed[16];
    int pushed_count;
    mc_capture_mode capture_mode;
    mc_error last_error;
    float clock;
} state;

extern _Thread_local state *fake;

/// What every entry point begins with: counts the call, and answers the error that it has to fail with, else 0. Calls
/// that use the current context answer its fault if it is lost.
mc_error state_enter(const char *name, bool uses_context);
/// Tells of a fault at a call that waits.
mc_error state_settle(int device);
/// Keeps an error for cudaGetLastError, and gives it back.
mc_error state_note(mc_error code);
/// Whether an error code ends the context.
bool state_is_ended_by(int code);
/// Notes a use that CUDA would punish; the first one is kept.
void state_misuse(const char *what);

object *object_make(int kind, int device);
/// The object behind a handle, which for a stream may be NULL, the default one; NULL and a note of misuse when it is none,
/// or one that was given back.
object *object_find(const void *handle, int kind);
/// Takes a handle back.
object *object_take_back(const void *handle, int kind);
/// The memory that holds an address, with room for `bytes` behind it; NULL where there is none.
object *object_holding(const void *address, size_t bytes);

/// Forgets the kernels that a test registered.
void kernels_forget(void);

/// Does an operation, or records it where the stream is captured.
mc_error stream_submit(object *stream, operation work);
/// The captured stream that forbids the use of a default stream, if any does.
object *stream_forbidding(const object *stream);
/// Lets copies to the host land.
void stream_land(object *stream);
void operations_free(operation *first);
void graph_append(object *graph, operation work);

// Every entry point of the table, in one of several files.
#define X(result, name, parameters) result fake_##name parameters;
MC_ENTRY_POINTS(X)
MC_DRIVER_ENTRY_POINTS(X)
#undef X

// What an entry point begins with. Its name in the table is the function's without "fake_".
#define ENTER_WITH(uses_context)                                                                                               \
    do {                                                                                                                       \
        const mc_error entered = state_enter(__func__ + 5, uses_context);                                                      \
        if (entered) return entered;                                                                                           \
    } while (0)
#define ENTER() ENTER_WITH(true)
#define ENTER_WITHOUT_CONTEXT() ENTER_WITH(false)
#define FIND(variable, handle, kind)                                                                                           \
    object *variable = object_find(handle, kind);                                                                              \
    if (!variable) return state_note(mc_cudaErrorInvalidResourceHandle)
