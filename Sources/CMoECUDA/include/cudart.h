// The slice of the CUDA runtime's C interface that the backend calls, declared here so that it compiles without a toolkit:
// types, constants, and a table of entry points. cudart_check.c proves it against NVIDIA's headers.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Handles, by the tags that NVIDIA's headers give them.
typedef struct CUstream_st *mc_stream;
typedef struct CUevent_st *mc_event;
typedef struct CUmemPoolHandle_st *mc_pool;
typedef struct CUlib_st *mc_library;
typedef struct CUkern_st *mc_kernel;
typedef struct CUgraph_st *mc_graph;
typedef struct CUgraphExec_st *mc_graph_exec;
typedef struct CUctx_st *mc_context;

// Enumerations; each is an int to the processor's calling convention.
typedef int mc_error;
typedef int mc_device_attribute;
typedef int mc_pool_attribute;
typedef int mc_kernel_attribute;
typedef int mc_copy_kind;
typedef int mc_capture_mode;
typedef int mc_capture_status;
typedef int mc_jit_option;
typedef int mc_library_option;
typedef int mc_entry_point_result;
typedef int mc_driver_error;
typedef int mc_driver_device;

typedef struct {
    unsigned x, y, z;
} mc_dim3;

/// cudaLaunchConfig_t. `attributes` may be NULL when there are none.
typedef struct {
    mc_dim3 grid;
    mc_dim3 block;
    size_t dynamic_shared_bytes;
    mc_stream stream;
    void *attributes;
    unsigned attribute_count;
} mc_launch;

/// cudaMemPoolProps. What is not named here has to be zero.
typedef struct {
    int allocation_type;
    int handle_types;
    int location_type;
    int location_id;
    void *security_attributes;
    size_t maximum_bytes;
    unsigned short usage;
    unsigned char reserved[54];
} mc_pool_properties;

// Error codes by NVIDIA's names: here mc_ and the name.
#define MC_ERRORS(X)                                                                                                           \
    X(cudaSuccess, 0)                                                                                                          \
    X(cudaErrorInvalidValue, 1)                                                                                                \
    X(cudaErrorMemoryAllocation, 2)                                                                                            \
    X(cudaErrorInvalidConfiguration, 9)                                                                                        \
    X(cudaErrorStubLibrary, 34)                                                                                                \
    X(cudaErrorInsufficientDriver, 35)                                                                                         \
    X(cudaErrorCallRequiresNewerDriver, 36)                                                                                    \
    X(cudaErrorDevicesUnavailable, 46)                                                                                         \
    X(cudaErrorInvalidDeviceFunction, 98)                                                                                      \
    X(cudaErrorNoDevice, 100)                                                                                                  \
    X(cudaErrorInvalidDevice, 101)                                                                                             \
    X(cudaErrorInvalidKernelImage, 200)                                                                                        \
    X(cudaErrorNoKernelImageForDevice, 209)                                                                                    \
    X(cudaErrorInvalidPtx, 218)                                                                                                \
    X(cudaErrorJitCompilerNotFound, 221)                                                                                       \
    X(cudaErrorUnsupportedPtxVersion, 222)                                                                                     \
    X(cudaErrorJitCompilationDisabled, 223)                                                                                    \
    X(cudaErrorContained, 226)                                                                                                 \
    X(cudaErrorInvalidResourceHandle, 400)                                                                                     \
    X(cudaErrorSymbolNotFound, 500)                                                                                            \
    X(cudaErrorNotReady, 600)                                                                                                  \
    X(cudaErrorIllegalAddress, 700)                                                                                            \
    X(cudaErrorLaunchTimeout, 702)                                                                                             \
    X(cudaErrorContextIsDestroyed, 709)                                                                                        \
    X(cudaErrorAssert, 710)                                                                                                    \
    X(cudaErrorHardwareStackError, 714)                                                                                        \
    X(cudaErrorIllegalInstruction, 715)                                                                                        \
    X(cudaErrorMisalignedAddress, 716)                                                                                         \
    X(cudaErrorInvalidAddressSpace, 717)                                                                                       \
    X(cudaErrorInvalidPc, 718)                                                                                                 \
    X(cudaErrorLaunchFailure, 719)                                                                                             \
    X(cudaErrorTensorMemoryLeak, 721)                                                                                          \
    X(cudaErrorNotSupported, 801)                                                                                              \
    X(cudaErrorSystemDriverMismatch, 803)                                                                                      \
    X(cudaErrorCompatNotSupportedOnDevice, 804)                                                                                \
    X(cudaErrorMpsClientTerminated, 810)                                                                                       \
    X(cudaErrorStreamCaptureUnsupported, 900)                                                                                  \
    X(cudaErrorStreamCaptureInvalidated, 901)                                                                                  \
    X(cudaErrorStreamCaptureImplicit, 906)                                                                                     \
    X(cudaErrorStreamCaptureWrongThread, 908)                                                                                  \
    X(cudaErrorExternalDevice, 911)

