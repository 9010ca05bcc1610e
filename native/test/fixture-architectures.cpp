// What each architecture adds to llama's tensors and keys, as small random models that llama.cpp loads.
#include <stdexcept>

#include "gguf-fixture.h"

namespace fedllm_test {

namespace {

constexpr uint32_t WINDOW = 24;  // tokens; far shorter than the sequences of the tests

using change = void (*)(fixture_options &);

struct architecture_case {
    std::string name;
    change      apply;
};

// Gemma reads no output.weight, multiplies the embedding by sqrt(n_embd) = 8 and has wide heads.
void as_gemma(fixture_options & o) {
    o.tied_head = true;
    o.head_length = 32;
}

void as_gemma2(fixture_options & o) {
    as_gemma(o);
    o.n_layers = 4;
    o.post_norms = true;
    o.integer_keys["attention.sliding_window"] = WINDOW;
    // Scores and logits of the fixture have a deviation of about 2: both caps bend them clearly.
    o.float_keys["attn_logit_softcapping"] = 3.0f;
    o.float_keys["final_logit_softcapping"] = 2.5f;
}

// Seven layers: five windowed, one over everything, one windowed again.
void as_gemma3(fixture_options & o) {
    as_gemma(o);
    o.n_layers = 7;
    o.qk_norms = o.post_norms = true;
    o.rope_base = 1000000.0f;
    o.integer_keys["attention.sliding_window"] = WINDOW;
    o.float_keys["rope.freq_base_swa"] = 5000.0f;
}

void as_granite(fixture_options & o) {
    o.float_keys["embedding_scale"] = 3.0f;
    o.float_keys["residual_scale"] = 0.4f;
    o.float_keys["attention.scale"] = 0.5f;
    o.float_keys["logit_scale"] = 1.7f;
}

void as_phi3(fixture_options & o) {
    o.fused = true;
    o.n_kv_heads = 4;
    o.integer_keys["attention.sliding_window"] = 0;
}

const std::vector<architecture_case> & cases() {
    static const std::vector<architecture_case> list = {
        {"qwen2", [](fixture_options & o) { o.biases = true; o.output_bias = false; o.rope_base = 1000000.0f; }},
        {"qwen3", [](fixture_options & o) { o.qk_norms = true; o.head_length = 32; o.rope_base = 1000000.0f; }},
        {"granite", as_granite},
        {"smollm3", [](fixture_options & o) { o.n_layers = 5; o.tied_head = true; }},
        {"gemma", as_gemma},
        {"gemma2", as_gemma2},
        {"gemma3", as_gemma3},
        {"phi3", as_phi3},
    };
    return list;
}

}  // namespace

const std::vector<std::string> & fixture_architectures() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> list;
        for (const architecture_case & c : cases()) {
            list.push_back(c.name);
        }
        return list;
    }();
    return names;
}

fixture_options fixture_for_architecture(const std::string & architecture) {
    for (const architecture_case & c : cases()) {
        if (c.name == architecture) {
            fixture_options options;
            options.architecture = architecture;
            options.seed = 3;
            c.apply(options);
            return options;
        }
    }
    throw std::runtime_error("fixture: no architecture " + architecture);
}

}  // namespace fedllm_test
