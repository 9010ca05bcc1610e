// See architecture.h. Facts from the architectures' definitions in llama.cpp v0.4.0, whose logits the tests compare with.
#include "architecture.h"

#include <array>
#include <cmath>

#include "error.h"

namespace fedllm {

namespace {

struct reader {
    const gguf_file &   file;
    const std::string & name;

    float number(const char * key, double fallback, double low, double high) const {
        const double value = file.get_float(name + "." + key).value_or(fallback);
        if (!(value >= low && value <= high)) {
            throw train_error("MODEL_LOAD_FAILED", file.path() + ": key " + name + "." + key + ": expected " + std::to_string(low) + " to " +
                                                       std::to_string(high) + ", received " + std::to_string(value));
        }
        return float(value);
    }

    // A sliding window and how often a layer is without one.
    void windows(architecture_traits & t, uint64_t window, uint64_t period) const {
        window = file.get_unsigned(name + ".attention.sliding_window").value_or(window);
        const std::string key = name + ".attention.sliding_window_pattern";
        const std::vector<uint64_t> pattern = file.get_unsigned_array(key);
        if (pattern.size() > 1) throw train_error("MODEL_UNSUPPORTED", file.path() + ": key " + key + ": expected a number, received a list");
        if (!pattern.empty()) period = pattern[0];
        if (window > (uint64_t(1) << 31) || period < 1 || period > 1000) {
            throw train_error("MODEL_LOAD_FAILED", file.path() + ": " + key + ": expected a window below 2^31 and a pattern from 1 to 1000, received " +
                                                       std::to_string(window) + " and " + std::to_string(period));
        }
        t.window = int64_t(window);
        t.window_period = int64_t(period);
    }
};

void read_llama(const reader &, const architecture_shape &, architecture_traits & t) { t.rope_factors = true; }

void read_qwen2(const reader &, const architecture_shape &, architecture_traits & t) { t.rope = rope_kind::halves; }

void read_qwen3(const reader &, const architecture_shape &, architecture_traits & t) {
    t.rope = rope_kind::halves;
    t.qk_norm = true;
}

void read_granite(const reader & r, const architecture_shape &, architecture_traits & t) {
    t.rope_factors = true;
    // An absent or zero scale means 1 (or 1 / sqrt(head) for the attention).
    const auto scale = [&](const char * key) {
        const float value = r.number(key, 0.0, 0.0, 1e6);
        return value == 0.0f ? 1.0f : value;
    };
    t.embedding_scale = scale("embedding_scale");
    t.residual_scale  = scale("residual_scale");
    t.logit_scale     = 1.0f / r.number("logit_scale", 0.0, 1e-6, 1e6);
    const float attention = r.number("attention.scale", 0.0, 0.0, 1e6);
    if (attention != 0.0f) t.attention_scale = attention;
    if (!r.file.get_bool(r.name + ".rope.scaling.finetuned").value_or(true)) t.no_rope_step = 1;
}

void read_smollm3(const reader &, const architecture_shape &, architecture_traits & t) { t.no_rope_step = 4; }

void read_gemma(const reader &, const architecture_shape & s, architecture_traits & t) {
    t.rope = rope_kind::halves;
    t.glu = glu_kind::gelu;
    t.embedding_scale = std::sqrt(float(s.n_embd));
    t.always_tied = true;
}

void read_gemma2(const reader & r, const architecture_shape & s, architecture_traits & t) {
    read_gemma(r, s, t);
    t.post_norms = true;
    r.windows(t, 4096, 2);
    t.window_rope_base  = r.number("rope.freq_base_swa", s.rope_base, 1e-3, 1e12);
    t.window_rope_scale = s.rope_scale;
    t.attention_cap = r.number("attn_logit_softcapping", 50.0, 1e-3, 1e6);
    t.logit_cap     = r.number("final_logit_softcapping", 30.0, 1e-3, 1e6);
    if (s.n_layers == 46) t.attention_scale = 1.0f / std::sqrt(float(s.n_embd / s.n_heads));  // the 27B model only
}

void read_gemma3(const reader & r, const architecture_shape & s, architecture_traits & t) {
    read_gemma(r, s, t);
    t.post_norms = true;
    t.qk_norm = true;
    t.always_tied = false;
    r.windows(t, 0, 6);
    t.window_rope_base = r.number("rope.freq_base_swa", 10000.0, 1e-3, 1e12);
    t.logit_cap = r.number("final_logit_softcapping", 0.0, 0.0, 1e6);
    if (s.n_layers == 62) t.attention_scale = 1.0f / std::sqrt(float(s.n_embd / s.n_heads));  // the 27B model only
}

// LongRoPE (Ding et al. 2024) has two sets of factors. Training takes the short one, which llama.cpp takes too as long as its context
// does not exceed the original length. llama.cpp ignores the file's sliding window, and so do we.
void read_phi3(const reader & r, const architecture_shape &, architecture_traits & t) {
    t.rope = rope_kind::halves;
    t.fused_qkv = t.fused_gate_up = true;
    t.partial_rotation = true;
    t.short_factors = true;
    t.rotation_scale = r.number("rope.scaling.attn_factor", 1.0, 1e-3, 1e3);
}

struct entry {
    const char * name;
    void (*read)(const reader &, const architecture_shape &, architecture_traits &);
};

constexpr std::array<entry, 9> TABLE = { {
    { "llama", read_llama },  // Llama 2 and 3, Mistral, TinyLlama, SmolLM
    { "qwen2", read_qwen2 },
    { "qwen3", read_qwen3 },
    { "granite", read_granite },
    { "smollm3", read_smollm3 },
    { "gemma", read_gemma },
    { "gemma2", read_gemma2 },
    { "gemma3", read_gemma3 },
    { "phi3", read_phi3 },
} };

}  // namespace

std::string architecture_names() {
    std::string names;
    for (const entry & known : TABLE) names += (names.empty() ? "" : ", ") + std::string(known.name);
    return names;
}

std::string architecture_check_name(const gguf_file & file) {
    const std::optional<std::string> name = file.get_string("general.architecture");
    if (!name) throw train_error("MODEL_LOAD_FAILED", file.path() + ": key general.architecture: expected a name, received nothing");
    for (const entry & known : TABLE) {
        if (*name == known.name) return *name;
    }
    throw train_error("MODEL_UNSUPPORTED", file.path() + ": general.architecture: expected one of " + architecture_names() +
                                               " (llama covers Llama 2 and 3, Mistral, TinyLlama and SmolLM), received " + *name);
}

architecture_traits architecture_read(const gguf_file & file, const std::string & name, const architecture_shape & shape) {
    architecture_traits traits;
    traits.attention_scale = 1.0f / std::sqrt(float(shape.head_length));
    for (const entry & known : TABLE) {
        if (name == known.name) known.read({ file, name }, shape, traits);
    }
    return traits;
}

}  // namespace fedllm