// Other constants, in the same way.
#define MC_CONSTANTS(X)                                                                                                        \
    X(cudaDevAttrMaxThreadsPerBlock, 1)                                                                                        \
    X(cudaDevAttrWarpSize, 10)                                                                                                 \
    X(cudaDevAttrMultiProcessorCount, 16)                                                                                      \
    X(cudaDevAttrL2CacheSize, 38)                                                                                              \
    X(cudaDevAttrMaxThreadsPerMultiProcessor, 39)                                                                              \
    X(cudaDevAttrComputeCapabilityMajor, 75)                                                                                   \
    X(cudaDevAttrComputeCapabilityMinor, 76)                                                                                   \
    X(cudaDevAttrMaxSharedMemoryPerMultiprocessor, 81)                                                                         \
    X(cudaDevAttrMaxRegistersPerMultiprocessor, 82)                                                                            \
    X(cudaDevAttrMaxSharedMemoryPerBlockOptin, 97)                                                                             \
    X(cudaDevAttrMemoryPoolsSupported, 115)                                                                                    \
    X(cudaMemAllocationTypePinned, 1)                                                                                          \
    X(cudaMemLocationTypeDevice, 1)                                                                                            \
    X(cudaMemPoolAttrReleaseThreshold, 4)                                                                                      \
    X(cudaHostAllocPortable, 1)                                                                                                \
    X(cudaMemcpyHostToDevice, 1)                                                                                               \
    X(cudaMemcpyDeviceToHost, 2)                                                                                               \
    X(cudaMemcpyDeviceToDevice, 3)                                                                                             \
    X(cudaStreamNonBlocking, 1)                                                                                                \
    X(cudaStreamCaptureModeThreadLocal, 1)                                                                                     \
    X(cudaStreamCaptureModeRelaxed, 2)                                                                                         \
    X(cudaStreamCaptureStatusNone, 0)                                                                                          \
    X(cudaStreamCaptureStatusActive, 1)                                                                                        \
    X(cudaStreamCaptureStatusInvalidated, 2)                                                                                   \
    X(cudaEventDefault, 0)                                                                                                     \
    X(cudaEventDisableTiming, 2)                                                                                               \
    X(cudaFuncAttributeMaxDynamicSharedMemorySize, 8)                                                                          \
    X(cudaEnableDefault, 0)                                                                                                    \
    X(cudaDriverEntryPointSuccess, 0)

enum {
#define X(name, value) mc_##name = value,
    MC_ERRORS(X) MC_CONSTANTS(X)
#undef X
};

