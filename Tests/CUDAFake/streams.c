// Streams, events, graphs, and the work they hold. Work is done at once; what it leaves in pinned memory lands when it
// is waited for.
#include "state.h"

#include <stdlib.h>
#include <string.h>

static operation *copy_of(operation work) {
    operation *made = malloc(sizeof *made);
    *made = work;
    made->next = NULL;
    return made;
}

/// The operation as a graph keeps it.
static operation *recording_of(operation work) {
    operation *made = copy_of(work);
    if (work.kind != launch) return made;
    const size_t bytes = work.kernel->code->parameter_bytes;
    made->parameters = memcpy(malloc(bytes), work.parameters, bytes);
    return made;
}

void operations_free(operation *first) {
    while (first) {
        operation *next = first->next;
        // What lands and what is recorded has memory of its own.
        if (first->kind == copy && first->value) free((void *)first->source);
        if (first->kind == launch) free((void *)first->parameters);
        free(first);
        first = next;
    }
}

void graph_append(object *graph, operation work) {
    *graph->last = recording_of(work);
    graph->last = &(*graph->last)->next;
}

void stream_land(object *stream) {
    for (operation *o = stream->landing; o; o = o->next) memcpy(o->target, o->source, o->bytes);
    operations_free(stream->landing);
    stream->landing = NULL;
    stream->is_busy = false;
}

static mc_error do_copy(object *stream, operation work) {
    const bool to_device = work.copy_kind != mc_cudaMemcpyDeviceToHost;
    const bool from_device = work.copy_kind != mc_cudaMemcpyHostToDevice;
    if ((to_device && !object_holding(work.target, work.bytes)) || (from_device && !object_holding(work.source, work.bytes)))
        return mc_cudaErrorInvalidValue;
    if (to_device) {
        memmove(work.target, work.source, work.bytes);
        return mc_cudaSuccess;
    }
    // Other memory of the host is written before the call returns, as it has to be staged.
    if (!object_holding(work.target, work.bytes)) {
        memcpy(work.target, work.source, work.bytes);
        return mc_cudaSuccess;
    }
    void *snapshot = malloc(work.bytes);
    memcpy(snapshot, work.source, work.bytes);
    operation *landing = copy_of(work);
    landing->source = snapshot;
    landing->value = 1;
    operation **end = &stream->landing;
    while (*end) end = &(*end)->next;
    *end = landing;
    return mc_cudaSuccess;
}

static mc_error do_launch(object *stream, operation work) {
    if (fake->launch_count < launch_length)
        fake->launches[fake->launch_count] = (fake_launch){.kernel = work.kernel->code->name,
                                                           .grid = work.launch.grid,
                                                           .block = work.launch.block,
                                                           .dynamic_shared_bytes = work.launch.dynamic_shared_bytes};
    fake->launch_count++;
    const kernel_code *code = work.kernel->code;
    if (!fake->fault && code->body) {
        const void *const arguments[] = {work.parameters};
        const mc_dim3 grid = work.launch.grid;
        fake->running = code->name;
        code->body(arguments, grid.x, grid.y, grid.z, work.launch.block.x, work.launch.dynamic_shared_bytes);
        fake->running = NULL;
    } else if (!fake->fault) {
        fake->fault = code->run(work.parameters);
    }
    const int fault = fake->fault;
    fake->fault = 0;
    if (fault) fake->hidden_fault[stream->device] = fault;
    return mc_cudaSuccess;
}

static mc_error execute(object *stream, operation work) {
    stream->is_busy = true;
    fake->clock += 1;
    // After a fault the device does nothing more.
    if (fake->hidden_fault[stream->device]) return mc_cudaSuccess;
    switch (work.kind) {
    case copy: return do_copy(stream, work);
    case launch: return do_launch(stream, work);
    case fill:
        if (!object_holding(work.target, work.bytes)) return mc_cudaErrorInvalidValue;
        memset(work.target, work.value, work.bytes);
        return mc_cudaSuccess;
    }
}

object *stream_forbidding(const object *stream) {
    if (!stream->is_default) return NULL;
    for (object *o = fake->objects; o; o = o->next)
        if (o->kind == fake_stream && o->is_live && o->is_blocking && o->capture && o->device == stream->device) return o;
    return NULL;
}

