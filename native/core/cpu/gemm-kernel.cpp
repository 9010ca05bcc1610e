// The packed matrix product, compiled once per instruction set (FEDLLM_SIMD_AVX512, FEDLLM_SIMD_AVX2 or neither).
// Structure as in Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): panels of B stay in
// the level-1 cache, a block of A in level 2, a register tile of MR x NR outputs is accumulated over KC.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cpu/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fedllm {
namespace {

#if defined(FEDLLM_SIMD_AVX512)
using vec = __m512;
constexpr int     WIDTH = 16;
constexpr int64_t NR    = 12;
inline vec  vec_zero() { return _mm512_setzero_ps(); }
inline vec  vec_load(const float * p) { return _mm512_loadu_ps(p); }
inline void vec_store(float * p, vec v) { _mm512_storeu_ps(p, v); }
inline vec  vec_set(float x) { return _mm512_set1_ps(x); }
inline vec  vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
inline vec  vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
inline float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#elif defined(FEDLLM_SIMD_AVX2)
using vec = __m256;
constexpr int     WIDTH = 8;
constexpr int64_t NR    = 6;
inline vec  vec_zero() { return _mm256_setzero_ps(); }
inline vec  vec_load(const float * p) { return _mm256_loadu_ps(p); }
inline void vec_store(float * p, vec v) { _mm256_storeu_ps(p, v); }
inline vec  vec_set(float x) { return _mm256_set1_ps(x); }
inline vec  vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
inline vec  vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
inline float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
typedef float vec __attribute__((vector_size(16)));
constexpr int     WIDTH = 4;
constexpr int64_t NR    = 4;
inline vec  vec_zero() { return vec{ 0, 0, 0, 0 }; }
inline vec  vec_load(const float * p) { vec v; std::memcpy(&v, p, sizeof v); return v; }
inline void vec_store(float * p, vec v) { std::memcpy(p, &v, sizeof v); }
inline vec  vec_set(float x) { return vec{ x, x, x, x }; }
inline vec  vec_fma(vec a, vec b, vec c) { return a * b + c; }
inline vec  vec_mul(vec a, vec b) { return a * b; }
inline float scalar_fma(float a, float b, float c) { return a * b + c; }
#endif

constexpr int64_t MR = 2 * WIDTH;
// KC: a multiple of 256, the longest ggml block, so that quantized rows can be cut. MC likewise, for transposed ones.
constexpr int64_t KC = 256;
constexpr int64_t MC = 256;
constexpr int64_t NC = 504;  // a multiple of 12, 6 and 4

#if defined(FEDLLM_SIMD_AVX512) || defined(FEDLLM_SIMD_AVX2)
void unpack_f16(const uint8_t * source, int64_t n, float * out) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(source + 2 * i))));
    }
    if (i < n) ggml_get_type_traits(GGML_TYPE_F16)->to_float(source + 2 * i, out + i, n - i);
}

// Block: one half-precision scale, then 32 signed bytes.
void unpack_q8_0(const uint8_t * source, int64_t n, float * out) {
    for (int64_t block = 0; block < n / 32; ++block, source += 34, out += 32) {
        uint16_t half;
        std::memcpy(&half, source, 2);
        const __m256 scale = _mm256_set1_ps(_cvtsh_ss(half));
        for (int part = 0; part < 4; ++part) {
            const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(source + 2 + 8 * part));
            _mm256_storeu_ps(out + 8 * part, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))));
        }
    }
}
#endif

void unpack(ggml_type type, const uint8_t * row, int64_t offset, int64_t n, float * out) {
#if defined(FEDLLM_SIMD_AVX512) || defined(FEDLLM_SIMD_AVX2)
    if (type == GGML_TYPE_F16) return unpack_f16(row + 2 * offset, n, out);
    if (type == GGML_TYPE_Q8_0) return unpack_q8_0(row + offset / 32 * 34, n, out);
#endif
    gemm_unpack_row(type, row, offset, n, out);
}

