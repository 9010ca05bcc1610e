// Every architecture beyond llama: logits against llama_decode on the same file, bare and with an adapter on all target
// modules, and the gradient against differences of the core's own loss, over F32 and Q8_0 bases and over sequences longer
// than the sliding windows and than one chunk of attention.
#include <algorithm>

#include "architecture-cases.h"
#include "llama-oracle.h"

using namespace fedllm_test;

namespace {

// How far the core's logits may be from llama_decode's. llama.cpp looks GELU up in a table of F16: one rounding to 11 bits
// costs about 2^-22 / 3 of the variance (8e-8) per layer, and later layers amplify it somewhat. Everything else it computes
// in F32 for an F32 file.
double logits_tolerance(const architecture_case & c) {
    const bool is_gelu = c.options.architecture.rfind("gemma", 0) == 0;
    return is_gelu ? 1.4e-7 * double(c.options.n_layers) : 1e-9;
}

std::string compare_logits(const architecture_case & c, bool with_adapter) {
    const model_pair models = load_core_only(write_case(c, "logits"));
    const auto       tokens = random_tokens(c.options.n_vocab, 150, 41);
    if (!with_adapter) {
        const auto   ours = fedllm::compute_logits(*models.core, nullptr, nullptr, tokens);
        const double error = normalised_mse(ours, llama_oracle(models.path).logits(tokens));
        require_below(error, logits_tolerance(c), "error of the logits");
        return format("%.1e", error);
    }
    const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), 8, 42);
    const std::string  path = temporary_path(c.name + "-adapter.gguf");
    fedllm::adapter_save_gguf(path, *models.core, adapter.options, adapter.weights);
    const auto   ours = fedllm::compute_logits(*models.core, &adapter.options, &adapter.weights, tokens);
    const double error = normalised_mse(ours, llama_oracle(models.path).logits(tokens, path));
    require_below(error, logits_tolerance(c), "error of the adapted logits");
    require(normalised_mse(ours, fedllm::compute_logits(*models.core, nullptr, nullptr, tokens)) > 1e-2, "the adapter changes nothing");
    return format("%.1e", error);
}

bool is_deep(const architecture_case & c) {
    return c.options.n_layers > 40;
}

// As in test-gradients.cpp: fourth order, so that a step may be large and rounding of the loss stays small.
double central_difference(const std::function<double(double)> & loss_at, double h) {
    return (8.0 * (loss_at(h) - loss_at(-h)) - (loss_at(2.0 * h) - loss_at(-2.0 * h))) / (12.0 * h);
}

// A direction inside some tensors, half along the gradient and half random, so that its slope is never near zero.
std::vector<double> choose_direction(const std::vector<float> & gradient, const fedllm::adapter_layout & layout,
                                     const std::function<bool(const fedllm::adapter_tensor &)> & is_part, random_source & random) {
    std::vector<double> direction(gradient.size(), 0.0);
    double              square = 0.0, count = 0.0;
    const auto          for_part = [&](const std::function<void(size_t)> & visit) {
        for (const fedllm::adapter_tensor & tensor : layout.tensors) {
            for (size_t i = 0; is_part(tensor) && i < size_t(tensor.shape[0] * tensor.shape[1]); i++) {
                visit(tensor.offset + i);
            }
        }
    };
    for_part([&](size_t i) {
        square += double(gradient[i]) * double(gradient[i]);
        count += 1.0;
    });
    require(square > 0.0, "a gradient is zero");
    for_part([&](size_t i) {
        direction[i] = double(gradient[i]) / std::sqrt(square) + (random.uniform() < 0.5 ? -1.0 : 1.0) / std::sqrt(count);
    });
    return direction;
}

