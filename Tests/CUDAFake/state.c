#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Thread_local state *fake;

fake_machine fake_two_devices(void) {
    return (fake_machine){
        .runtime_version = 13000,
        .driver_version = 13000,
        .device_count = 2,
        .compute_capability = {90, 90, 90, 90},
        .multiprocessors = {132, 132, 132, 132},
        .l2_bytes = 50 << 20,
        .memory_pools = 1,
        .device_bytes = 1 << 28,
        .pinned_bytes = 1 << 24,
    };
}

static const mc_cudart table = {
#define X(result, name, parameters) .name = fake_##name,
    MC_ENTRY_POINTS(X)
#undef X
};

const mc_cudart *fake_start(fake_machine machine) {
    fake = calloc(1, sizeof *fake);
    fake->machine = machine;
    return &table;
}

void fake_stop(void) {
    for (object *o = fake->objects; o;) {
        object *next = o->next;
        if (o->kind == fake_device_memory || o->kind == fake_pinned_memory) free(o->address);
        operations_free(o->first);
        operations_free(o->landing);
        free(o);
        o = next;
    }
    kernels_forget();
    free(fake);
    fake = NULL;
}

void fake_fail(const char *call, int after, int code) {
    snprintf(fake->fail_call, sizeof fake->fail_call, "%s", call ? call : "");
    fake->fail_after = after;
    fake->fail_code = code;
}

void fake_fault(int code) { fake->fault = code; }

void state_misuse(const char *what) {
    if (!fake->misuse[0]) snprintf(fake->misuse, sizeof fake->misuse, "%s", what);
}

const char *fake_misuse(void) { return fake->misuse[0] ? fake->misuse : NULL; }

int fake_calls(const char *call) {
    if (!call) return fake->calls;
    int count = 0;
    for (int i = 0; i < fake->calls && i < trace_length; i++) count += !strcmp(fake->trace[i], call);
    return count;
}

const char *fake_call(int i) { return i < fake->calls && i < trace_length ? fake->trace[i] : NULL; }

int fake_launches(void) { return fake->launch_count; }

fake_launch fake_launch_at(int i) {
    return i < fake->launch_count && i < launch_length ? fake->launches[i] : (fake_launch){.kernel = NULL};
}

bool state_is_ended_by(int code) {
    switch (code) {
    case mc_cudaErrorContained:
    case mc_cudaErrorIllegalAddress:
    case mc_cudaErrorLaunchTimeout:
    case mc_cudaErrorContextIsDestroyed:
    case mc_cudaErrorAssert:
    case mc_cudaErrorHardwareStackError:
    case mc_cudaErrorIllegalInstruction:
    case mc_cudaErrorMisalignedAddress:
    case mc_cudaErrorInvalidAddressSpace:
    case mc_cudaErrorInvalidPc:
    case mc_cudaErrorLaunchFailure:
    case mc_cudaErrorTensorMemoryLeak:
    case mc_cudaErrorMpsClientTerminated:
    case mc_cudaErrorExternalDevice: return true;
    default: return false;
    }
}

mc_error state_enter(const char *name, bool uses_context) {
    if (fake->calls < trace_length) fake->trace[fake->calls] = name;
    fake->calls++;
    const int device = fake_device();
    if (fake->fail_code && (!fake->fail_call[0] || !strcmp(fake->fail_call, name)) && fake->fail_after-- == 0) {
        const int code = fake->fail_code;
        fake->fail_code = 0;
        if (state_is_ended_by(code)) fake->lost[device] = code;
        // The driver's calls leave the runtime's last error alone.
        return strncmp(name, "cuda", 4) ? code : state_note(code);
    }
    if (!uses_context) return mc_cudaSuccess;
    if (fake->is_foreign && !fake->pushed_count) state_misuse("a call was made in another's context");
    return state_note(fake->lost[device]);
}

mc_error state_note(mc_error code) {
    if (code) fake->last_error = code;
    return code;
}

mc_error state_settle(int device) {
    if (fake->hidden_fault[device]) fake->lost[device] = fake->hidden_fault[device];
    return state_note(fake->lost[device]);
}

object *object_make(int kind, int device) {
    object *made = calloc(1, sizeof *made);
    made->kind = kind;
    made->is_live = true;
    made->device = device;
    made->last = &made->first;
    made->next = fake->objects;
    fake->objects = made;
    return made;
}

static object *default_stream(void) {
    for (object *o = fake->objects; o; o = o->next)
        if (o->is_default && o->device == fake_device()) return o;
    object *made = object_make(fake_stream, fake_device());
    made->is_default = true;
    return made;
}

object *object_find(const void *handle, int kind) {
    if (!handle && kind == fake_stream) return default_stream();
    for (object *o = fake->objects; o; o = o->next) {
        if (o != handle) continue;
        if (o->kind == kind && o->is_live) return o;
        state_misuse(o->kind == kind ? "a handle was used after it was given back" : "a handle of another kind was used");
        return NULL;
    }
    state_misuse("what was used is no handle");
    return NULL;
}

object *object_take_back(const void *handle, int kind) {
    object *found = handle ? object_find(handle, kind) : NULL;
    if (found) found->is_live = false;
    else state_misuse("nothing was given back");
    return found;
}

object *object_holding(const void *address, size_t bytes) {
    const uintptr_t at = (uintptr_t)address;
    for (object *o = fake->objects; o; o = o->next) {
        if (!o->is_live || (o->kind != fake_device_memory && o->kind != fake_pinned_memory)) continue;
        const uintptr_t start = (uintptr_t)o->address;
        if (at >= start && at - start <= o->bytes && bytes <= o->bytes - (at - start)) return o;
    }
    return NULL;
}

int fake_live(fake_kind kind) {
    int count = 0;
    for (object *o = fake->objects; o; o = o->next) count += o->kind == (int)kind && o->is_live && !o->is_default;
    return count;
}

int fake_live_in_all(void) {
    int count = 0;
    for (int kind = 0; kind < fake_kinds; kind++) count += fake_live(kind);
    return count;
}
