// Loops over one row of numbers, compiled once per instruction set like gemm-kernel.cpp; written so that the compiler makes
// vectors of them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/kernels.h"

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

inline float sigmoid(float x) {
    const float e = exp_nonpositive(x > 0.0f ? -x : x);
    const float s = 1.0f / (1.0f + e);
    return x > 0.0f ? s : e * s;
}

// Sum of f(i) over a row: sixteen partial sums in F32, their total in double. The order is fixed, so repeats give the same bits.
template <typename Term>
inline double sum_row(int64_t n, const Term & f) {
    float part[16] = {};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; ++j) part[j] += f(i + j);
    }
    double total = 0.0;
    for (; i < n; ++i) total += double(f(i));
    for (const float value : part) total += double(value);
    return total;
}

inline float max_row(const float * x, int64_t n) {
    float part[16];
    for (float & value : part) value = x[0];
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; ++j) part[j] = part[j] > x[i + j] ? part[j] : x[i + j];
    }
    for (; i < n; ++i) part[0] = part[0] > x[i] ? part[0] : x[i];
    float largest = part[0];
    for (const float value : part) largest = largest > value ? largest : value;
    return largest;
}

// z [n] -> softmax(z) - (1 - smoothing) onehot(label) - smoothing / n when gradient is set, unchanged otherwise.
// stats: log-probability of the label, index of the most likely entry (exact: a vocabulary is below 2^24), mean log-probability
// over all entries (0 without smoothing).
void cross_entropy(float * z, int64_t n, int64_t label, bool gradient, float smoothing, float * stats) {
    const float largest = max_row(z, n);
    int64_t i = 0;
    int64_t argmax = 0;
    while (argmax < n - 1 && !(z[argmax] == largest)) ++argmax;  // the first of equals; a row of NaN ends at the last
    const float z_label = z[label];
    const double z_mean = smoothing == 0.0f ? 0.0 : sum_row(n, [&](int64_t k) { return z[k] - largest; }) / double(n);
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
    stats[2] = smoothing == 0.0f ? 0.0f : float(z_mean - std::log(sum));
    if (gradient) {
        const float inverse = float(1.0 / sum), share = smoothing / float(n);
        for (int64_t k = 0; k < n; ++k) z[k] = z[k] * inverse - share;
        z[label] -= 1.0f - smoothing;
    }
}

// Sum of f(i) in blocks of 1024 numbers, their total in double.
template <typename Term>
inline double sum_blocks(int64_t n, const Term & f) {
    double total = 0.0;
    for (int64_t begin = 0; begin < n; begin += 1024) total += sum_row(std::min<int64_t>(1024, n - begin), [&](int64_t i) { return f(begin + i); });
    return total;
}

// q = softmax(teacher), p = softmax(z): stats[0] = sum of q (log q - log p); z becomes p - q when gradient is set. Equal rows give
// exact zeros.
void divergence(float * z, const float * teacher, int64_t n, bool gradient, float * stats) {
    const float z_top = max_row(z, n), t_top = max_row(teacher, n);
    const float z_log = float(std::log(sum_blocks(n, [&](int64_t i) { return exp_nonpositive(z[i] - z_top); })));
    const float t_log = float(std::log(sum_blocks(n, [&](int64_t i) { return exp_nonpositive(teacher[i] - t_top); })));
    const auto log_p = [&](int64_t i) { return (z[i] - z_top) - z_log; };
    const auto log_q = [&](int64_t i) { return (teacher[i] - t_top) - t_log; };
    stats[0] = float(sum_blocks(n, [&](int64_t i) { return exp_nonpositive(log_q(i)) * (log_q(i) - log_p(i)); }));
    for (int64_t i = 0; gradient && i < n; ++i) z[i] = exp_nonpositive(log_p(i)) - exp_nonpositive(log_q(i));
}

// y = x / sqrt(mean(x^2) + epsilon) * gain. RMSNorm, Zhang and Sennrich 2019, equation 4.
void norm(const float * x, const float * gain, int64_t n, float epsilon, float * y) {
    const double mean = sum_row(n, [&](int64_t i) { return x[i] * x[i]; }) / double(n);
    const float inverse = float(1.0 / std::sqrt(mean + double(epsilon)));
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * inverse * gain[i];
}

