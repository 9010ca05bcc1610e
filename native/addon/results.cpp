// See results.h.
#include "results.h"

#include <cstring>

namespace fedllm::addon {

namespace {

const char * device_type_name(device_type type) {
    switch (type) {
        case device_type::cpu:
            return "cpu";
        case device_type::gpu:
            return "gpu";
        case device_type::igpu:
            return "igpu";
        case device_type::accel:
            return "accel";
    }
    return "accel";
}

Napi::Number make_count(Napi::Env env, double count) {
    return Napi::Number::New(env, count);
}

// JsArray is the N-API class of the same element type.
template <typename JsArray, typename Number>
JsArray make_typed_array(Napi::Env env, const std::vector<Number> & numbers) {
    JsArray array = JsArray::New(env, numbers.size());
    if (!numbers.empty()) {
        std::memcpy(array.Data(), numbers.data(), numbers.size() * sizeof(Number));
    }
    return array;
}

}  // namespace

Napi::Array make_devices(Napi::Env env, const std::vector<device_info> & devices) {
    Napi::Array array = Napi::Array::New(env, devices.size());
    for (size_t i = 0; i < devices.size(); ++i) {
        Napi::Object device = Napi::Object::New(env);
        device.Set("name", devices[i].name);
        device.Set("description", devices[i].description);
        device.Set("type", device_type_name(devices[i].type));
        device.Set("freeBytes", make_count(env, double(devices[i].free_bytes)));
        device.Set("totalBytes", make_count(env, double(devices[i].total_bytes)));
        array.Set(uint32_t(i), device);
    }
    return array;
}

Napi::Object make_model_info(Napi::Env env, const model_info & info) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("architecture", info.architecture);
    if (!info.name.empty()) {
        object.Set("name", info.name);
    }
    object.Set("numLayers", make_count(env, double(info.n_layers)));
    object.Set("embeddingLength", make_count(env, double(info.n_embd)));
    object.Set("feedForwardLength", make_count(env, double(info.n_ff)));
    object.Set("numHeads", make_count(env, double(info.n_heads)));
    object.Set("numKvHeads", make_count(env, double(info.n_kv_heads)));
    object.Set("headLength", make_count(env, double(info.head_length)));
    object.Set("vocabularySize", make_count(env, double(info.n_vocab)));
    object.Set("contextLength", make_count(env, double(info.context_length)));
    object.Set("tiedHead", Napi::Boolean::New(env, info.tied_head));
    object.Set("numParameters", make_count(env, double(info.n_parameters)));
    object.Set("weightBytes", make_count(env, double(info.weight_bytes)));
    Napi::Object types = Napi::Object::New(env);
    for (const auto & [type, count] : info.tensor_types) {
        types.Set(type, make_count(env, double(count)));
    }
    object.Set("tensorTypes", types);
    return object;
}

namespace {

Napi::Object make_variants(Napi::Env env, const kernel_variants & variants) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("weightProduct", WEIGHT_PRODUCT_NAMES[size_t(variants.product)]);
    object.Set("transposes", TRANSPOSE_CACHE_NAMES[size_t(variants.transposes)]);
    return object;
}

}  // namespace

