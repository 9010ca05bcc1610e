// Naive double-precision pieces of the reference model. Rows are tokens: X is [T][width].
#pragma once

#include <cstdint>
#include <vector>

namespace fedllm_test {

using vec = std::vector<double>;

// Y[T][n_rows] = X[T][n_columns] M^T for M [n_rows][n_columns].
vec multiply_transposed(const double * m, int64_t n_rows, int64_t n_columns, const vec & x, int64_t n_tokens);
// X[T][n_columns] += Y[T][n_rows] M for M [n_rows][n_columns].
void add_product(const double * m, int64_t n_rows, int64_t n_columns, const vec & y, int64_t n_tokens, vec & x);
// G[n_rows][n_columns] += factor * sum over tokens of y_t x_t^T.
void add_outer(const vec & y, int64_t n_rows, const vec & x, int64_t n_columns, int64_t n_tokens, double factor, double * g);
vec rms_norm(const vec & x, const vec & weight, double epsilon);
// y_i = g_i x_i / rms gives dx_i = (g_i dy_i - x_i / (n rms^2) * sum_j g_j dy_j x_j) / rms; added to d_x.
void rms_norm_backward(const vec & x, const vec & weight, double epsilon, const vec & d_y, vec & d_x);
double sigmoid(double x);
void add_to(vec & x, const vec & y);

}  // namespace fedllm_test