// For A and for B of every module over all layers, and of every layer over all modules: the loss changes as the gradient
// says. Returns the worst relative error.
std::string check_directions(const architecture_case & c, ggml_type type) {
    const model_pair             models = load_core_only(write_case(c, "directions", type));
    const sample_list            samples = random_samples(c.options.n_vocab, {150, 40, 27}, 0.5, 43);
    adapter_pair                 adapter = random_adapter_of_core(models, modules_of(c.options), 3, 44);
    const core_gradient          gradient = core_loss_and_gradient(models, adapter, samples);
    const fedllm::adapter_layout layout = fedllm::adapter_make_layout(*models.core, adapter.options);
    const std::vector<float>     start = adapter.weights;
    // The loss of a deep random model bends on a shorter scale.
    const double                 step = is_deep(c) ? 1.0 / 512 : 1.0 / 64;
    random_source                random(45);
    double                       worst = 0.0;
    std::string                  where;
    const auto                   check = [&](const std::string & name, const std::function<bool(const fedllm::adapter_tensor &)> & is_part) {
        const std::vector<double> direction = choose_direction(gradient.values, layout, is_part, random);
        double                    expected = 0.0;
        for (size_t i = 0; i < start.size(); i++) {
            expected += direction[i] * double(gradient.values[i]);
        }
        const double slope = central_difference(
            [&](double h) {
                for (size_t i = 0; i < start.size(); i++) {
                    adapter.weights[i] = start[i] + float(h * direction[i]);
                }
                return core_evaluate(models, &adapter, samples).loss_sum;
            },
            step);
        const double error = std::fabs(slope - expected) / std::fabs(expected);
        if (!(error <= worst)) {
            worst = error;
            where = name;
        }
    };
    require_close(core_evaluate(models, &adapter, samples).loss_sum, gradient.loss_sum, 1e-6, "loss of evaluate");
    const std::vector<std::string> modules = modules_of(c.options);
    for (const std::string & module : modules) {
        for (const bool is_b : {false, true}) {
            const std::string part = "." + module + ".weight." + (is_b ? "lora_b" : "lora_a");
            check(part, [&](const fedllm::adapter_tensor & tensor) { return tensor.name.find(part) != std::string::npos; });
        }
    }
    const int64_t stride = std::max<int64_t>(1, c.options.n_layers / 7);
    for (int64_t layer = 0; layer < c.options.n_layers; layer += stride) {
        check(format("layer %d", int(layer)), [&](const fedllm::adapter_tensor & tensor) { return tensor.layer == layer; });
    }
    require_below(worst, 1e-3, "worst relative error, in " + where);
    return format("%.1e", worst);
}

// What an architecture adds must show in llama.cpp's logits, or the comparisons above would not notice its absence.
struct feature_case {
    const char * architecture;
    const char * name;
    void (*remove)(fixture_options &);
};

const feature_case FEATURES[] = {
    {"qwen2", "biases", [](fixture_options & o) { o.biases = false; }},
    {"qwen3", "rope base", [](fixture_options & o) { o.rope_base = 10000.0f; }},
    {"granite", "embedding scale", [](fixture_options & o) { o.float_keys.erase("embedding_scale"); }},
    {"granite", "residual scale", [](fixture_options & o) { o.float_keys.erase("residual_scale"); }},
    {"granite", "attention scale", [](fixture_options & o) { o.float_keys.erase("attention.scale"); }},
    {"granite", "logit scale", [](fixture_options & o) { o.float_keys["logit_scale"] = 1.0f; }},
    {"smollm3", "layers without rotation", [](fixture_options & o) { o.architecture = "llama"; }},
    {"gemma2", "windows", [](fixture_options & o) { o.integer_keys.clear(); }},
    {"gemma2", "cap of the scores", [](fixture_options & o) { o.float_keys.erase("attn_logit_softcapping"); }},
    {"gemma2", "cap of the logits", [](fixture_options & o) { o.float_keys.erase("final_logit_softcapping"); }},
    {"gemma3", "windows", [](fixture_options & o) { o.integer_keys["attention.sliding_window"] = 4096; }},
    {"gemma3", "rope base of windowed layers", [](fixture_options & o) { o.float_keys["rope.freq_base_swa"] = 1000000.0f; }},
    {"gemma3", "layer without a window", [](fixture_options & o) { o.integer_keys["attention.sliding_window_pattern"] = 0; }},
    {"phi3", "rotation of the whole head", [](fixture_options & o) { o.n_rot = 8; }},
};

}  // namespace

