// The split of one product over threads, and the naive oracle. The fast loops are in gemm-kernel.cpp.
#include "cpu/gemm.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace fedllm {

void gemm_unpack_row(ggml_type type, const uint8_t * row, int64_t offset, int64_t n, float * out) {
    const uint8_t * source = row + offset / ggml_blck_size(type) * int64_t(ggml_type_size(type));
    if (type == GGML_TYPE_F32) {
        std::memcpy(out, source, size_t(n) * sizeof(float));
    } else {
        ggml_get_type_traits(type)->to_float(source, out, n);
    }
}

void gemm_naive(const gemm_problem & p, weight_product rounding) {
    const auto round_all = [&](std::vector<float> & values) {
        if (rounding != weight_product::bf16) return;
        for (float & x : values) x = ggml_bf16_to_fp32(ggml_fp32_to_bf16(x));
    };
    const int64_t rows_a   = p.a.transposed ? p.k : p.m;
    const int64_t length_a = p.a.transposed ? p.m : p.k;
    std::vector<float> a(size_t(rows_a) * size_t(length_a));
    for (int64_t i = 0; i < rows_a; ++i) {
        gemm_unpack_row(p.a.type, p.a.data + i * p.a.row_bytes, 0, length_a, a.data() + i * length_a);
    }
    round_all(a);
    std::vector<float> b(static_cast<size_t>(p.k));
    for (int64_t n = 0; n < p.n; ++n) {
        for (int64_t k = 0; k < p.k; ++k) {
            const int64_t row = p.b.transposed ? k : n, column = p.b.transposed ? n : k;
            b[size_t(k)] = reinterpret_cast<const float *>(p.b.data + row * p.b.row_bytes)[column];
        }
        round_all(b);
        float * c = reinterpret_cast<float *>(reinterpret_cast<uint8_t *>(p.c) + n * p.c_row_bytes);
        for (int64_t m = 0; m < p.m; ++m) {
            double sum = 0.0;
            for (int64_t k = 0; k < p.k; ++k) sum += double(p.a.transposed ? a[size_t(k * p.m + m)] : a[size_t(m * p.k + k)]) * double(b[size_t(k)]);
            c[m] = float(double(p.alpha) * sum) + (p.accumulate ? c[m] : 0.0f);
        }
    }
}

void gemm_run(const gemm_kernel & kernel, thread_pool & pool, std::vector<float> & scratch, const gemm_problem & p) {
    if (p.m == 0 || p.n == 0) return;
    const size_t needed = size_t(kernel.packed_b_size(p.n, p.k));
    if (scratch.size() < needed) scratch.resize(needed);
    const int64_t n_threads = pool.n_threads();
    const auto ceil_to = [](int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; };

    const int64_t pack_step = ceil_to((p.n + 2 * n_threads - 1) / (2 * n_threads), kernel.column_unit);
    pool.run((p.n + pack_step - 1) / pack_step, [&](int64_t i) {
        kernel.pack_b(p, i * pack_step, std::min(p.n, (i + 1) * pack_step), scratch.data());
    });

    // Three chunks a thread balance the load; rows of A are cut first, because a chunk unpacks its rows itself. A
    // transposed quantized A can only be cut between its blocks.
    const int64_t wanted = n_threads == 1 ? 1 : 3 * n_threads;
    const int64_t unit_m = p.a.transposed ? std::max<int64_t>(32, ggml_blck_size(p.a.type)) : 32;
    const int64_t step_m = std::max(unit_m, ceil_to((p.m + wanted - 1) / wanted, unit_m));
    const int64_t chunks_m = (p.m + step_m - 1) / step_m;
    const int64_t wanted_n = n_threads == 1 || chunks_m >= 2 * n_threads ? 1 : (wanted + chunks_m - 1) / chunks_m;
    // Below about 48 columns a chunk, unpacking A would cost more than multiplying.
    const int64_t step_n = std::max(ceil_to((p.n + wanted_n - 1) / wanted_n, kernel.column_unit), 4 * kernel.column_unit);
    const int64_t chunks_n = (p.n + step_n - 1) / step_n;
    pool.run(chunks_m * chunks_n, [&](int64_t i) {
        const int64_t m0 = i / chunks_n * step_m, n0 = i % chunks_n * step_n;
        kernel.multiply(p, scratch.data(), m0, std::min(p.m, m0 + step_m), n0, std::min(p.n, n0 + step_n));
    });
}

}  // namespace fedllm
