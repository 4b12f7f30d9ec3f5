// Images, kernels and their launches. Code is looked for when a kernel is first needed on a device, as CUDA's lazy
// loading does.
#include "state.h"

#include <stdlib.h>
#include <string.h>

enum { magic = 0x66616b65 };

fake_image fake_image_for(int machine_code, int more_machine_code, int ptx) {
    return (fake_image){.magic = magic, .machine_code = {machine_code, more_machine_code}, .ptx = ptx};
}

static int run_store(const void *parameters) {
    const fake_store_parameters *p = parameters;
    if (!object_holding(p->to, sizeof *p->to)) return mc_cudaErrorIllegalAddress;
    *p->to = p->value;
    return mc_cudaSuccess;
}

static int run_add(const void *parameters) {
    const fake_add_parameters *p = parameters;
    if (!object_holding(p->x, (size_t)p->count * sizeof *p->x)) return mc_cudaErrorIllegalAddress;
    for (int i = 0; i < p->count; i++) p->x[i] += p->value;
    return mc_cudaSuccess;
}

static const kernel_code codes[] = {
    {.name = "fake_store", .parameter_bytes = sizeof(fake_store_parameters), .run = run_store},
    {.name = "fake_add",
     .parameter_bytes = sizeof(fake_add_parameters),
     .static_shared_bytes = 1 << 10,
     .run = run_add},
};

static kernel_code *registered(const char *name) {
    for (kernel_code *code = fake->registered; code; code = code->next)
        if (!strcmp(code->name, name)) return code;
    kernel_code *made = calloc(1, sizeof *made);
    made->name = strdup(name);
    made->next = fake->registered;
    fake->registered = made;
    return made;
}

void fake_register_kernel(const char *name, fake_kernel_body body) { registered(name)->body = body; }
void fake_register_parameters(const char *name, size_t bytes) { registered(name)->parameter_bytes = bytes; }

const char *fake_running_kernel(void) { return fake->running; }
void fake_tell(const char *problem) { state_misuse(problem); }

void kernels_forget(void) {
    for (kernel_code *code = fake->registered; code;) {
        kernel_code *next = code->next;
        free((void *)code->name);
        free(code);
        code = next;
    }
}

static const kernel_code *find_code(const char *name) {
    for (const kernel_code *code = fake->registered; code; code = code->next)
        if (code->body && !strcmp(code->name, name)) return code;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (!strcmp(codes[i].name, name)) return &codes[i];
    return NULL;
}

mc_error fake_cudaLibraryLoadData(mc_library *library, const void *code, mc_jit_option *jit_options, void **jit_values,
                                  unsigned jit_count, mc_library_option *options, void **values, unsigned count) {
    ENTER();
    (void)jit_options, (void)jit_values, (void)options, (void)values;
    // What is in the library's own image is not read: the test registers its kernels.
    static const fake_image own = {.magic = magic, .machine_code = {80, 90}, .ptx = 80};
    size_t own_bytes;
    const fake_image *image = code && code == mc_image(&own_bytes) ? &own : code;
    if (!image || jit_count || count) return state_note(mc_cudaErrorInvalidValue);
    if (image->magic != magic) return state_note(mc_cudaErrorInvalidKernelImage);
    object *made = object_make(fake_library, -1);
    made->image = image;
    *library = (mc_library)made;
    return mc_cudaSuccess;
}

mc_error fake_cudaLibraryUnload(mc_library library) {
    object *found = object_take_back(library, fake_library);
    if (found)
        for (object *o = fake->objects; o; o = o->next)
            if (o->kind == kernel_handle && o->stream == found) o->is_live = false;
    ENTER();
    return found ? mc_cudaSuccess : state_note(mc_cudaErrorInvalidResourceHandle);
}

mc_error fake_cudaLibraryGetKernel(mc_kernel *kernel, mc_library library, const char *name) {
    ENTER();
    FIND(found, library, fake_library);
    // One handle a name, whoever asks: what is set for it is set for all.
    for (object *o = fake->objects; o; o = o->next) {
        if (o->kind != kernel_handle || !o->is_live || o->stream != found || strcmp(o->code->name, name)) continue;
        *kernel = (mc_kernel)o;
        return mc_cudaSuccess;
    }
    const kernel_code *code = find_code(name);
    if (!code) return state_note(mc_cudaErrorSymbolNotFound);
    object *made = object_make(kernel_handle, -1);
    made->image = found->image;
    made->stream = found;
    made->code = code;
    made->shared_limit = (48 << 10) - code->static_shared_bytes;
    *kernel = (mc_kernel)made;
    return mc_cudaSuccess;
}

// Machine code runs on later minor versions of its major one; PTX on whatever is later.
static bool has_code(const fake_image *image, int capability) {
    for (int i = 0; i < 2; i++)
        if (image->machine_code[i] / 10 == capability / 10 && image->machine_code[i] <= capability) return true;
    return image->ptx && image->ptx <= capability;
}

static mc_error load(const object *kernel) {
    const int capability = fake->machine.compute_capability[fake_device()];
    return has_code(kernel->image, capability) ? mc_cudaSuccess : state_note(mc_cudaErrorNoKernelImageForDevice);
}

mc_error fake_cudaKernelSetAttributeForDevice(mc_kernel kernel, mc_kernel_attribute attribute, int value, int device) {
    ENTER();
    FIND(found, kernel, kernel_handle);
    if (attribute != mc_cudaFuncAttributeMaxDynamicSharedMemorySize || device != fake_device())
        return state_note(mc_cudaErrorInvalidValue);
    if (value > (227 << 10) - found->code->static_shared_bytes) return state_note(mc_cudaErrorInvalidValue);
    found->shared_limit = value;
    return mc_cudaSuccess;
}

mc_error fake_cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel, int threads, size_t shared) {
    ENTER();
    FIND(found, kernel, kernel_handle);
    if (load(found)) return load(found);
    const int by_threads = 2048 / threads;
    const size_t block_bytes = shared + (size_t)found->code->static_shared_bytes + 1024;
    const int by_memory = (int)((228u << 10) / block_bytes);
    *blocks = shared > (size_t)found->shared_limit ? 0 : by_threads < by_memory ? by_threads : by_memory;
    return mc_cudaSuccess;
}

mc_error fake_cudaLaunchKernelExC(const mc_launch *configuration, const void *kernel, void **arguments) {
    ENTER();
    FIND(found, kernel, kernel_handle);
    FIND(queue, configuration->stream, fake_stream);
    if (load(found)) return load(found);
    const mc_dim3 grid = configuration->grid, block = configuration->block;
    if (!grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z || block.x * block.y * block.z > 1024)
        return state_note(mc_cudaErrorInvalidConfiguration);
    if (configuration->dynamic_shared_bytes > (size_t)found->shared_limit || configuration->attribute_count)
        return state_note(mc_cudaErrorInvalidValue);
    return stream_submit(
        queue, (operation){.kind = launch, .kernel = found, .launch = *configuration, .parameters = arguments[0]});
}
