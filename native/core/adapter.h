// LoRA adapters: for each target weight W [d_in, d_out] a pair A [d_in, rank], B [rank, d_out];
// y = W x + (lora_alpha / rank) * B (A x). All A and B lie in one flat F32 buffer in layout order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base-model.h"

namespace fedllm {

struct adapter_options {
    int32_t                  rank = 0;
    float                    lora_alpha = 0.0f;
    std::vector<std::string> target_modules;  // names of MODULE_NAMES, any order, no duplicates
    std::vector<int64_t>     layers = {};     // that have pairs, ascending; empty: all

    float scale() const { return lora_alpha / float(rank); }
};

// An adapter beside the trained one that takes part in every pass but is not trained and not dropped out: what a method has put
// next to the base, such as the stacked updates of earlier rounds. Its rank and modules are its own.
struct frozen_adapter {
    adapter_options options;
    const float *   weights = nullptr;  // layout order of these options; must outlive the call it is given to
};

struct adapter_tensor {
    std::string name;       // "blk.0.attn_q.weight.lora_a"
    int64_t     shape[2];   // ggml order
    size_t      offset;     // in numbers, in the flat buffer
    int32_t     layer;
    module_kind module;
    bool        is_b;
};

// Order: layer, then module_kind, then A before B. Offsets are dense: no gaps between tensors.
struct adapter_layout {
    std::vector<adapter_tensor> tensors;
    size_t                      n_parameters = 0;
};

// Throws ADAPTER_INVALID for a rank outside 1..min(d_in, d_out), an unknown or repeated module, a non-finite lora_alpha, layers that the
// model does not have or that do not ascend.
adapter_layout adapter_make_layout(const base_model & model, const adapter_options & options);

// A uniform in +-1/sqrt(d_in) (PEFT's Kaiming-uniform with a = sqrt(5)), seeded by (seed, tensor name); B zero.
std::vector<float> adapter_init_weights(const adapter_layout & layout, uint64_t seed);

// GGUF LoRA file as llama_adapter_lora_init reads it. Atomic: temporary file, fsync, rename, fsync of the folder.
// type: F32, F16 or Q8_0; tensors whose rows are no whole blocks of Q8_0 become F16. Throws CONFIG_INVALID for other types, ADAPTER_INVALID
// for weights that F16 cannot hold, IO_FAILED.
void adapter_save_gguf(const std::string & path, const base_model & model, const adapter_options & options,
                       const std::vector<float> & weights, ggml_type type = GGML_TYPE_F32);

struct loaded_adapter {
    adapter_options    options;
    std::vector<float> weights;
};

// Throws ADAPTER_INVALID when the file does not fit the model.
loaded_adapter adapter_load_gguf(const std::string & path, const base_model & model);

}  // namespace fedllm
