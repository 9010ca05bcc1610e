// Custom operations of the CPU lowering: each has ggml's signature (dst, ith, nth, userdata) and takes its parameters
// from an op_description that outlives the graph.
#pragma once

#include <cstdint>

#include "cpu/gemm.h"
#include "ggml.h"
#include "graph.h"

namespace fedllm {

struct op_description {
    // product: src[0] = a, src[1] = b (after the target when it is written in place)
    bool      a_transposed = false;
    bool      b_transposed = false;
    bool      in_place = false;
    bool      accumulate = false;
    float     alpha = 1.0f;
    placement place;
    // dropout
    uint64_t key = 0;
    float    probability = 0.0f;
    // cross entropy
    bool gradient = false;
    const gemm_kernel * kernel = nullptr;
};

void op_product(ggml_tensor * dst, int ith, int nth, void * userdata);
void op_nothing(ggml_tensor * dst, int ith, int nth, void * userdata);   // leaves dst undefined
void op_zero(ggml_tensor * dst, int ith, int nth, void * userdata);
void op_dropout(ggml_tensor * dst, int ith, int nth, void * userdata);   // src: x, token keys
void op_cross_entropy(ggml_tensor * dst, int ith, int nth, void * userdata);  // in place on logits; src: logits, labels, stats

}  // namespace fedllm
