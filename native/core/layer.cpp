// See layer.h. Backward is the forward list read upwards.
#include "layer.h"

namespace fedllm {

namespace {

// [head * heads, T] -> [head, heads, T], turned by position.
ggml_tensor * turned_heads(graph_builder & g, const layer_inputs & in, ggml_tensor * x, int64_t n_heads) {
    return g.rotate(ggml_reshape_3d(g.context(), x, in.info->head_length, n_heads, x->ne[1]), in.angles);
}

ggml_tensor * turned_back(graph_builder & g, const layer_inputs & in, ggml_tensor * d) {
    return ggml_reshape_2d(g.context(), g.rotate_back(d, in.angles), d->ne[0] * d->ne[1], d->ne[2]);
}

void project_attention(graph_builder & g, const layer_module & layer, const layer_inputs & in, layer_values & v) {
    v.h1 = g.norm(v.x, layer.attn_norm, in.info->norm_epsilon);
    v.q  = turned_heads(g, in, linear_forward(g, layer[module_kind::attn_q], in.dropout, v.h1), in.info->n_heads);
    v.k  = turned_heads(g, in, linear_forward(g, layer[module_kind::attn_k], in.dropout, v.h1), in.info->n_kv_heads);
    ggml_tensor * values = linear_forward(g, layer[module_kind::attn_v], in.dropout, v.h1);
    v.v  = ggml_reshape_3d(g.context(), values, in.info->head_length, in.info->n_kv_heads, values->ne[1]);
}

void project_ffn(graph_builder & g, const layer_module & layer, const layer_inputs & in, layer_values & v) {
    v.h2   = g.norm(v.mid, layer.ffn_norm, in.info->norm_epsilon);
    v.gate = linear_forward(g, layer[module_kind::ffn_gate], in.dropout, v.h2);
    v.up   = linear_forward(g, layer[module_kind::ffn_up], in.dropout, v.h2);
}

// Returns the gradient of mid.
ggml_tensor * ffn_backward(graph_builder & g, const layer_module & layer, const layer_inputs & in, const layer_values & v, ggml_tensor * d_out) {
    ggml_tensor * product = layer[module_kind::ffn_down].lora.a != nullptr ? g.swiglu(v.gate, v.up) : nullptr;  // only A needs it
    ggml_tensor * d_product = linear_backward(g, layer[module_kind::ffn_down], in.dropout, product, d_out, nullptr, true);
    const graph_builder::gate_gradient d = g.swiglu_backward(d_product, v.gate, v.up);
    ggml_tensor * d_h2 = linear_backward(g, layer[module_kind::ffn_up], in.dropout, v.h2, d.d_up, nullptr, true);
    d_h2 = linear_backward(g, layer[module_kind::ffn_gate], in.dropout, v.h2, d.d_gate, d_h2, true);
    return g.norm_backward(d_h2, v.mid, layer.ffn_norm, in.info->norm_epsilon, d_out);
}

}  // namespace

ggml_tensor * layer_forward(graph_builder & g, const layer_module & layer, const layer_inputs & in, ggml_tensor * x, layer_values & v) {
    v.x = x;
    project_attention(g, layer, in, v);
    v.attended = attention_forward(g, *in.chunks, v.q, v.k, v.v);
    v.mid = g.add(linear_forward(g, layer[module_kind::attn_output], in.dropout, v.attended), x);
    project_ffn(g, layer, in, v);
    ggml_tensor * product = g.swiglu(v.gate, v.up);
    return g.add(linear_forward(g, layer[module_kind::ffn_down], in.dropout, product), v.mid);
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
    ggml_tensor * d_q = turned_back(g, in, d.dq);
    ggml_tensor * d_k = turned_back(g, in, d.dk);
    ggml_tensor * d_v = ggml_reshape_2d(g.context(), d.dv, d.dv->ne[0] * d.dv->ne[1], d.dv->ne[2]);
    ggml_tensor * d_h1 = linear_backward(g, layer[module_kind::attn_q], in.dropout, v.h1, d_q, nullptr, want_dx);
    d_h1 = linear_backward(g, layer[module_kind::attn_k], in.dropout, v.h1, d_k, d_h1, want_dx);
    d_h1 = linear_backward(g, layer[module_kind::attn_v], in.dropout, v.h1, d_v, d_h1, want_dx);
    if (!want_dx) return nullptr;
    ggml_tensor * d_x = g.norm_backward(d_h1, v.x, layer.attn_norm, in.info->norm_epsilon, d_mid);
    g.expand(d_x);
    return d_x;
}

}  // namespace fedllm
