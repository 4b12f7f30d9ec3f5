// What the C entry points share: kernels by name, and results as C wants them.
#pragma once

#include <string.h>

#include <string>

#include "simt.h"

/// A kernel under its name, which may end in "+mistake".
template <class Kernel>
struct Named {
    const char *name;
    Kernel *kernel;
};

template <class Kernel, size_t count>
Kernel *find(const Named<Kernel> (&table)[count], const char *name) {
    for (const Named<Kernel> &entry : table) {
        if (!strcmp(entry.name, name)) return entry.kernel;
    }
    return nullptr;
}

/// Copies a launch's message out. Returns 1 when there is none.
inline int report(const std::string &message, char *why, size_t capacity) {
    if (capacity) {
        const size_t length = message.size() < capacity ? message.size() : capacity - 1;
        memcpy(why, message.data(), length);
        why[length] = 0;
    }
    return message.empty();
}

inline int unknown(const char *kernel, char *why, size_t capacity) {
    return report(std::string("no kernel named ") + kernel, why, capacity);
}