// dx = bypass (if any) + (t - xh * mean(t * xh)) * inverse, where t = dy * gain and xh = x * inverse.
void norm_backward(const float * dy, const float * x, const float * gain, const float * bypass, int64_t n, float epsilon, float * dx) {
    const double mean = sum_row(n, [&](int64_t i) { return x[i] * x[i]; }) / double(n);
    const double inverse = 1.0 / std::sqrt(mean + double(epsilon));
    const double dot = sum_row(n, [&](int64_t i) { return dy[i] * gain[i] * x[i]; });
    const float a = float(inverse), b = float(dot / double(n) * inverse * inverse * inverse);
    if (bypass == nullptr) {
        for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * gain[i] * a - x[i] * b;
        return;
    }
    for (int64_t i = 0; i < n; ++i) dx[i] = bypass[i] + (dy[i] * gain[i] * a - x[i] * b);
}

// silu(x) = x s(x) and gelu(x) = x s(2u), u = sqrt(2/pi) (x + 0.044715 x^3), s the logistic function: the tanh form of
// Hendrycks and Gimpel 2016, since (1 + tanh u) / 2 = s(2u).
constexpr float GELU_A = 1.5957691216057308f;            // 2 sqrt(2/pi)
constexpr float GELU_B = 1.5957691216057308f * 0.044715f;

inline float glu_argument(float x, bool gelu) { return gelu ? x * (GELU_A + GELU_B * x * x) : x; }
inline float glu_slope(float x, bool gelu) { return gelu ? GELU_A + 3.0f * GELU_B * x * x : 1.0f; }

// y = act(gate) * up. GLU variants, Shazeer 2020, equations 5 and 6.
template <bool GELU>
void glu_row(const float * gate, const float * up, int64_t n, float * y) {
    for (int64_t i = 0; i < n; ++i) y[i] = gate[i] * sigmoid(glu_argument(gate[i], GELU)) * up[i];
}

// d_up = dy act(gate); d_gate = dy up (s + gate s (1 - s) w'), s = sigmoid(w(gate)).
template <bool GELU>
void glu_backward_row(const float * dy, const float * gate, const float * up, int64_t n, float * d_gate, float * d_up) {
    for (int64_t i = 0; i < n; ++i) {
        const float s = sigmoid(glu_argument(gate[i], GELU)), value = gate[i] * s;
        d_up[i]   = dy[i] * value;
        d_gate[i] = dy[i] * up[i] * (s + value * (1.0f - s) * glu_slope(gate[i], GELU));
    }
}

void glu(const float * gate, const float * up, int64_t n, bool gelu, float * y) {
    if (gelu) glu_row<true>(gate, up, n, y);
    else glu_row<false>(gate, up, n, y);
}

void glu_backward(const float * dy, const float * gate, const float * up, int64_t n, bool gelu, float * d_gate, float * d_up) {
    if (gelu) glu_backward_row<true>(dy, gate, up, n, d_gate, d_up);
    else glu_backward_row<false>(dy, gate, up, n, d_gate, d_up);
}

// x <- softmax(scale * x + mask); at least one entry is unmasked. The sum begins at the first unmasked entry and ends at the last, so
// that a token's bits do not depend on the sequences that its own is packed with.
void soft_max(float * x, const float * mask, int64_t n, float scale) {
    int64_t begin = 0, end = n;
    while (begin < n - 1 && mask[begin] < 0.0f) ++begin;
    while (end > begin + 1 && mask[end - 1] < 0.0f) --end;
    std::fill(x, x + begin, 0.0f);
    std::fill(x + end, x + n, 0.0f);
    x += begin;
    mask += begin;
    n = end - begin;
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] * scale + mask[i];
    const float largest = max_row(x, n);
    // -inf becomes exactly 0; masked entries must not touch the sum through inf - inf.
    for (int64_t i = 0; i < n; ++i) x[i] = mask[i] < 0.0f ? 0.0f : exp_nonpositive(x[i] - largest);
    const float inverse = float(1.0 / sum_row(n, [&](int64_t i) { return x[i]; }));
    for (int64_t i = 0; i < n; ++i) x[i] *= inverse;
}

