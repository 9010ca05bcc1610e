// Implements reference-math.h by plain loops.
#include "reference-math.h"

#include <cmath>

namespace fedllm_test {

vec multiply_transposed(const double * m, int64_t n_rows, int64_t n_columns, const vec & x, int64_t n_tokens) {
    vec y(size_t(n_tokens * n_rows));
    for (int64_t t = 0; t < n_tokens; t++) {
        for (int64_t row = 0; row < n_rows; row++) {
            double sum = 0.0;
            for (int64_t i = 0; i < n_columns; i++) {
                sum += m[row * n_columns + i] * x[size_t(t * n_columns + i)];
            }
            y[size_t(t * n_rows + row)] = sum;
        }
    }
    return y;
}

void add_product(const double * m, int64_t n_rows, int64_t n_columns, const vec & y, int64_t n_tokens, vec & x) {
    for (int64_t t = 0; t < n_tokens; t++) {
        for (int64_t row = 0; row < n_rows; row++) {
            const double factor = y[size_t(t * n_rows + row)];
            for (int64_t i = 0; i < n_columns; i++) {
                x[size_t(t * n_columns + i)] += factor * m[row * n_columns + i];
            }
        }
    }
}

void add_outer(const vec & y, int64_t n_rows, const vec & x, int64_t n_columns, int64_t n_tokens, double factor, double * g) {
    for (int64_t t = 0; t < n_tokens; t++) {
        for (int64_t row = 0; row < n_rows; row++) {
            for (int64_t i = 0; i < n_columns; i++) {
                g[row * n_columns + i] += factor * y[size_t(t * n_rows + row)] * x[size_t(t * n_columns + i)];
            }
        }
    }
}

vec rms_norm(const vec & x, const vec & weight, double epsilon) {
    const size_t width = weight.size();
    vec          y(x.size());
    for (size_t start = 0; start < x.size(); start += width) {
        double square = 0.0;
        for (size_t i = 0; i < width; i++) {
            square += x[start + i] * x[start + i];
        }
        const double inverse = 1.0 / std::sqrt(square / double(width) + epsilon);
        for (size_t i = 0; i < width; i++) {
            y[start + i] = x[start + i] * inverse * weight[i];
        }
    }
    return y;
}

void rms_norm_backward(const vec & x, const vec & weight, double epsilon, const vec & d_y, vec & d_x) {
    const size_t width = weight.size();
    for (size_t start = 0; start < x.size(); start += width) {
        double square = 0.0, dot = 0.0;
        for (size_t i = 0; i < width; i++) {
            square += x[start + i] * x[start + i];
            dot += weight[i] * d_y[start + i] * x[start + i];
        }
        const double mean_square = square / double(width) + epsilon;
        const double inverse = 1.0 / std::sqrt(mean_square);
        for (size_t i = 0; i < width; i++) {
            d_x[start + i] += inverse * (weight[i] * d_y[start + i] - x[start + i] * dot / (double(width) * mean_square));
        }
    }
}

double sigmoid(double x) {
    return 1.0 / (1.0 + std::exp(-x));
}

void add_to(vec & x, const vec & y) {
    for (size_t i = 0; i < x.size(); i++) {
        x[i] += y[i];
    }
}

}  // namespace fedllm_test
