// The element-wise and row-wise primitives of graph.h: one fused custom operation on the CPU; elsewhere the device's own backward
// operation where it has one, and otherwise the formula in operations that every backend has (training-core sections 5.4 and 5.5).
#include "cpu/ops.h"
#include "graph.h"

namespace fedllm {

ggml_tensor * graph_builder::add(ggml_tensor * a, ggml_tensor * b) {
    if (!rules_.cpu_kernels) return ggml_add(context_, a, b);
    return custom_new(a->ne[0], a->ne[1], a->ne[2], { a, b }, describe(), op_add);
}

ggml_tensor * graph_builder::add_into(ggml_tensor * target, ggml_tensor * value) {
    return rules_.cpu_kernels ? custom(target, { value }, describe(), op_add) : ggml_add_inplace(context_, target, value);
}

ggml_tensor * graph_builder::stack_rows(const std::vector<ggml_tensor *> & parts) {
    ggml_tensor * stacked = parts[0];
    if (!rules_.cpu_kernels) {
        for (size_t i = 1; i < parts.size(); ++i) stacked = ggml_concat(context_, stacked, parts[i], 1);
        return stacked;
    }
    int64_t n_rows = 0;
    for (const ggml_tensor * part : parts) n_rows += part->ne[1];
    return custom_new(stacked->ne[0], n_rows, 1, parts, describe(), op_stack_rows);
}

ggml_tensor * graph_builder::norm(ggml_tensor * x, ggml_tensor * gain, float epsilon) {
    if (!rules_.cpu_kernels) return ggml_mul(context_, ggml_rms_norm(context_, x, epsilon), gain);
    op_description d = describe();
    d.epsilon = epsilon;
    return custom_new(x->ne[0], x->ne[1], x->ne[2], { x, gain }, d, op_norm);
}

ggml_tensor * graph_builder::norm_backward(ggml_tensor * dy, ggml_tensor * x, ggml_tensor * gain, float epsilon, ggml_tensor * bypass) {
    if (rules_.cpu_kernels) {
        op_description d = describe();
        d.epsilon = epsilon;
        std::vector<ggml_tensor *> args = { dy, x, gain };
        if (bypass != nullptr) args.push_back(bypass);
        return custom_new(x->ne[0], x->ne[1], x->ne[2], args, d, op_norm_backward);
    }
    ggml_tensor * t = ggml_mul(context_, dy, gain);
    ggml_tensor * dx = nullptr;
    if (rules_.rms_norm_back) {
        dx = ggml_rms_norm_back(context_, t, x, epsilon);
    } else {
        // dx = (t - xh * mean(t * xh)) / sqrt(mean(x^2) + eps), xh = RMSNorm(x)
        ggml_tensor * xh   = ggml_rms_norm(context_, x, epsilon);
        ggml_tensor * mean = ggml_mean(context_, ggml_mul(context_, t, xh));  // [1, T]
        ggml_tensor * rms  = ggml_sqrt(context_, ggml_scale_bias(context_, ggml_mean(context_, ggml_sqr(context_, x)), 1.0f, epsilon));
        dx = ggml_div(context_, ggml_sub(context_, t, ggml_mul(context_, xh, mean)), rms);
    }
    return bypass != nullptr ? ggml_add(context_, dx, bypass) : dx;
}

namespace {

// Gelu in portable operations: x * sigmoid(x * (A + B x^2)), see cpu/row-kernel.cpp.
constexpr float GELU_A = 1.5957691216057308f;
constexpr float GELU_B = 1.5957691216057308f * 0.044715f;

ggml_tensor * logistic_of_gate(ggml_context * c, ggml_tensor * gate, glu_kind kind) {
    if (kind == glu_kind::silu) return ggml_sigmoid(c, gate);
    return ggml_sigmoid(c, ggml_mul(c, gate, ggml_scale_bias(c, ggml_sqr(c, gate), GELU_B, GELU_A)));
}

}  // namespace

ggml_tensor * graph_builder::glu(ggml_tensor * gate, ggml_tensor * up, glu_kind kind) {
    if (rules_.cpu_kernels) {
        op_description d = describe();
        d.variant = kind == glu_kind::gelu;
        return custom_new(gate->ne[0], gate->ne[1], 1, { gate, up }, d, op_glu);
    }
    if (kind == glu_kind::silu) return ggml_swiglu_split(context_, gate, up);
    return ggml_mul(context_, ggml_mul(context_, gate, logistic_of_gate(context_, gate, kind)), up);
}

graph_builder::gate_gradient graph_builder::glu_backward(ggml_tensor * dy, ggml_tensor * gate, ggml_tensor * up, glu_kind kind) {
    ggml_context * c = context_;
    if (rules_.cpu_kernels) {
        op_description d = describe();
        d.variant = kind == glu_kind::gelu;
        ggml_tensor * both = custom_new(gate->ne[0], gate->ne[1], 2, { dy, gate, up }, d, op_glu_backward);
        return { ggml_view_2d(c, both, gate->ne[0], gate->ne[1], both->nb[1], 0), ggml_view_2d(c, both, gate->ne[0], gate->ne[1], both->nb[1], both->nb[2]) };
    }
    ggml_tensor * d_value = ggml_mul(c, dy, up);
    if (kind == glu_kind::silu && rules_.silu_back) return { ggml_silu_back(c, d_value, gate), ggml_mul(c, dy, ggml_silu(c, gate)) };
    // act'(x) = s + x s (1 - s) w'(x), s = sigmoid(w(x))
    ggml_tensor * s = logistic_of_gate(c, gate, kind);
    ggml_tensor * value = ggml_mul(c, gate, s);
    ggml_tensor * slope = ggml_mul(c, value, ggml_scale_bias(c, s, -1.0f, 1.0f));
    if (kind == glu_kind::gelu) slope = ggml_mul(c, slope, ggml_scale_bias(c, ggml_sqr(c, gate), 3.0f * GELU_B, GELU_A));
    return { ggml_mul(c, d_value, ggml_add(c, slope, s)), ggml_mul(c, dy, value) };
}

ggml_tensor * graph_builder::soft_cap(ggml_tensor * x, float scale, float cap) {
    if (!rules_.cpu_kernels) return ggml_scale(context_, ggml_tanh(context_, ggml_scale(context_, x, scale / cap)), cap);
    op_description d = describe();
    d.alpha = scale;
    d.cap = cap;
    return custom_new(x->ne[0], x->ne[1], x->ne[2], { x }, d, op_soft_cap);
}

ggml_tensor * graph_builder::soft_cap_backward(ggml_tensor * d_y, ggml_tensor * x, float scale, float cap) {
    if (rules_.cpu_kernels) {
        op_description d = describe();
        d.alpha = scale;
        d.cap = cap;
        return custom(d_y, { x }, d, op_soft_cap_backward);
    }
    ggml_tensor * t = ggml_tanh(context_, ggml_scale(context_, x, scale / cap));
    return ggml_mul(context_, d_y, ggml_scale_bias(context_, ggml_sqr(context_, t), -scale, scale));
}

ggml_tensor * graph_builder::soft_max(ggml_tensor * scores, ggml_tensor * mask, float scale) {
    if (!rules_.cpu_kernels) return ggml_soft_max_ext(context_, scores, mask, scale, 0.0f);
    op_description d = describe();
    d.alpha = scale;
    return custom(scores, { mask }, d, op_soft_max);
}

ggml_tensor * graph_builder::soft_max_backward(ggml_tensor * dp, ggml_tensor * p, float scale) {
    if (rules_.cpu_kernels) {
        op_description d = describe();
        d.alpha = scale;
        return custom(dp, { p }, d, op_soft_max_backward);
    }
    if (rules_.soft_max_back) return ggml_soft_max_ext_back(context_, dp, p, scale, 0.0f);
    ggml_tensor * dot = ggml_sum_rows(context_, ggml_mul(context_, p, dp));
    return ggml_scale(context_, ggml_mul(context_, p, ggml_sub(context_, dp, dot)), scale);
}

namespace {

// ggml's names for the kinds: NORM is 0.
int rope_mode(rope_kind kind) { return kind == rope_kind::halves ? GGML_ROPE_TYPE_NEOX : 0; }

}  // namespace

ggml_tensor * graph_builder::rotate(ggml_tensor * x, const rotation & r) {
    if (rules_.cpu_kernels) {
        op_description d = describe();
        d.variant = r.kind == rope_kind::halves;
        return custom_new(x->ne[0], x->ne[1], x->ne[2], { x, r.turns }, d, op_rotate);
    }
    return ggml_rope_ext(context_, x, r.positions, r.factors, r.n_rot, rope_mode(r.kind), 0, r.base, r.scale, 0.0f, r.factor, 0.0f, 0.0f);
}

ggml_tensor * graph_builder::rotate_back(ggml_tensor * x, const rotation & r) {
    if (rules_.cpu_kernels) {
        op_description d = describe();
        d.variant = r.kind == rope_kind::halves;
        d.alpha = -1.0f;
        return custom_new(x->ne[0], x->ne[1], x->ne[2], { x, r.turns }, d, op_rotate);
    }
    return ggml_rope_ext_back(context_, x, r.positions, r.factors, r.n_rot, rope_mode(r.kind), 0, r.base, r.scale, 0.0f, r.factor, 0.0f, 0.0f);
}

}  // namespace fedllm
