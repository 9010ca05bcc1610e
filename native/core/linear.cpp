// See linear.h. The side path is computed as B (A x), never as (B A) x, so that no product of full size is formed.
#include "linear.h"

namespace fedllm {

namespace {

std::vector<const lora_pair *> adapted_pairs(const linear_group & modules) {
    std::vector<const lora_pair *> pairs;
    for (const linear_module * module : modules) {
        if (module->lora.a != nullptr) pairs.push_back(&module->lora);
    }
    return pairs;
}

// A of all pairs, one below the other: [d_in, n * rank].
ggml_tensor * stacked_a(graph_builder & g, const std::vector<const lora_pair *> & pairs) {
    std::vector<ggml_tensor *> parts;
    for (const lora_pair * pair : pairs) parts.push_back(pair->a);
    return parts.size() == 1 ? parts[0] : g.stack_rows(parts);
}

// The rows of pair i in a stacked [n * rank, T].
ggml_tensor * part_of(graph_builder & g, ggml_tensor * stacked, int64_t rank, size_t i) {
    if (stacked->ne[0] == rank) return stacked;
    return ggml_view_2d(g.context(), stacked, rank, stacked->ne[1], stacked->nb[1], i * size_t(rank) * sizeof(float));
}

// scale * A x of all pairs, [n * rank, T].
ggml_tensor * make_side(graph_builder & g, const std::vector<const lora_pair *> & pairs, ggml_tensor * x) {
    return g.product(plain(stacked_a(g, pairs)), plain(x), pairs[0]->scale);
}

ggml_tensor * with_bias(graph_builder & g, const linear_module & module, ggml_tensor * y) {
    return module.bias == nullptr ? y : ggml_add(g.context(), y, module.bias);
}

// scale * B^T dy of all pairs, [n * rank, T].
ggml_tensor * side_gradient(graph_builder & g, const linear_group & modules, const std::vector<ggml_tensor *> & dy) {
    const std::vector<const lora_pair *> pairs = adapted_pairs(modules);
    const int64_t rank = pairs[0]->a->ne[1];
    ggml_tensor * z = pairs.size() == 1 ? nullptr : g.empty_2d(rank * int64_t(pairs.size()), dy[0]->ne[1], false);
    size_t i = 0;
    for (size_t m = 0; m < modules.size(); ++m) {
        const lora_pair & pair = modules[m]->lora;
        if (pair.a == nullptr) continue;
        if (z == nullptr) return g.product(transposed(pair.b), plain(dy[m]), pair.scale);
        z = g.product_into(z, { i * size_t(rank) * sizeof(float), z->nb[1], z->nb[2], 1 }, transposed(pair.b), plain(dy[m]), pair.scale, false);
        ++i;
    }
    return z;
}

// Sums dA = x z^T of all pairs into their buffers: one product over the shared x.
void add_gradient_a(graph_builder & g, const std::vector<const lora_pair *> & pairs, ggml_tensor * x, ggml_tensor * z) {
    if (pairs[0]->gradient_a == nullptr) return;
    if (pairs.size() == 1) {
        g.expand(g.product_add(pairs[0]->gradient_a, transposed(x), transposed(z)));
        return;
    }
    ggml_tensor * all = g.product(transposed(x), transposed(z));  // [d_in, n * rank]
    size_t offset = 0;
    for (const lora_pair * pair : pairs) {
        g.expand(g.add_into(pair->gradient_a, ggml_view_2d(g.context(), all, all->ne[0], pair->a->ne[1], all->nb[1], offset)));
        offset += size_t(pair->a->ne[1]) * all->nb[1];
    }
}

// Backward of one map whose x is dropped by a mask of its own.
ggml_tensor * backward_with_dropout(graph_builder & g, const lora_pair & lora, const dropout_state & dropout, ggml_tensor * x, ggml_tensor * dy, ggml_tensor * dx) {
    ggml_tensor * dropped = g.dropout(x, dropout.token_keys, lora.dropout_key, dropout.probability);
    ggml_tensor * z = g.product(transposed(lora.b), plain(dy), lora.scale);     // scale * B^T dy, [rank, T]
    if (lora.gradient_b != nullptr) {
        ggml_tensor * u = g.product(plain(lora.a), plain(dropped), lora.scale);  // scale * A x,    [rank, T]
        g.expand(g.product_add(lora.gradient_b, transposed(u), transposed(dy)));
    }
    if (lora.gradient_a != nullptr) g.expand(g.product_add(lora.gradient_a, transposed(dropped), transposed(z)));
    if (dx == nullptr) return nullptr;
    ggml_tensor * through = g.product(transposed(lora.a), plain(z));
    through = g.dropout(through, dropout.token_keys, lora.dropout_key, dropout.probability);
    return ggml_add(g.context(), dx, through);
}

}  // namespace

std::vector<ggml_tensor *> linear_forward(graph_builder & g, const linear_group & modules, const dropout_state & dropout, ggml_tensor * x, ggml_tensor ** side) {
    const std::vector<const lora_pair *> pairs = adapted_pairs(modules);
    const bool stacked = dropout.probability == 0.0f && !pairs.empty();
    *side = stacked ? make_side(g, pairs, x) : nullptr;
    std::vector<ggml_tensor *> outputs;
    size_t i = 0;
    for (const linear_module * module : modules) {
        ggml_tensor * y = g.product(plain(module->weight), plain(x));
        const lora_pair & lora = module->lora;
        if (lora.a != nullptr) {
            ggml_tensor * u = stacked ? part_of(g, *side, lora.a->ne[1], i)
                                      : g.product(plain(lora.a), plain(g.dropout(x, dropout.token_keys, lora.dropout_key, dropout.probability)), lora.scale);
            y = g.product_add(y, plain(lora.b), plain(u));
            ++i;
        }
        for (const frozen_pair & pair : module->frozen) y = g.product_add(y, plain(pair.b), plain(g.product(plain(pair.a), plain(x), pair.scale)));
        outputs.push_back(with_bias(g, *module, y));
    }
    return outputs;
}

ggml_tensor * linear_backward(graph_builder & g, const linear_group & modules, const dropout_state & dropout, ggml_tensor * x, ggml_tensor * side,
                              const std::vector<ggml_tensor *> & dy, bool want_dx) {
    ggml_tensor * dx = nullptr;
    for (size_t m = 0; m < modules.size() && want_dx; ++m) {
        const operand weight = transposed(modules[m]->weight);
        dx = dx == nullptr ? g.product(weight, plain(dy[m])) : g.product_add(dx, weight, plain(dy[m]));
        for (const frozen_pair & pair : modules[m]->frozen) dx = g.product_add(dx, transposed(pair.a), plain(g.product(transposed(pair.b), plain(dy[m]), pair.scale)));
    }
    const std::vector<const lora_pair *> pairs = adapted_pairs(modules);
    if (pairs.empty()) return dx;
    if (dropout.probability > 0.0f) {
        for (size_t m = 0; m < modules.size(); ++m) {
            if (modules[m]->lora.a != nullptr) dx = backward_with_dropout(g, modules[m]->lora, dropout, x, dy[m], dx);
        }
        return dx;
    }
    ggml_tensor * z = side_gradient(g, modules, dy);
    if (side == nullptr && pairs[0]->gradient_b != nullptr) side = make_side(g, pairs, x);
    size_t i = 0;
    for (size_t m = 0; m < modules.size(); ++m) {
        const lora_pair & lora = modules[m]->lora;
        if (lora.a == nullptr || lora.gradient_b == nullptr) continue;
        g.expand(g.product_add(lora.gradient_b, transposed(part_of(g, side, lora.a->ne[1], i)), transposed(dy[m])));
        ++i;
    }
    add_gradient_a(g, pairs, x, z);
    return want_dx ? g.product_add(dx, transposed(stacked_a(g, pairs)), plain(z)) : nullptr;
}

}  // namespace fedllm
