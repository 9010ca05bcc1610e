// Loops over one row of numbers, compiled once per instruction set like gemm-kernel.cpp; written so that the compiler makes
// vectors of them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/gemm.h"

namespace fedllm {

namespace {

// exp on [-87, 0] to about one unit in the last place: 2^n * p(r), with Cephes' polynomial. Written without branches so
// that the compiler makes vectors of it.
inline float exp_nonpositive(float x) {
    const float clamped = x > -87.0f ? x : -87.0f;  // NaN becomes -87 here, so that the cast below is defined
    const float n = (clamped * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounds to the nearest whole number
    const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const uint32_t bits = uint32_t(int32_t(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? 0.0f : p * power + (x - x);  // x - x is 0, or NaN for NaN: a diverged row must show
}

}  // namespace

#if defined(FEDLLM_SIMD_AVX512)
#define FEDLLM_ROW_NAME(name) name##_avx512
#elif defined(FEDLLM_SIMD_AVX2)
#define FEDLLM_ROW_NAME(name) name##_avx2
#else
#define FEDLLM_ROW_NAME(name) name##_generic
#endif

// z [n] -> softmax(z) - onehot(label) when gradient is set, unchanged otherwise.
// stats: log-probability of the label, index of the most likely entry (exact: a vocabulary is below 2^24).
void FEDLLM_ROW_NAME(cross_entropy_row)(float * z, int64_t n, int64_t label, bool gradient, float * stats) {
    float largest_part[16];
    for (float & value : largest_part) value = z[0];
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; ++j) largest_part[j] = largest_part[j] > z[i + j] ? largest_part[j] : z[i + j];
    }
    for (; i < n; ++i) largest_part[0] = largest_part[0] > z[i] ? largest_part[0] : z[i];
    float largest = largest_part[0];
    for (const float value : largest_part) largest = largest > value ? largest : value;
    int64_t argmax = 0;
    while (argmax < n - 1 && !(z[argmax] == largest)) ++argmax;  // the first of equals; a row of NaN ends at the last
    const float z_label = z[label];
    // Partial sums of 1024 numbers in F32, their total in double: the error stays near one unit in the last place.
    double sum = 0.0;
    for (int64_t begin = 0; begin < n; begin += 1024) {
        const int64_t end = std::min<int64_t>(n, begin + 1024);
        float part[16] = {};
        i = begin;
        for (; i + 16 <= end; i += 16) {
            float e[16];
            for (int j = 0; j < 16; ++j) e[j] = exp_nonpositive(z[i + j] - largest);
            if (gradient) {
                for (int j = 0; j < 16; ++j) z[i + j] = e[j];
            }
            for (int j = 0; j < 16; ++j) part[j] += e[j];
        }
        for (; i < end; ++i) {
            const float e = exp_nonpositive(z[i] - largest);
            if (gradient) z[i] = e;
            part[0] += e;
        }
        for (const float value : part) sum += double(value);
    }
    stats[0] = float(double(z_label) - double(largest) - std::log(sum));
    stats[1] = float(argmax);
    if (gradient) {
        const float inverse = float(1.0 / sum);
        for (int64_t k = 0; k < n; ++k) z[k] *= inverse;
        z[label] -= 1.0f;
    }
}

}  // namespace fedllm
