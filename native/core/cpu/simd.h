// The vectors that the kernels are written in, one set per instruction set. Only for sources that are compiled once per
// instruction set (cmake/simd.cmake): everything is in an unnamed namespace, so that no two sets are mixed at link time.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(FEDLLM_SIMD_AVX512BF16) && !defined(FEDLLM_SIMD_AVX512)
#define FEDLLM_SIMD_AVX512 1  // the same vectors
#endif

namespace fedllm {
namespace {

// WIDTH: numbers in a vector. NR: columns of a register tile, which is 2 * WIDTH numbers high.
#if defined(FEDLLM_SIMD_AVX512)
using vec = __m512;
constexpr int     WIDTH = 16;
constexpr int64_t NR    = 12;
inline vec   vec_zero() { return _mm512_setzero_ps(); }
inline vec   vec_load(const float * p) { return _mm512_loadu_ps(p); }
inline void  vec_store(float * p, vec v) { _mm512_storeu_ps(p, v); }
inline vec   vec_set(float x) { return _mm512_set1_ps(x); }
inline vec   vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
inline vec   vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
inline float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#elif defined(FEDLLM_SIMD_AVX2)
using vec = __m256;
constexpr int     WIDTH = 8;
constexpr int64_t NR    = 6;
inline vec   vec_zero() { return _mm256_setzero_ps(); }
inline vec   vec_load(const float * p) { return _mm256_loadu_ps(p); }
inline void  vec_store(float * p, vec v) { _mm256_storeu_ps(p, v); }
inline vec   vec_set(float x) { return _mm256_set1_ps(x); }
inline vec   vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
inline vec   vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
inline float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#elif defined(FEDLLM_SIMD_NEON)
using vec = float32x4_t;
constexpr int     WIDTH = 4;
constexpr int64_t NR    = 12;
inline vec   vec_zero() { return vdupq_n_f32(0.0f); }
inline vec   vec_load(const float * p) { return vld1q_f32(p); }
inline void  vec_store(float * p, vec v) { vst1q_f32(p, v); }
inline vec   vec_set(float x) { return vdupq_n_f32(x); }
inline vec   vec_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
inline vec   vec_mul(vec a, vec b) { return vmulq_f32(a, b); }
inline float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
typedef float vec __attribute__((vector_size(16)));
constexpr int     WIDTH = 4;
constexpr int64_t NR    = 4;
inline vec   vec_zero() { return vec{ 0, 0, 0, 0 }; }
inline vec   vec_load(const float * p) { vec v; std::memcpy(&v, p, sizeof v); return v; }
inline void  vec_store(float * p, vec v) { std::memcpy(p, &v, sizeof v); }
inline vec   vec_set(float x) { return vec{ x, x, x, x }; }
inline vec   vec_fma(vec a, vec b, vec c) { return a * b + c; }
inline vec   vec_mul(vec a, vec b) { return a * b; }
inline float scalar_fma(float a, float b, float c) { return a * b + c; }
#endif

// A slot is what one multiplication of a register tile takes: one F32 number, or two neighbouring terms of a sum rounded to
// BF16 and kept in the 32 bits of a float (the first in the lower half).
#if defined(FEDLLM_SIMD_AVX512BF16)
constexpr int64_t TERMS = 2;
inline vec slot_fma(vec a, vec b, vec c) { return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)); }
#else
constexpr int64_t TERMS = 1;
inline vec slot_fma(vec a, vec b, vec c) { return vec_fma(a, b, c); }
#endif

constexpr int64_t count_slots(int64_t terms) { return (terms + TERMS - 1) / TERMS; }

#if defined(FEDLLM_SIMD_AVX512BF16)
inline vec round_two(vec low, vec high) { return reinterpret_cast<vec>(_mm512_cvtne2ps_pbh(high, low)); }

// n numbers as slots, each of two neighbours; a missing last one is zero.
inline void round_pairs(const float * x, int64_t n, float * slots) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) vec_store(slots + i / 2, round_two(vec_load(x + i), vec_load(x + i + 16)));
    if (i == n) return;
    const auto part = [&](int64_t begin) { return _mm512_maskz_loadu_ps(__mmask16((1u << (n <= begin ? 0 : n - begin < 16 ? n - begin : 16)) - 1), x + begin); };
    _mm512_mask_storeu_ps(slots + i / 2, __mmask16((1u << ((n - i + 1) / 2)) - 1), round_two(part(i), part(i + 16)));
}

