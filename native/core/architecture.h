// The table of supported architectures: what distinguishes them, as values that layer.cpp, attention.cpp and loss.cpp read.
// No other file compares an architecture's name.
#pragma once

#include <cstdint>
#include <string>

#include "gguf-file.h"

namespace fedllm {

enum class rope_kind { neighbours, halves };  // which two numbers of a head form a pair
enum class glu_kind { silu, gelu };           // gelu: the tanh form

struct architecture_traits {
    rope_kind rope = rope_kind::neighbours;
    glu_kind  glu  = glu_kind::silu;
    bool      rope_factors = false;  // may have a tensor rope_freqs.weight
    bool      short_factors = false; // may have rope_factors_short.weight and rope_factors_long.weight (LongRoPE)
    bool      partial_rotation = false;  // may rotate only the first numbers of a head
    bool      fused_qkv    = false;  // one weight attn_qkv instead of attn_q, attn_k and attn_v
    bool      fused_gate_up = false; // ffn_up holds the gate's rows first, then its own
    float     rotation_scale = 1.0f; // multiplies rotated numbers (LongRoPE's attention factor)
    bool      always_tied  = false;  // the head is the embedding
    bool      qk_norm    = false;  // RMSNorm over each head of q and k, before the rotation
    bool      post_norms = false;  // RMSNorm of what attention and feed-forward add to the residual
    float     embedding_scale = 1.0f;
    float     residual_scale  = 1.0f;  // of what attention and feed-forward add
    float     logit_scale     = 1.0f;  // multiplies the head's output
    float     attention_scale = 0.0f;  // multiplies q . k
    float     attention_cap   = 0.0f;  // s -> cap * tanh(s / cap); 0: none
    float     logit_cap       = 0.0f;
    int64_t   no_rope_step    = 0;     // layers (l + 1) % step == 0 do not rotate; 0: all rotate
    int64_t   window          = 0;     // a token sees itself and window - 1 before it in windowed layers; 0: no such layers
    int64_t   window_period   = 1;     // layers l % period < period - 1 are windowed
    float     window_rope_base  = 10000.0f;
    float     window_rope_scale = 1.0f;

    bool rotates(int64_t layer) const { return no_rope_step == 0 || (layer + 1) % no_rope_step != 0; }
    bool windowed(int64_t layer) const { return window > 0 && layer % window_period < window_period - 1; }
};

// What the traits depend on besides the file's own keys.
struct architecture_shape {
    int64_t n_layers, n_embd, n_heads, head_length;
    float   rope_base, rope_scale;
};

// Names of the supported architectures, for messages.
std::string architecture_names();

// Throws MODEL_UNSUPPORTED (naming the architecture and the supported ones) or MODEL_LOAD_FAILED for a key out of range.
architecture_traits architecture_read(const gguf_file & file, const std::string & name, const architecture_shape & shape);
// The name in general.architecture, checked against the table before anything else is read.
std::string architecture_check_name(const gguf_file & file);

}  // namespace fedllm
