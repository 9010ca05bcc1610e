// Matrix product for the CPU: C[n][m] (+)= alpha * sum_k A(m,k) * B(n,k), summed in F32.
// A may be any ggml type and is unpacked block by block inside the caches, so a quantized weight is never
// dequantised as a whole, neither for W x nor for W^T dy. Every output number is summed in the same order whatever the
// number of threads, so results do not depend on it.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/thread-pool.h"
#include "ggml.h"
#include "variants.h"

namespace fedllm {

struct gemm_matrix {
    const uint8_t * data;
    ggml_type       type;
    int64_t         row_bytes;   // distance between rows (ggml nb[1])
    // false: a row holds consecutive k for one m (ggml's usual operand); true: a row holds consecutive m for one k.
    bool            transposed;
};

struct gemm_problem {
    gemm_matrix a;
    gemm_matrix b;               // F32 only
    float *     c;
    int64_t     c_row_bytes;     // distance between the outputs of neighbouring n
    int64_t     m, n, k;
    float       alpha;
    bool        accumulate;      // false: C is overwritten
};

// Packed operands and the part of C that one chunk computes; see gemm-kernel.cpp for the layout of the packed B.
struct gemm_kernel {
    // Floats of packed B for n columns and k terms.
    int64_t (*packed_b_size)(int64_t n, int64_t k);
    // Packs columns [n0, n1) (n0 a multiple of column_unit) of B.
    void (*pack_b)(const gemm_problem & problem, int64_t n0, int64_t n1, float * packed);
    // Computes C for m in [m0, m1) and n in [n0, n1), n0 a multiple of column_unit; with a transposed quantized A, m0 is a
    // multiple of its block size.
    void (*multiply)(const gemm_problem & problem, const float * packed_b, int64_t m0, int64_t m1, int64_t n0, int64_t n1);
    int64_t column_unit;
};

// The plain triple loop, kept as the oracle of the fast ones. bf16: both operands are rounded to BF16 first.
void gemm_naive(const gemm_problem & problem, weight_product rounding = weight_product::f32);

// The whole product, shared by the pool's threads. scratch: grows as needed, for the packed B.
void gemm_run(const gemm_kernel & kernel, thread_pool & pool, std::vector<float> & scratch, const gemm_problem & problem);

// Unpacks n numbers from `offset` (both multiples of the type's block size) of a row of type `type`.
void gemm_unpack_row(ggml_type type, const uint8_t * row, int64_t offset, int64_t n, float * out);

}  // namespace fedllm
