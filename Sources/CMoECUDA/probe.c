#include "CMoECUDA.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <dlfcn.h>

typedef int (*integer_query)(int *);
typedef const char *(*error_text)(int);

// The sonames of the runtimes that the backend's entry points exist in (12.8 and later).
static const char *const candidates[] = {"libcudart.so.13", "libcudart.so.12"};

static void *open_runtime(char *why, size_t capacity) {
    const char *chosen = getenv("MOE_CUDART");
    if (chosen && *chosen) {
        void *handle = dlopen(chosen, RTLD_NOW | RTLD_LOCAL);
        if (!handle) snprintf(why, capacity, "MOE_CUDART names %s, which cannot be opened: %s", chosen, dlerror());
        return handle;
    }
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
        void *handle = dlopen(candidates[i], RTLD_NOW | RTLD_LOCAL);
        if (handle) return handle;
    }
    snprintf(why, capacity, "no CUDA runtime (libcudart.so.13 or .12) on the library path; MOE_CUDART may name one");
    return NULL;
}

int mc_probe(mc_status *status, char *why, size_t capacity) {
    memset(status, 0, sizeof *status);
    if (capacity) why[0] = 0;
    void *runtime = open_runtime(why, capacity);
    if (!runtime) return 0;
    integer_query runtime_version = (integer_query)dlsym(runtime, "cudaRuntimeGetVersion");
    integer_query driver_version = (integer_query)dlsym(runtime, "cudaDriverGetVersion");
    integer_query device_count = (integer_query)dlsym(runtime, "cudaGetDeviceCount");
    error_text describe = (error_text)dlsym(runtime, "cudaGetErrorString");
    if (!runtime_version || !driver_version || !device_count || !describe) {
        snprintf(why, capacity, "the library that was opened is not a CUDA runtime: entry points are missing");
        dlclose(runtime);
        return 0;
    }
    runtime_version(&status->runtime_version);
    driver_version(&status->driver_version);
    // The runtime stays open: closing it would unload a library that may have started a context.
    if (status->driver_version == 0) {
        snprintf(why, capacity, "CUDA runtime %d.%d found, but no NVIDIA driver", status->runtime_version / 1000,
                 status->runtime_version % 1000 / 10);
        return 0;
    }
    const int error = device_count(&status->device_count);
    if (error != 0) {
        status->device_count = 0;
        snprintf(why, capacity, "CUDA answers %d: %s", error, describe(error));
        return 0;
    }
    if (status->device_count == 0) {
        snprintf(why, capacity, "CUDA finds no device");
        return 0;
    }
    return 1;
}

#else

int mc_probe(mc_status *status, char *why, size_t capacity) {
    memset(status, 0, sizeof *status);
    snprintf(why, capacity, "no CUDA on this platform");
    return 0;
}

#endif
