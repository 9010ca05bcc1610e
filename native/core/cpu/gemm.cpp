// Kernel selection, the split of one product over threads, and the naive oracle. The fast loops are in gemm-kernel.cpp,
// compiled once per instruction set.
#include "cpu/gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace fedllm {

#if defined(FEDLLM_HAVE_X86_KERNELS)
void gemm_range_avx512(const gemm_problem &, int64_t, int64_t, int64_t, int64_t);
void cross_entropy_row_avx512(float *, int64_t, int64_t, bool, float *);
void gemm_range_avx2(const gemm_problem &, int64_t, int64_t, int64_t, int64_t);
void cross_entropy_row_avx2(float *, int64_t, int64_t, bool, float *);
#endif
void gemm_range_generic(const gemm_problem &, int64_t, int64_t, int64_t, int64_t);
void cross_entropy_row_generic(float *, int64_t, int64_t, bool, float *);

namespace {

const gemm_kernel KERNEL_GENERIC = { "generic", gemm_range_generic, cross_entropy_row_generic };
#if defined(FEDLLM_HAVE_X86_KERNELS)
const gemm_kernel KERNEL_AVX512 = { "avx512", gemm_range_avx512, cross_entropy_row_avx512 };
const gemm_kernel KERNEL_AVX2   = { "avx2", gemm_range_avx2, cross_entropy_row_avx2 };

bool cpu_has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
}

// Every processor with AVX2 and FMA also converts half floats (F16C).
bool cpu_has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

const gemm_kernel * select() {
#if defined(FEDLLM_HAVE_X86_KERNELS)
    if (cpu_has_avx512()) return &KERNEL_AVX512;
    if (cpu_has_avx2()) return &KERNEL_AVX2;
#endif
    return &KERNEL_GENERIC;
}

}  // namespace

const gemm_kernel & gemm_select_kernel() {
    static const gemm_kernel * kernel = select();
    return *kernel;
}

const gemm_kernel * gemm_find_kernel(const char * name) {
#if defined(FEDLLM_HAVE_X86_KERNELS)
    if (std::strcmp(name, "avx512") == 0) return cpu_has_avx512() ? &KERNEL_AVX512 : nullptr;
    if (std::strcmp(name, "avx2") == 0) return cpu_has_avx2() ? &KERNEL_AVX2 : nullptr;
#endif
    return std::strcmp(name, "generic") == 0 ? &KERNEL_GENERIC : nullptr;
}

void gemm_unpack_row(ggml_type type, const uint8_t * row, int64_t offset, int64_t n, float * out) {
    const uint8_t * source = row + offset / ggml_blck_size(type) * int64_t(ggml_type_size(type));
    if (type == GGML_TYPE_F32) {
        std::memcpy(out, source, size_t(n) * sizeof(float));
    } else {
        ggml_get_type_traits(type)->to_float(source, out, n);
    }
}

void gemm_naive(const gemm_problem & p) {
    const int64_t rows_a   = p.a.transposed ? p.k : p.m;
    const int64_t length_a = p.a.transposed ? p.m : p.k;
    std::vector<float> a(size_t(rows_a) * size_t(length_a));
    for (int64_t i = 0; i < rows_a; ++i) {
        gemm_unpack_row(p.a.type, p.a.data + i * p.a.row_bytes, 0, length_a, a.data() + i * length_a);
    }
    for (int64_t n = 0; n < p.n; ++n) {
        float * c = reinterpret_cast<float *>(reinterpret_cast<uint8_t *>(p.c) + n * p.c_row_bytes);
        for (int64_t m = 0; m < p.m; ++m) {
            double sum = 0.0;
            for (int64_t k = 0; k < p.k; ++k) {
                const int64_t row_b = p.b.transposed ? k : n;
                const int64_t col_b = p.b.transposed ? n : k;
                const float   b = reinterpret_cast<const float *>(p.b.data + row_b * p.b.row_bytes)[col_b];
                sum += double(p.a.transposed ? a[size_t(k * p.m + m)] : a[size_t(m * p.k + k)]) * double(b);
            }
            c[m] = float(double(p.alpha) * sum) + (p.accumulate ? c[m] : 0.0f);
        }
    }
}

void gemm_run_share(const gemm_kernel & kernel, const gemm_problem & p, int ith, int nth) {
    if (p.m == 0 || p.n == 0) return;
    // Units that keep vectors whole; a transposed quantized A can only be cut between its blocks.
    const int64_t unit_m = p.a.transposed ? std::max<int64_t>(32, ggml_blck_size(p.a.type)) : 32;
    const int64_t unit_n = 12;
    const auto share = [&](int64_t total, int64_t unit) {
        const int64_t units = (total + unit - 1) / unit;
        return (units + nth - 1) / nth * unit;  // longest share
    };
    // Split the side with the better balance; on a tie A, so that each of its blocks is unpacked once.
    const double balance_m = double(p.m) / double(share(p.m, unit_m) * nth);
    const double balance_n = double(p.n) / double(share(p.n, unit_n) * nth);
    if (balance_m >= 0.9 * balance_n) {
        const int64_t step = share(p.m, unit_m);
        const int64_t m0 = std::min<int64_t>(p.m, step * ith), m1 = std::min<int64_t>(p.m, m0 + step);
        if (m0 < m1) kernel.run(p, m0, m1, 0, p.n);
    } else {
        const int64_t step = share(p.n, unit_n);
        const int64_t n0 = std::min<int64_t>(p.n, step * ith), n1 = std::min<int64_t>(p.n, n0 + step);
        if (n0 < n1) kernel.run(p, 0, p.m, n0, n1);
    }
}

}  // namespace fedllm
