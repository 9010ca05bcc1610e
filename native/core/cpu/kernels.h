// The table of loops that exist once per instruction set, and the choice among the tables. What a row function computes is
// said at its definition in row-kernel.cpp.
#pragma once

#include <cstdint>

#include "cpu/gemm.h"

namespace fedllm {

// n: numbers in the row. All pointers to F32.
struct row_kernels {
    void (*cross_entropy)(float * z, int64_t n, int64_t label, bool gradient, float smoothing, float * stats);
    void (*divergence)(float * z, const float * teacher, int64_t n, bool gradient, float * stats);
    void (*norm)(const float * x, const float * gain, int64_t n, float epsilon, float * y);
    void (*norm_backward)(const float * dy, const float * x, const float * gain, const float * bypass, int64_t n, float epsilon, float * dx);
    void (*glu)(const float * gate, const float * up, int64_t n, bool gelu, float * y);
    void (*glu_backward)(const float * dy, const float * gate, const float * up, int64_t n, bool gelu, float * d_gate, float * d_up);
    void (*soft_max)(float * x, const float * mask, int64_t n, float scale);
    void (*soft_max_backward)(float * d, const float * p, int64_t n, float scale);
    void (*rotate)(const float * x, const float * turns, int64_t n, int64_t n_rot, bool halves, float sign, float * y);
    void (*soft_cap)(const float * x, int64_t n, float scale, float cap, float * y);
    void (*soft_cap_backward)(float * d, const float * x, int64_t n, float scale, float cap);
    void (*add)(const float * a, const float * b, int64_t n, float * y);
};

// Arithmetic on long vectors of n numbers, every operation in double and rounded by itself, so that all tables give the same
// bits (but for the signs and payloads of NaN). Outputs overlap inputs only where they are named the same. An inner product
// has eight partial sums, of the numbers whose index leaves the same remainder, and adds them as ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
struct vector_kernels {
    // sum[i] += weights[k] * terms[k][i], term after term.
    void (*add_terms)(double * sum, const double * weights, const float * const * terms, int64_t n_terms, int64_t n);
    void (*add_scaled)(double * target, double factor, const double * source, int64_t n);  // target += factor * source
    void (*scale)(double * values, double factor, int64_t n);
    void (*divide)(double * values, double divisor, int64_t n);
    void (*subtract)(const float * a, const float * b, int64_t n, float * y);
    void (*add_single)(const float * a, const float * b, int64_t n, float * y);
    void (*add_double)(const float * a, const double * b, int64_t n, float * y);
    double (*dot_single)(const float * x, const float * y, int64_t n);
    double (*dot_double)(const double * x, const double * y, int64_t n);
    // out[i * n_right + j]: the inner product of row i of left [n_left, n] and row j of right [n_right, n].
    void (*row_products)(const double * left, int64_t n_left, const double * right, int64_t n_right, int64_t n, double * out);
};

struct cpu_kernels {
    const char *           name;       // "avx512bf16", "avx512", "avx2", "neon" or "generic"
    const gemm_kernel *    gemm;
    const gemm_kernel *    gemm_bf16;  // operands rounded to BF16; nullptr: the processor has no such instructions
    const row_kernels *    rows;
    const vector_kernels * vectors;
};

// Only those exist that the build has (cmake/simd.cmake).
extern const gemm_kernel GEMM_GENERIC, GEMM_AVX2, GEMM_AVX512, GEMM_AVX512BF16, GEMM_NEON;
extern const row_kernels ROWS_GENERIC, ROWS_AVX2, ROWS_AVX512, ROWS_NEON;
extern const vector_kernels VECTORS_GENERIC, VECTORS_AVX2, VECTORS_AVX512, VECTORS_NEON;

// The fastest table this processor can execute; chosen once.
const cpu_kernels & cpu_select_kernels();
// A table by name for tests; nullptr: not built in or not executable here.
const cpu_kernels * cpu_find_kernels(const char * name);

}  // namespace fedllm