mc_error stream_submit(object *stream, operation work) {
    if (stream->device != fake_device()) return state_note(mc_cudaErrorInvalidResourceHandle);
    object *forbidding = stream_forbidding(stream);
    if (forbidding) {
        forbidding->capture_is_broken = true;
        return state_note(mc_cudaErrorStreamCaptureImplicit);
    }
    if (!stream->capture) return state_note(execute(stream, work));
    if (work.kind == launch && !work.kernel->code->parameter_bytes) {
        state_misuse("a registered kernel was captured whose parameters nobody registered");
        return state_note(mc_cudaErrorInvalidValue);
    }
    graph_append(stream->capture, work);
    return mc_cudaSuccess;
}

mc_error fake_cudaMemcpyAsync(void *target, const void *source, size_t bytes, mc_copy_kind kind, mc_stream stream) {
    ENTER();
    FIND(queue, stream, fake_stream);
    return stream_submit(
        queue, (operation){.kind = copy, .target = target, .source = source, .bytes = bytes, .copy_kind = kind});
}

mc_error fake_cudaMemsetAsync(void *target, int value, size_t bytes, mc_stream stream) {
    ENTER();
    FIND(queue, stream, fake_stream);
    return stream_submit(queue, (operation){.kind = fill, .target = target, .value = value, .bytes = bytes});
}

// Streams.

mc_error fake_cudaStreamCreateWithFlags(mc_stream *stream, unsigned flags) {
    ENTER();
    object *made = object_make(fake_stream, fake_device());
    made->is_blocking = !(flags & mc_cudaStreamNonBlocking);
    *stream = (mc_stream)made;
    return mc_cudaSuccess;
}

mc_error fake_cudaStreamDestroy(mc_stream stream) {
    object *found = object_take_back(stream, fake_stream);
    if (found) stream_land(found);
    ENTER();
    return found ? mc_cudaSuccess : state_note(mc_cudaErrorInvalidResourceHandle);
}

mc_error fake_cudaStreamGetDevice(mc_stream stream, int *device) {
    ENTER();
    FIND(found, stream, fake_stream);
    *device = found->device;
    return mc_cudaSuccess;
}

// Waiting is not for captured streams, and spoils the capture.
static mc_error spoil(object *stream) {
    stream->capture_is_broken = true;
    return state_note(mc_cudaErrorStreamCaptureUnsupported);
}

mc_error fake_cudaStreamSynchronize(mc_stream stream) {
    ENTER();
    FIND(found, stream, fake_stream);
    if (found->capture) return spoil(found);
    stream_land(found);
    return state_settle(found->device);
}

mc_error fake_cudaStreamQuery(mc_stream stream) {
    ENTER();
    FIND(found, stream, fake_stream);
    if (found->capture) return spoil(found);
    // Busy at the first look after work, done at the second.
    const bool was_busy = found->is_busy;
    stream_land(found);
    return was_busy ? state_note(mc_cudaErrorNotReady) : state_settle(found->device);
}

mc_error fake_cudaStreamWaitEvent(mc_stream stream, mc_event event, unsigned flags) {
    ENTER();
    (void)flags;
    FIND(found, stream, fake_stream);
    FIND(mark, event, fake_event);
    return mc_cudaSuccess;
}

mc_error fake_cudaStreamIsCapturing(mc_stream stream, mc_capture_status *status) {
    ENTER();
    FIND(found, stream, fake_stream);
    if (stream_forbidding(found)) return state_note(mc_cudaErrorStreamCaptureImplicit);
    *status = !found->capture             ? mc_cudaStreamCaptureStatusNone
              : found->capture_is_broken ? mc_cudaStreamCaptureStatusInvalidated
                                         : mc_cudaStreamCaptureStatusActive;
    return mc_cudaSuccess;
}

mc_error fake_cudaStreamBeginCapture(mc_stream stream, mc_capture_mode mode) {
    ENTER();
    FIND(found, stream, fake_stream);
    if (found->capture || found->is_default) return state_note(mc_cudaErrorStreamCaptureUnsupported);
    found->capture = object_make(fake_graph, found->device);
    found->capture_mode = mode;
    found->capture_is_broken = false;
    return mc_cudaSuccess;
}

