// Writes small random GGUF models: seeded, of any architecture in fixture_architectures(), of any shape and weight type,
// and on request broken in a chosen way. Every type is quantized from the same F32 source, so files of one seed differ in
// type only. What an architecture adds to llama's tensors and keys is set by fixture_for_architecture.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ggml.h"
#include "gguf.h"

namespace fedllm_test {

// SplitMix64 with Box-Muller: the same numbers on every platform, which std::normal_distribution does not promise.
class random_source {
  public:
    explicit random_source(uint64_t seed) : state_(seed) {}
    uint64_t next();
    double   uniform();  // [0, 1)
    double   normal();   // mean 0, deviation 1
    int64_t  below(int64_t bound) { return int64_t(next() % uint64_t(bound)); }

  private:
    uint64_t state_;
};

struct fixture_options {
    std::string architecture = "llama";  // prefix of the keys too
    int64_t   n_layers = 2;
    int64_t   n_embd = 64;
    int64_t   n_ff = 96;
    int64_t   n_heads = 4;
    int64_t   n_kv_heads = 2;
    int64_t   head_length = 0;  // 0: n_embd / n_heads
    int64_t   n_vocab = 97;
    int64_t   context_length = 256;
    ggml_type type = GGML_TYPE_F32;  // of all matrices
    bool      mixed = false;         // as Q4_K_M: Q6_K for attn_v, ffn_down and the head, Q4_K elsewhere
    bool      tied_head = false;
    bool      biases = false;        // on attn_q, attn_k and attn_v
    bool      output_bias = true;    // with biases: on attn_output too
    bool      rope_factors = false;
    float     rope_base = 10000.0f;
    float     rope_linear_factor = 1.0f;  // 1: the keys are absent
    float     norm_epsilon = 1e-5f;
    uint64_t  seed = 1;

    // Beyond llama.
    bool                      qk_norms = false;     // attn_q_norm and attn_k_norm, each [key_length]
    bool                      post_norms = false;   // post_attention_norm and post_ffw_norm
    bool                      fused = false;        // attn_qkv instead of q, k and v; ffn_up holds gate and up
    bool                      longrope = false;     // rope_factors_long.weight and rope_factors_short.weight
    int64_t                   n_rot = 0;            // 0: key_length
    std::map<std::string, float>    float_keys;     // without the architecture's name in front
    std::map<std::string, uint32_t> integer_keys;

    // Damage, for tests of the loader.
    std::set<std::string>                       dropped_tensors;
    std::map<std::string, std::vector<int64_t>> other_shapes;
    std::map<std::string, ggml_type>            other_types;
    std::function<void(gguf_context *)>         edit_metadata;

    int64_t key_length() const { return head_length == 0 ? n_embd / n_heads : head_length; }
    int64_t rotated_length() const { return n_rot == 0 ? key_length() : n_rot; }
};

void fixture_write(const std::string & path, const fixture_options & options);

// Every architecture that fixture_for_architecture knows.
const std::vector<std::string> & fixture_architectures();

// A small model with everything that is special about the architecture switched on: sliding windows of 24 tokens, soft
// caps and scales that change the logits clearly, as many layers as the pattern of its layers needs.
fixture_options fixture_for_architecture(const std::string & architecture);

// Shape for which every supported type is allowed: rows of whole 256-blocks.
fixture_options fixture_for_type(ggml_type type);

// Every type that llama.cpp's quantizer writes, and one of its mixes.
struct weight_type_case {
    std::string     name;
    fixture_options options;
};
const std::vector<weight_type_case> & fixture_weight_types();

}  // namespace fedllm_test
