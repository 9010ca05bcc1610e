// See options.h. Order inside each function: take the property, check its type, copy it, check the values of the copy.
#include "options.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "errors.h"
#include "inner.h"
#include "objective-options.h"
#include "option-readers.h"

namespace fedllm::addon {

namespace {

constexpr double MAX_SAFE_INTEGER = 9007199254740991.0;  // 2^53 - 1, the largest integer JS counts exactly
constexpr double MAX_THREADS      = 512;                 // GGML_MAX_N_THREADS
constexpr uint32_t MAX_LAYER_COUNT = 1000;               // more than any model that loads has
constexpr double MAX_STEPS        = 1e9;
constexpr double MAX_BATCH_SIZE   = 1 << 20;  // samples of one step; their list is held in memory
constexpr double MAX_MICRO_BATCH  = 1 << 24;  // tokens; far above what memory allows, keeps products inside int64

void check_offsets(const samples_copy & samples) {
    const std::vector<uint32_t> & offsets  = samples.offsets;
    const size_t                  n_tokens = samples.tokens.size();
    if (offsets.size() < 2) {
        throw parameter_error("DATASET_INVALID", "samples.offsets", "one entry more than there are samples, at least one sample",
                              std::to_string(offsets.size()) + " entries");
    }
    if (offsets.front() != 0 || offsets.back() != n_tokens) {
        throw parameter_error("DATASET_INVALID", "samples.offsets",
                              "a first entry of 0 and a last entry of " + std::to_string(n_tokens),
                              std::to_string(offsets.front()) + " and " + std::to_string(offsets.back()));
    }
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
        if (offsets[i + 1] <= offsets[i]) {
            throw parameter_error("DATASET_INVALID", "samples.offsets[" + std::to_string(i + 1) + "]",
                                  "more than " + std::to_string(offsets[i]) + " (no sample is empty)",
                                  std::to_string(offsets[i + 1]));
        }
    }
}

void check_sample(const samples_copy & samples, size_t index, int64_t n_vocab) {
    const size_t      first   = samples.offsets[index];
    const std::string subject = "sample " + std::to_string(index);
    if (samples.supervised[first] != 0) {
        throw parameter_error("DATASET_INVALID", subject, "a first position that is not supervised", "a supervised one");
    }
    for (size_t i = first; i < samples.offsets[index + 1]; ++i) {
        const std::string position = " at position " + std::to_string(i - first);
        if (samples.tokens[i] < 0 || samples.tokens[i] >= n_vocab) {
            throw parameter_error("DATASET_INVALID", subject + position,
                                  "a token id in 0.." + std::to_string(n_vocab - 1), std::to_string(samples.tokens[i]));
        }
        if (samples.supervised[i] > 1) {
            throw parameter_error("DATASET_INVALID", subject + position, "a supervised flag of 0 or 1",
                                  std::to_string(samples.supervised[i]));
        }
    }
}

samples_copy read_samples(const Napi::Value & value, int64_t n_vocab) {
    if (!value.IsObject()) {
        throw parameter_error("DATASET_INVALID", "samples", "an object", describe(value));
    }
    const Napi::Object object = value.As<Napi::Object>();
    samples_copy       samples;
    samples.tokens     = copy_typed_array<int32_t>(object.Get("tokens"), napi_int32_array, "Int32Array", "DATASET_INVALID",
                                                   "samples.tokens");
    samples.supervised = copy_typed_array<uint8_t>(object.Get("supervised"), napi_uint8_array, "Uint8Array",
                                                   "DATASET_INVALID", "samples.supervised");
    samples.offsets    = copy_typed_array<uint32_t>(object.Get("offsets"), napi_uint32_array, "Uint32Array",
                                                    "DATASET_INVALID", "samples.offsets");
    if (samples.supervised.size() != samples.tokens.size()) {
        throw parameter_error("DATASET_INVALID", "samples.supervised", std::to_string(samples.tokens.size()) + " flags",
                              std::to_string(samples.supervised.size()));
    }
    check_offsets(samples);
    const Napi::Value weights = object.Get("weights");
    if (!weights.IsUndefined()) {
        samples.weights = copy_typed_array<float>(weights, napi_float32_array, "Float32Array", "DATASET_INVALID", "samples.weights");
        if (samples.weights.size() != samples.tokens.size()) {
            throw parameter_error("DATASET_INVALID", "samples.weights", std::to_string(samples.tokens.size()) + " numbers",
                                  std::to_string(samples.weights.size()));
        }
    }
    const Napi::Value groups = object.Get("groupOffsets");
    if (!groups.IsUndefined()) {
        samples.group_offsets = copy_typed_array<uint32_t>(groups, napi_uint32_array, "Uint32Array", "DATASET_INVALID", "samples.groupOffsets");
        if (samples.group_offsets.size() < 2) {
            throw parameter_error("DATASET_INVALID", "samples.groupOffsets", "one entry more than there are groups, at least one group",
                                  std::to_string(samples.group_offsets.size()) + " entries");
        }
    }
    for (size_t i = 0; i + 1 < samples.offsets.size(); ++i) {
        check_sample(samples, i, n_vocab);
    }
    return samples;
}

optimizer_options read_optimizer(const Napi::Object & object) {
    optimizer_options optimizer;
    optimizer.beta1             = read_number(object.Get("beta1"), "beta1", PROBABILITY);
    optimizer.beta2             = read_number(object.Get("beta2"), "beta2", PROBABILITY);
    optimizer.epsilon           = read_number(object.Get("epsilon"), "epsilon", POSITIVE);
    optimizer.weight_decay      = read_number(object.Get("weightDecay"), "weightDecay", NOT_NEGATIVE);
    const Napi::Value max_norm = object.Get("maxGradientNorm");
    if (!max_norm.IsUndefined()) {
        optimizer.max_gradient_norm = read_number(max_norm, "maxGradientNorm", POSITIVE);
    }
    return optimizer;
}

trained_half read_trained_half(const Napi::Value & value) {
    if (value.IsUndefined()) {
        return trained_half::both;
    }
    const std::string half = read_text(value, "trainable");
    if (half != "both" && half != "a" && half != "b") {
        throw parameter_error("CONFIG_INVALID", "trainable", "both, a or b", describe(value));
    }
    return half == "a" ? trained_half::a : half == "b" ? trained_half::b : trained_half::both;
}

void read_corrections(const Napi::Object & object, size_t n_parameters, train_request & request) {
    const Napi::Value mu     = object.Get("proximalMu");
    const Napi::Value anchor = object.Get("proximalAnchor");
    if (mu.IsUndefined() != anchor.IsUndefined()) {
        throw parameter_error("CONFIG_INVALID", "proximalMu and proximalAnchor", "both or none",
                              mu.IsUndefined() ? "proximalAnchor only" : "proximalMu only");
    }
    if (!mu.IsUndefined()) {
        request.options.proximal_mu = read_number(mu, "proximalMu", NOT_NEGATIVE);
        request.proximal_anchor     = read_weights(anchor, "proximalAnchor", n_parameters);
    }
    const Napi::Value offset = object.Get("gradientOffset");
    if (!offset.IsUndefined()) {
        request.gradient_offset = read_weights(offset, "gradientOffset", n_parameters);
    }
}

}  // namespace

