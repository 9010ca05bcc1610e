// A frozen linear map with an optional LoRA pair, forward and backward (LoRA paper, equation 3):
// y = W x + bias + scale * B (A drop(x)) + sum over frozen pairs of scale_f * B_f (A_f x).
#pragma once

#include <vector>

#include "graph.h"

namespace fedllm {

// Views into the flat buffers of weights and gradients. a == nullptr: the module is not adapted.
struct lora_pair {
    ggml_tensor * a = nullptr;          // [d_in, rank]
    ggml_tensor * b = nullptr;          // [rank, d_out]
    ggml_tensor * gradient_a = nullptr; // summed into; nullptr: that half is not trained
    ggml_tensor * gradient_b = nullptr;
    float         scale = 0.0f;
    uint64_t      dropout_key = 0;
};

// A pair that is not trained.
struct frozen_pair {
    ggml_tensor * a = nullptr;  // [d_in, rank]
    ggml_tensor * b = nullptr;  // [rank, d_out]
    float         scale = 0.0f;
};

// What the dropout of a micro-batch needs; probability 0: none.
struct dropout_state {
    float         probability = 0.0f;
    ggml_tensor * token_keys = nullptr;  // I32 [2, T]; CPU kernels only
};

struct linear_module {
    ggml_tensor * weight = nullptr;  // [d_in, d_out]
    ggml_tensor * bias = nullptr;    // [d_out] or nullptr
    lora_pair     lora;
    std::vector<frozen_pair> frozen;
};

// Maps of one x: q, k and v, or gate and up, or one alone. Their side paths are computed together where x is the same for all,
// that is without dropout (each module drops by a key of its own): one product with all A over x, one for all dA, one for dx.
using linear_group = std::vector<const linear_module *>;

// x [d_in, T] -> [d_out, T] for each module, in order. side receives scale * A x of the adapted ones, [n * rank, T], or nullptr.
std::vector<ggml_tensor *> linear_forward(graph_builder & g, const linear_group & modules, const dropout_state & dropout, ggml_tensor * x, ggml_tensor ** side);

// dy: the gradients of the outputs, in order. Adds the pairs' gradients to their buffers and, when want_dx, returns the sum of
// W^T dy and the pairs' parts. side: from linear_forward, or nullptr to compute it again.
ggml_tensor * linear_backward(graph_builder & g, const linear_group & modules, const dropout_state & dropout, ggml_tensor * x, ggml_tensor * side,
                              const std::vector<ggml_tensor *> & dy, bool want_dx);

}  // namespace fedllm
