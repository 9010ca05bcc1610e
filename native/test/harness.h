// A minimal test registry: each test is a sentence about behaviour and a function that returns a short detail (numbers
// it measured) or throws. What is tested lives in test-*.cpp; the program's entry and its options in core-test.cpp.
#pragma once

#include <cmath>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "error.h"

namespace fedllm_test {

struct test_failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Thrown by a test that cannot run here; the reason is printed and the test counts as neither passed nor failed.
struct test_skipped : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct test_case {
    std::string                  name;
    std::function<std::string()> run;
};

inline std::vector<test_case> & test_registry() {
    static std::vector<test_case> registry;
    return registry;
}

struct test_registrar {
    test_registrar(std::string name, std::function<std::string()> run) { test_registry().push_back({std::move(name), std::move(run)}); }
};

#define FEDLLM_TEST_JOIN_(a, b) a##b
#define FEDLLM_TEST_JOIN(a, b) FEDLLM_TEST_JOIN_(a, b)
// FEDLLM_TEST("the thing does this") { ...; return detail; }
#define FEDLLM_TEST(title)                                                                          \
    static std::string FEDLLM_TEST_JOIN(test_body_, __LINE__)();                                    \
    static const ::fedllm_test::test_registrar FEDLLM_TEST_JOIN(test_registrar_, __LINE__)(         \
        title, FEDLLM_TEST_JOIN(test_body_, __LINE__));                                             \
    static std::string FEDLLM_TEST_JOIN(test_body_, __LINE__)()

template <typename... Args>
std::string format(const char * pattern, Args... args) {
    char buffer[512];
    std::snprintf(buffer, sizeof(buffer), pattern, args...);
    return buffer;
}

inline void require(bool condition, const std::string & reason) {
    if (!condition) {
        throw test_failure(reason);
    }
}

// NaN fails.
inline void require_below(double value, double bound, const std::string & what) {
    if (!(value < bound)) {
        throw test_failure(what + format(" is %.4g, must be below %.4g", value, bound));
    }
}

inline void require_close(double value, double expected, double relative, const std::string & what) {
    const double scale = std::max(std::fabs(expected), 1e-300);
    if (!(std::fabs(value - expected) <= relative * scale)) {
        throw test_failure(what + format(" is %.9g, expected %.9g (relative tolerance %.2g)", value, expected, relative));
    }
}

// The action must throw train_error with one of these codes; returns its message.
inline std::string require_error(std::initializer_list<const char *> codes, const std::string & what,
                                 const std::function<void()> & action) {
    std::string expected;
    for (const char * code : codes) {
        expected += (expected.empty() ? "" : " or ") + std::string(code);
    }
    try {
        action();
    } catch (const fedllm::train_error & error) {
        for (const char * code : codes) {
            if (error.code == code) {
                require(error.what()[0] != '\0', what + ": the error has an empty message");
                return error.what();
            }
        }
        throw test_failure(what + ": expected " + expected + ", came " + error.code + ": " + error.what());
    }
    throw test_failure(what + ": expected " + expected + ", nothing was thrown");
}

}  // namespace fedllm_test
