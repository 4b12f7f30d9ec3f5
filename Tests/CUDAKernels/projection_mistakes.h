// Planted mistakes that all projections' kernels can have: copies of PROJECTION_KERNELS, with one of its wrappers bent.

namespace short_wait {
template <unsigned left>
inline void waits_for_one_less() {
    copy_async_wait<left + 1>();
}
#include "projection_parts.h"
#define copy_async_wait waits_for_one_less
#include PROJECTION_KERNELS
#undef copy_async_wait
}  // namespace short_wait

namespace missing_barrier {
// Only those of the product: without the list's own, nothing at all would work.
#include "projection_parts.h"
#define __syncthreads()
#include PROJECTION_KERNELS
#undef __syncthreads
}  // namespace missing_barrier

namespace no_zero_fill {
#include "projection_parts.h"
#define copy_async_16(destination, source, bytes) copy_async_16(destination, source, ((void)(bytes), 16))
#define copy_async_16_cached(destination, source, bytes) copy_async_16_cached(destination, source, ((void)(bytes), 16))
#include PROJECTION_KERNELS
#undef copy_async_16
#undef copy_async_16_cached
}  // namespace no_zero_fill
