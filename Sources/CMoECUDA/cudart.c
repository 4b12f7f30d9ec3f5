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

#elif defined(__linux__)

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

// The runtimes that have every entry point, newest first (12 from 12.8 on).
static const char *const names[] = {"libcudart.so.13", "libcudart.so.12"};

// Written once, under pthread_once, then only read.
static mc_cudart table;
static bool is_loaded;
static char reason[512];

/// The first entry point that the library lacks; NULL: it has all.
static const char *fill(mc_cudart *found, void *library) {
#define X(result, name, parameters)                                                                                            \
    if (!(found->name = (result(*) parameters)dlsym(library, #name))) return #name;
    MC_ENTRY_POINTS(X)
#undef X
    return NULL;
}

/// Keeps the first library's fault: the others are not what was to serve.
static void explain(const char *name, const mc_cudart *found, const char *missing) {
    if (*reason) return;
    int version = 0;
    if (found->cudaRuntimeGetVersion) found->cudaRuntimeGetVersion(&version);
    if (version > 0) {
        snprintf(reason, sizeof reason, "%s, CUDA runtime %d.%d, has no %s; 12.8 or later is needed", name, version / 1000,
                 version % 1000 / 10, missing);
    } else {
        snprintf(reason, sizeof reason, "%s is not a CUDA runtime: it has no %s", name, missing);
    }
}

/// Whether the driver serves a runtime of that major version. Without a driver none is served, and any may say so.
static bool is_served(const mc_cudart *found) {
    int runtime = 0, driver = 0;
    return found->cudaRuntimeGetVersion(&runtime) != mc_cudaSuccess || found->cudaDriverGetVersion(&driver) != mc_cudaSuccess ||
           driver == 0 || driver / 1000 >= runtime / 1000;
}

/// Takes the runtime of that name if it has every entry point. Answers whether no other has to be tried. A library that was
/// opened stays open: closing it would unload what may have started a context.
static bool try_runtime(const char *name) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) return false;
    mc_cudart found = {0};
    const char *missing = fill(&found, library);
    if (missing) {
        explain(name, &found, missing);
        return false;
    }
    // The newest one that the driver does not serve is taken where there is no other: its errors say what is too old.
    const bool serves = is_served(&found);
    if (serves || !is_loaded) table = found;
    is_loaded = true;
    return serves;
}

static void load(void) {
    const char *chosen = getenv("MOE_CUDART");
    if (chosen && *chosen) {
        if (!try_runtime(chosen) && !is_loaded && !*reason)
            snprintf(reason, sizeof reason, "MOE_CUDART names %s, which cannot be opened: %s", chosen, dlerror());
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (try_runtime(names[i])) return;
    if (!is_loaded && !*reason) snprintf(reason, sizeof reason, "no CUDA runtime (libcudart.so.13 or .12) on the library path");
}

const mc_cudart *mc_cudart_load(const char **why) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    *why = is_loaded ? NULL : reason;
    return is_loaded ? &table : NULL;
}

#else

const mc_cudart *mc_cudart_load(const char **why) {
    *why = "no CUDA on this platform";
    return NULL;
}

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
