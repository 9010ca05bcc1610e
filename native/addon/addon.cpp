// The export table of the addon, as src/native/binding.ts describes it, and nothing else.
#include <napi.h>

#include "arithmetic.h"
#include "async-task.h"
#include "environment.h"
#include "fedllm_llama_release.h"
#include "generator-handle.h"
#include "logger.h"
#include "model-handle.h"
#include "process.h"
#include "tasks.h"
#include "tokenizer-handle.h"

namespace {

using namespace fedllm::addon;

// Makes the process wait for running tasks before it exits.
void stop_tasks_at_exit(Napi::Env env, std::shared_ptr<task_registry> tasks) {
    const Napi::Object process = env.Global().Get("process").As<Napi::Object>();
    const auto         listener = [tasks = std::move(tasks)](const Napi::CallbackInfo &) { tasks->stop_all(); };
    process.Get("on").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), Napi::Function::New(env, listener)});
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
    auto data             = std::make_unique<environment_data>();
    data->model_class     = Napi::Persistent(model_handle::define(env));
    data->tokenizer_class = Napi::Persistent(tokenizer_handle::define(env));
    data->generator_class = Napi::Persistent(generator_handle::define(env));
    data->tasks           = std::make_shared<task_registry>();
    stop_tasks_at_exit(env, data->tasks);
    env.SetInstanceData(data.release());

    exports.Set("llamaCppRelease", FEDLLM_LLAMA_RELEASE);
    exports.Set("sources", "fedllm-addon-sources:" FEDLLM_ADDON_SOURCES);
    exports.Set("initBackends", Napi::Function::New<init_backends>(env, "initBackends"));
    exports.Set("setLogger", Napi::Function::New<set_logger>(env, "setLogger"));
    exports.Set("loadModel", Napi::Function::New<load_model>(env, "loadModel"));
    exports.Set("planMemory", Napi::Function::New<plan_memory>(env, "planMemory"));
    exports.Set("loadTokenizer", Napi::Function::New<load_tokenizer>(env, "loadTokenizer"));
    exports.Set("openGenerator", Napi::Function::New<open_generator>(env, "openGenerator"));
    exports.Set("planGeneration", Napi::Function::New<plan_generation_memory>(env, "planGeneration"));
    exports.Set("quantizeModel", Napi::Function::New<quantize_file>(env, "quantizeModel"));
    exports.Set("emulateModel", Napi::Function::New<emulate_file>(env, "emulateModel"));
    exports.Set("mergeAdapter", Napi::Function::New<merge_file>(env, "mergeAdapter"));
    exports.Set("peakResidentBytes", Napi::Function::New<peak_resident_bytes>(env, "peakResidentBytes"));
    exports.Set("arithmetic", make_arithmetic(env));
    return exports;
}

}  // namespace

NODE_API_MODULE(fedllm_native, initialize)
