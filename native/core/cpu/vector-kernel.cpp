// Arithmetic on long vectors, compiled once per instruction set like row-kernel.cpp and without contraction: every product is
// rounded before it is added, so that all instruction sets give the bits of the same loops in plain C++ or JavaScript. What
// an entry of the table computes, and in which order it sums, is said in kernels.h.
#include <algorithm>
#include <cstring>

#include "cpu/kernels.h"

namespace fedllm {

namespace {

// Partial sums beside each other, so that an addition need not wait for the one before it.
constexpr int64_t LANES = 8;
// The part of a sum that stays in the first cache while the terms are added to it one after another.
constexpr int64_t BLOCK = 2048;

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));
typedef float  narrow_lanes __attribute__((vector_size(LANES * sizeof(float))));

inline void load(const double * x, lanes & v) { std::memcpy(&v, x, sizeof v); }

inline void load(const float * x, lanes & v) {
    narrow_lanes narrow;
    std::memcpy(&narrow, x, sizeof narrow);
    v = __builtin_convertvector(narrow, lanes);
}

inline double total(const lanes & part) { return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7])); }

template <typename Number>
inline double sum_products(const Number * x, const Number * y, int64_t n) {
    lanes part = {}, a, b;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        load(x + i, a);
        load(y + i, b);
        part = part + a * b;
    }
    for (int64_t lane = 0; i < n; ++i, ++lane) part[lane] = part[lane] + double(x[i]) * double(y[i]);
    return total(part);
}

// Four terms while their sum is in a register.
inline void add_four(double * __restrict sum, const double * weights, const float * const * terms, int64_t begin, int64_t end) {
    const float * a = terms[0], * b = terms[1], * c = terms[2], * d = terms[3];
    for (int64_t i = begin; i < end; ++i) {
        sum[i] = sum[i] + weights[0] * double(a[i]) + weights[1] * double(b[i]) + weights[2] * double(c[i]) + weights[3] * double(d[i]);
    }
}

inline void add_one(double * __restrict sum, double weight, const float * term, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) sum[i] = sum[i] + weight * double(term[i]);
}

void add_terms(double * sum, const double * weights, const float * const * terms, int64_t n_terms, int64_t n) {
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = std::min(n, begin + BLOCK);
        int64_t k = 0;
        for (; k + 4 <= n_terms; k += 4) add_four(sum, weights + k, terms + k, begin, end);
        for (; k < n_terms; ++k) add_one(sum, weights[k], terms[k], begin, end);
    }
}

void add_scaled(double * __restrict target, double factor, const double * __restrict source, int64_t n) {
    for (int64_t i = 0; i < n; ++i) target[i] = target[i] + factor * source[i];
}

void scale(double * values, double factor, int64_t n) {
    for (int64_t i = 0; i < n; ++i) values[i] = values[i] * factor;
}

void divide(double * values, double divisor, int64_t n) {
    for (int64_t i = 0; i < n; ++i) values[i] = values[i] / divisor;
}

void subtract(const float * a, const float * b, int64_t n, float * __restrict y) {
    for (int64_t i = 0; i < n; ++i) y[i] = float(double(a[i]) - double(b[i]));
}

void add_single(const float * a, const float * b, int64_t n, float * __restrict y) {
    for (int64_t i = 0; i < n; ++i) y[i] = float(double(a[i]) + double(b[i]));
}

void add_double(const float * a, const double * b, int64_t n, float * __restrict y) {
    for (int64_t i = 0; i < n; ++i) y[i] = float(double(a[i]) + b[i]);
}

double dot_single(const float * x, const float * y, int64_t n) { return sum_products(x, y, n); }

double dot_double(const double * x, const double * y, int64_t n) { return sum_products(x, y, n); }

// The inner products of one row with four.
inline void four_products(const double * x, const double * y, int64_t n, double * out) {
    lanes p0 = {}, p1 = {}, p2 = {}, p3 = {}, a, b;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        load(x + i, a);
        load(y + i, b);
        p0 = p0 + a * b;
        load(y + n + i, b);
        p1 = p1 + a * b;
        load(y + 2 * n + i, b);
        p2 = p2 + a * b;
        load(y + 3 * n + i, b);
        p3 = p3 + a * b;
    }
    for (int64_t lane = 0; i < n; ++i, ++lane) {
        p0[lane] = p0[lane] + x[i] * y[i];
        p1[lane] = p1[lane] + x[i] * y[n + i];
        p2[lane] = p2[lane] + x[i] * y[2 * n + i];
        p3[lane] = p3[lane] + x[i] * y[3 * n + i];
    }
    out[0] = total(p0);
    out[1] = total(p1);
    out[2] = total(p2);
    out[3] = total(p3);
}

void row_products(const double * left, int64_t n_left, const double * right, int64_t n_right, int64_t n, double * out) {
    // Four rows of the right side stay in the cache while all of the left pass by.
    int64_t j = 0;
    for (; j + 4 <= n_right; j += 4) {
        for (int64_t i = 0; i < n_left; ++i) four_products(left + i * n, right + j * n, n, out + i * n_right + j);
    }
    for (; j < n_right; ++j) {
        for (int64_t i = 0; i < n_left; ++i) out[i * n_right + j] = sum_products(left + i * n, right + j * n, n);
    }
}

}  // namespace

#if defined(FEDLLM_SIMD_AVX512)
#define FEDLLM_VECTORS VECTORS_AVX512
#elif defined(FEDLLM_SIMD_AVX2)
#define FEDLLM_VECTORS VECTORS_AVX2
#elif defined(FEDLLM_SIMD_NEON)
#define FEDLLM_VECTORS VECTORS_NEON
#else
#define FEDLLM_VECTORS VECTORS_GENERIC
#endif
const vector_kernels FEDLLM_VECTORS = { add_terms, add_scaled, scale, divide, subtract, add_single, add_double, dot_single, dot_double, row_products };

}  // namespace fedllm
