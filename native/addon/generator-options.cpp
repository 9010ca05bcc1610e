// See generator-options.h.
#include "generator-options.h"

#include "option-readers.h"
#include "options.h"

namespace fedllm::addon {

namespace {

constexpr double       MAX_TOKENS = 2147483647.0;
constexpr number_range SCALE{-3.4028234663852886e38, 3.4028234663852886e38, false, false, "a finite number of single precision"};
constexpr number_range WHOLE_PROBABILITY{0.0, 1.0, false, false, "a number from 0 to 1"};

Napi::Array read_array(const Napi::Value & value, const std::string & subject) {
    if (!value.IsArray()) {
        throw parameter_error("CONFIG_INVALID", subject, "an array", describe(value));
    }
    return value.As<Napi::Array>();
}

generation_prompt read_prompt(const Napi::Value & value, const std::string & subject) {
    const Napi::Object object = read_object(value, subject);
    generation_prompt  prompt;
    prompt.tokens               = read_tokens(object.Get("tokens"), subject + ".tokens");
    prompt.max_new_tokens       = read_integer(object.Get("maxNewTokens"), subject + ".maxNewTokens", 1, MAX_TOKENS);
    prompt.sampling.temperature = read_number(object.Get("temperature"), subject + ".temperature", NOT_NEGATIVE);
    prompt.sampling.top_k       = int32_t(read_integer(object.Get("topK"), subject + ".topK", 0, MAX_TOKENS));
    prompt.sampling.top_p       = read_number(object.Get("topP"), subject + ".topP", WHOLE_PROBABILITY);
    prompt.seed                 = read_seed(object.Get("seed"), subject + ".seed");
    const Napi::Array stops     = read_array(object.Get("stopTexts"), subject + ".stopTexts");
    for (uint32_t i = 0; i < stops.Length(); ++i) {
        prompt.stop_texts.push_back(read_text(stops.Get(i), subject + ".stopTexts[" + std::to_string(i) + "]"));
    }
    return prompt;
}

}  // namespace

generator_options read_generator_options(const Napi::Value & value) {
    const Napi::Object object = read_object(value, "options");
    generator_options  options;
    options.context_length   = read_integer(object.Get("contextLength"), "contextLength", 2, MAX_TOKENS);
    options.max_sequences    = read_integer(object.Get("maxSequences"), "maxSequences", 1, MAX_TOKENS);
    options.n_threads        = read_num_threads(object.Get("numThreads"), "numThreads");
    const Napi::Value device = object.Get("device");
    if (!device.IsUndefined()) {
        options.device = read_text(device, "device");
        if (options.device.empty()) {
            throw parameter_error("CONFIG_INVALID", "device", "the name of a device", "an empty string");
        }
    }
    const Napi::Value repack   = object.Get("repack");
    options.repack             = !repack.IsUndefined() && read_flag(repack, "repack");
    const Napi::Array adapters = read_array(object.Get("adapters"), "adapters");
    for (uint32_t i = 0; i < adapters.Length(); ++i) {
        const std::string  subject = "adapters[" + std::to_string(i) + "]";
        const Napi::Object adapter = read_object(adapters.Get(i), subject);
        options.adapters.push_back({read_text(adapter.Get("path"), subject + ".path"),
                                    float(read_number(adapter.Get("scale"), subject + ".scale", SCALE))});
    }
    return options;
}

generation_request read_generation_request(const Napi::Value & value) {
    const Napi::Object object  = read_object(value, "request");
    const Napi::Array  prompts = read_array(object.Get("prompts"), "prompts");
    generation_request request;
    for (uint32_t i = 0; i < prompts.Length(); ++i) {
        request.prompts.push_back(read_prompt(prompts.Get(i), "prompts[" + std::to_string(i) + "]"));
    }
    const Napi::Value log_probabilities = object.Get("logProbabilities");
    request.log_probabilities           = !log_probabilities.IsUndefined() && read_flag(log_probabilities, "logProbabilities");
    return request;
}

}  // namespace fedllm::addon
