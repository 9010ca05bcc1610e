// The computations that the addon offers, each bound to async-task.h. A running task shares ownership of the model, so
// disposing a handle frees the memory only when its last task has ended.
#pragma once

#include <memory>
#include <string>

#include <napi.h>

#include "options.h"

namespace fedllm::addon {

// What training and scoring compute over.
struct task_model {
    std::shared_ptr<base_model>   base;
    std::shared_ptr<hidden_cache> cache;  // null: none
};

// A NativeTask whose promise gives a NativeTrainResult. `on_progress` receives (step, loss, numTokens); empty: none.
Napi::Object start_train(Napi::Env env, task_model model, train_request request,
                         const Napi::Function & on_progress);

// A NativeTask whose promise gives a NativeEvaluateResult.
Napi::Object start_evaluate(Napi::Env env, task_model model, evaluate_request request);

// A NativeTask whose promise gives a NativeHiddenStates.
Napi::Object start_hidden_states(Napi::Env env, std::shared_ptr<base_model> model, states_request request);

Napi::Promise start_save_adapter(Napi::Env env, std::shared_ptr<base_model> model, std::string path,
                                 adapter_options options, std::vector<float> weights, ggml_type type);

// The promise gives { options, weights }.
Napi::Promise start_load_adapter(Napi::Env env, std::shared_ptr<base_model> model, std::string path);

// planMemory(path, options, request): Promise<NativeMemoryPlan>
Napi::Value plan_memory(const Napi::CallbackInfo & info);

// quantizeModel(inputPath, outputPath, type, numThreads, allowRequantize?): Promise<void>
Napi::Value quantize_file(const Napi::CallbackInfo & info);

// emulateModel(inputPath, outputPath, layers): Promise<void>
Napi::Value emulate_file(const Napi::CallbackInfo & info);

// mergeAdapter(modelPath, adapterPath, outputPath): Promise<void>
Napi::Value merge_file(const Napi::CallbackInfo & info);

}  // namespace fedllm::addon
