// Memory and pools. Fresh memory holds NaN, and what was given back is really gone, so that a sanitizer finds a late use.
#include "state.h"

#include <stdlib.h>
#include <string.h>

static size_t allocated(int kind, int device) {
    size_t bytes = 0;
    for (object *o = fake->objects; o; o = o->next)
        if (o->kind == kind && o->is_live && (device < 0 || o->device == device)) bytes += o->bytes;
    return bytes;
}

static mc_error allocate(void **address, size_t bytes, int kind, size_t room, bool is_pooled) {
    *address = NULL;
    if (!bytes) return state_note(mc_cudaErrorInvalidValue);
    const int device = fake_device();
    const size_t used = allocated(kind, kind == fake_device_memory ? device : -1);
    if (used > room || bytes > room - used) return state_note(mc_cudaErrorMemoryAllocation);
    void *memory;
    if (posix_memalign(&memory, 256, bytes)) return state_note(mc_cudaErrorMemoryAllocation);
    memset(memory, 0xff, bytes);
    object *made = object_make(kind, device);
    made->address = memory;
    made->bytes = bytes;
    made->is_pooled = is_pooled;
    *address = memory;
    return mc_cudaSuccess;
}

static mc_error give_back(void *address, int kind, bool is_pooled) {
    object *memory = object_holding(address, 0);
    if (!memory || memory->address != address || memory->kind != kind) {
        state_misuse("memory was given back that was not out");
        return state_note(mc_cudaErrorInvalidValue);
    }
    if (memory->is_pooled != is_pooled) state_misuse("memory of a pool and other memory were mixed up");
    memory->is_live = false;
    free(memory->address);
    memory->address = NULL;
    return mc_cudaSuccess;
}

/// What is in no stream's order is forbidden to a thread that captures, unless the capture or the thread is relaxed.
static void check_capture(const char *what) {
    if (fake->capture_mode == mc_cudaStreamCaptureModeRelaxed) return;
    for (object *o = fake->objects; o; o = o->next)
        if (o->kind == fake_stream && o->is_live && o->capture && o->capture_mode != mc_cudaStreamCaptureModeRelaxed)
            state_misuse(what);
}

mc_error fake_cudaMalloc(void **address, size_t bytes) {
    ENTER();
    check_capture("cudaMalloc in a capture");
    return allocate(address, bytes, fake_device_memory, fake->machine.device_bytes, false);
}

mc_error fake_cudaFree(void *address) {
    check_capture("cudaFree in a capture");
    const mc_error answer = give_back(address, fake_device_memory, false);
    ENTER();
    return answer;
}

mc_error fake_cudaHostAlloc(void **address, size_t bytes, unsigned flags) {
    ENTER();
    (void)flags;
    return allocate(address, bytes, fake_pinned_memory, fake->machine.pinned_bytes, false);
}

mc_error fake_cudaFreeHost(void *address) {
    check_capture("cudaFreeHost in a capture");
    // It waits for the work that may use the memory.
    for (object *o = fake->objects; o; o = o->next)
        if (o->kind == fake_stream && o->is_live) stream_land(o);
    const mc_error answer = give_back(address, fake_pinned_memory, false);
    ENTER();
    return answer;
}

mc_error fake_cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    ENTER();
    *total = fake->machine.device_bytes;
    *free_bytes = *total - allocated(fake_device_memory, fake_device());
    return mc_cudaSuccess;
}

mc_error fake_cudaMemPoolCreate(mc_pool *pool, const mc_pool_properties *properties) {
    ENTER();
    if (properties->allocation_type != mc_cudaMemAllocationTypePinned ||
        properties->location_type != mc_cudaMemLocationTypeDevice || properties->location_id != fake_device())
        return state_note(mc_cudaErrorInvalidValue);
    *pool = (mc_pool)object_make(fake_pool, fake_device());
    return mc_cudaSuccess;
}

mc_error fake_cudaMemPoolDestroy(mc_pool pool) {
    object *found = object_take_back(pool, fake_pool);
    ENTER();
    return found ? mc_cudaSuccess : state_note(mc_cudaErrorInvalidResourceHandle);
}

mc_error fake_cudaMemPoolSetAttribute(mc_pool pool, mc_pool_attribute attribute, void *value) {
    ENTER();
    FIND(found, pool, fake_pool);
    (void)value;
    return attribute == mc_cudaMemPoolAttrReleaseThreshold ? mc_cudaSuccess : state_note(mc_cudaErrorInvalidValue);
}

mc_error fake_cudaMemPoolTrimTo(mc_pool pool, size_t bytes) {
    ENTER();
    FIND(found, pool, fake_pool);
    (void)bytes;
    return mc_cudaSuccess;
}

mc_error fake_cudaMallocFromPoolAsync(void **address, size_t bytes, mc_pool pool, mc_stream stream) {
    ENTER();
    FIND(found, pool, fake_pool);
    FIND(queue, stream, fake_stream);
    if (queue->capture || stream_forbidding(queue)) state_misuse("memory was asked for in a capture");
    if (queue->device != found->device) return state_note(mc_cudaErrorInvalidValue);
    return allocate(address, bytes, fake_device_memory, fake->machine.device_bytes, true);
}

mc_error fake_cudaFreeAsync(void *address, mc_stream stream) {
    object *queue = object_find(stream, fake_stream);
    if (queue && (queue->capture || stream_forbidding(queue))) state_misuse("memory was given back in a capture");
    const mc_error answer = give_back(address, fake_device_memory, true);
    ENTER();
    return queue ? answer : state_note(mc_cudaErrorInvalidResourceHandle);
}

int fake_device_memories(fake_memory *memories, int capacity) {
    int count = 0;
    for (object *o = fake->objects; o; o = o->next) {
        if (o->kind != fake_device_memory || !o->is_live) continue;
        if (count < capacity) memories[count] = (fake_memory){.start = o->address, .bytes = o->bytes};
        count++;
    }
    return count;
}
