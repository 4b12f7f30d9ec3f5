#include "CMoECUDA.h"

#if MOE_LINK_CUDART

#define X(result, name, parameters) extern result name parameters;
MC_ENTRY_POINTS(X)
#undef X

const mc_cudart *mc_cudart_load(const char **why) {
    static const mc_cudart linked = {
#define X(result, name, parameters) .name = name,
        MC_ENTRY_POINTS(X)
#undef X
    };
    *why = NULL;
    return &linked;
}

int mc_cudart_is_linked(void) { return 1; }

#elif defined(__linux__)

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

// The runtimes that have every entry point, newest first (12 from 12.8 on).
static const char *const names[] = {"libcudart.so.13", "libcudart.so.12"};

// Written once, under pthread_once, then only read.
static mc_cudart table;
static int is_loaded;
static char reason[512];

static void *open_runtime(void) {
    const char *chosen = getenv("MOE_CUDART");
    if (chosen && *chosen) {
        void *library = dlopen(chosen, RTLD_NOW | RTLD_LOCAL);
        if (!library) snprintf(reason, sizeof reason, "MOE_CUDART names %s, which cannot be opened: %s", chosen, dlerror());
        return library;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library) return library;
    }
    snprintf(reason, sizeof reason, "no CUDA runtime (libcudart.so.13 or .12) on the library path");
    return NULL;
}

// The library stays open: closing it would unload what may have started a context.
static const char *fill(void *library) {
#define X(result, name, parameters)                                                                                            \
    if (!(table.name = (result(*) parameters)dlsym(library, #name))) return #name;
    MC_ENTRY_POINTS(X)
#undef X
    return NULL;
}

static void load(void) {
    void *library = open_runtime();
    if (!library) return;
    const char *missing = fill(library);
    is_loaded = !missing;
    if (!missing) return;
    int version = 0;
    if (table.cudaRuntimeGetVersion) table.cudaRuntimeGetVersion(&version);
    if (version > 0) {
        snprintf(reason, sizeof reason, "CUDA runtime %d.%d has no %s; 12.8 or later is needed", version / 1000,
                 version % 1000 / 10, missing);
    } else {
        snprintf(reason, sizeof reason, "the library that was opened is not a CUDA runtime: it has no %s", missing);
    }
}

const mc_cudart *mc_cudart_load(const char **why) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    *why = is_loaded ? NULL : reason;
    return is_loaded ? &table : NULL;
}

int mc_cudart_is_linked(void) { return 0; }

#else

const mc_cudart *mc_cudart_load(const char **why) {
    *why = "no CUDA on this platform";
    return NULL;
}

int mc_cudart_is_linked(void) { return 0; }

#endif

// Entry points are asked for as they were in this version; later ones may have other parameters.
enum { driver_version = 12000 };

static mc_error find(const mc_cudart *runtime, const char *name, void **function) {
    mc_entry_point_result found = mc_cudaDriverEntryPointSuccess;
    *function = NULL;
    const mc_error error =
        runtime->cudaGetDriverEntryPointByVersion(name, function, driver_version, mc_cudaEnableDefault, &found);
    if (error != mc_cudaSuccess) return error;
    return found == mc_cudaDriverEntryPointSuccess && *function ? mc_cudaSuccess : mc_cudaErrorSymbolNotFound;
}

mc_error mc_driver_load(const mc_cudart *runtime, mc_driver *driver, const char **missing) {
    void *function;
    mc_error error;
#define X(result, name, parameters)                                                                                            \
    if ((error = find(runtime, #name, &function)) != mc_cudaSuccess) {                                                         \
        *missing = #name;                                                                                                      \
        return error;                                                                                                          \
    }                                                                                                                          \
    driver->name = (result(*) parameters)function;
    MC_DRIVER_ENTRY_POINTS(X)
#undef X
    *missing = NULL;
    return mc_cudaSuccess;
}
