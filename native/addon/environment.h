// What one JS environment (main thread or worker) keeps: the constructors of the wrapped classes, its running tasks and its
// log channel. Stored as the addon's instance data and destroyed with the environment.
#pragma once

#include <memory>

#include <napi.h>

namespace fedllm::addon {

class log_channel;
class task_registry;

struct environment_data {
    Napi::FunctionReference        model_class;
    Napi::FunctionReference        tokenizer_class;
    Napi::FunctionReference        generator_class;
    std::shared_ptr<task_registry> tasks;
    std::shared_ptr<log_channel>   log;
};

// Valid once the export table has been built.
inline environment_data & environment_of(Napi::Env env) {
    return *env.GetInstanceData<environment_data>();
}

}  // namespace fedllm::addon
