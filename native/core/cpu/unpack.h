// Quantized rows to F32, for the types that most models are made of; the others go through ggml's to_float. Plain loops that
// the compiler makes vectors of, for sources that are compiled once per instruction set (see simd.h). Values are those of
// ggml's to_float up to one rounding, since a product and a difference may be contracted to one operation here.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/gemm.h"
#include "cpu/simd.h"

namespace fedllm {
namespace {

// A vector of the compiler's own.
typedef uint8_t bytes16 __attribute__((vector_size(16)));

inline bytes16 load_bytes(const uint8_t * p) {
    bytes16 v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// scale * value for sixteen small signed numbers.
inline void store_scaled(bytes16 values, float scale, float * out) {
#if defined(FEDLLM_SIMD_AVX512)
    const __m512i whole = _mm512_cvtepi8_epi32(reinterpret_cast<__m128i>(values));
    _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_cvtepi32_ps(whole)));
#elif defined(FEDLLM_SIMD_AVX2)
    const __m128i bytes = reinterpret_cast<__m128i>(values);
    const __m256 factor = _mm256_set1_ps(scale);
    _mm256_storeu_ps(out, _mm256_mul_ps(factor, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))));
    _mm256_storeu_ps(out + 8, _mm256_mul_ps(factor, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))));
#else
    int8_t bytes[16];
    std::memcpy(bytes, &values, sizeof bytes);
    for (int i = 0; i < 16; ++i) out[i] = scale * float(bytes[i]);
#endif
}

inline float load_half(const uint8_t * p) {
    uint16_t bits;
    std::memcpy(&bits, p, 2);
#if defined(__F16C__)
    return _cvtsh_ss(bits);
#elif defined(FEDLLM_SIMD_NEON)
    __fp16 half;
    std::memcpy(&half, &bits, 2);
    return float(half);
#else
    return ggml_fp16_to_fp32(bits);
#endif
}

inline void unpack_f16(const uint8_t * __restrict source, int64_t n, float * __restrict out) {
    int64_t i = 0;
#if defined(FEDLLM_SIMD_AVX512)
    for (; i + 16 <= n; i += 16) _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(source + 2 * i))));
#elif defined(FEDLLM_SIMD_AVX2)
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(source + 2 * i))));
#endif
    for (; i < n; ++i) out[i] = load_half(source + 2 * i);
}

inline void unpack_bf16(const uint8_t * __restrict source, int64_t n, float * __restrict out) {
    for (int64_t i = 0; i < n; ++i) {
        uint16_t half;
        std::memcpy(&half, source + 2 * i, 2);
        const uint32_t bits = uint32_t(half) << 16;
        std::memcpy(out + i, &bits, 4);
    }
}

// Block of 32: half-precision scale, 32 signed bytes.
inline void unpack_q8_0(const uint8_t * __restrict source, int64_t n, float * __restrict out) {
    for (int64_t block = 0; block < n / 32; ++block, source += 34, out += 32) {
        const float scale = load_half(source);
        for (int i = 0; i < 32; ++i) out[i] = float(int8_t(source[2 + i])) * scale;
    }
}

// Block of 32: half-precision scale, 16 bytes; the lower four bits are the first half, 8 is zero.
inline void unpack_q4_0(const uint8_t * __restrict source, int64_t n, float * __restrict out) {
    for (int64_t block = 0; block < n / 32; ++block, source += 18, out += 32) {
        const float scale = load_half(source);
        const bytes16 q = load_bytes(source + 2);
        store_scaled((q & 15) - 8, scale, out);
        store_scaled((q >> 4) - 8, scale, out + 16);
    }
}

// Eight scales and eight offsets of six bits each, in twelve bytes.
struct k_scales {
    uint8_t scale[8], offset[8];
    explicit k_scales(const uint8_t * p) {
        for (int i = 0; i < 4; ++i) {
            scale[i]      = p[i] & 63;
            offset[i]     = p[4 + i] & 63;
            scale[4 + i]  = uint8_t((p[8 + i] & 15) | (p[i] >> 6 << 4));
            offset[4 + i] = uint8_t((p[8 + i] >> 4) | (p[4 + i] >> 6 << 4));
        }
    }
};