mc_error fake_cudaStreamEndCapture(mc_stream stream, mc_graph *graph) {
    *graph = NULL;
    object *found = object_find(stream, fake_stream);
    if (!found) return state_note(mc_cudaErrorInvalidResourceHandle);
    object *captured = found->capture;
    const mc_error entered = state_enter("cudaStreamEndCapture", true);
    // The capture ends with any answer; a graph that cannot be handed over is nobody's.
    found->capture = NULL;
    if (captured && (entered || found->capture_is_broken)) captured->is_live = false;
    if (entered) return entered;
    if (!captured) return state_note(mc_cudaErrorInvalidValue);
    if (found->capture_is_broken) return state_note(mc_cudaErrorStreamCaptureInvalidated);
    *graph = (mc_graph)captured;
    return mc_cudaSuccess;
}

mc_error fake_cudaThreadExchangeStreamCaptureMode(mc_capture_mode *mode) {
    ENTER_WITHOUT_CONTEXT();
    const mc_capture_mode former = fake->capture_mode;
    fake->capture_mode = *mode;
    *mode = former;
    return mc_cudaSuccess;
}

// Events.

mc_error fake_cudaEventCreateWithFlags(mc_event *event, unsigned flags) {
    ENTER();
    (void)flags;
    *event = (mc_event)object_make(fake_event, fake_device());
    return mc_cudaSuccess;
}

mc_error fake_cudaEventDestroy(mc_event event) {
    object *found = object_take_back(event, fake_event);
    ENTER();
    return found ? mc_cudaSuccess : state_note(mc_cudaErrorInvalidResourceHandle);
}

mc_error fake_cudaEventRecord(mc_event event, mc_stream stream) {
    ENTER();
    FIND(mark, event, fake_event);
    FIND(queue, stream, fake_stream);
    if (mark->device != queue->device || queue->device != fake_device())
        return state_note(mc_cudaErrorInvalidResourceHandle);
    mark->time = fake->clock;
    mark->stream = queue;
    return mc_cudaSuccess;
}

mc_error fake_cudaEventSynchronize(mc_event event) {
    ENTER();
    FIND(mark, event, fake_event);
    if (mark->stream && mark->stream->is_live) stream_land(mark->stream);
    return state_settle(mark->device);
}

mc_error fake_cudaEventQuery(mc_event event) {
    ENTER();
    FIND(mark, event, fake_event);
    if (mark->stream && mark->stream->is_live && mark->stream->is_busy) {
        stream_land(mark->stream);
        return state_note(mc_cudaErrorNotReady);
    }
    return state_settle(mark->device);
}

mc_error fake_cudaEventElapsedTime(float *milliseconds, mc_event start, mc_event end) {
    ENTER();
    FIND(first, start, fake_event);
    FIND(second, end, fake_event);
    if (!first->stream || !second->stream) return state_note(mc_cudaErrorInvalidResourceHandle);
    *milliseconds = second->time - first->time;
    return mc_cudaSuccess;
}

// Graphs.

mc_error fake_cudaGraphInstantiate(mc_graph_exec *executable, mc_graph graph, unsigned long long flags) {
    ENTER();
    (void)flags;
    FIND(recorded, graph, fake_graph);
    object *made = object_make(fake_executable, recorded->device);
    for (operation *o = recorded->first; o; o = o->next) graph_append(made, *o);
    *executable = (mc_graph_exec)made;
    return mc_cudaSuccess;
}

mc_error fake_cudaGraphLaunch(mc_graph_exec executable, mc_stream stream) {
    ENTER();
    FIND(graph, executable, fake_executable);
    FIND(queue, stream, fake_stream);
    if (graph->device != queue->device) return state_note(mc_cudaErrorInvalidValue);
    for (operation *o = graph->first; o; o = o->next) {
        const mc_error answer = stream_submit(queue, *o);
        if (answer) return answer;
    }
    return mc_cudaSuccess;
}

mc_error fake_cudaGraphExecDestroy(mc_graph_exec executable) {
    object *found = object_take_back(executable, fake_executable);
    ENTER();
    return found ? mc_cudaSuccess : state_note(mc_cudaErrorInvalidResourceHandle);
}

mc_error fake_cudaGraphDestroy(mc_graph graph) {
    object *found = object_take_back(graph, fake_graph);
    ENTER();
    return found ? mc_cudaSuccess : state_note(mc_cudaErrorInvalidResourceHandle);
}