// Transposes `count` rows (each kc numbers, `stride` apart) into out[k * width + i]; rows beyond count become zero.
void transpose_panel(const float * rows, int64_t stride, int64_t count, int64_t kc, int64_t width, float * out) {
    if (count < width) std::memset(out, 0, size_t(kc * width) * sizeof(float));
    int64_t i = 0;
#if defined(__SSE__)
    for (; i + 4 <= count; i += 4) {
        const float * r = rows + i * stride;
        int64_t k = 0;
        for (; k + 4 <= kc; k += 4) {
            __m128 a = _mm_loadu_ps(r + k), b = _mm_loadu_ps(r + stride + k), c = _mm_loadu_ps(r + 2 * stride + k),
                   d = _mm_loadu_ps(r + 3 * stride + k);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            _mm_storeu_ps(out + k * width + i, a);
            _mm_storeu_ps(out + (k + 1) * width + i, b);
            _mm_storeu_ps(out + (k + 2) * width + i, c);
            _mm_storeu_ps(out + (k + 3) * width + i, d);
        }
        for (; k < kc; ++k) {
            for (int64_t j = 0; j < 4; ++j) out[k * width + i + j] = r[j * stride + k];
        }
    }
#endif
    for (; i < count; ++i) {
        for (int64_t k = 0; k < kc; ++k) out[k * width + i] = rows[i * stride + k];
    }
}

// Packs A(m0 .. m0+mc, k0 .. k0+kc) into panels of MR rows: out[panel][k][MR].
void pack_a(const gemm_matrix & a, int64_t m0, int64_t mc, int64_t k0, int64_t kc, float * scratch, float * out) {
    if (!a.transposed) {
        for (int64_t i = 0; i < mc; i += MR, out += MR * kc) {
            const int64_t count = std::min(MR, mc - i);
            if (a.type == GGML_TYPE_F32 && a.row_bytes % int64_t(sizeof(float)) == 0) {
                const float * rows = reinterpret_cast<const float *>(a.data + (m0 + i) * a.row_bytes) + k0;
                transpose_panel(rows, a.row_bytes / int64_t(sizeof(float)), count, kc, MR, out);
                continue;
            }
            for (int64_t r = 0; r < count; ++r) {
                unpack(a.type, a.data + (m0 + i + r) * a.row_bytes, k0, kc, scratch + r * KC);
            }
            transpose_panel(scratch, KC, count, kc, MR, out);
        }
        return;
    }
    if (mc % MR != 0) std::memset(out + mc / MR * MR * kc, 0, size_t(MR * kc) * sizeof(float));
    for (int64_t k = 0; k < kc; ++k) {
        const uint8_t * row = a.data + (k0 + k) * a.row_bytes;
        const float *   values = scratch;
        if (a.type == GGML_TYPE_F32) {
            values = reinterpret_cast<const float *>(row) + m0;
        } else {
            unpack(a.type, row, m0, mc, scratch);
        }
        for (int64_t i = 0; i < mc; i += MR) {
            std::memcpy(out + i * kc + k * MR, values + i, size_t(std::min(MR, mc - i)) * sizeof(float));
        }
    }
}

// Packs B(n0 .. n0+nc, k0 .. k0+kc) into panels of NR rows: out[panel][k][NR].
void pack_b(const gemm_matrix & b, int64_t n0, int64_t nc, int64_t k0, int64_t kc, float * out) {
    for (int64_t j = 0; j < nc; j += NR, out += NR * kc) {
        const int64_t count = std::min(NR, nc - j);
        if (!b.transposed) {
            const float * rows = reinterpret_cast<const float *>(b.data + (n0 + j) * b.row_bytes) + k0;
            transpose_panel(rows, b.row_bytes / int64_t(sizeof(float)), count, kc, NR, out);
            continue;
        }
        for (int64_t k = 0; k < kc; ++k) {
            const float * row = reinterpret_cast<const float *>(b.data + (k0 + k) * b.row_bytes) + n0 + j;
            for (int64_t i = 0; i < NR; ++i) out[k * NR + i] = i < count ? row[i] : 0.0f;
        }
    }
}

// One register tile: out[j * stride + i] (+)= alpha * sum_k a[k][i] * b[k][j], i < MR, j < NR.
inline void micro_kernel(int64_t kc, const float * a, const float * b, float alpha, bool accumulate, float * out,
                         int64_t stride) {
    vec sum[NR][2];
    for (int64_t j = 0; j < NR; ++j) sum[j][0] = sum[j][1] = vec_zero();
    for (int64_t k = 0; k < kc; ++k, a += MR, b += NR) {
        const vec a0 = vec_load(a), a1 = vec_load(a + WIDTH);
#pragma GCC unroll 12
        for (int64_t j = 0; j < NR; ++j) {
            const vec bj = vec_set(b[j]);
            sum[j][0] = vec_fma(a0, bj, sum[j][0]);
            sum[j][1] = vec_fma(a1, bj, sum[j][1]);
        }
    }
    const vec factor = vec_set(alpha);
    for (int64_t j = 0; j < NR; ++j) {
        for (int half = 0; half < 2; ++half) {
            float * target = out + j * stride + half * WIDTH;
            vec_store(target, accumulate ? vec_fma(factor, sum[j][half], vec_load(target)) : vec_mul(factor, sum[j][half]));
        }
    }
}