// Block of 256: scale and offset in half precision, k_scales, 128 bytes; each 32 bytes hold 64 numbers, lower bits first.
inline void unpack_q4_k(const uint8_t * __restrict source, int64_t n, float * __restrict out) {
    for (int64_t block = 0; block < n / 256; ++block, source += 144) {
        const float d = load_half(source), least = load_half(source + 2);
        const k_scales parts(source + 4);
        const uint8_t * q = source + 16;
        for (int part = 0; part < 8; part += 2, q += 32, out += 64) {
            const float scale0 = d * float(parts.scale[part]), offset0 = least * float(parts.offset[part]);
            const float scale1 = d * float(parts.scale[part + 1]), offset1 = least * float(parts.offset[part + 1]);
            for (int i = 0; i < 32; ++i) out[i] = scale0 * float(q[i] & 15) - offset0;
            for (int i = 0; i < 32; ++i) out[32 + i] = scale1 * float(q[i] >> 4) - offset1;
        }
    }
}

// The same with 32 bytes of fifth bits before the 128: bit p of byte i belongs to number i of part p.
inline void unpack_q5_k(const uint8_t * __restrict source, int64_t n, float * __restrict out) {
    for (int64_t block = 0; block < n / 256; ++block, source += 176) {
        const float d = load_half(source), least = load_half(source + 2);
        const k_scales parts(source + 4);
        const uint8_t * high = source + 16;
        const uint8_t * q = source + 48;
        for (int part = 0; part < 8; part += 2, q += 32, out += 64) {
            const float scale0 = d * float(parts.scale[part]), offset0 = least * float(parts.offset[part]);
            const float scale1 = d * float(parts.scale[part + 1]), offset1 = least * float(parts.offset[part + 1]);
            for (int i = 0; i < 32; ++i) out[i] = scale0 * float((q[i] & 15) | (high[i] >> part & 1) << 4) - offset0;
            for (int i = 0; i < 32; ++i) out[32 + i] = scale1 * float((q[i] >> 4) | (high[i] >> (part + 1) & 1) << 4) - offset1;
        }
    }
}

// Block of 256: 128 bytes of lower four bits, 64 of upper two, 16 signed scales, half-precision scale; 32 is zero.
// Each half of the block: numbers 32 p + i (p < 4) take nibble p / 2 of low[32 (p % 2) + i] and bits 2 p of high[i].
inline void unpack_q6_k(const uint8_t * __restrict source, int64_t n, float * __restrict out) {
    for (int64_t block = 0; block < n / 256; ++block, source += 210) {
        const float d = load_half(source + 208);
        for (int half = 0; half < 2; ++half, out += 128) {
            const uint8_t * low = source + 64 * half;
            const uint8_t * high = source + 128 + 32 * half;
            const uint8_t * scales = source + 192 + 8 * half;
            for (int i = 0; i < 2; ++i) {
                const bytes16 low0 = load_bytes(low + 16 * i), low1 = load_bytes(low + 32 + 16 * i), bits = load_bytes(high + 16 * i);
                const auto scale = [&](int part) { return d * float(int8_t(scales[2 * part + i])); };
                store_scaled(((low0 & 15) | (bits & 3) << 4) - 32, scale(0), out + 16 * i);
                store_scaled(((low1 & 15) | (bits >> 2 & 3) << 4) - 32, scale(1), out + 32 + 16 * i);
                store_scaled((low0 >> 4 | (bits >> 4 & 3) << 4) - 32, scale(2), out + 64 + 16 * i);
                store_scaled((low1 >> 4 | bits >> 6 << 4) - 32, scale(3), out + 96 + 16 * i);
            }
        }
    }
}

// n numbers from `offset` of a row, both multiples of the type's block.
inline void unpack(ggml_type type, const uint8_t * row, int64_t offset, int64_t n, float * out) {
    switch (type) {
        case GGML_TYPE_F16:  return unpack_f16(row + 2 * offset, n, out);
        case GGML_TYPE_BF16: return unpack_bf16(row + 2 * offset, n, out);
        case GGML_TYPE_Q8_0: return unpack_q8_0(row + offset / 32 * 34, n, out);
        case GGML_TYPE_Q4_0: return unpack_q4_0(row + offset / 32 * 18, n, out);
        case GGML_TYPE_Q4_K: return unpack_q4_k(row + offset / 256 * 144, n, out);
        case GGML_TYPE_Q5_K: return unpack_q5_k(row + offset / 256 * 176, n, out);
        case GGML_TYPE_Q6_K: return unpack_q6_k(row + offset / 256 * 210, n, out);
        default:             return gemm_unpack_row(type, row, offset, n, out);
    }
}

}  // namespace
}  // namespace fedllm