sample_set samples_copy::view() const {
    sample_set set;
    set.tokens     = tokens.data();
    set.supervised = supervised.data();
    set.offsets    = offsets.data();
    set.n_samples  = offsets.size() - 1;
    set.weights    = weights.empty() ? nullptr : weights.data();
    if (!group_offsets.empty()) {
        set.group_offsets = group_offsets.data();
        set.n_groups      = group_offsets.size() - 1;
    }
    return set;
}

static std::vector<frozen_adapter> view_frozen(const std::vector<frozen_copy> & copies) {
    std::vector<frozen_adapter> adapters;
    for (const frozen_copy & copy : copies) {
        adapters.push_back({copy.options, copy.weights.data()});
    }
    return adapters;
}

train_options train_request::view() const {
    train_options result   = options;
    result.frozen          = view_frozen(frozen);
    result.samples         = samples.view();
    result.outer           = outer.empty() ? nullptr : outer.data();
    result.proximal_anchor = proximal_anchor.empty() ? nullptr : proximal_anchor.data();
    result.gradient_offset = gradient_offset.empty() ? nullptr : gradient_offset.data();
    if (result.objective.preference && !reference_weights.empty()) {
        result.objective.preference->reference_weights = reference_weights.data();
    }
    if (result.objective.distillation) {
        result.objective.distillation->teacher          = teacher.get();
        result.objective.distillation->teacher_adapters = view_frozen(teacher_frozen);
    }
    return result;
}

evaluate_options evaluate_request::view() const {
    evaluate_options result;
    result.adapter            = has_adapter ? &adapter : nullptr;
    result.weights            = has_adapter ? &weights : nullptr;
    result.frozen             = view_frozen(frozen);
    result.samples            = samples.view();
    result.micro_batch_tokens = micro_batch_tokens;
    return result;
}

hidden_states_options states_request::view() const {
    const evaluate_options base = scored.view();
    hidden_states_options  result;
    result.adapter            = base.adapter;
    result.weights            = base.weights;
    result.frozen             = base.frozen;
    result.samples            = base.samples;
    result.boundaries         = boundaries;
    result.micro_batch_tokens = base.micro_batch_tokens;
    return result;
}

