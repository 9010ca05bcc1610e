// Arithmetic on long vectors: every instruction set must give the bits of the plain loops that kernels.h describes, whatever the
// length and the numbers, so that which processor a sum ran on leaves no trace.
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/kernels.h"
#include "test-support.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

const std::vector<int64_t> LENGTHS = { 0, 1, 3, 7, 8, 9, 15, 16, 31, 33, 100, 2047, 2048, 2049, 5003 };

std::vector<const cpu_kernels *> runnable_tables() {
    std::vector<const cpu_kernels *> tables;
    for (const char * name : { "generic", "avx2", "avx512", "neon" }) {
        if (const cpu_kernels * found = cpu_find_kernels(name)) tables.push_back(found);
    }
    return tables;
}

// Ordinary numbers of many sizes among subnormal, huge, infinite ones and NaN.
template <typename Number>
std::vector<Number> mixed_numbers(int64_t n, uint64_t seed, bool finite) {
    using limits = std::numeric_limits<Number>;
    const Number special[] = { 0, -Number(0), limits::denorm_min(), -limits::denorm_min(), limits::min() / 3, limits::max(), limits::lowest(),
                               limits::infinity(), -limits::infinity(), limits::quiet_NaN() };
    random_source       random(seed);
    std::vector<Number> values;
    for (int64_t i = 0; i < n; ++i) {
        const double kind = random.uniform();
        const int    pick = int(random.uniform() * (finite ? 5 : 10));
        values.push_back(kind < 0.2 ? special[pick] : Number(random.normal() * std::pow(10.0, random.uniform() * 16 - 8)));
    }
    return values;
}

// The same bits, or both NaN: which NaN comes of two is the processor's choice.
template <typename Number>
bool same(Number a, Number b) {
    return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof a) == 0;
}

template <typename Number>
void check_same(const std::string & what, const std::vector<Number> & actual, const std::vector<Number> & expected) {
    bool equal = actual.size() == expected.size();
    for (size_t i = 0; equal && i < actual.size(); ++i) equal = same(actual[i], expected[i]);
    require(equal, what);
}

template <typename Number>
double naive_dot(const Number * x, const Number * y, int64_t n) {
    volatile double part[8] = {};  // volatile: nothing is fused or reordered
    for (int64_t i = 0; i < n; ++i) {
        volatile const double product = double(x[i]) * double(y[i]);
        part[i % 8] = part[i % 8] + product;
    }
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

void check_in_place(const vector_kernels & kernels, const std::string & name, int64_t n, bool finite) {
    const std::vector<double> x = mixed_numbers<double>(n, 1, finite), y = mixed_numbers<double>(n, 2, finite);
    std::vector<double> scaled = x, divided = x, added = x, by_factor, by_divisor, sum;
    kernels.scale(scaled.data(), 0.3, n);
    kernels.divide(divided.data(), 7.0, n);
    kernels.add_scaled(added.data(), -1.1, y.data(), n);
    for (int64_t i = 0; i < n; ++i) {
        volatile const double product = -1.1 * y[size_t(i)];
        by_factor.push_back(x[size_t(i)] * 0.3);
        by_divisor.push_back(x[size_t(i)] / 7.0);
        sum.push_back(x[size_t(i)] + product);
    }
    check_same(name + "scale", scaled, by_factor);
    check_same(name + "divide", divided, by_divisor);
    check_same(name + "add_scaled", added, sum);
}

void check_terms(const vector_kernels & kernels, const std::string & name, int64_t n, bool finite) {
    const std::vector<double> weights = { 3.0, 0.1, 5016.0, 0.0, 1.0 / 3.0 };
    std::vector<std::vector<float>> terms;
    std::vector<const float *> pointers;
    for (size_t k = 0; k < weights.size(); ++k) terms.push_back(mixed_numbers<float>(n, 10 + k, finite));
    for (const std::vector<float> & term : terms) pointers.push_back(term.data());
    std::vector<double> sum = mixed_numbers<double>(n, 3, finite), expected = sum;
    kernels.add_terms(sum.data(), weights.data(), pointers.data(), int64_t(weights.size()), n);
    for (size_t i = 0; i < expected.size(); ++i) {
        for (size_t k = 0; k < weights.size(); ++k) {
            volatile const double product = weights[k] * double(terms[k][i]);
            expected[i] = expected[i] + product;
        }
    }
    check_same(name + "add_terms", sum, expected);
}

void check_single(const vector_kernels & kernels, const std::string & name, int64_t n, bool finite) {
    const std::vector<float> x = mixed_numbers<float>(n, 4, finite), y = mixed_numbers<float>(n, 5, finite);
    const std::vector<double> z = mixed_numbers<double>(n, 6, finite);
    std::vector<float> difference(x.size()), sum(x.size()), rounded(x.size()), differences, sums, rounded_sums;
    kernels.subtract(x.data(), y.data(), n, difference.data());
    kernels.add_single(x.data(), y.data(), n, sum.data());
    kernels.add_double(x.data(), z.data(), n, rounded.data());
    for (size_t i = 0; i < x.size(); ++i) {
        differences.push_back(float(double(x[i]) - double(y[i])));
        sums.push_back(float(double(x[i]) + double(y[i])));
        rounded_sums.push_back(float(double(x[i]) + z[i]));
    }
    check_same(name + "subtract", difference, differences);
    check_same(name + "add_single", sum, sums);
    check_same(name + "add_double", rounded, rounded_sums);
    require(same(kernels.dot_single(x.data(), y.data(), n), naive_dot(x.data(), y.data(), n)), name + "dot_single");
}

void check_products(const vector_kernels & kernels, const std::string & name, int64_t n, bool finite) {
    constexpr int64_t N_LEFT = 3, N_RIGHT = 6;  // four rows at once, and two that remain
    const std::vector<double> left = mixed_numbers<double>(N_LEFT * n, 7, finite), right = mixed_numbers<double>(N_RIGHT * n, 8, finite);
    std::vector<double> products(size_t(N_LEFT * N_RIGHT)), expected;
    kernels.row_products(left.data(), N_LEFT, right.data(), N_RIGHT, n, products.data());
    for (int64_t i = 0; i < N_LEFT; ++i) {
        for (int64_t j = 0; j < N_RIGHT; ++j) expected.push_back(naive_dot(left.data() + i * n, right.data() + j * n, n));
    }
    check_same(name + "row_products", products, expected);
    require(same(kernels.dot_double(left.data(), right.data(), n), expected.at(0)), name + "dot_double");
}

}  // namespace

FEDLLM_TEST("vectors: every instruction set gives the bits of the plain loops") {
    for (const cpu_kernels * table : runnable_tables()) {
        for (const int64_t n : LENGTHS) {
            for (const bool finite : { true, false }) {
                const std::string name = std::string(table->name) + ", " + std::to_string(n) + (finite ? " finite" : " mixed") + " numbers, ";
                check_in_place(*table->vectors, name, n, finite);
                check_terms(*table->vectors, name, n, finite);
                check_single(*table->vectors, name, n, finite);
                check_products(*table->vectors, name, n, finite);
            }
        }
    }
    return format("%zu instruction sets", runnable_tables().size());
}
