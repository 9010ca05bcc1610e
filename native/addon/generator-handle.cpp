// See generator-handle.h. A running request shares ownership of the generator, as tasks over a model do (tasks.h).
#include "generator-handle.h"

#include <algorithm>
#include <optional>

#include "async-task.h"
#include "environment.h"
#include "generation-plan.h"
#include "generator-options.h"
#include "option-readers.h"
#include "options.h"
#include "results.h"

namespace fedllm::addon {

namespace {

constexpr const char * STOP_NAMES[] = {"endToken", "stopText", "maxTokens", "contextFull"};  // as in generation_stop

constexpr double MAX_BYTES = 9007199254740991.0;  // 2^53 - 1

Napi::Value make_plan(Napi::Env env, generation_plan && plan) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("maxSequences", double(plan.max_sequences));
    object.Set("cacheBytes", double(plan.parts.cache));
    object.Set("computeBytes", double(plan.parts.compute));
    object.Set("weightBytes", double(plan.parts.weights));
    object.Set("neededBytes", double(plan.parts.total()));
    object.Set("limitBytes", double(plan.limit));
    return object;
}

Napi::Object make_generation(Napi::Env env, const generation & result, bool log_probabilities) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("tokens", make_tokens(env, result.tokens));
    object.Set("text", Napi::String::New(env, result.text));
    object.Set("stop", STOP_NAMES[size_t(result.stop)]);
    object.Set("numOwnPromptTokens", double(result.n_own_prompt_tokens));
    if (log_probabilities) {
        Napi::Float64Array numbers = Napi::Float64Array::New(env, result.log_probabilities.size());
        std::copy(result.log_probabilities.begin(), result.log_probabilities.end(), numbers.Data());
        object.Set("logProbabilities", numbers);
    }
    return object;
}

Napi::Value make_generations(Napi::Env env, const std::vector<generation> & results, bool log_probabilities) {
    Napi::Array array = Napi::Array::New(env, results.size());
    for (size_t i = 0; i < results.size(); ++i) {
        array.Set(uint32_t(i), make_generation(env, results[i], log_probabilities));
    }
    return array;
}

}  // namespace

Napi::Function generator_handle::define(Napi::Env env) {
    return DefineClass(env, "NativeGenerator",
                       {InstanceAccessor<&generator_handle::get_info>("info"), InstanceMethod<&generator_handle::generate>("generate"),
                        InstanceMethod<&generator_handle::dispose>("dispose")});
}

Napi::Object generator_handle::wrap(Napi::Env env, std::shared_ptr<generator> source) {
    Napi::Object object        = environment_of(env).generator_class.New({});
    Unwrap(object)->generator_ = std::move(source);
    return object;
}

const std::shared_ptr<generator> & generator_handle::require_generator(Napi::Env env, const char * member) const {
    if (generator_ == nullptr) {
        throw Napi::Error::New(env, std::string("NativeGenerator.") + member + ": expected a generator in use, received a disposed one");
    }
    return generator_;
}

Napi::Value generator_handle::get_info(const Napi::CallbackInfo & info) {
    const generator_info & source = require_generator(info.Env(), "info")->info();
    Napi::Object           object = Napi::Object::New(info.Env());
    object.Set("contextLength", double(source.context_length));
    object.Set("maxSequences", double(source.max_sequences));
    object.Set("vocabularySize", double(source.n_vocab));
    object.Set("device", source.device);
    object.Set("cacheBytes", double(source.cache_bytes));
    return object;
}

Napi::Value generator_handle::generate(const Napi::CallbackInfo & info) {
    const std::shared_ptr<generator> source = require_generator(info.Env(), "generate");
    return guard_sync(info.Env(), [&] {
        const auto           request        = std::make_shared<const generation_request>(read_generation_request(info[0]));
        const Napi::Function on_progress    = read_progress_callback(info[0]);
        const bool           wants_progress = !on_progress.IsEmpty();
        return async_task<std::vector<generation>>::start_cancellable(
            info.Env(), {"fedllm:generate",
                         [source, request, wants_progress](task_control & control) {
                             const auto report = [&](int64_t n_tokens) {
                                 if (wants_progress) {
                                     control.report({double(n_tokens)});
                                 }
                             };
                             return source->generate(*request, report, control.cancelled());
                         },
                         [log_probabilities = request->log_probabilities](Napi::Env env, std::vector<generation> && results) {
                             return make_generations(env, results, log_probabilities);
                         },
                         on_progress});
    });
}

Napi::Value generator_handle::dispose(const Napi::CallbackInfo & info) {
    generator_.reset();
    return info.Env().Undefined();
}

Napi::Value open_generator(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        std::string             path    = read_text(info[0], "path");
        const generator_options options = read_generator_options(info[1]);
        return async_task<std::shared_ptr<generator>>::start_promise(
            info.Env(), {"fedllm:openGenerator",
                         [path = std::move(path), options](task_control &) { return generator::open(path, options); },
                         [](Napi::Env env, std::shared_ptr<generator> && source) -> Napi::Value {
                             return generator_handle::wrap(env, std::move(source));
                         },
                         Napi::Function()});
    });
}

Napi::Value plan_generation_memory(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        std::string             path    = read_text(info[0], "path");
        const generator_options options = read_generator_options(info[1]);
        std::optional<size_t>   limit;
        if (!info[2].IsUndefined()) {
            limit = size_t(read_integer(info[2], "limitBytes", 0, MAX_BYTES));
        }
        return async_task<generation_plan>::start_promise(
            info.Env(), {"fedllm:planGeneration",
                         [path = std::move(path), options, limit](task_control &) { return plan_generation(path, options, limit); },
                         make_plan, Napi::Function()});
    });
}

}  // namespace fedllm::addon
