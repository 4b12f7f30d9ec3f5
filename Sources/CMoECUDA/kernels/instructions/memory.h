// Shared and global memory, and copies from one to the other.
#pragma once

#include "platform.h"

/// 16 bytes: the widest access.
struct alignas(16) Words4 {
    uint32_t word[4];
};

// Shared memory

/// The shared address of an offset, as PTX takes it.
#ifdef __CUDACC__
DEVICE uint32_t shared_address(SharedOffset offset) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(dynamic_shared)) + offset;
}
#endif

/// T: 1, 2, 4, 8 or 16 bytes, at a multiple of its size.
template <class T>
DEVICE T load_shared(SharedOffset offset AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return *reinterpret_cast<const T *>(dynamic_shared + offset);
#else
    T value;
    memcpy(&value, simt::shared(offset, sizeof(T), sizeof(T), "load from shared memory", site), sizeof(T));
    return value;
#endif
}

template <class T>
DEVICE void store_shared(SharedOffset offset, T value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    *reinterpret_cast<T *>(dynamic_shared + offset) = value;
#else
    memcpy(simt::shared(offset, sizeof(T), sizeof(T), "store to shared memory", site), &value, sizeof(T));
#endif
}

#ifdef __CUDACC__
// A struct of four words is copied word by word unless it goes through the built-in vector.
template <>
DEVICE Words4 load_shared<Words4>(SharedOffset offset) {
    const uint4 v = *reinterpret_cast<const uint4 *>(dynamic_shared + offset);
    return {{v.x, v.y, v.z, v.w}};
}
template <>
DEVICE void store_shared<Words4>(SharedOffset offset, Words4 value) {
    const uint4 v = make_uint4(value.word[0], value.word[1], value.word[2], value.word[3]);
    *reinterpret_cast<uint4 *>(dynamic_shared + offset) = v;
}
#endif

/// Adds and returns the old value. T: int32_t or uint32_t (floating point sums would depend on the order).
template <class T>
DEVICE T atomic_add_shared(SharedOffset offset, T value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return atomicAdd(reinterpret_cast<T *>(dynamic_shared + offset), value);
#else
    T *place = static_cast<T *>(simt::shared(offset, sizeof(T), sizeof(T), "atomic add to shared memory", site));
    const T old = *place;
    *place = T(uint32_t(old) + uint32_t(value));
    return old;
#endif
}

// Global memory

/// T: 1, 2, 4, 8 or 16 bytes, at a multiple of its size.
template <class T>
DEVICE T load_global(const T *address AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    return *address;
#else
    simt::check_global(address, sizeof(T), sizeof(T), false, "load", site);
    return *address;
#endif
}

template <class T>
DEVICE void store_global(T *address, T value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    *address = value;
#else
    simt::check_global(address, sizeof(T), sizeof(T), true, "store", site);
    *address = value;
#endif
}

/// 16 bytes, at a multiple of 16, of any type.
DEVICE Words4 load_global_16(const void *address AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    const uint4 v = *static_cast<const uint4 *>(address);
    return {{v.x, v.y, v.z, v.w}};
#else
    Words4 value;
    simt::check_global(address, 16, 16, false, "load of 16 bytes", site);
    memcpy(&value, address, 16);
    return value;
#endif
}

DEVICE void store_global_16(void *address, Words4 value AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    *static_cast<uint4 *>(address) = make_uint4(value.word[0], value.word[1], value.word[2], value.word[3]);
#else
    simt::check_global(address, 16, 16, true, "store of 16 bytes", site);
    memcpy(address, &value, 16);
#endif
}

// Asynchronous copies: visible to the copying thread after its wait, to others after a barrier behind that wait.

/// cp.async: 16 bytes from global to shared memory past L1, both at multiples of 16. Only the first `source_bytes` (0
/// to 16) are read, the rest becomes zero; with 0 nothing is read, but the address must be a multiple of 16 still.
DEVICE void copy_async_16(SharedOffset destination, const void *source, uint32_t source_bytes = 16 AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(destination)), "l"(source),
                 "r"(source_bytes)
                 : "memory");
#else
    simt::copy_async_16(destination, source, source_bytes, site);
#endif
}

/// The same through L1, for bytes that other warps of the multiprocessor copy as well.
DEVICE void copy_async_16_cached(SharedOffset destination, const void *source, uint32_t source_bytes = 16 AND_SITE_PARAMETER) {
#ifdef __CUDACC__
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(destination)), "l"(source),
                 "r"(source_bytes)
                 : "memory");
#else
    simt::copy_async_16(destination, source, source_bytes, site);
#endif
}

/// Closes the group of the copies since the last call. A group may be empty.
DEVICE void copy_async_commit() {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    simt::copy_async_commit();
#endif
}

/// Waits for all of this thread's groups but the `left` latest.
template <unsigned left>
DEVICE void copy_async_wait() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#else
    simt::copy_async_wait(left);
#endif
}
