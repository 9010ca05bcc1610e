// See layer.h. Backward is the forward list read upwards.
#include "layer.h"

namespace fedllm {

namespace {

ggml_tensor * norm(graph_builder & g, ggml_tensor * x, ggml_tensor * gain, float epsilon) {
    return ggml_mul(g.context(), ggml_rms_norm(g.context(), x, epsilon), gain);
}

// Rotation of neighbouring pairs (llama.cpp's NORM mode, which the weights of this architecture are stored for). RoPE paper,
// Su et al. 2021, equation 34.
constexpr int ROPE_MODE = 0;

ggml_tensor * rotate(graph_builder & g, const layer_module & layer, const layer_inputs & in, ggml_tensor * x, int64_t n_heads) {
    const model_info & info = *in.info;
    return ggml_rope_ext(g.context(), ggml_reshape_3d(g.context(), x, info.head_length, n_heads, x->ne[1]), in.positions, layer.rope_factors,
                         int(info.n_rot), ROPE_MODE, 0, info.rope_base, info.rope_scale, 0.0f, 1.0f, 0.0f, 0.0f);
}

ggml_tensor * rotate_back(graph_builder & g, const layer_module & layer, const layer_inputs & in, ggml_tensor * d) {
    const model_info & info = *in.info;
    ggml_tensor * turned = ggml_rope_ext_back(g.context(), d, in.positions, layer.rope_factors, int(info.n_rot), ROPE_MODE, 0, info.rope_base,
                                              info.rope_scale, 0.0f, 1.0f, 0.0f, 0.0f);
    return ggml_reshape_2d(g.context(), turned, d->ne[0] * d->ne[1], d->ne[2]);
}

void project_attention(graph_builder & g, const layer_module & layer, const layer_inputs & in, layer_values & v) {
    v.h1 = norm(g, v.x, layer.attn_norm, in.info->norm_epsilon);
    v.q  = rotate(g, layer, in, linear_forward(g, layer[module_kind::attn_q], in.dropout, v.h1), in.info->n_heads);
    v.k  = rotate(g, layer, in, linear_forward(g, layer[module_kind::attn_k], in.dropout, v.h1), in.info->n_kv_heads);
    ggml_tensor * values = linear_forward(g, layer[module_kind::attn_v], in.dropout, v.h1);
    v.v  = ggml_reshape_3d(g.context(), values, in.info->head_length, in.info->n_kv_heads, values->ne[1]);
}

void project_ffn(graph_builder & g, const layer_module & layer, const layer_inputs & in, layer_values & v) {
    v.h2   = norm(g, v.mid, layer.ffn_norm, in.info->norm_epsilon);
    v.gate = linear_forward(g, layer[module_kind::ffn_gate], in.dropout, v.h2);
    v.up   = linear_forward(g, layer[module_kind::ffn_up], in.dropout, v.h2);
}

// d/dx of RMSNorm(x) * gain, added to the gradient that bypasses the norm.
ggml_tensor * norm_backward_add(graph_builder & g, ggml_tensor * dy, ggml_tensor * x, ggml_tensor * gain, float epsilon, ggml_tensor * bypass) {
    ggml_tensor * dx = g.rms_norm_backward(ggml_mul(g.context(), dy, gain), x, epsilon);
    return ggml_add(g.context(), dx, bypass);
}

// Returns the gradient of mid.
ggml_tensor * ffn_backward(graph_builder & g, const layer_module & layer, const layer_inputs & in, const layer_values & v, ggml_tensor * d_out) {
    ggml_context * c = g.context();
    ggml_tensor * product = ggml_swiglu_split(c, v.gate, v.up);
    ggml_tensor * d_product = linear_backward(g, layer[module_kind::ffn_down], in.dropout, product, d_out, nullptr, true);
    ggml_tensor * d_up   = ggml_mul(c, d_product, ggml_silu(c, v.gate));
    ggml_tensor * d_gate = g.silu_backward(ggml_mul(c, d_product, v.up), v.gate);
    ggml_tensor * d_h2 = linear_backward(g, layer[module_kind::ffn_up], in.dropout, v.h2, d_up, nullptr, true);
    d_h2 = linear_backward(g, layer[module_kind::ffn_gate], in.dropout, v.h2, d_gate, d_h2, true);
    return norm_backward_add(g, d_h2, v.mid, layer.ffn_norm, in.info->norm_epsilon, d_out);
}

}  // namespace

ggml_tensor * layer_forward(graph_builder & g, const layer_module & layer, const layer_inputs & in, ggml_tensor * x, layer_values & v) {
    v.x = x;
    project_attention(g, layer, in, v);
    v.attended = attention_forward(g, *in.chunks, v.q, v.k, v.v);
    v.mid = ggml_add(g.context(), linear_forward(g, layer[module_kind::attn_output], in.dropout, v.attended), x);
    project_ffn(g, layer, in, v);
    ggml_tensor * product = ggml_swiglu_split(g.context(), v.gate, v.up);
    return ggml_add(g.context(), linear_forward(g, layer[module_kind::ffn_down], in.dropout, product), v.mid);
}

layer_values layer_recompute(graph_builder & g, const layer_module & layer, const layer_inputs & in, const layer_values & kept) {
    layer_values v;
    v.x   = kept.x;
    v.mid = kept.mid;
    project_attention(g, layer, in, v);
    // The attention's output is an input only to A of attn_output; its gradient does not need it.
    if (layer[module_kind::attn_output].lora.a != nullptr) v.attended = attention_forward(g, *in.chunks, v.q, v.k, v.v);
    project_ffn(g, layer, in, v);
    return v;
}

ggml_tensor * layer_backward(graph_builder & g, const layer_module & layer, const layer_inputs & in, const layer_values & v, ggml_tensor * d_out,
                             bool want_dx) {
    ggml_tensor * d_mid = ffn_backward(g, layer, in, v, d_out);
    g.expand(d_mid);
    ggml_tensor * d_attended = linear_backward(g, layer[module_kind::attn_output], in.dropout, v.attended, d_mid, nullptr, true);
    const attention_gradient d = attention_backward(g, *in.chunks, v.q, v.k, v.v, d_attended);
    ggml_tensor * d_q = rotate_back(g, layer, in, d.dq);
    ggml_tensor * d_k = rotate_back(g, layer, in, d.dk);
    ggml_tensor * d_v = ggml_reshape_2d(g.context(), d.dv, d.dv->ne[0] * d.dv->ne[1], d.dv->ne[2]);
    ggml_tensor * d_h1 = linear_backward(g, layer[module_kind::attn_q], in.dropout, v.h1, d_q, nullptr, want_dx);
    d_h1 = linear_backward(g, layer[module_kind::attn_k], in.dropout, v.h1, d_k, d_h1, want_dx);
    d_h1 = linear_backward(g, layer[module_kind::attn_v], in.dropout, v.h1, d_v, d_h1, want_dx);
    if (!want_dx) return nullptr;
    ggml_tensor * d_x = norm_backward_add(g, d_h1, v.x, layer.attn_norm, in.info->norm_epsilon, d_mid);
    g.expand(d_x);
    return d_x;
}

}  // namespace fedllm
