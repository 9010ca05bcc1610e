// Binds the work on files (adapters, quantization, emulators, merged models) to async-task.h.
#include "async-task.h"
#include "emulator.h"
#include "merge.h"
#include "results.h"
#include "tasks.h"

namespace fedllm::addon {

namespace {

struct nothing {};

Napi::Value make_undefined(Napi::Env env, nothing &&) {
    return env.Undefined();
}

}  // namespace

Napi::Promise start_save_adapter(Napi::Env env, std::shared_ptr<base_model> model, std::string path,
                                 adapter_options options, std::vector<float> weights, ggml_type type) {
    return async_task<nothing>::start_promise(
        env, {"fedllm:saveAdapter",
              [model = std::move(model), path = std::move(path), options = std::move(options),
               weights = std::move(weights), type](task_control &) {
                  adapter_save_gguf(path, *model, options, weights, type);
                  return nothing{};
              },
              make_undefined, Napi::Function()});
}

Napi::Promise start_load_adapter(Napi::Env env, std::shared_ptr<base_model> model, std::string path) {
    return async_task<loaded_adapter>::start_promise(
        env, {"fedllm:loadAdapter",
              [model = std::move(model), path = std::move(path)](task_control &) {
                  return adapter_load_gguf(path, *model);
              },
              [](Napi::Env result_env, loaded_adapter && loaded) -> Napi::Value {
                  Napi::Object object = Napi::Object::New(result_env);
                  object.Set("options", make_adapter_options(result_env, loaded.options));
                  object.Set("weights", make_weights(result_env, loaded.weights));
                  return object;
              },
              Napi::Function()});
}

Napi::Value quantize_file(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        std::string      input_path  = read_text(info[0], "inputPath");
        std::string      output_path = read_text(info[1], "outputPath");
        quantize_options options     = read_quantize_options(info[2], info[3], info[4]);
        return async_task<nothing>::start_promise(
            info.Env(), {"fedllm:quantizeModel",
                         [input_path = std::move(input_path), output_path = std::move(output_path),
                          options = std::move(options)](task_control &) {
                             quantize_model(input_path, output_path, options);
                             return nothing{};
                         },
                         make_undefined, Napi::Function()});
    });
}

Napi::Value emulate_file(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        std::string          input_path  = read_text(info[0], "inputPath");
        std::string          output_path = read_text(info[1], "outputPath");
        std::vector<int64_t> layers      = read_layers(info[2], "layers");
        return async_task<nothing>::start_promise(
            info.Env(), {"fedllm:emulateModel",
                         [input_path = std::move(input_path), output_path = std::move(output_path),
                          layers = std::move(layers)](task_control &) {
                             emulator_write(input_path, output_path, layers);
                             return nothing{};
                         },
                         make_undefined, Napi::Function()});
    });
}

Napi::Value merge_file(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        std::string model_path   = read_text(info[0], "modelPath");
        std::string adapter_path = read_text(info[1], "adapterPath");
        std::string output_path  = read_text(info[2], "outputPath");
        return async_task<nothing>::start_promise(
            info.Env(), {"fedllm:mergeAdapter",
                         [model_path = std::move(model_path), adapter_path = std::move(adapter_path),
                          output_path = std::move(output_path)](task_control &) {
                             merge_write(model_path, adapter_path, output_path);
                             return nothing{};
                         },
                         make_undefined, Napi::Function()});
    });
}

}  // namespace fedllm::addon
