// See layer.h. Backward is the forward list read upwards.
#include "layer.h"

namespace fedllm {

namespace {

const architecture_traits & traits_of(const layer_inputs & in) { return in.info->traits; }

const std::vector<attention_chunk> & chunks_of(const layer_module & layer, const layer_inputs & in) {
    return layer.windowed ? *in.window_chunks : *in.chunks;
}

score_rule rule_of(const layer_inputs & in) { return { traits_of(in).attention_scale, traits_of(in).attention_cap }; }

// [head, heads, T]: norm over each head where there is one, then turned by position.
ggml_tensor * finish_heads(graph_builder & g, const layer_module & layer, const layer_inputs & in, ggml_tensor * raw, ggml_tensor * gain) {
    ggml_tensor * x = gain == nullptr ? raw : g.norm(raw, gain, in.info->norm_epsilon);
    return layer.rotates ? g.rotate(x, layer.windowed ? in.window_angles : in.angles) : x;
}

// Gradient of the raw projection, [head * heads, T].
ggml_tensor * finish_heads_backward(graph_builder & g, const layer_module & layer, const layer_inputs & in, ggml_tensor * d, ggml_tensor * raw,
                                    ggml_tensor * gain) {
    if (layer.rotates) d = g.rotate_back(d, layer.windowed ? in.window_angles : in.angles);
    if (gain != nullptr) d = g.norm_backward(d, raw, gain, in.info->norm_epsilon, nullptr);
    return ggml_reshape_2d(g.context(), d, d->ne[0] * d->ne[1], d->ne[2]);
}

ggml_tensor * heads(graph_builder & g, const layer_inputs & in, ggml_tensor * x, int64_t n_heads) {
    return ggml_reshape_3d(g.context(), x, in.info->head_length, n_heads, x->ne[1]);
}

// Rows [begin, begin + count) of x [rows, T], contiguous.
ggml_tensor * rows_of(graph_builder & g, ggml_tensor * x, int64_t begin, int64_t count) {
    return ggml_cont(g.context(), ggml_view_2d(g.context(), x, count, x->ne[1], x->nb[1], size_t(begin) * x->nb[0]));
}

// The maps of h1, and of h2.
linear_group attention_group(const layer_module & layer, const layer_inputs & in) {
    if (traits_of(in).fused_qkv) return { &layer[module_kind::attn_qkv] };
    return { &layer[module_kind::attn_q], &layer[module_kind::attn_k], &layer[module_kind::attn_v] };
}

linear_group ffn_group(const layer_module & layer, const layer_inputs & in) {
    if (traits_of(in).fused_gate_up) return { &layer[module_kind::ffn_up] };
    return { &layer[module_kind::ffn_up], &layer[module_kind::ffn_gate] };
}

void project_attention(graph_builder & g, const layer_module & layer, const layer_inputs & in, layer_values & v) {
    const model_info & info = *in.info;
    const int64_t d_q = info.n_heads * info.head_length, d_kv = info.n_kv_heads * info.head_length;
    v.h1 = g.norm(v.x, layer.attn_norm, info.norm_epsilon);
    const std::vector<ggml_tensor *> y = linear_forward(g, attention_group(layer, in), in.dropout, v.h1, &v.h1_side);
    const bool fused = traits_of(in).fused_qkv;
    v.q_raw = heads(g, in, fused ? rows_of(g, y[0], 0, d_q) : y[0], info.n_heads);
    v.k_raw = heads(g, in, fused ? rows_of(g, y[0], d_q, d_kv) : y[1], info.n_kv_heads);
    v.v     = heads(g, in, fused ? rows_of(g, y[0], d_q + d_kv, d_kv) : y[2], info.n_kv_heads);
    v.q = finish_heads(g, layer, in, v.q_raw, layer.attn_q_norm);
    v.k = finish_heads(g, layer, in, v.k_raw, layer.attn_k_norm);
}

// Gradient of h1 (nullptr unless wanted) from those of the three projections.
ggml_tensor * project_attention_backward(graph_builder & g, const layer_module & layer, const layer_inputs & in, const layer_values & v, ggml_tensor * d_q,
                                         ggml_tensor * d_k, ggml_tensor * d_v, bool want_dx) {
    if (traits_of(in).fused_qkv) {
        ggml_tensor * d = ggml_concat(g.context(), ggml_concat(g.context(), d_q, d_k, 0), d_v, 0);
        return linear_backward(g, attention_group(layer, in), in.dropout, v.h1, v.h1_side, { d }, want_dx);
    }
    return linear_backward(g, attention_group(layer, in), in.dropout, v.h1, v.h1_side, { d_q, d_k, d_v }, want_dx);
}

void attend(graph_builder & g, const layer_module & layer, const layer_inputs & in, layer_values & v) {
    v.attended = attention_forward(g, chunks_of(layer, in), rule_of(in), v.q, v.k, v.v);
}

void project_ffn(graph_builder & g, const layer_module & layer, const layer_inputs & in, layer_values & v) {
    v.h2   = g.norm(v.mid, layer.ffn_norm, in.info->norm_epsilon);
    const std::vector<ggml_tensor *> y = linear_forward(g, ffn_group(layer, in), in.dropout, v.h2, &v.h2_side);
    const bool fused = traits_of(in).fused_gate_up;
    v.gate = fused ? rows_of(g, y[0], 0, in.info->n_ff) : y[1];
    v.up   = fused ? rows_of(g, y[0], in.info->n_ff, in.info->n_ff) : y[0];
}

ggml_tensor * finish_ffn(graph_builder & g, const layer_module & layer, const layer_inputs & in, layer_values & v) {
    return linear_forward(g, { &layer[module_kind::ffn_down] }, in.dropout, g.glu(v.gate, v.up, traits_of(in).glu), &v.product_side)[0];
}

// residual + scale * norm(branch), as far as the architecture has norm and scale.
ggml_tensor * join(graph_builder & g, const layer_inputs & in, ggml_tensor * branch, ggml_tensor * post_norm, ggml_tensor * residual) {
    if (post_norm != nullptr) branch = g.norm(branch, post_norm, in.info->norm_epsilon);
    return g.add(g.scale(branch, traits_of(in).residual_scale), residual);
}

// Gradient of the branch from the gradient of the joined residual.
ggml_tensor * join_backward(graph_builder & g, const layer_inputs & in, ggml_tensor * d, ggml_tensor * branch, ggml_tensor * post_norm) {
    d = g.scale(d, traits_of(in).residual_scale);
    return post_norm == nullptr ? d : g.norm_backward(d, branch, post_norm, in.info->norm_epsilon, nullptr);
}

// Returns the gradient of mid.
ggml_tensor * ffn_backward(graph_builder & g, const layer_module & layer, const layer_inputs & in, const layer_values & v, ggml_tensor * d_out) {
    ggml_tensor * d_branch = join_backward(g, in, d_out, v.ffn_out, layer.ffn_post_norm);
    // Only A of ffn_down needs the product itself.
    ggml_tensor * product = layer[module_kind::ffn_down].lora.a != nullptr ? g.glu(v.gate, v.up, traits_of(in).glu) : nullptr;
    ggml_tensor * d_product = linear_backward(g, { &layer[module_kind::ffn_down] }, in.dropout, product, v.product_side, { d_branch }, true);
    const graph_builder::gate_gradient d = g.glu_backward(d_product, v.gate, v.up, traits_of(in).glu);
    const bool fused = traits_of(in).fused_gate_up;
    ggml_tensor * d_up = fused ? ggml_concat(g.context(), d.d_gate, d.d_up, 0) : d.d_up;
    const std::vector<ggml_tensor *> d_outputs = fused ? std::vector<ggml_tensor *>{ d_up } : std::vector<ggml_tensor *>{ d_up, d.d_gate };
    ggml_tensor * d_h2 = linear_backward(g, ffn_group(layer, in), in.dropout, v.h2, v.h2_side, d_outputs, true);
    return g.norm_backward(d_h2, v.mid, layer.ffn_norm, in.info->norm_epsilon, d_out);
}

}  // namespace

ggml_tensor * layer_forward(graph_builder & g, const layer_module & layer, const layer_inputs & in, ggml_tensor * x, layer_values & v) {
    v.x = x;
    project_attention(g, layer, in, v);
    attend(g, layer, in, v);
    v.attn_out = linear_forward(g, { &layer[module_kind::attn_output] }, in.dropout, v.attended, &v.attended_side)[0];
    v.mid = join(g, in, v.attn_out, layer.attn_post_norm, x);
    project_ffn(g, layer, in, v);
    v.ffn_out = finish_ffn(g, layer, in, v);
    return join(g, in, v.ffn_out, layer.ffn_post_norm, v.mid);
}

layer_values layer_recompute(graph_builder & g, const layer_module & layer, const layer_inputs & in, const layer_values & kept) {
    layer_values v;
    v.x   = kept.x;
    v.mid = kept.mid;
    project_attention(g, layer, in, v);
    // The attention's output is an input only to A of attn_output and to the post norm; its own gradient does not need it.
    if (layer[module_kind::attn_output].lora.a != nullptr || layer.attn_post_norm != nullptr) attend(g, layer, in, v);
    if (layer.attn_post_norm != nullptr) v.attn_out = linear_forward(g, { &layer[module_kind::attn_output] }, in.dropout, v.attended, &v.attended_side)[0];
    project_ffn(g, layer, in, v);
    if (layer.ffn_post_norm != nullptr) v.ffn_out = finish_ffn(g, layer, in, v);
    return v;
}

ggml_tensor * layer_backward(graph_builder & g, const layer_module & layer, const layer_inputs & in, const layer_values & v, ggml_tensor * d_out,
                             bool want_dx) {
    ggml_tensor * d_mid = ffn_backward(g, layer, in, v, d_out);
    g.expand(d_mid);
    ggml_tensor * d_branch = join_backward(g, in, d_mid, v.attn_out, layer.attn_post_norm);
    ggml_tensor * d_attended = linear_backward(g, { &layer[module_kind::attn_output] }, in.dropout, v.attended, v.attended_side, { d_branch }, true);
    const attention_gradient d = attention_backward(g, chunks_of(layer, in), rule_of(in), v.q, v.k, v.v, d_attended);
    ggml_tensor * d_q = finish_heads_backward(g, layer, in, d.dq, v.q_raw, layer.attn_q_norm);
    ggml_tensor * d_k = finish_heads_backward(g, layer, in, d.dk, v.k_raw, layer.attn_k_norm);
    ggml_tensor * d_v = ggml_reshape_2d(g.context(), d.dv, d.dv->ne[0] * d.dv->ne[1], d.dv->ne[2]);
    ggml_tensor * d_h1 = project_attention_backward(g, layer, in, v, d_q, d_k, d_v, want_dx);
    if (!want_dx) return nullptr;
    ggml_tensor * d_x = g.norm_backward(d_h1, v.x, layer.attn_norm, in.info->norm_epsilon, d_mid);
    g.expand(d_x);
    return d_x;
}

}  // namespace fedllm
