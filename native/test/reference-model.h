// The plain reference: a llama model with LoRA in double precision and naive loops, reading the same GGUF as the core
// but sharing no code with it and using no ggml graph. Only as fast as small tests need.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fedllm_test {

// Order of the targets in an adapter: attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down.
constexpr int REFERENCE_MODULES = 7;
extern const char * const REFERENCE_MODULE_NAMES[REFERENCE_MODULES];

struct reference_matrix {
    int64_t             d_in = 0;
    int64_t             d_out = 0;
    std::vector<double> values;  // [d_out][d_in]
};

struct reference_layer {
    std::vector<double>                                  attn_norm, ffn_norm;  // [n_embd]
    std::array<reference_matrix, REFERENCE_MODULES>      linear;
    std::array<std::vector<double>, REFERENCE_MODULES>   bias;  // empty: none
};

// One trainable matrix: A is [rank][d_in], B is [d_out][rank], both row-major at `offset` of the flat weights.
struct reference_tensor {
    std::string name;
    int         layer;
    int         module;
    bool        is_b;
    int64_t     n_columns;  // fastest axis
    int64_t     n_rows;
    size_t      offset;
};

struct reference_adapter {
    int64_t                             rank = 0;
    double                              scale = 0.0;  // lora_alpha / rank
    std::array<bool, REFERENCE_MODULES> targets{};
    std::vector<double>                 weights;
};

struct reference_sample {
    std::vector<int32_t> tokens;
    std::vector<uint8_t> supervised;
};

struct reference_loss {
    double  loss_sum = 0.0;
    int64_t n_supervised = 0;
    int64_t n_correct = 0;
};

class reference_model;

// A teacher to follow, in the words of core/distillation.h.
struct reference_teacher {
    const reference_model *   model = nullptr;
    const reference_adapter * adapter = nullptr;
    double                    hidden_weight = 0.0, divergence_weight = 0.0;
    std::vector<int64_t>      boundaries, teacher_boundaries;
};

struct reference_train_options {
    int64_t               local_steps = 0;
    int64_t               batch_size = 0;
    double                learning_rate = 0.0;
    double                beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0;
    std::optional<double> max_gradient_norm;
    double                proximal_mu = 0.0;
    std::vector<double>   proximal_anchor;  // empty: none
    std::vector<double>   gradient_offset;  // empty: none
    std::vector<double>   rate_factors;     // of each weight's learning rate, 0: frozen; empty: all 1
};

struct reference_train_result {
    std::vector<double> weights, step_losses, gradient_norms;
};

struct reference_cache;

class reference_model {
  public:
    static reference_model load(const std::string & path);

    std::vector<reference_tensor> layout(const reference_adapter & adapter) const;
    size_t                        count_weights(const reference_adapter & adapter) const;

    // [T][n_vocab]; adapter nullptr: the base.
    std::vector<double> logits(const std::vector<int32_t> & tokens, const reference_adapter * adapter) const;
    // Sum of -log p over supervised tokens; gradient, when asked for, is resized and overwritten.
    reference_loss loss(const std::vector<reference_sample> & samples, const reference_adapter * adapter,
                        std::vector<double> * gradient = nullptr) const;
    // States between layers, [T][n_embd] each: the input of each layer and the output of the last; adapter nullptr: the base.
    std::vector<std::vector<double>> states(const std::vector<int32_t> & tokens, const reference_adapter * adapter) const;
    // Sum over samples of the loss of following the teacher; gradient as above.
    double distil(const std::vector<reference_sample> & samples, const reference_adapter & adapter, const reference_teacher & teacher,
                  std::vector<double> & gradient) const;
    reference_train_result train(reference_adapter adapter, const std::vector<reference_sample> & samples,
                                 const reference_train_options & options) const;

    int64_t n_layers = 0, n_embd = 0, n_ff = 0, n_heads = 0, n_kv_heads = 0, head_length = 0, n_vocab = 0;
    double  norm_epsilon = 0.0, rope_base = 0.0, rope_scale = 1.0;

    reference_matrix             token_embd, output;
    std::vector<double>          output_norm, rope_factors;  // rope_factors empty: none
    std::vector<reference_layer> layers;

  private:
    void forward(const std::vector<int32_t> & tokens, const reference_adapter * adapter, reference_cache & cache) const;
    // pulls: gradients that states between layers have of their own, by boundary; empty: none.
    void backward(const reference_adapter & adapter, const reference_cache & cache, std::vector<double> d_x, std::vector<double> & gradient,
                  const std::vector<std::vector<double>> & pulls = {}) const;
    void rotate(std::vector<double> & rows, int64_t n_rows_heads, int64_t n_tokens, double sign) const;
};

}  // namespace fedllm_test
