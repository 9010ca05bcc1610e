// The frozen base: weights in backend buffers (on the CPU mapped straight from the file), shared by everything that
// trains or evaluates over it. Thread-safe for reading.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "architecture.h"
#include "backend.h"
#include "gguf-file.h"
#include "measurements.h"
#include "transposes.h"
#include "variants.h"

namespace fedllm {

// Linear weights that an adapter may target, in layout order.
// attn_qkv exists where the traits say fused_qkv, in place of the first three; ffn_gate does not where they say fused_gate_up.
enum class module_kind { attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down, attn_qkv };
constexpr size_t MODULE_COUNT = 8;
extern const std::array<const char *, MODULE_COUNT> MODULE_NAMES;  // "attn_q", ...

struct model_info {
    std::string                  architecture;
    std::string                  name;  // empty: not in the file
    int64_t                      n_layers = 0;
    int64_t                      n_embd = 0;
    int64_t                      n_ff = 0;
    int64_t                      n_heads = 0;
    int64_t                      n_kv_heads = 0;
    int64_t                      head_length = 0;
    int64_t                      n_vocab = 0;
    int64_t                      context_length = 0;
    bool                         tied_head = false;
    int64_t                      n_parameters = 0;
    size_t                       weight_bytes = 0;
    std::map<std::string, int64_t> tensor_types;  // ggml type name -> number of tensors
    // RoPE
    int64_t                      n_rot = 0;
    float                        rope_base = 10000.0f;
    float                        rope_scale = 1.0f;  // frequency scale, 1/factor for linear scaling
    float                        norm_epsilon = 1e-5f;
    architecture_traits          traits;
};

struct layer_weights {
    ggml_tensor * attn_norm = nullptr;   // [n_embd]
    ggml_tensor * ffn_norm  = nullptr;   // [n_embd]
    ggml_tensor * attn_q_norm = nullptr;     // [head_length]; these two where traits.qk_norm
    ggml_tensor * attn_k_norm = nullptr;
    ggml_tensor * attn_post_norm = nullptr;  // [n_embd]; these two where traits.post_norms
    ggml_tensor * ffn_post_norm = nullptr;
    // Indexed by module_kind, each [d_in, d_out]; nullptr: the architecture has no such module.
    std::array<ggml_tensor *, MODULE_COUNT> linear{};
    // Optional biases, [d_out]; nullptr: none.
    std::array<ggml_tensor *, MODULE_COUNT> bias{};
};

// Where weights are. measured: described but not loaded, for the planner; nothing can be computed with them. streamed: in the mapped
// file, from which each engine copies what it needs next (layer-stream.h).
enum class weight_placement { resident, measured, streamed };

struct model_options {
    std::string device;         // empty: the CPU
    int         n_threads = 1;
    kernel_variants variants = {};  // what the device cannot do is ignored
    weight_placement placement = weight_placement::resident;
    std::optional<size_t> weight_limit_bytes = std::nullopt;  // larger weights are streamed; absent: never
};

class base_model {
  public:
    // Throws MODEL_LOAD_FAILED, MODEL_UNSUPPORTED, OUT_OF_MEMORY.
    static std::shared_ptr<base_model> load(const std::string & path, const model_options & options);
    ~base_model();

    const model_info &                 info() const { return info_; }
    const model_options &              options() const { return options_; }
    const std::vector<layer_weights> & layers() const { return layers_; }
    ggml_tensor *                      token_embd() const { return token_embd_; }    // [n_embd, n_vocab]
    ggml_tensor *                      output_norm() const { return output_norm_; }  // [n_embd]
    ggml_tensor *                      rope_factors() const { return rope_factors_; }  // [n_rot / 2]; nullptr: none
    ggml_tensor *                      output() const { return output_; }            // [n_embd, n_vocab]; token_embd when tied
    // The matrices whose transposes the backward pass multiplies with, each once.
    std::vector<ggml_tensor *>         matrices() const;
    // Copies W^T that products use where there are no CPU kernels; nullptr: none.
    const transpose_map *              transposes() const { return transposes_ ? &transposes_->map() : nullptr; }
    // Lets the system forget that this process has read a tensor of a described or streamed model; it is read again when needed.
    void                               release_pages(const ggml_tensor * tensor) const;
    // Makes them; load does where options ask for it and the device can. Throws MODEL_UNSUPPORTED, OUT_OF_MEMORY.
    void                               make_transposes(transpose_cache type);
    // What graphs over this model take.
    graph_measurements &               measurements() const { return measurements_; }

  private:
    base_model() = default;
    friend struct base_model_loader;
    model_info                    info_;
    model_options                 options_;
    std::shared_ptr<gguf_file>    file_;
    ggml_context *                context_ = nullptr;
    std::vector<ggml_backend_buffer_t> buffers_;
    std::unique_ptr<transposed_weights> transposes_;
    std::vector<layer_weights>    layers_;
    ggml_tensor *                 token_embd_ = nullptr;
    ggml_tensor *                 output_norm_ = nullptr;
    ggml_tensor *                 output_ = nullptr;
    ggml_tensor *                 rope_factors_ = nullptr;
    mutable graph_measurements    measurements_;
};

}  // namespace fedllm
