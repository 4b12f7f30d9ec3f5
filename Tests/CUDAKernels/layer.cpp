// Every kernel of the image by its name, for whole layers: what a runtime's launch hands over is enough to run one.
#include "LayerHost.h"
#include "entry.h"
#include "instructions.h"
#include "parameters.h"

namespace {

#include "exponential.cuh"
#include "activation.cuh"
#include "ordered.cuh"
#include "split_sum.cuh"
#include "swizzle.cuh"
#include "work_list.cuh"

#include "router_logits.cuh"
#include "router_select.cuh"
#include "capacity.cuh"
#include "dispatch.cuh"
#include "projection_output.cuh"
#include "grouped_tile.cuh"
#include "grouped_epilogue.cuh"
#include "grouped_gemm.cuh"
#include "decode_gemm.cuh"
#include "fp32_gemm.cuh"
#include "rows.cuh"
#include "generate.cuh"
#include "probe.cuh"
#include "combine.cuh"

struct Twin {
    const char *name;
    size_t parameter_bytes;
    void (*run)(const void *parameters);
};

template <auto kernel>
struct Taking;

/// Parameters come by value, as on the device.
template <class Parameters, void (*kernel)(Parameters)>
struct Taking<kernel> {
    static constexpr size_t bytes = sizeof(Parameters);
    static void run(const void *parameters) {
        Parameters copy;
        memcpy(&copy, parameters, sizeof copy);
        kernel(copy);
    }
};

#define TWIN(NAME) {#NAME, Taking<&NAME>::bytes, Taking<&NAME>::run},
#define OF_TYPES(X) X(fp32) X(bf16) X(fp16)

const Twin twins[] = {
#define LOGITS(TYPE) TWIN(router_logits_##TYPE##_16x64) TWIN(router_logits_##TYPE##_64x64)
    OF_TYPES(LOGITS) TWIN(router_logits_bf16_128x128) TWIN(router_logits_fp16_128x128) TWIN(router_join)
#define NORMALISE(TYPE) TWIN(router_normalise_##TYPE)
    OF_TYPES(NORMALISE)
    TWIN(router_select_8) TWIN(router_select_16) TWIN(router_select_32) TWIN(router_select_64) TWIN(router_select_128)
    TWIN(router_select_256) TWIN(router_select_512)
    TWIN(capacity_admit) TWIN(capacity_choose) TWIN(capacity_gather) TWIN(capacity_weigh)
    TWIN(dispatch_block) TWIN(dispatch_count) TWIN(dispatch_scan) TWIN(dispatch_place)
#define GROUPED(SHAPE)                                                                                                         \
    TWIN(grouped_gate_up_bf16_##SHAPE) TWIN(grouped_gate_up_fp16_##SHAPE) TWIN(grouped_up_bf16_##SHAPE)                        \
    TWIN(grouped_up_fp16_##SHAPE) TWIN(grouped_down_bf16_bf16_##SHAPE) TWIN(grouped_down_bf16_fp32_##SHAPE)                    \
    TWIN(grouped_down_fp16_fp16_##SHAPE) TWIN(grouped_down_fp16_fp32_##SHAPE)
    GROUPED(wide) GROUPED(square) GROUPED(narrow) GROUPED(few)
#define DECODE(TYPE)                                                                                                           \
    TWIN(decode_gate_up_##TYPE##_8) TWIN(decode_gate_up_##TYPE##_16) TWIN(decode_down_##TYPE##_8)                              \
    TWIN(decode_down_##TYPE##_16) TWIN(decode_finish_gate_up_##TYPE)
    DECODE(bf16) DECODE(fp16) TWIN(decode_finish_down)
    TWIN(fp32_gate_up_16) TWIN(fp32_gate_up_64) TWIN(fp32_down_16) TWIN(fp32_down_64)
#define CONVERT(TYPE) TWIN(convert_fp32_##TYPE) TWIN(convert_bf16_##TYPE) TWIN(convert_fp16_##TYPE)
    OF_TYPES(CONVERT) TWIN(shared_gate) TWIN(generate_fp32) TWIN(generate_bf16) TWIN(generate_fp16)
    TWIN(probe_multiply_fp32) TWIN(probe_multiply_bf16) TWIN(probe_multiply_fp16)
    TWIN(combine_fp32_fp32) TWIN(combine_fp32_bf16) TWIN(combine_fp32_fp16) TWIN(combine_bf16_fp32) TWIN(combine_bf16_bf16)
    TWIN(combine_fp16_fp32) TWIN(combine_fp16_fp16)
};

}  // namespace

const char *ck_kernel(size_t index, size_t *parameter_bytes) {
    if (index >= sizeof twins / sizeof *twins) return nullptr;
    *parameter_bytes = twins[index].parameter_bytes;
    return twins[index].name;
}

int ck_run(const ck_launch *launch, const ck_memory *memory, size_t count, uint64_t seed, char *why, size_t capacity) {
    for (const Twin &twin : twins) {
        if (strcmp(twin.name, launch->kernel)) continue;
        simt::Launch run{.grid = {launch->grid_x, launch->grid_y, launch->grid_z},
                         .block = {launch->threads},
                         .shared_bytes = launch->shared_bytes,
                         .seed = seed,
                         .buffers = {}};
        for (size_t i = 0; i < count; i++) run.buffers.push_back({"device memory", memory[i].start, memory[i].bytes, true});
        return report(simt::run(run, [&] { twin.run(launch->parameters); }), why, capacity);
    }
    return unknown(launch->kernel, why, capacity);
}
