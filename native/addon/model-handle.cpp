// See model-handle.h.
#include "model-handle.h"

#include "async-task.h"
#include "environment.h"
#include "option-readers.h"
#include "options.h"
#include "results.h"
#include "tasks.h"

namespace fedllm::addon {

Napi::Function model_handle::define(Napi::Env env) {
    return DefineClass(env, "NativeModel",
                       {InstanceAccessor<&model_handle::get_info>("info"),
                        InstanceAccessor<&model_handle::get_hidden_cache>("hiddenStateCache"),
                        InstanceMethod<&model_handle::adapter_layout>("adapterLayout"),
                        InstanceMethod<&model_handle::initial_weights>("initialWeights"),
                        InstanceMethod<&model_handle::tune>("tune"),
                        InstanceMethod<&model_handle::train>("train"),
                        InstanceMethod<&model_handle::evaluate>("evaluate"),
                        InstanceMethod<&model_handle::hidden_states>("hiddenStates"),
                        InstanceMethod<&model_handle::save_adapter>("saveAdapter"),
                        InstanceMethod<&model_handle::load_adapter>("loadAdapter"),
                        InstanceMethod<&model_handle::dispose>("dispose")});
}

Napi::Object model_handle::wrap(Napi::Env env, std::shared_ptr<base_model> model, std::shared_ptr<hidden_cache> cache) {
    Napi::Object object    = environment_of(env).model_class.New({});
    Unwrap(object)->model_ = std::move(model);
    Unwrap(object)->cache_ = std::move(cache);
    return object;
}

std::shared_ptr<base_model> model_handle::read_model(const Napi::Value & value, const std::string & subject) {
    const bool is_model = value.IsObject() && value.As<Napi::Object>().InstanceOf(environment_of(value.Env()).model_class.Value());
    if (!is_model) {
        throw parameter_error("CONFIG_INVALID", subject, "a model", describe(value));
    }
    const std::shared_ptr<base_model> model = Unwrap(value.As<Napi::Object>())->model_;
    if (model == nullptr) {
        throw parameter_error("CONFIG_INVALID", subject, "a model in use", "a disposed one");
    }
    return model;
}

const std::shared_ptr<base_model> & model_handle::require_model(Napi::Env env, const char * method) const {
    if (model_ == nullptr) {
        throw Napi::Error::New(env, std::string("NativeModel.") + method + ": expected a model in use, received a disposed one");
    }
    return model_;
}

Napi::Value model_handle::get_info(const Napi::CallbackInfo & info) {
    return make_model_info(info.Env(), require_model(info.Env(), "info")->info());
}

Napi::Value model_handle::get_hidden_cache(const Napi::CallbackInfo & info) {
    require_model(info.Env(), "hiddenStateCache");
    return cache_ == nullptr ? info.Env().Undefined() : make_hidden_cache(info.Env(), cache_->state());
}

Napi::Value model_handle::adapter_layout(const Napi::CallbackInfo & info) {
    const auto & model = require_model(info.Env(), "adapterLayout");
    return guard_sync(info.Env(), [&] {
        return make_adapter_layout(info.Env(), adapter_make_layout(*model, read_adapter_options(info[0])));
    });
}

Napi::Value model_handle::initial_weights(const Napi::CallbackInfo & info) {
    const auto & model = require_model(info.Env(), "initialWeights");
    return guard_sync(info.Env(), [&] {
        const adapter_options options = read_adapter_options(info[0]);
        const uint64_t        seed    = read_seed(info[1], "seed");
        return make_weights(info.Env(), adapter_init_weights(adapter_make_layout(*model, options), seed));
    });
}

Napi::Value model_handle::tune(const Napi::CallbackInfo & info) {
    const std::shared_ptr<base_model> model = require_model(info.Env(), "tune");
    return guard_sync(info.Env(), [&] {
        const tuner_options options = read_tuner_options(info[0]);
        return async_task<tuner_result>::start_promise(
            info.Env(), {"fedllm:tune", [model, options](task_control &) { return tune_variants(*model, options); },
                         [](Napi::Env env, tuner_result && result) -> Napi::Value { return make_tuner_result(env, result); },
                         Napi::Function()});
    });
}

Napi::Value model_handle::train(const Napi::CallbackInfo & info) {
    const std::shared_ptr<base_model> model = require_model(info.Env(), "train");
    return guard_sync(info.Env(), [&] {
        train_request        request     = read_train_request(info[0], *model);
        const Napi::Function on_progress = read_progress_callback(info[0]);
        return start_train(info.Env(), {model, cache_}, std::move(request), on_progress);
    });
}

Napi::Value model_handle::evaluate(const Napi::CallbackInfo & info) {
    const std::shared_ptr<base_model> model = require_model(info.Env(), "evaluate");
    return guard_sync(info.Env(),
                      [&] { return start_evaluate(info.Env(), {model, cache_}, read_evaluate_request(info[0], *model)); });
}

Napi::Value model_handle::hidden_states(const Napi::CallbackInfo & info) {
    const std::shared_ptr<base_model> model = require_model(info.Env(), "hiddenStates");
    return guard_sync(info.Env(),
                      [&] { return start_hidden_states(info.Env(), model, read_states_request(info[0], *model)); });
}

Napi::Value model_handle::save_adapter(const Napi::CallbackInfo & info) {
    const std::shared_ptr<base_model> model = require_model(info.Env(), "saveAdapter");
    return guard_sync(info.Env(), [&] {
        std::string        path         = read_text(info[0], "path");
        adapter_options    options      = read_adapter_options(info[1]);
        const size_t       n_parameters = adapter_make_layout(*model, options).n_parameters;
        std::vector<float> weights      = read_weights(info[2], "weights", n_parameters);
        const ggml_type    type         = read_adapter_type(info[3]);
        return start_save_adapter(info.Env(), model, std::move(path), std::move(options), std::move(weights), type);
    });
}

Napi::Value model_handle::load_adapter(const Napi::CallbackInfo & info) {
    const std::shared_ptr<base_model> model = require_model(info.Env(), "loadAdapter");
    return guard_sync(info.Env(), [&] { return start_load_adapter(info.Env(), model, read_text(info[0], "path")); });
}

Napi::Value model_handle::dispose(const Napi::CallbackInfo & info) {
    model_.reset();
    cache_.reset();
    return info.Env().Undefined();
}

Napi::Value load_model(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        using model_task             = async_task<std::shared_ptr<base_model>>;
        std::string         path    = read_text(info[0], "path");
        const model_options options = read_model_options(info[1]);
        const auto          cache   = read_hidden_cache(info[1]);
        return model_task::start_promise(
            info.Env(), {"fedllm:loadModel",
                         [path = std::move(path), options](task_control &) { return base_model::load(path, options); },
                         [cache](Napi::Env env, std::shared_ptr<base_model> && model) -> Napi::Value {
                             return model_handle::wrap(env, std::move(model), cache);
                         },
                         Napi::Function()});
    });
}

}  // namespace fedllm::addon
