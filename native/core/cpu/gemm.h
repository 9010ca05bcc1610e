// Single-precision matrix product for the CPU: C[n][m] (+)= alpha * sum_k A(m,k) * B(n,k).
// A may be any ggml type and is unpacked to F32 block by block inside the caches, so a quantized weight is never
// dequantised as a whole, neither for W x nor for W^T dy. Every output number is summed in the same order whatever the
// number of threads, so results do not depend on it.
#pragma once

#include <cstdint>

#include "ggml.h"

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

// Computes the part m in [m0, m1), n in [n0, n1). With a transposed quantized A, m0 is a multiple of its block size.
using gemm_range_fn = void (*)(const gemm_problem & problem, int64_t m0, int64_t m1, int64_t n0, int64_t n1);

// See row-kernel.cpp.
using cross_entropy_row_fn = void (*)(float * z, int64_t n, int64_t label, bool gradient, float * stats);

struct gemm_kernel {
    const char *         name;
    gemm_range_fn        run;
    cross_entropy_row_fn cross_entropy_row;
};

// The fastest kernel this processor can execute; chosen once. "avx512", "avx2" or "generic".
const gemm_kernel & gemm_select_kernel();
// A kernel by name for tests; nullptr: not built in or not executable here.
const gemm_kernel * gemm_find_kernel(const char * name);

// The plain triple loop, kept as the oracle of the fast ones.
void gemm_naive(const gemm_problem & problem);

// Share of thread `ith` of `nth` in one problem (batch handled by the caller).
void gemm_run_share(const gemm_kernel & kernel, const gemm_problem & problem, int ith, int nth);

// Unpacks n numbers from `offset` (both multiples of the type's block size) of a row of type `type`.
void gemm_unpack_row(ggml_type type, const uint8_t * row, int64_t offset, int64_t n, float * out);

}  // namespace fedllm