std::string read_text(const Napi::Value & value, const std::string & subject) {
    if (!value.IsString()) {
        throw parameter_error("CONFIG_INVALID", subject, "a string", describe(value));
    }
    return value.As<Napi::String>().Utf8Value();
}

bool read_flag(const Napi::Value & value, const std::string & subject) {
    if (!value.IsBoolean()) {
        throw parameter_error("CONFIG_INVALID", subject, "true or false", describe(value));
    }
    return value.As<Napi::Boolean>().Value();
}

uint64_t read_seed(const Napi::Value & value, const std::string & subject) {
    return uint64_t(read_integer(value, subject, 0, MAX_SAFE_INTEGER));
}

int read_num_threads(const Napi::Value & value, const std::string & subject) {
    return int(read_integer(value, subject, 1, MAX_THREADS));
}

std::vector<int32_t> read_tokens(const Napi::Value & value, const std::string & subject) {
    return copy_typed_array<int32_t>(value, napi_int32_array, "Int32Array", "CONFIG_INVALID", subject);
}

std::vector<int64_t> read_layers(const Napi::Value & value, const std::string & subject) {
    if (!value.IsArray()) {
        throw parameter_error("CONFIG_INVALID", subject, "an array of layer numbers", describe(value));
    }
    const Napi::Array array = value.As<Napi::Array>();
    if (array.Length() > MAX_LAYER_COUNT) {
        throw parameter_error("CONFIG_INVALID", subject, "at most " + std::to_string(MAX_LAYER_COUNT) + " layer numbers", describe(value));
    }
    std::vector<int64_t> layers;
    for (uint32_t i = 0; i < array.Length(); ++i) {
        layers.push_back(read_integer(array.Get(i), subject + "[" + std::to_string(i) + "]", 0, MAX_LAYER_COUNT));
    }
    return layers;
}

quantize_options read_quantize_options(const Napi::Value & type, const Napi::Value & num_threads, const Napi::Value & allow_requantize) {
    quantize_options options;
    options.type             = read_text(type, "type");
    options.n_threads        = read_num_threads(num_threads, "numThreads");
    options.allow_requantize = !allow_requantize.IsUndefined() && read_flag(allow_requantize, "allowRequantize");
    return options;
}

ggml_type read_adapter_type(const Napi::Value & value) {
    const std::string name = value.IsUndefined() ? "f32" : read_text(value, "type");
    if (name == "f32") return GGML_TYPE_F32;
    if (name == "f16") return GGML_TYPE_F16;
    if (name == "q8_0") return GGML_TYPE_Q8_0;
    throw parameter_error("CONFIG_INVALID", "type", "f32, f16 or q8_0", "\"" + name + "\"");
}

adapter_options read_adapter_options(const Napi::Value & value) {
    const Napi::Object object = read_object(value, "adapter");
    adapter_options    options;
    options.rank       = int32_t(read_integer(object.Get("rank"), "adapter.rank", 1, std::numeric_limits<int32_t>::max()));
    const double alpha = read_number(object.Get("loraAlpha"), "adapter.loraAlpha",
                                     {0.0, std::numeric_limits<float>::max(), true, false, "a finite number above 0"});
    options.lora_alpha = float(alpha);
    const Napi::Value modules = object.Get("targetModules");
    if (!modules.IsArray()) {
        throw parameter_error("CONFIG_INVALID", "adapter.targetModules", "an array of module names", describe(modules));
    }
    const Napi::Array names = modules.As<Napi::Array>();
    if (names.Length() < 1 || names.Length() > MODULE_COUNT) {
        throw parameter_error("CONFIG_INVALID", "adapter.targetModules",
                              "1 to " + std::to_string(MODULE_COUNT) + " module names", describe(modules));
    }
    for (uint32_t i = 0; i < names.Length(); ++i) {
        const Napi::Value name = names.Get(i);
        options.target_modules.push_back(read_text(name, "adapter.targetModules[" + std::to_string(i) + "]"));
    }
    const Napi::Value layers = object.Get("layers");
    if (!layers.IsUndefined()) {
        options.layers = read_layers(layers, "adapter.layers");
        if (options.layers.empty()) {
            throw parameter_error("CONFIG_INVALID", "adapter.layers", "at least one layer number", "none");
        }
    }
    return options;
}

