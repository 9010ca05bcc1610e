// Custom operations of the CPU lowering. ggml runs each on one thread; the operation shares its work among the threads of our own
// pool. Parameters are in an op_description that outlives the graph.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/thread-pool.h"
#include "ggml.h"
#include "graph.h"

namespace fedllm {

// What all operations of one engine share.
struct cpu_runtime {
    explicit cpu_runtime(int n_threads, weight_product product = weight_product::f32)
        : pool(n_threads), kernels(cpu_select_kernels()),
          frozen_gemm(product == weight_product::bf16 && kernels.gemm_bf16 != nullptr ? *kernels.gemm_bf16 : *kernels.gemm) {}
    thread_pool         pool;
    const cpu_kernels & kernels;
    const gemm_kernel & frozen_gemm;  // of products with a weight that is not F32, which only frozen ones are
    std::vector<float>  packed;  // scratch of the products
};

struct op_description {
    cpu_runtime * runtime = nullptr;
    // product: src[0] = a, src[1] = b (after the target when it is written in place)
    bool      a_transposed = false;
    bool      b_transposed = false;
    bool      in_place = false;
    bool      accumulate = false;
    float     alpha = 1.0f;  // also the scale of soft_max and soft_cap, and the sign of rotate
    float     cap = 0.0f;
    bool      variant = false;  // glu: gelu; rotate: halves
    placement place;
    // dropout
    uint64_t key = 0;
    float    probability = 0.0f;
    // norms
    float epsilon = 0.0f;
    // cross entropy
    bool  gradient = false;
    float label_smoothing = 0.0f;
};

// Bytes that an operation of a graph takes beside its tensors: the packed operand of a product, for each thread that has its own.
size_t op_scratch_bytes(const ggml_tensor * node);

// What the graph calls a node with this function. Products say which operands are transposed ("t") and whether they are written
// into a tensor that is there.
const char * op_name(const op_description & description, ggml_custom_op_t function);

void op_product(ggml_tensor * dst, int ith, int nth, void * userdata);
void op_nothing(ggml_tensor * dst, int ith, int nth, void * userdata);            // leaves dst undefined
void op_zero(ggml_tensor * dst, int ith, int nth, void * userdata);
void op_stack_rows(ggml_tensor * dst, int ith, int nth, void * userdata);         // src: contiguous matrices
void op_dropout(ggml_tensor * dst, int ith, int nth, void * userdata);            // src: x, token keys
void op_cross_entropy(ggml_tensor * dst, int ith, int nth, void * userdata);      // in place; src: logits, labels, stats
void op_divergence(ggml_tensor * dst, int ith, int nth, void * userdata);         // in place; src: logits, teacher's logits, stats
void op_norm(ggml_tensor * dst, int ith, int nth, void * userdata);               // src: x, gain
void op_norm_backward(ggml_tensor * dst, int ith, int nth, void * userdata);      // src: dy, x, gain, bypass or none
void op_glu(ggml_tensor * dst, int ith, int nth, void * userdata);                // src: gate, up
void op_glu_backward(ggml_tensor * dst, int ith, int nth, void * userdata);       // src: dy, gate, up; dst [n, T, 2]: d_gate, d_up
void op_soft_max(ggml_tensor * dst, int ith, int nth, void * userdata);           // in place; src: scores, mask
void op_soft_max_backward(ggml_tensor * dst, int ith, int nth, void * userdata);  // in place; src: dp, p
void op_rotate(ggml_tensor * dst, int ith, int nth, void * userdata);             // src: x [head, heads, T], turns [n_rot, T]
void op_soft_cap(ggml_tensor * dst, int ith, int nth, void * userdata);           // src: x
void op_soft_cap_backward(ggml_tensor * dst, int ith, int nth, void * userdata);  // in place; src: d, x
void op_add(ggml_tensor * dst, int ith, int nth, void * userdata);                // src: a, b

}  // namespace fedllm