// The runtime's entry points: result, name, parameters. The youngest are of CUDA 12.8.
#define MC_ENTRY_POINTS(X)                                                                                                     \
    X(const char *, cudaGetErrorName, (mc_error))                                                                              \
    X(const char *, cudaGetErrorString, (mc_error))                                                                            \
    X(mc_error, cudaGetLastError, (void))                                                                                      \
    X(mc_error, cudaRuntimeGetVersion, (int *))                                                                                \
    X(mc_error, cudaDriverGetVersion, (int *))                                                                                 \
    X(mc_error, cudaGetDriverEntryPointByVersion,                                                                              \
      (const char *, void **, unsigned, unsigned long long, mc_entry_point_result *))                                          \
    X(mc_error, cudaGetDeviceCount, (int *))                                                                                   \
    X(mc_error, cudaDeviceGetAttribute, (int *, mc_device_attribute, int))                                                     \
    X(mc_error, cudaDeviceSynchronize, (void))                                                                                 \
    X(mc_error, cudaMemGetInfo, (size_t *, size_t *))                                                                          \
    X(mc_error, cudaMalloc, (void **, size_t))                                                                                 \
    X(mc_error, cudaFree, (void *))                                                                                            \
    X(mc_error, cudaMemPoolCreate, (mc_pool *, const mc_pool_properties *))                                                    \
    X(mc_error, cudaMemPoolDestroy, (mc_pool))                                                                                 \
    X(mc_error, cudaMemPoolSetAttribute, (mc_pool, mc_pool_attribute, void *))                                                 \
    X(mc_error, cudaMemPoolTrimTo, (mc_pool, size_t))                                                                          \
    X(mc_error, cudaMallocFromPoolAsync, (void **, size_t, mc_pool, mc_stream))                                                \
    X(mc_error, cudaFreeAsync, (void *, mc_stream))                                                                            \
    X(mc_error, cudaHostAlloc, (void **, size_t, unsigned))                                                                    \
    X(mc_error, cudaFreeHost, (void *))                                                                                        \
    X(mc_error, cudaMemcpyAsync, (void *, const void *, size_t, mc_copy_kind, mc_stream))                                      \
    X(mc_error, cudaMemsetAsync, (void *, int, size_t, mc_stream))                                                             \
    X(mc_error, cudaStreamCreateWithFlags, (mc_stream *, unsigned))                                                            \
    X(mc_error, cudaStreamDestroy, (mc_stream))                                                                                \
    X(mc_error, cudaStreamGetDevice, (mc_stream, int *))                                                                       \
    X(mc_error, cudaStreamSynchronize, (mc_stream))                                                                            \
    X(mc_error, cudaStreamQuery, (mc_stream))                                                                                  \
    X(mc_error, cudaStreamWaitEvent, (mc_stream, mc_event, unsigned))                                                          \
    X(mc_error, cudaStreamBeginCapture, (mc_stream, mc_capture_mode))                                                          \
    X(mc_error, cudaStreamEndCapture, (mc_stream, mc_graph *))                                                                 \
    X(mc_error, cudaStreamIsCapturing, (mc_stream, mc_capture_status *))                                                       \
    X(mc_error, cudaThreadExchangeStreamCaptureMode, (mc_capture_mode *))                                                      \
    X(mc_error, cudaEventCreateWithFlags, (mc_event *, unsigned))                                                              \
    X(mc_error, cudaEventDestroy, (mc_event))                                                                                  \
    X(mc_error, cudaEventRecord, (mc_event, mc_stream))                                                                        \
    X(mc_error, cudaEventSynchronize, (mc_event))                                                                              \
    X(mc_error, cudaEventQuery, (mc_event))                                                                                    \
    X(mc_error, cudaEventElapsedTime, (float *, mc_event, mc_event))                                                           \
    X(mc_error, cudaGraphInstantiate, (mc_graph_exec *, mc_graph, unsigned long long))                                         \
    X(mc_error, cudaGraphLaunch, (mc_graph_exec, mc_stream))                                                                   \
    X(mc_error, cudaGraphExecDestroy, (mc_graph_exec))                                                                         \
    X(mc_error, cudaGraphDestroy, (mc_graph))                                                                                  \
    X(mc_error, cudaLibraryLoadData,                                                                                           \
      (mc_library *, const void *, mc_jit_option *, void **, unsigned, mc_library_option *, void **, unsigned))                \
    X(mc_error, cudaLibraryUnload, (mc_library))                                                                               \
    X(mc_error, cudaLibraryGetKernel, (mc_kernel *, mc_library, const char *))                                                 \
    X(mc_error, cudaKernelSetAttributeForDevice, (mc_kernel, mc_kernel_attribute, int, int))                                   \
    X(mc_error, cudaOccupancyMaxActiveBlocksPerMultiprocessor, (int *, const void *, int, size_t))                             \
    X(mc_error, cudaLaunchKernelExC, (const mc_launch *, const void *, void **))

/// The table. Every field is set.
typedef struct {
#define X(result, name, parameters) result(*name) parameters;
    MC_ENTRY_POINTS(X)
#undef X
} mc_cudart;

// What the runtime does not offer is asked of the driver: a device's name and memory without starting a context, and a device's
// context made current for one call. cudaSetDevice would do for the latter, but restoring the caller's device with it starts a
// context there.
#define MC_DRIVER_ENTRY_POINTS(X)                                                                                              \
    X(mc_driver_error, cuDeviceGet, (mc_driver_device *, int))                                                                 \
    X(mc_driver_error, cuDeviceGetName, (char *, int, mc_driver_device))                                                       \
    X(mc_driver_error, cuDeviceTotalMem, (size_t *, mc_driver_device))                                                         \
    X(mc_driver_error, cuDevicePrimaryCtxRetain, (mc_context *, mc_driver_device))                                             \
    X(mc_driver_error, cuDevicePrimaryCtxRelease, (mc_driver_device))                                                          \
    X(mc_driver_error, cuCtxGetCurrent, (mc_context *))                                                                        \
    X(mc_driver_error, cuCtxPushCurrent, (mc_context))                                                                         \
    X(mc_driver_error, cuCtxPopCurrent, (mc_context *))

/// The driver's entry points, as the runtime hands them out.
typedef struct {
#define X(result, name, parameters) result(*name) parameters;
    MC_DRIVER_ENTRY_POINTS(X)
#undef X
} mc_driver;
