// What the reference's forward pass keeps for its backward pass.
#pragma once

#include "reference-math.h"
#include "reference-model.h"

namespace fedllm_test {

struct adapter_offsets {
    size_t a = 0, b = 0;
    bool   exists = false;
};

struct layer_cache {
    vec                               x, attn_in, q, k, v, p, attn_out, x_mid, ffn_in, gate, up, act;  // p: [head][T][T]
    std::array<vec, REFERENCE_MODULES> u;  // A x, [T][rank]
};

struct reference_cache {
    int64_t                                                     n_tokens = 0;
    std::vector<std::array<adapter_offsets, REFERENCE_MODULES>> offsets;
    std::vector<layer_cache>                                    layers;
    vec                                                         x_last, head_in;

    // W x + b + scale * B A x; keeps A x for the backward pass.
    vec linear(const reference_model & model, const reference_adapter * adapter, size_t layer, int module, const vec & x) {
        const reference_matrix & w = model.layers[layer].linear[size_t(module)];
        const vec &              bias = model.layers[layer].bias[size_t(module)];
        vec                      y = multiply_transposed(w.values.data(), w.d_out, w.d_in, x, n_tokens);
        for (size_t i = 0; !bias.empty() && i < y.size(); i++) {
            y[i] += bias[i % bias.size()];
        }
        const adapter_offsets at = offsets[layer][size_t(module)];
        if (at.exists) {
            vec & u = layers[layer].u[size_t(module)];
            u = multiply_transposed(&adapter->weights[at.a], adapter->rank, w.d_in, x, n_tokens);
            const vec side = multiply_transposed(&adapter->weights[at.b], w.d_out, adapter->rank, u, n_tokens);
            for (size_t i = 0; i < y.size(); i++) {
                y[i] += adapter->scale * side[i];
            }
        }
        return y;
    }

    // Adds to d_x and, for an adapted module, to the gradient of its A and B.
    void linear_backward(const reference_model & model, const reference_adapter & adapter, size_t layer, int module,
                         const vec & x, const vec & d_y, vec & d_x, vec & gradient) const {
        const reference_matrix & w = model.layers[layer].linear[size_t(module)];
        add_product(w.values.data(), w.d_out, w.d_in, d_y, n_tokens, d_x);
        const adapter_offsets at = offsets[layer][size_t(module)];
        if (!at.exists) {
            return;
        }
        add_outer(d_y, w.d_out, layers[layer].u[size_t(module)], adapter.rank, n_tokens, adapter.scale, &gradient[at.b]);
        vec z(size_t(n_tokens * adapter.rank));  // scale * B^T dy
        add_product(&adapter.weights[at.b], w.d_out, adapter.rank, d_y, n_tokens, z);
        for (double & value : z) {
            value *= adapter.scale;
        }
        add_outer(z, adapter.rank, x, w.d_in, n_tokens, 1.0, &gradient[at.a]);
        add_product(&adapter.weights[at.a], adapter.rank, w.d_in, z, n_tokens, d_x);
    }
};

}  // namespace fedllm_test
