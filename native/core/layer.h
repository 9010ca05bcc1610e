// One transformer layer of the llama architecture, forward, recompute and backward:
//   h1 = RMSNorm(x) g1;  q, k, v = linear(h1);  q, k rotated;  mid = x + linear(attention(q, k, v));
//   h2 = RMSNorm(mid) g2;  out = mid + linear(act(gate(h2)) * up(h2)).
// Architectures add norms of q and k, norms and a scale of what joins the residual, windows and caps (architecture.h).
// Kept from forward to backward are x and mid; everything else is kept too or computed again, as the caller chooses.
#pragma once

#include <array>

#include "attention.h"
#include "base-model.h"
#include "linear.h"

namespace fedllm {

struct layer_module {
    std::array<linear_module, MODULE_COUNT> linear;  // indexed by module_kind
    ggml_tensor * attn_norm = nullptr;
    ggml_tensor * ffn_norm = nullptr;
    ggml_tensor * attn_q_norm = nullptr;  // these four where the traits say so
    ggml_tensor * attn_k_norm = nullptr;
    ggml_tensor * attn_post_norm = nullptr;
    ggml_tensor * ffn_post_norm = nullptr;
    bool          rotates = true;
    bool          windowed = false;

    const linear_module & operator[](module_kind kind) const { return linear[size_t(kind)]; }
};

// What all layers of one micro-batch share.
struct layer_inputs {
    const model_info *                  info = nullptr;
    rotation                             angles, window_angles;
    const std::vector<attention_chunk> * chunks = nullptr;
    const std::vector<attention_chunk> * window_chunks = nullptr;  // of windowed layers
    dropout_state                       dropout;
};

// Values of one layer, all F32. x and mid are always there after layer_forward; the rest may be absent (nullptr) until
// layer_recompute makes it again.
struct layer_values {
    ggml_tensor * x = nullptr;     // [n_embd, T]
    ggml_tensor * mid = nullptr;   // [n_embd, T]
    ggml_tensor * h1 = nullptr;    // [n_embd, T]
    ggml_tensor * q_raw = nullptr; // [head, H, T], before norm and rotation
    ggml_tensor * k_raw = nullptr; // [head, H_kv, T]
    ggml_tensor * q = nullptr;     // [head, H, T], normed and rotated
    ggml_tensor * k = nullptr;     // [head, H_kv, T]
    ggml_tensor * v = nullptr;     // [head, H_kv, T]
    ggml_tensor * attended = nullptr;  // [head * H, T]
    ggml_tensor * attn_out = nullptr;  // [n_embd, T], before the post norm
    ggml_tensor * h2 = nullptr;    // [n_embd, T]
    ggml_tensor * gate = nullptr;  // [n_ff, T]
    ggml_tensor * up = nullptr;    // [n_ff, T]
    ggml_tensor * ffn_out = nullptr;  // [n_embd, T], before the post norm
    // What linear_forward gave beside its outputs.
    ggml_tensor * h1_side = nullptr, * attended_side = nullptr, * h2_side = nullptr, * product_side = nullptr;
};

// Returns the layer's output; fills `values`.
ggml_tensor * layer_forward(graph_builder & g, const layer_module & layer, const layer_inputs & inputs, ggml_tensor * x, layer_values & values);

// The values that backward needs, computed again from x and mid. Same operations, so the same bits.
layer_values layer_recompute(graph_builder & g, const layer_module & layer, const layer_inputs & inputs, const layer_values & kept);

// Gradients of the layer's adapters are summed into their buffers; returns the gradient of x, or nullptr when no layer
// below needs it.
ggml_tensor * layer_backward(graph_builder & g, const layer_module & layer, const layer_inputs & inputs, const layer_values & values,
                             ggml_tensor * d_out, bool want_dx);

}  // namespace fedllm