// d <- scale * p * (d - sum(p d)).
void soft_max_backward(float * d, const float * p, int64_t n, float scale) {
    const float dot = float(sum_row(n, [&](int64_t i) { return p[i] * d[i]; }));
    for (int64_t i = 0; i < n; ++i) d[i] = scale * p[i] * (d[i] - dot);
}

// Turns each pair of the first n_rot numbers by its angle and copies the rest; sign -1 turns back. turns may carry a factor. Neighbours: pairs (x[2i], x[2i+1]), turns (cosine, sine) side by side.
// Halves: pairs (x[i], x[n_rot/2+i]), turns first all cosines, then all sines.
void rotate(const float * x, const float * turns, int64_t n, int64_t n_rot, bool halves, float sign, float * y) {
    for (int64_t i = n_rot; i < n; ++i) y[i] = x[i];
    if (halves) {
        const int64_t h = n_rot / 2;
        for (int64_t i = 0; i < h; ++i) {
            const float c = turns[i], s = turns[h + i] * sign, a = x[i], b = x[h + i];
            y[i]     = a * c - b * s;
            y[h + i] = a * s + b * c;
        }
        return;
    }
    for (int64_t i = 0; i + 1 < n_rot; i += 2) {
        const float c = turns[i], s = turns[i + 1] * sign;
        y[i]     = x[i] * c - x[i + 1] * s;
        y[i + 1] = x[i] * s + x[i + 1] * c;
    }
}

// Near zero the series, whose next term is below 1e-7 there; elsewhere through the exponential.
inline float tanh_row(float u) {
    const float e = exp_nonpositive(u > 0.0f ? -2.0f * u : 2.0f * u);
    const float large = (1.0f - e) / (1.0f + e);
    const float q = u * u;
    const float small = u * (1.0f + q * (-1.0f / 3.0f + q * (2.0f / 15.0f + q * (-17.0f / 315.0f))));
    return q < 0.04f ? small : (u > 0.0f ? large : -large);
}

// y = cap * tanh(scale * x / cap).
void soft_cap(const float * x, int64_t n, float scale, float cap, float * y) {
    const float inside = scale / cap;
    for (int64_t i = 0; i < n; ++i) y[i] = cap * tanh_row(x[i] * inside);
}

// d <- d * scale * (1 - tanh^2(scale * x / cap)).
void soft_cap_backward(float * d, const float * x, int64_t n, float scale, float cap) {
    const float inside = scale / cap;
    for (int64_t i = 0; i < n; ++i) {
        const float t = tanh_row(x[i] * inside);
        d[i] *= scale * (1.0f - t * t);
    }
}

void add(const float * a, const float * b, int64_t n, float * y) {
    for (int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

}  // namespace

#if defined(FEDLLM_SIMD_AVX512)
const row_kernels ROWS_AVX512 = { cross_entropy, divergence, norm, norm_backward, glu, glu_backward, soft_max, soft_max_backward, rotate, soft_cap, soft_cap_backward, add };
#elif defined(FEDLLM_SIMD_AVX2)
const row_kernels ROWS_AVX2 = { cross_entropy, divergence, norm, norm_backward, glu, glu_backward, soft_max, soft_max_backward, rotate, soft_cap, soft_cap_backward, add };
#elif defined(FEDLLM_SIMD_NEON)
const row_kernels ROWS_NEON = { cross_entropy, divergence, norm, norm_backward, glu, glu_backward, soft_max, soft_max_backward, rotate, soft_cap, soft_cap_backward, add };
#else
const row_kernels ROWS_GENERIC = { cross_entropy, divergence, norm, norm_backward, glu, glu_backward, soft_max, soft_max_backward, rotate, soft_cap, soft_cap_backward, add };
#endif

}  // namespace fedllm