Napi::Object make_tuner_result(Napi::Env env, const tuner_result & result) {
    Napi::Array timings = Napi::Array::New(env, result.timings.size());
    for (uint32_t i = 0; i < result.timings.size(); ++i) {
        Napi::Object timing = make_variants(env, result.timings[i].variants);
        timing.Set("durationMs", result.timings[i].milliseconds);
        timing.Set("copyBytes", make_count(env, double(result.timings[i].bytes)));
        timings[i] = timing;
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("best", make_variants(env, result.best));
    object.Set("timings", timings);
    return object;
}

Napi::Object make_adapter_layout(Napi::Env env, const adapter_layout & layout) {
    Napi::Array tensors = Napi::Array::New(env, layout.tensors.size());
    for (size_t i = 0; i < layout.tensors.size(); ++i) {
        const adapter_tensor & source = layout.tensors[i];
        Napi::Array            shape  = Napi::Array::New(env, 2);
        shape.Set(uint32_t(0), make_count(env, double(source.shape[0])));
        shape.Set(uint32_t(1), make_count(env, double(source.shape[1])));
        Napi::Object tensor = Napi::Object::New(env);
        tensor.Set("name", source.name);
        tensor.Set("shape", shape);
        tensor.Set("offset", make_count(env, double(source.offset)));
        tensors.Set(uint32_t(i), tensor);
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("tensors", tensors);
    object.Set("numParameters", make_count(env, double(layout.n_parameters)));
    return object;
}

Napi::Object make_adapter_options(Napi::Env env, const adapter_options & options) {
    Napi::Array modules = Napi::Array::New(env, options.target_modules.size());
    for (size_t i = 0; i < options.target_modules.size(); ++i) {
        modules.Set(uint32_t(i), options.target_modules[i]);
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("rank", make_count(env, double(options.rank)));
    object.Set("loraAlpha", make_count(env, double(options.lora_alpha)));
    object.Set("targetModules", modules);
    if (!options.layers.empty()) {
        Napi::Array layers = Napi::Array::New(env, options.layers.size());
        for (size_t i = 0; i < options.layers.size(); ++i) {
            layers.Set(uint32_t(i), make_count(env, double(options.layers[i])));
        }
        object.Set("layers", layers);
    }
    return object;
}

Napi::Float32Array make_weights(Napi::Env env, const std::vector<float> & weights) {
    return make_typed_array<Napi::Float32Array>(env, weights);
}

Napi::Int32Array make_tokens(Napi::Env env, const std::vector<int32_t> & tokens) {
    return make_typed_array<Napi::Int32Array>(env, tokens);
}

// One array per figure, an entry per step.
static Napi::Object make_preference_steps(Napi::Env env, const std::vector<preference_metrics> & steps) {
    Napi::Object object = Napi::Object::New(env);
    const auto   set    = [&](const char * name, double preference_metrics::* figure) {
        std::vector<double> values;
        for (const preference_metrics & step : steps) {
            values.push_back(step.*figure);
        }
        object.Set(name, make_typed_array<Napi::Float64Array>(env, values));
    };
    set("rewardMargins", &preference_metrics::reward_margin);
    set("rewardAccuracies", &preference_metrics::reward_accuracy);
    set("chosenRewards", &preference_metrics::chosen_reward);
    set("rejectedRewards", &preference_metrics::rejected_reward);
    set("chosenLogProbabilities", &preference_metrics::chosen_log_probability);
    set("rejectedLogProbabilities", &preference_metrics::rejected_log_probability);
    return object;
}

static Napi::Object make_distillation_steps(Napi::Env env, const std::vector<distillation_metrics> & steps) {
    std::vector<double> hidden, divergence;
    for (const distillation_metrics & step : steps) {
        hidden.push_back(step.hidden);
        divergence.push_back(step.divergence);
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("hidden", make_typed_array<Napi::Float64Array>(env, hidden));
    object.Set("divergence", make_typed_array<Napi::Float64Array>(env, divergence));
    return object;
}

static void set_counts(Napi::Env env, Napi::Object object, const hidden_cache_counts & counts) {
    object.Set("numHits", make_count(env, double(counts.n_hits)));
    object.Set("numMisses", make_count(env, double(counts.n_misses)));
    object.Set("numTokensReused", make_count(env, double(counts.n_tokens_reused)));
    object.Set("numTokensComputed", make_count(env, double(counts.n_tokens_computed)));
}

Napi::Object make_hidden_cache(Napi::Env env, const hidden_cache_state & state) {
    Napi::Object object = Napi::Object::New(env);
    set_counts(env, object, state.counts);
    object.Set("capacityBytes", make_count(env, double(state.capacity_bytes)));
    object.Set("bytes", make_count(env, double(state.bytes)));
    object.Set("numSequences", make_count(env, double(state.n_sequences)));
    object.Set("numEvicted", make_count(env, double(state.n_evicted)));
    return object;
}

static Napi::Object make_memory_use(Napi::Env env, const memory_use & use) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("microBatchTokens", make_count(env, double(use.micro_batch_tokens)));
    object.Set("recomputes", Napi::Boolean::New(env, use.recomputes));
    object.Set("streams", Napi::Boolean::New(env, use.streams));
    object.Set("fellBack", Napi::Boolean::New(env, use.fell_back));
    object.Set("plannedBytes", make_count(env, double(use.planned_bytes)));
    object.Set("plannedPeakBytes", make_count(env, double(use.planned_peak)));
    object.Set("plannedDeviceBytes", make_count(env, double(use.planned_device_bytes)));
    object.Set("deviceBytes", make_count(env, double(use.device_bytes)));
    return object;
}

Napi::Object make_train_result(Napi::Env env, const train_result & result) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("weights", make_weights(env, result.weights));
    object.Set("numSteps", make_count(env, double(result.step_losses.size())));
    object.Set("stepLosses", make_typed_array<Napi::Float64Array>(env, result.step_losses));
    object.Set("gradientNorms", make_typed_array<Napi::Float64Array>(env, result.gradient_norms));
    object.Set("numTokens", make_count(env, double(result.n_tokens)));
    object.Set("numSupervisedTokens", make_count(env, double(result.n_supervised_tokens)));
    object.Set("trainDurationMs", make_count(env, result.duration_ms));
    object.Set("memory", make_memory_use(env, result.memory));
    if (result.cache.n_hits + result.cache.n_misses > 0) {
        Napi::Object cache = Napi::Object::New(env);
        set_counts(env, cache, result.cache);
        object.Set("hiddenStateCache", cache);
    }
    object.Set("lossScale", make_count(env, result.loss_scale));
    object.Set("numScaleHalvings", make_count(env, double(result.n_scale_halvings)));
    if (!result.preference_steps.empty()) {
        object.Set("preferenceSteps", make_preference_steps(env, result.preference_steps));
    }
    if (!result.distillation_steps.empty()) {
        object.Set("distillationSteps", make_distillation_steps(env, result.distillation_steps));
    }
    return object;
}

Napi::Object make_evaluate_result(Napi::Env env, const evaluation & result) {
    std::vector<double>   log_probabilities;
    std::vector<uint32_t> n_correct;
    std::vector<uint32_t> n_supervised;
    for (const sample_score & score : result.scores) {
        log_probabilities.push_back(score.log_probability);
        n_correct.push_back(score.n_correct);
        n_supervised.push_back(score.n_supervised);
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("logProbabilities", make_typed_array<Napi::Float64Array>(env, log_probabilities));
    object.Set("numCorrectTokens", make_typed_array<Napi::Uint32Array>(env, n_correct));
    object.Set("numSupervisedTokens", make_typed_array<Napi::Uint32Array>(env, n_supervised));
    object.Set("evaluateDurationMs", make_count(env, result.duration_ms));
    object.Set("memory", make_memory_use(env, result.memory));
    return object;
}

Napi::Object make_hidden_states(Napi::Env env, const hidden_states_result & result) {
    Napi::Array states = Napi::Array::New(env, result.states.size());
    for (uint32_t i = 0; i < result.states.size(); ++i) {
        states[i] = make_weights(env, result.states[i]);
    }
    Napi::Object object = Napi::Object::New(env);
    object.Set("offsets", make_typed_array<Napi::Uint32Array>(env, result.offsets));
    object.Set("states", states);
    return object;
}

}  // namespace fedllm::addon
