// NativeGenerator: wraps a generator with dispose. openGenerator is its only maker; an instance made by `new` is empty and behaves
// as a disposed one.
#pragma once

#include <memory>

#include <napi.h>

#include "generator.h"

namespace fedllm::addon {

class generator_handle : public Napi::ObjectWrap<generator_handle> {
  public:
    static Napi::Function define(Napi::Env env);
    static Napi::Object   wrap(Napi::Env env, std::shared_ptr<generator> source);

    explicit generator_handle(const Napi::CallbackInfo & info) : Napi::ObjectWrap<generator_handle>(info) {}

  private:
    Napi::Value get_info(const Napi::CallbackInfo & info);
    Napi::Value generate(const Napi::CallbackInfo & info);
    Napi::Value dispose(const Napi::CallbackInfo & info);

    // The generator; throws a plain Error after dispose.
    const std::shared_ptr<generator> & require_generator(Napi::Env env, const char * member) const;

    std::shared_ptr<generator> generator_;  // null: disposed
};

// openGenerator(path, options): Promise<NativeGenerator>
Napi::Value open_generator(const Napi::CallbackInfo & info);

// planGeneration(path, options, limitBytes?): Promise<NativeGenerationPlan>
Napi::Value plan_generation_memory(const Napi::CallbackInfo & info);

}  // namespace fedllm::addon
