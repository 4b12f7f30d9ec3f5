// Devices, contexts, versions and error texts.
#include "state.h"

#include <stdio.h>
#include <string.h>

int fake_device(void) { return fake->pushed_count ? fake->pushed[fake->pushed_count - 1]->device : fake->device; }
void fake_set_device(int device) { fake->device = device; }
void fake_enter_foreign_context(void) { fake->is_foreign = true; }

const char *fake_cudaGetErrorName(mc_error code) {
    switch (code) {
#define X(name, value)                                                                                                         \
    case value: return #name;
        MC_ERRORS(X)
#undef X
    default: return "unrecognized error code";
    }
}

const char *fake_cudaGetErrorString(mc_error code) {
    static _Thread_local char text[64];
    snprintf(text, sizeof text, "words for %d", code);
    return text;
}

mc_error fake_cudaGetLastError(void) {
    const mc_error last = fake->last_error;
    fake->last_error = mc_cudaSuccess;
    return last;
}

mc_error fake_cudaRuntimeGetVersion(int *version) {
    *version = fake->machine.runtime_version;
    return mc_cudaSuccess;
}

mc_error fake_cudaDriverGetVersion(int *version) {
    *version = fake->machine.driver_version;
    return mc_cudaSuccess;
}

// Without a driver, or with one older than the runtime's major version, the runtime answers this to everything.
static mc_error driver_state(void) {
    return fake->machine.driver_version / 1000 < fake->machine.runtime_version / 1000 ? mc_cudaErrorInsufficientDriver : 0;
}

mc_error fake_cudaGetDeviceCount(int *count) {
    ENTER_WITHOUT_CONTEXT();
    if (driver_state()) return state_note(driver_state());
    *count = fake->machine.device_count;
    return *count ? mc_cudaSuccess : state_note(mc_cudaErrorNoDevice);
}

mc_error fake_cudaDeviceGetAttribute(int *value, mc_device_attribute attribute, int device) {
    ENTER_WITHOUT_CONTEXT();
    if (device < 0 || device >= fake->machine.device_count) return state_note(mc_cudaErrorInvalidDevice);
    switch (attribute) {
    case mc_cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
    case mc_cudaDevAttrWarpSize: *value = 32; break;
    case mc_cudaDevAttrMultiProcessorCount: *value = fake->machine.multiprocessors[device]; break;
    case mc_cudaDevAttrL2CacheSize: *value = fake->machine.l2_bytes; break;
    case mc_cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; break;
    case mc_cudaDevAttrComputeCapabilityMajor: *value = fake->machine.compute_capability[device] / 10; break;
    case mc_cudaDevAttrComputeCapabilityMinor: *value = fake->machine.compute_capability[device] % 10; break;
    case mc_cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = 228 << 10; break;
    case mc_cudaDevAttrMaxRegistersPerMultiprocessor: *value = 65536; break;
    case mc_cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = 227 << 10; break;
    case mc_cudaDevAttrMemoryPoolsSupported: *value = fake->machine.memory_pools; break;
    default: return state_note(mc_cudaErrorInvalidValue);
    }
    return mc_cudaSuccess;
}

mc_error fake_cudaDeviceSynchronize(void) {
    ENTER();
    for (object *o = fake->objects; o; o = o->next)
        if (o->kind == fake_stream && o->is_live && o->device == fake_device()) stream_land(o);
    return state_settle(fake_device());
}

// The driver.

mc_driver_error fake_cuDeviceGet(mc_driver_device *device, int index) {
    ENTER_WITHOUT_CONTEXT();
    if (index < 0 || index >= fake->machine.device_count) return mc_cudaErrorInvalidDevice;
    *device = index;
    return mc_cudaSuccess;
}

mc_driver_error fake_cuDeviceGetName(char *name, int capacity, mc_driver_device device) {
    ENTER_WITHOUT_CONTEXT();
    snprintf(name, (size_t)capacity, "Fake %d", device);
    return mc_cudaSuccess;
}

mc_driver_error fake_cuDeviceTotalMem(size_t *bytes, mc_driver_device device) {
    ENTER_WITHOUT_CONTEXT();
    (void)device;
    *bytes = fake->machine.device_bytes;
    return mc_cudaSuccess;
}

mc_driver_error fake_cuDevicePrimaryCtxRetain(mc_context *context, mc_driver_device device) {
    ENTER_WITHOUT_CONTEXT();
    *context = (mc_context)object_make(fake_context, device);
    return mc_cudaSuccess;
}

mc_driver_error fake_cuDevicePrimaryCtxRelease(mc_driver_device device) {
    object *held = NULL;
    for (object *o = fake->objects; o; o = o->next)
        if (o->kind == fake_context && o->is_live && o->device == device) held = o;
    if (held) held->is_live = false;
    else state_misuse("a context was released that nobody holds");
    ENTER_WITHOUT_CONTEXT();
    return mc_cudaSuccess;
}

mc_driver_error fake_cuCtxGetCurrent(mc_context *context) {
    ENTER_WITHOUT_CONTEXT();
    const object *current = fake->pushed_count ? fake->pushed[fake->pushed_count - 1] : NULL;
    for (object *o = fake->objects; o && !current && !fake->is_foreign; o = o->next)
        if (o->kind == fake_context && o->is_live && o->device == fake->device) current = o;
    *context = fake->is_foreign && !current ? (mc_context)&fake->is_foreign : (mc_context)current;
    return mc_cudaSuccess;
}

mc_driver_error fake_cuCtxPushCurrent(mc_context context) {
    ENTER_WITHOUT_CONTEXT();
    FIND(found, context, fake_context);
    fake->pushed[fake->pushed_count++] = found;
    return mc_cudaSuccess;
}

mc_driver_error fake_cuCtxPopCurrent(mc_context *context) {
    // It is popped on a lost context as well, but the call may say so.
    *context = NULL;
    if (fake->pushed_count) fake->pushed_count--;
    else state_misuse("a context was popped that nobody pushed");
    ENTER_WITHOUT_CONTEXT();
    return mc_cudaSuccess;
}

mc_error fake_cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long flags,
                                               mc_entry_point_result *result) {
    ENTER_WITHOUT_CONTEXT();
    (void)version, (void)flags;
    *function = NULL;
#define X(result, entry, parameters)                                                                                           \
    if (!strcmp(name, #entry)) *function = (void *)fake_##entry;
    MC_DRIVER_ENTRY_POINTS(X)
#undef X
    *result = *function ? mc_cudaDriverEntryPointSuccess : 1;
    return mc_cudaSuccess;
}