// Sixteen slots of (first[i], second[i]).
inline vec round_across(vec first, vec second) {
    alignas(64) static const uint16_t order[32] = { 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31 };
    return reinterpret_cast<vec>(_mm512_permutexvar_epi16(_mm512_load_si512(order), reinterpret_cast<__m512i>(round_two(first, second))));
}
#endif

#if defined(FEDLLM_SIMD_AVX512)

// out[k * width + i] = rows[i * stride + k] for i < 16, k < 16, as far as i < count and k < kc; zero for count <= i < lanes.
inline void transpose_block(const float * rows, int64_t stride, int64_t count, int64_t kc, int64_t lanes, int64_t width, float * out) {
    const __mmask16 taken = __mmask16((1u << (kc < 16 ? kc : 16)) - 1), written = __mmask16((1u << (lanes < 16 ? lanes : 16)) - 1);
    __m512i r[16], t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) r[i] = i < count ? _mm512_castps_si512(_mm512_maskz_loadu_ps(taken, rows + i * stride)) : _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i]     = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        r[i]     = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // r[4 g + c] holds, for rows 4 g .. 4 g + 3, columns c, 4 + c, 8 + c, 12 + c in its four quarters.
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
        const __m512i low0 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), low1 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
        const __m512i high0 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd), high1 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
        t[c]      = _mm512_shuffle_i32x4(low0, low1, 0x88);
        t[8 + c]  = _mm512_shuffle_i32x4(low0, low1, 0xdd);
        t[4 + c]  = _mm512_shuffle_i32x4(high0, high1, 0x88);
        t[12 + c] = _mm512_shuffle_i32x4(high0, high1, 0xdd);
    }
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
        if (k < kc) _mm512_mask_storeu_ps(out + k * width, written, _mm512_castsi512_ps(t[k]));
    }
}

// Transposes `count` rows (each kc numbers, `stride` apart) into out[k * width + i]; rows beyond count become zero.
inline void transpose_panel(const float * rows, int64_t stride, int64_t count, int64_t kc, int64_t width, float * out) {
    for (int64_t i = 0; i < width; i += 16) {
        for (int64_t k = 0; k < kc; k += 16) transpose_block(rows + i * stride + k, stride, count - i, kc - k, width - i, width, out + k * width + i);
    }
}

#else

#if defined(__x86_64__)
inline void transpose_4x4(const float * rows, int64_t stride, int64_t width, float * out) {
    __m128 a = _mm_loadu_ps(rows), b = _mm_loadu_ps(rows + stride), c = _mm_loadu_ps(rows + 2 * stride), d = _mm_loadu_ps(rows + 3 * stride);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, a);
    _mm_storeu_ps(out + width, b);
    _mm_storeu_ps(out + 2 * width, c);
    _mm_storeu_ps(out + 3 * width, d);
}
#elif defined(FEDLLM_SIMD_NEON)
inline void transpose_4x4(const float * rows, int64_t stride, int64_t width, float * out) {
    const float32x4x2_t ab = vtrnq_f32(vld1q_f32(rows), vld1q_f32(rows + stride));
    const float32x4x2_t cd = vtrnq_f32(vld1q_f32(rows + 2 * stride), vld1q_f32(rows + 3 * stride));
    vst1q_f32(out, vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0])));
    vst1q_f32(out + width, vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1])));
    vst1q_f32(out + 2 * width, vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0])));
    vst1q_f32(out + 3 * width, vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1])));
}
#else
inline void transpose_4x4(const float * rows, int64_t stride, int64_t width, float * out) {
    for (int64_t i = 0; i < 4; ++i) {
        for (int64_t k = 0; k < 4; ++k) out[k * width + i] = rows[i * stride + k];
    }
}
#endif

inline void transpose_panel(const float * rows, int64_t stride, int64_t count, int64_t kc, int64_t width, float * out) {
    if (count < width) std::memset(out, 0, size_t(kc * width) * sizeof(float));
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const float * r = rows + i * stride;
        int64_t k = 0;
        for (; k + 4 <= kc; k += 4) transpose_4x4(r + k, stride, width, out + k * width + i);
        for (; k < kc; ++k) {
            for (int64_t j = 0; j < 4; ++j) out[k * width + i + j] = r[j * stride + k];
        }
    }
    for (; i < count; ++i) {
        for (int64_t k = 0; k < kc; ++k) out[k * width + i] = rows[i * stride + k];
    }
}

#endif

}  // namespace
}  // namespace fedllm
