// Options of opening a model and of timing its kernel variants.
#include <array>

#include "errors.h"
#include "option-readers.h"
#include "options.h"

namespace fedllm::addon {

namespace {

constexpr double MAX_SAFE_INTEGER = 9007199254740991.0;  // 2^53 - 1, the largest integer JS counts exactly
constexpr double MAX_TUNED_TOKENS = 1 << 16;

// Index of a name in `names`; absent: 0, the default of all choices.
template <size_t N>
size_t read_choice(const Napi::Object & object, const char * field, const std::array<const char *, N> & names) {
    const Napi::Value value = object.Get(field);
    if (value.IsUndefined()) {
        return 0;
    }
    std::string known;
    for (size_t i = 0; i < N; ++i) {
        if (value.IsString() && value.As<Napi::String>().Utf8Value() == names[i]) {
            return i;
        }
        known += (i == 0 ? "" : ", ") + std::string(names[i]);
    }
    throw parameter_error("CONFIG_INVALID", field, "one of " + known, describe(value));
}

kernel_variants read_variants(const Napi::Object & object) {
    kernel_variants variants;
    variants.product    = weight_product(read_choice(object, "weightProduct", WEIGHT_PRODUCT_NAMES));
    variants.transposes = transpose_cache(read_choice(object, "transposes", TRANSPOSE_CACHE_NAMES));
    return variants;
}

}  // namespace

model_options read_model_options(const Napi::Value & value) {
    const Napi::Object object = read_object(value, "options");
    model_options      options;
    const Napi::Value  device = object.Get("device");
    if (!device.IsUndefined()) {
        options.device = read_text(device, "device");
        if (options.device.empty()) {
            throw parameter_error("CONFIG_INVALID", "device", "the name of a device", "an empty string");
        }
    }
    options.n_threads = read_num_threads(object.Get("numThreads"), "numThreads");
    const Napi::Value limit = object.Get("weightLimitBytes");
    if (!limit.IsUndefined()) {
        options.weight_limit_bytes = size_t(read_integer(limit, "weightLimitBytes", 0, 9007199254740991.0));  // 2^53 - 1
    }
    options.variants  = read_variants(object);
    return options;
}

std::shared_ptr<hidden_cache> read_hidden_cache(const Napi::Value & value) {
    const Napi::Value most = read_object(value, "options").Get("hiddenStateCache");
    if (most.IsUndefined()) {
        return nullptr;
    }
    if (most.IsString() && most.As<Napi::String>().Utf8Value() == "auto") {
        return std::make_shared<hidden_cache>(std::nullopt);
    }
    if (!most.IsNumber()) {
        throw parameter_error("CONFIG_INVALID", "hiddenStateCache", "\"auto\" or a number of bytes", describe(most));
    }
    return std::make_shared<hidden_cache>(size_t(read_integer(most, "hiddenStateCache", 1, MAX_SAFE_INTEGER)));
}

tuner_options read_tuner_options(const Napi::Value & value) {
    const Napi::Object object = read_object(value, "options");
    tuner_options      options;
    options.n_tokens    = read_integer(object.Get("numTokens"), "numTokens", 1, MAX_TUNED_TOKENS);
    options.cache_bytes = size_t(read_integer(object.Get("cacheBytes"), "cacheBytes", 0, MAX_SAFE_INTEGER));
    return options;
}

}  // namespace fedllm::addon
