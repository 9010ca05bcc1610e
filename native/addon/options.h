// JS values -> plain structs, once, at entry. The only place of the addon that reads JS properties. Every number is checked
// for type, finiteness and range, every typed array for type and length; arrays are copied before they are checked, so
// that nothing the caller does afterwards can change them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <napi.h>

#include "base-model.h"
#include "hidden-cache.h"
#include "quantizer.h"
#include "trainer.h"
#include "tuner.h"

namespace fedllm::addon {

// Owned copy of NativeSamples.
struct samples_copy {
    std::vector<int32_t>  tokens;
    std::vector<uint8_t>  supervised;
    std::vector<uint32_t> offsets;
    std::vector<float>    weights;        // empty: none
    std::vector<uint32_t> group_offsets;  // empty: none; the core checks them

    sample_set view() const;
};

// Owned copy of NativeTrainOptions. The pointers inside `options` are set by view() only.
struct frozen_copy {
    adapter_options    options;
    std::vector<float> weights;
};

struct train_request {
    train_options      options;
    samples_copy       samples;
    std::vector<float> weights;
    std::vector<frozen_copy> frozen;
    std::vector<float> outer;            // empty: none
    std::vector<float> proximal_anchor;  // empty: none
    std::vector<float> gradient_offset;  // empty: none
    std::vector<float> reference_weights;  // of preferences; empty: the base alone
    std::shared_ptr<base_model> teacher;         // of distillation; null: none
    std::vector<frozen_copy>    teacher_frozen;

    train_options view() const;
};

// Owned copy of NativeEvaluateOptions.
struct evaluate_request {
    bool               has_adapter = false;
    adapter_options    adapter;
    std::vector<float> weights;
    std::vector<frozen_copy> frozen;
    samples_copy       samples;
    int64_t            micro_batch_tokens = 0;

    evaluate_options view() const;
};

// Owned copy of NativeStatesOptions.
struct states_request {
    evaluate_request     scored;      // model's adapters and samples
    std::vector<int64_t> boundaries;

    hidden_states_options view() const;
};

// All of these throw train_error: CONFIG_INVALID for numbers, texts and objects, DATASET_INVALID for samples,
// ADAPTER_INVALID for adapter options and weights. The message names the field, what was expected and what came.

std::string read_text(const Napi::Value & value, const std::string & subject);
bool        read_flag(const Napi::Value & value, const std::string & subject);
// A seed: any integer from 0 to 2^53 - 1.
uint64_t read_seed(const Napi::Value & value, const std::string & subject);
int      read_num_threads(const Napi::Value & value, const std::string & subject);
// Token ids; the range is checked by the tokenizer.
std::vector<int32_t> read_tokens(const Napi::Value & value, const std::string & subject);

// Numbers of layers; whether a model has them is checked by the core.
std::vector<int64_t> read_layers(const Napi::Value & value, const std::string & subject);

model_options      read_model_options(const Napi::Value & value);
// The cache of hidden states that the options of a model ask for; null: none.
std::shared_ptr<hidden_cache> read_hidden_cache(const Napi::Value & value);
tuner_options      read_tuner_options(const Napi::Value & value);
quantize_options   read_quantize_options(const Napi::Value & type, const Napi::Value & num_threads, const Napi::Value & allow_requantize);
// The type of an adapter's file: f32 (or absent), f16 or q8_0.
ggml_type          read_adapter_type(const Napi::Value & value);
adapter_options    read_adapter_options(const Napi::Value & value);
std::vector<float> read_weights(const Napi::Value & value, const std::string & subject, size_t length);
// One for each element, checked against the model; none for an absent value.
std::vector<frozen_copy> read_frozen(const Napi::Value & value, const std::string & subject, const base_model & model);
train_request      read_train_request(const Napi::Value & value, const base_model & model);
evaluate_request   read_evaluate_request(const Napi::Value & value, const base_model & model);
states_request     read_states_request(const Napi::Value & value, const base_model & model);

// The progress callback of train options; an empty function when there is none.
Napi::Function read_progress_callback(const Napi::Value & options);

}  // namespace fedllm::addon
