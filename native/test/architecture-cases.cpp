// Implements architecture-cases.h.
#include "architecture-cases.h"

namespace fedllm_test {

namespace {

// As large as 46 or 62 layers stay quick to compute.
fixture_options deep_and_narrow(const std::string & architecture, int64_t n_layers) {
    fixture_options o = fixture_for_architecture(architecture);
    o.n_layers = n_layers;
    o.n_embd = o.n_ff = 32;
    o.n_heads = o.n_kv_heads = 2;
    return o;
}

std::vector<architecture_case> make_cases() {
    std::vector<architecture_case> cases = {{"llama", {}}};
    const auto add = [&](const std::string & name, fixture_options options, void (*change)(fixture_options &)) {
        change(options);
        cases.push_back({name, options});
    };
    for (const std::string & name : fixture_architectures()) {
        cases.push_back({name, fixture_for_architecture(name)});
    }
    const auto of = [](const char * name) { return fixture_for_architecture(name); };
    add("qwen2, tied", of("qwen2"), [](fixture_options & o) { o.tied_head = true; });
    add("qwen3, tied, scaled", of("qwen3"), [](fixture_options & o) {
        o.tied_head = true;
        o.rope_linear_factor = 2.0f;
    });
    add("granite, biases, factors", of("granite"), [](fixture_options & o) {
        o.biases = o.rope_factors = o.tied_head = true;
        o.float_keys = {{"logit_scale", 0.5f}};
    });
    add("granite without rotation", of("granite"), [](fixture_options & o) {
        o.edit_metadata = [](gguf_context * file) { gguf_set_val_bool(file, "granite.rope.scaling.finetuned", false); };
    });
    add("gemma, scaled", of("gemma"), [](fixture_options & o) { o.rope_linear_factor = 4.0f; });
    add("gemma2, scaled", of("gemma2"), [](fixture_options & o) {
        o.rope_linear_factor = 4.0f;  // of all layers
        o.float_keys["rope.freq_base_swa"] = 500.0f;
        o.integer_keys["attention.sliding_window_pattern"] = 3;
    });
    // The number of layers tells the 27B models, whose scores are scaled by the width per head.
    add("gemma2 of 46 layers", deep_and_narrow("gemma2", 46), [](fixture_options &) {});
    add("gemma3 of 62 layers", deep_and_narrow("gemma3", 62), [](fixture_options &) {});
    add("gemma2, defaults", of("gemma2"), [](fixture_options & o) {
        o.float_keys.clear();
        o.integer_keys.clear();
    });
    add("gemma3, scaled, untied", of("gemma3"), [](fixture_options & o) {
        o.rope_linear_factor = 8.0f;  // of the layers without a window only
        o.tied_head = false;
        o.float_keys.clear();
    });
    add("gemma3, pattern of 3", of("gemma3"), [](fixture_options & o) {
        o.integer_keys["attention.sliding_window_pattern"] = 3;
        o.float_keys["final_logit_softcapping"] = 2.0f;
    });
    add("gemma3 without windows", of("gemma3"), [](fixture_options & o) { o.integer_keys.clear(); });
    add("phi3, partial rotation", of("phi3"), [](fixture_options & o) { o.n_rot = 8; });
    add("phi3, window in the file", of("phi3"), [](fixture_options & o) {
        o.integer_keys["attention.sliding_window"] = 24;
        o.n_kv_heads = 2;
    });
    add("phi3, short factors", of("phi3"), [](fixture_options & o) {
        o.longrope = true;
        o.n_rot = 12;
        o.float_keys["rope.scaling.attn_factor"] = 1.19f;
        o.integer_keys["rope.scaling.original_context_length"] = 4096;
        o.context_length = 131072;
    });
    return cases;
}

}  // namespace

const std::vector<architecture_case> & architecture_cases() {
    static const std::vector<architecture_case> cases = make_cases();
    return cases;
}

std::string write_case(const architecture_case & c, const char * kind, ggml_type type) {
    const std::string path = temporary_path(c.name + "-" + kind + ".gguf");
    fixture_options   options = c.options;
    options.type = type;
    fixture_write(path, options);
    return path;
}

model_pair load_core_only(const std::string & path) {
    return {path, load_core(path), {}};
}

std::vector<std::string> modules_of(const fixture_options & options) {
    return options.fused ? std::vector<std::string>{"attn_qkv", "attn_output", "ffn_up", "ffn_down"} : ALL_MODULES;
}

adapter_pair random_adapter_of_core(const model_pair & models, const std::vector<std::string> & modules, int rank, uint64_t seed) {
    adapter_pair adapter;
    adapter.options.rank = rank;
    adapter.options.lora_alpha = float(2 * rank);
    adapter.options.target_modules = modules;
    random_source random(seed);
    for (const fedllm::adapter_tensor & tensor : fedllm::adapter_make_layout(*models.core, adapter.options).tensors) {
        const double limit = 1.0 / std::sqrt(double(tensor.shape[0]));
        for (int64_t i = 0; i < tensor.shape[0] * tensor.shape[1]; i++) {
            adapter.weights.push_back(float(tensor.is_b ? 0.1 * random.normal() : limit * (2.0 * random.uniform() - 1.0)));
        }
    }
    return adapter;
}

std::string for_each_supported(const std::function<std::string(const architecture_case &)> & check) {
    std::string details, problems;
    for (const architecture_case & c : architecture_cases()) {
        try {
            details += (details.empty() ? "" : ", ") + c.name + " " + check(c);
        } catch (const fedllm::train_error & error) {
            problems += "\n    " + c.name + ": " + error.code + ": " + error.what();
        } catch (const std::exception & error) {
            problems += "\n    " + c.name + ": " + error.what();
        }
    }
    require(problems.empty(), details + problems);
    return details;
}

}  // namespace fedllm_test
