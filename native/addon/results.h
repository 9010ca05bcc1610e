// Plain structs -> JS values, field by field as src/native/binding.ts describes them. Called on the JS thread only.
#pragma once

#include <vector>

#include <napi.h>

#include "backend.h"
#include "base-model.h"
#include "trainer.h"
#include "tuner.h"

namespace fedllm::addon {

// Scores of a data set with the time they took.
Napi::Array        make_devices(Napi::Env env, const std::vector<device_info> & devices);
Napi::Object       make_model_info(Napi::Env env, const model_info & info);
Napi::Object       make_adapter_layout(Napi::Env env, const adapter_layout & layout);
Napi::Object       make_adapter_options(Napi::Env env, const adapter_options & options);
Napi::Float32Array make_weights(Napi::Env env, const std::vector<float> & weights);
Napi::Int32Array   make_tokens(Napi::Env env, const std::vector<int32_t> & tokens);
Napi::Object       make_train_result(Napi::Env env, const train_result & result);
Napi::Object       make_hidden_cache(Napi::Env env, const hidden_cache_state & state);
Napi::Object       make_tuner_result(Napi::Env env, const tuner_result & result);
Napi::Object       make_evaluate_result(Napi::Env env, const evaluation & result);
Napi::Object       make_hidden_states(Napi::Env env, const hidden_states_result & result);

}  // namespace fedllm::addon