// One block: packed A (mc rows) times packed B panels into C at (m0, n0).
void multiply_block(const gemm_problem & p, const float * packed_a, const float * packed_b, int64_t m0, int64_t mc, int64_t n0, int64_t nc,
                    int64_t kc, bool accumulate) {
    alignas(64) float tile[MR * NR];
    for (int64_t j = 0; j < nc; j += NR) {
        const int64_t count_n = std::min(NR, nc - j);
        float * column = reinterpret_cast<float *>(reinterpret_cast<uint8_t *>(p.c) + (n0 + j) * p.c_row_bytes) + m0;
        const int64_t stride = p.c_row_bytes / int64_t(sizeof(float));
        for (int64_t i = 0; i < mc; i += MR) {
            const int64_t count_m = std::min(MR, mc - i);
            const float * a = packed_a + i * kc;
            const float * b = packed_b + j * kc;
            if (count_m == MR && count_n == NR) {
                micro_kernel(kc, a, b, p.alpha, accumulate, column + i, stride);
                continue;
            }
            micro_kernel(kc, a, b, 1.0f, false, tile, MR);
            for (int64_t jj = 0; jj < count_n; ++jj) {
                float * target = column + jj * stride + i;
                for (int64_t ii = 0; ii < count_m; ++ii) {
                    // The same rounding as in a whole tile, so that a column's bits do not depend on its neighbours.
                    const float sum = tile[jj * MR + ii];
                    target[ii] = accumulate ? scalar_fma(p.alpha, sum, target[ii]) : p.alpha * sum;
                }
            }
        }
    }
}

constexpr int64_t pad_columns(int64_t n) { return (n + NR - 1) / NR * NR; }

int64_t packed_b_size(int64_t n, int64_t k) { return pad_columns(n) * k; }

// Packed B: for each block of KC terms, all columns in panels of NR: block at k0 * padded n, panel at column * kc.
void pack_b_columns(const gemm_problem & p, int64_t n0, int64_t n1, float * packed) {
    for (int64_t k = 0; k < p.k; k += KC) {
        const int64_t kc = std::min(KC, p.k - k);
        pack_b(p.b, n0, n1 - n0, k, kc, packed + k * pad_columns(p.n) + n0 * kc);
    }
}

struct workspace {
    float * a;
    float * row;
    workspace() {
        constexpr size_t bytes_a = MC * KC * sizeof(float);
        constexpr size_t numbers_row = MR * KC > MC ? MR * KC : MC;
        a   = static_cast<float *>(std::aligned_alloc(64, bytes_a));
        row = static_cast<float *>(std::aligned_alloc(64, numbers_row * sizeof(float)));
        if (!a || !row) std::abort();  // below half a megabyte a thread: nothing sensible can go on without it
    }
    ~workspace() {
        std::free(a);
        std::free(row);
    }
};

void multiply(const gemm_problem & p, const float * packed, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    static thread_local std::unique_ptr<workspace> space;
    if (!space) space = std::make_unique<workspace>();
    for (int64_t m = m0; m < m1; m += MC) {
        const int64_t mc = std::min(MC, m1 - m);
        for (int64_t k = 0; k < p.k; k += KC) {
            const int64_t kc = std::min(KC, p.k - k);
            pack_a(p.a, m, mc, k, kc, space->row, space->a);
            // NC columns at a time, so that the block of C stays in the level-2 cache.
            for (int64_t n = n0; n < n1; n += NC) {
                multiply_block(p, space->a, packed + k * pad_columns(p.n) + n * kc, m, mc, n, std::min(NC, n1 - n), kc, p.accumulate || k > 0);
            }
        }
    }
}

}  // namespace

#if defined(FEDLLM_SIMD_AVX512)
const gemm_kernel GEMM_AVX512 = { packed_b_size, pack_b_columns, multiply, NR };
#elif defined(FEDLLM_SIMD_AVX2)
const gemm_kernel GEMM_AVX2 = { packed_b_size, pack_b_columns, multiply, NR };
#else
const gemm_kernel GEMM_GENERIC = { packed_b_size, pack_b_columns, multiply, NR };
#endif

}  // namespace fedllm