std::vector<float> read_weights(const Napi::Value & value, const std::string & subject, size_t length) {
    std::vector<float> weights =
        copy_typed_array<float>(value, napi_float32_array, "Float32Array", "ADAPTER_INVALID", subject);
    if (weights.size() != length) {
        throw parameter_error("ADAPTER_INVALID", subject, std::to_string(length) + " numbers",
                              std::to_string(weights.size()));
    }
    for (size_t i = 0; i < weights.size(); ++i) {
        if (!std::isfinite(weights[i])) {
            throw parameter_error("ADAPTER_INVALID", subject + "[" + std::to_string(i) + "]", "a finite number",
                                  number_text(double(weights[i])));
        }
    }
    return weights;
}

std::vector<frozen_copy> read_frozen(const Napi::Value & value, const std::string & subject, const base_model & model) {
    std::vector<frozen_copy> adapters;
    if (value.IsUndefined()) {
        return adapters;
    }
    if (!value.IsArray()) {
        throw parameter_error("CONFIG_INVALID", subject, "an array", describe(value));
    }
    const Napi::Array array = value.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) {
        const std::string  name   = subject + "[" + std::to_string(i) + "]";
        const Napi::Object object = read_object(array.Get(i), name);
        frozen_copy        copy;
        copy.options = read_adapter_options(object.Get("options"));
        copy.weights = read_weights(object.Get("weights"), name + ".weights", adapter_make_layout(model, copy.options).n_parameters);
        adapters.push_back(std::move(copy));
    }
    return adapters;
}

train_request read_train_request(const Napi::Value & value, const base_model & model) {
    const Napi::Object object = read_object(value, "options");
    train_request      request;
    train_options &    options    = request.options;
    options.adapter               = read_adapter_options(object.Get("adapter"));
    const adapter_layout layout   = adapter_make_layout(model, options.adapter);
    const Napi::Value outer       = object.Get("outer");
    const size_t n_trained        = outer.IsUndefined() ? layout.n_parameters : inner_count(layout, options.adapter.rank);
    if (!outer.IsUndefined()) {
        request.outer = read_weights(outer, "outer", layout.n_parameters);
    }
    request.weights               = read_weights(object.Get("weights"), "weights", n_trained);
    request.frozen                = read_frozen(object.Get("frozenAdapters"), "frozenAdapters", model);
    request.samples               = read_samples(object.Get("samples"), model.info().n_vocab);
    options.local_steps           = read_integer(object.Get("localSteps"), "localSteps", 1, MAX_STEPS);
    options.batch_size            = read_integer(object.Get("batchSize"), "batchSize", 1, MAX_BATCH_SIZE);
    options.micro_batch_tokens    = read_integer(object.Get("microBatchTokens"), "microBatchTokens", 1, MAX_MICRO_BATCH);
    options.learning_rate         = read_number(object.Get("learningRate"), "learningRate", NOT_NEGATIVE);
    options.trained               = read_trained_half(object.Get("trainable"));
    options.optimizer             = read_optimizer(object);
    options.dropout               = read_number(object.Get("dropout"), "dropout", PROBABILITY);
    options.seed                  = read_seed(object.Get("seed"), "seed");
    read_corrections(object, n_trained, request);
    read_objective(object, layout.n_parameters, request);
    return request;
}

evaluate_request read_evaluate_request(const Napi::Value & value, const base_model & model) {
    const Napi::Object object  = read_object(value, "options");
    const Napi::Value  adapter = object.Get("adapter");
    const Napi::Value  weights = object.Get("weights");
    if (adapter.IsUndefined() != weights.IsUndefined()) {
        throw parameter_error("CONFIG_INVALID", "adapter and weights", "both or none",
                              adapter.IsUndefined() ? "weights only" : "adapter only");
    }
    evaluate_request request;
    if (!adapter.IsUndefined()) {
        request.has_adapter = true;
        request.adapter     = read_adapter_options(adapter);
        request.weights     = read_weights(weights, "weights", adapter_make_layout(model, request.adapter).n_parameters);
    }
    request.frozen             = read_frozen(object.Get("frozenAdapters"), "frozenAdapters", model);
    request.samples            = read_samples(object.Get("samples"), model.info().n_vocab);
    request.micro_batch_tokens = read_integer(object.Get("microBatchTokens"), "microBatchTokens", 1, MAX_MICRO_BATCH);
    return request;
}

states_request read_states_request(const Napi::Value & value, const base_model & model) {
    states_request request;
    request.scored     = read_evaluate_request(value, model);
    request.boundaries = read_layers(read_object(value, "options").Get("boundaries"), "boundaries");
    return request;
}

Napi::Function read_progress_callback(const Napi::Value & options) {
    const Napi::Value callback = read_object(options, "options").Get("onProgress");
    if (callback.IsUndefined()) {
        return Napi::Function();
    }
    if (!callback.IsFunction()) {
        throw parameter_error("CONFIG_INVALID", "onProgress", "a function", describe(callback));
    }
    return callback.As<Napi::Function>();
}

}  // namespace fedllm::addon
