// The kernels' image inside this library, so that a binary can be carried alone. A checkout without one builds as well,
// and says at load what is missing. The compiler writes an embedded file into the dependency list, so that a new image
// is taken up; only a first image, where there was none, needs this file to be compiled anew.
#include "CMoECUDA.h"

#if __has_embed("kernels/kernels.fatbin") == __STDC_EMBED_FOUND__

static const unsigned char image[] __attribute__((aligned(64))) = {
#embed "kernels/kernels.fatbin"
};

const void *mc_image(size_t *byte_count) {
    *byte_count = sizeof image;
    return image;
}

#else

const void *mc_image(size_t *byte_count) {
    *byte_count = 0;
    return NULL;
}

#endif