FEDLLM_TEST("architectures: llama.cpp loads every fixture and shows every feature in its logits") {
    std::string details;
    for (const architecture_case & c : architecture_cases()) {
        const auto logits = llama_oracle(write_case(c, "oracle")).logits(random_tokens(c.options.n_vocab, 60, 46));
        double     square = 0.0;
        for (const float value : logits) {
            square += double(value) * double(value);
        }
        const double deviation = std::sqrt(square / double(logits.size()));
        require(deviation > 0.2 && deviation < 20.0, c.name + format(": logits have a deviation of %.2g", deviation));
    }
    for (const feature_case & feature : FEATURES) {
        architecture_case c = {feature.architecture, fixture_for_architecture(feature.architecture)};
        const auto        tokens = random_tokens(c.options.n_vocab, 60, 47);
        const auto        whole = llama_oracle(write_case(c, "whole")).logits(tokens);
        feature.remove(c.options);
        const double difference = normalised_mse(llama_oracle(write_case(c, "without")).logits(tokens), whole);
        const auto   what = std::string(feature.architecture) + ", " + feature.name;
        require(difference > 1e3 * logits_tolerance(c), what + format(": changes the logits by %.1e only", difference));
        details += format("%s%s %.0e", details.empty() ? "" : "; ", what.c_str(), difference);
    }
    return details;
}

FEDLLM_TEST("architectures: logits equal llama_decode's over sequences longer than the sliding window") {
    return for_each_supported([](const architecture_case & c) { return compare_logits(c, false); });
}

FEDLLM_TEST("architectures: an adapter of ours on all modules, loaded by llama.cpp, gives our logits") {
    return for_each_supported([](const architecture_case & c) { return compare_logits(c, true); });
}

FEDLLM_TEST("architectures: the loss changes along every module and every layer as the gradient says") {
    return for_each_supported([](const architecture_case & c) { return check_directions(c, GGML_TYPE_F32); });
}

FEDLLM_TEST("architectures: the gradient over a Q8_0 base agrees with differences of the loss") {
    return for_each_supported([](const architecture_case & c) {
        return is_deep(c) ? std::string("left out") : check_directions(c, GGML_TYPE_Q8_0);  // slow, and nothing new
    });
}

FEDLLM_TEST("architectures: mixture-of-experts and recurrent models are refused with their name and the supported list") {
    for (const char * architecture : {"qwen3moe", "qwen2moe", "mamba", "rwkv7", "gemma3n", "no-such-thing"}) {
        fixture_options options;
        options.architecture = architecture;
        const std::string path = temporary_path("foreign.gguf");
        fixture_write(path, options);
        const std::string message = require_error({"MODEL_UNSUPPORTED"}, architecture, [&] { load_core(path); });
        require(message.find(std::string("received ") + architecture) != std::string::npos, std::string(architecture) + ": not named: " + message);
        for (const std::string & name : fixture_architectures()) {
            require(message.find(name) != std::string::npos, name + " is missing in the list of what is supported: " + message);
        }
    }
    // Experts inside a supported architecture, as Mixtral has them.
    fixture_options mixture;
    mixture.integer_keys = {{"expert_count", 8}, {"expert_used_count", 2}};
    const std::string path = temporary_path("mixture.gguf");
    fixture_write(path, mixture);
    const std::string message = require_error({"MODEL_UNSUPPORTED"}, "experts", [&] { load_core(path); });
    require(message.find("experts") != std::string::npos, "the experts are not named: " + message);
    return "7 refused";
}
