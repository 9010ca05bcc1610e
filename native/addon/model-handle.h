// NativeModel: wraps a base model with dispose. loadModel is its only maker; an instance made by `new` is empty and behaves
// as a disposed one.
#pragma once

#include <memory>
#include <string>

#include <napi.h>

#include "base-model.h"
#include "hidden-cache.h"

namespace fedllm::addon {

class model_handle : public Napi::ObjectWrap<model_handle> {
  public:
    static Napi::Function define(Napi::Env env);
    // cache: of hidden states; null: none.
    static Napi::Object   wrap(Napi::Env env, std::shared_ptr<base_model> model, std::shared_ptr<hidden_cache> cache);

    // The model of a JS value, which shares its ownership. Throws CONFIG_INVALID for what is no NativeModel in use.
    static std::shared_ptr<base_model> read_model(const Napi::Value & value, const std::string & subject);

    explicit model_handle(const Napi::CallbackInfo & info) : Napi::ObjectWrap<model_handle>(info) {}

  private:
    Napi::Value get_info(const Napi::CallbackInfo & info);
    Napi::Value get_hidden_cache(const Napi::CallbackInfo & info);
    Napi::Value adapter_layout(const Napi::CallbackInfo & info);
    Napi::Value initial_weights(const Napi::CallbackInfo & info);
    Napi::Value tune(const Napi::CallbackInfo & info);
    Napi::Value train(const Napi::CallbackInfo & info);
    Napi::Value evaluate(const Napi::CallbackInfo & info);
    Napi::Value hidden_states(const Napi::CallbackInfo & info);
    Napi::Value save_adapter(const Napi::CallbackInfo & info);
    Napi::Value load_adapter(const Napi::CallbackInfo & info);
    Napi::Value dispose(const Napi::CallbackInfo & info);

    // The model; throws a plain Error after dispose.
    const std::shared_ptr<base_model> & require_model(Napi::Env env, const char * method) const;

    std::shared_ptr<base_model>   model_;  // null: disposed
    std::shared_ptr<hidden_cache> cache_;  // null: none
};

// loadModel(path, options): Promise<NativeModel>
Napi::Value load_model(const Napi::CallbackInfo & info);

}  // namespace fedllm::addon
