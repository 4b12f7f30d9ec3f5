// Proves at compile time that cudart.h says what NVIDIA's headers say. Compiled with the trait CUDA alone: older headers on
// somebody's include path must not break a default build.
#if MOE_LINK_CUDART

#include "cudart.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

#define SAME_SIZE(ours, theirs)                                                                                                \
    _Static_assert(sizeof(ours) == sizeof(theirs) && _Alignof(ours) == _Alignof(theirs), #theirs " is of another size")
#define SAME_FIELD(ours, our_field, theirs, their_field)                                                                       \
    _Static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field) &&                                               \
                       sizeof(((ours *)0)->our_field) == sizeof(((theirs *)0)->their_field),                                   \
                   #theirs "." #their_field " is elsewhere")

SAME_SIZE(mc_error, cudaError_t);
SAME_SIZE(mc_device_attribute, enum cudaDeviceAttr);
SAME_SIZE(mc_pool_attribute, enum cudaMemPoolAttr);
SAME_SIZE(mc_kernel_attribute, enum cudaFuncAttribute);
SAME_SIZE(mc_copy_kind, enum cudaMemcpyKind);
SAME_SIZE(mc_capture_mode, enum cudaStreamCaptureMode);
SAME_SIZE(mc_capture_status, enum cudaStreamCaptureStatus);
SAME_SIZE(mc_jit_option, enum cudaJitOption);
SAME_SIZE(mc_library_option, enum cudaLibraryOption);
SAME_SIZE(mc_entry_point_result, enum cudaDriverEntryPointQueryResult);
SAME_SIZE(mc_driver_error, CUresult);
SAME_SIZE(mc_driver_device, CUdevice);

SAME_SIZE(mc_dim3, struct dim3);
SAME_SIZE(mc_launch, cudaLaunchConfig_t);
SAME_FIELD(mc_launch, grid, cudaLaunchConfig_t, gridDim);
SAME_FIELD(mc_launch, block, cudaLaunchConfig_t, blockDim);
SAME_FIELD(mc_launch, dynamic_shared_bytes, cudaLaunchConfig_t, dynamicSmemBytes);
SAME_FIELD(mc_launch, stream, cudaLaunchConfig_t, stream);
SAME_FIELD(mc_launch, attributes, cudaLaunchConfig_t, attrs);
SAME_FIELD(mc_launch, attribute_count, cudaLaunchConfig_t, numAttrs);

SAME_SIZE(mc_pool_properties, struct cudaMemPoolProps);
SAME_FIELD(mc_pool_properties, allocation_type, struct cudaMemPoolProps, allocType);
SAME_FIELD(mc_pool_properties, handle_types, struct cudaMemPoolProps, handleTypes);
SAME_FIELD(mc_pool_properties, location_type, struct cudaMemPoolProps, location.type);
SAME_FIELD(mc_pool_properties, location_id, struct cudaMemPoolProps, location.id);
SAME_FIELD(mc_pool_properties, security_attributes, struct cudaMemPoolProps, win32SecurityAttributes);
SAME_FIELD(mc_pool_properties, maximum_bytes, struct cudaMemPoolProps, maxSize);
SAME_FIELD(mc_pool_properties, reserved, struct cudaMemPoolProps, reserved);

#define X(name, value) _Static_assert((int)name == value, #name " has another value");
MC_ERRORS(X)
MC_CONSTANTS(X)
#undef X

// From here on our names for types mean theirs, whose sizes were compared above: the prototypes then have to be the very same.
#define mc_error cudaError_t
#define mc_device_attribute enum cudaDeviceAttr
#define mc_pool_attribute enum cudaMemPoolAttr
#define mc_kernel_attribute enum cudaFuncAttribute
#define mc_copy_kind enum cudaMemcpyKind
#define mc_capture_mode enum cudaStreamCaptureMode
#define mc_capture_status enum cudaStreamCaptureStatus
#define mc_jit_option enum cudaJitOption
#define mc_library_option enum cudaLibraryOption
#define mc_entry_point_result enum cudaDriverEntryPointQueryResult
#define mc_driver_error CUresult
#define mc_driver_device CUdevice
#define mc_launch cudaLaunchConfig_t
#define mc_pool_properties struct cudaMemPoolProps

// The linker and dlsym know the plain name: a header that gives the name to another function (as one with a version) would have
// been compared in vain. The driver's are asked for by name and version, which its headers' macros spell out.
#define TEXT(name) #name
#define X(result, name, parameters)                                                                                            \
    _Static_assert(__builtin_strcmp(TEXT(name), #name) == 0, #name " is another function's name");                             \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&name), result(*) parameters), #name " has another prototype");
MC_ENTRY_POINTS(X)
#undef X
#define X(result, name, parameters)                                                                                            \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&name), result(*) parameters), #name " has another prototype");
MC_DRIVER_ENTRY_POINTS(X)
#undef X

#endif
