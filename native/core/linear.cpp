// See linear.h. The side path is computed as B (A x), never as (B A) x, so that no product of full size is formed.
#include "linear.h"

namespace fedllm {

ggml_tensor * linear_forward(graph_builder & g, const linear_module & module, const dropout_state & dropout, ggml_tensor * x) {
    ggml_tensor * y = g.product(plain(module.weight), plain(x));
    const lora_pair & lora = module.lora;
    if (lora.a != nullptr) {
        ggml_tensor * dropped = g.dropout(x, dropout.token_keys, lora.dropout_key, dropout.probability);
        ggml_tensor * u = g.product(plain(lora.a), plain(dropped), lora.scale);  // [rank, T]
        y = g.product_add(y, plain(lora.b), plain(u));
    }
    for (const frozen_pair & pair : module.frozen) y = g.product_add(y, plain(pair.b), plain(g.product(plain(pair.a), plain(x), pair.scale)));
    return module.bias == nullptr ? y : ggml_add(g.context(), y, module.bias);
}

ggml_tensor * linear_backward(graph_builder & g, const linear_module & module, const dropout_state & dropout, ggml_tensor * x,
                              ggml_tensor * dy, ggml_tensor * dx_sum, bool want_dx) {
    ggml_tensor * dx = dx_sum;
    if (want_dx) {
        dx = dx == nullptr ? g.product(transposed(module.weight), plain(dy)) : g.product_add(dx, transposed(module.weight), plain(dy));
    }
    if (want_dx) {
        for (const frozen_pair & pair : module.frozen) dx = g.product_add(dx, transposed(pair.a), plain(g.product(transposed(pair.b), plain(dy), pair.scale)));
    }
    const lora_pair & lora = module.lora;
    if (lora.a == nullptr) return dx;
    ggml_tensor * dropped = g.dropout(x, dropout.token_keys, lora.dropout_key, dropout.probability);
    ggml_tensor * z = g.product(transposed(lora.b), plain(dy), lora.scale);     // scale * B^T dy, [rank, T]
    if (lora.gradient_b != nullptr) {
        ggml_tensor * u = g.product(plain(lora.a), plain(dropped), lora.scale);  // scale * A x,    [rank, T]
        g.expand(g.product_add(lora.gradient_b, transposed(u), transposed(dy)));
    }
    if (lora.gradient_a != nullptr) g.expand(g.product_add(lora.gradient_a, transposed(dropped), transposed(z)));
    if (!want_dx) return dx;
    if (dropout.probability == 0.0f) return g.product_add(dx, transposed(lora.a), plain(z));
    ggml_tensor * through = g.product(transposed(lora.a), plain(z));
    through = g.dropout(through, dropout.token_keys, lora.dropout_key, dropout.probability);
    return ggml_add(g.context(), dx, through);
}

}  // namespace fedllm
