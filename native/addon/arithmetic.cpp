// See arithmetic.h. Arrays are read and written where they are, so nothing here may run JS between reading a pointer and using it.
#include "arithmetic.h"

#include <vector>

#include "cpu/kernels.h"
#include "errors.h"
#include "option-readers.h"

namespace fedllm::addon {

namespace {

using call = const Napi::CallbackInfo &;

// Numbers of a typed array that stay JS's.
template <typename Number>
struct view {
    Number * data;
    size_t   length;

    int64_t n() const { return int64_t(length); }
};

bool has_type(const Napi::Value & value, napi_typedarray_type type) {
    return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

// The array must have exactly this element type.
template <typename Number>
view<Number> read_view(const Napi::Value & value, const char * subject) {
    constexpr bool is_double = sizeof(Number) == sizeof(double);
    if (!has_type(value, is_double ? napi_float64_array : napi_float32_array)) {
        throw parameter_error("CONFIG_INVALID", subject, is_double ? "a Float64Array" : "a Float32Array", describe(value));
    }
    auto array = value.As<Napi::TypedArrayOf<Number>>();
    return {array.Data(), array.ElementLength()};
}

void check_length(size_t length, size_t expected, const char * subject) {
    if (length != expected) {
        throw parameter_error("CONFIG_INVALID", subject, std::to_string(expected) + " numbers", std::to_string(length));
    }
}

template <typename Number>
view<Number> read_view_of(const Napi::Value & value, size_t length, const char * subject) {
    const view<Number> numbers = read_view<Number>(value, subject);
    check_length(numbers.length, length, subject);
    return numbers;
}

// Any number, NaN as well: what arithmetic makes of it is its result.
double read_factor(const Napi::Value & value, const char * subject) {
    if (!value.IsNumber()) throw parameter_error("CONFIG_INVALID", subject, "a number", describe(value));
    return value.As<Napi::Number>().DoubleValue();
}

const vector_kernels & kernels() { return *cpu_select_kernels().vectors; }

// addTerms(sum, weights, terms)
void add_terms(call info) {
    guard_sync(info.Env(), [&] {
        const view<double> sum     = read_view<double>(info[0], "sum");
        const view<double> weights = read_view<double>(info[1], "weights");
        if (!info[2].IsArray()) throw parameter_error("CONFIG_INVALID", "terms", "an array", describe(info[2]));
        const auto array = info[2].As<Napi::Array>();
        check_length(array.Length(), weights.length, "terms");
        std::vector<const float *> terms;
        for (uint32_t k = 0; k < array.Length(); ++k) {
            terms.push_back(read_view_of<float>(array.Get(k), sum.length, "term").data);
        }
        kernels().add_terms(sum.data, weights.data, terms.data(), int64_t(terms.size()), sum.n());
    });
}

// addScaled(target, factor, source)
void add_scaled(call info) {
    guard_sync(info.Env(), [&] {
        const view<double> target = read_view<double>(info[0], "target");
        const view<double> source = read_view_of<double>(info[2], target.length, "source");
        kernels().add_scaled(target.data, read_factor(info[1], "factor"), source.data, target.n());
    });
}

// scale(values, factor)
void scale(call info) {
    guard_sync(info.Env(), [&] {
        const view<double> values = read_view<double>(info[0], "values");
        kernels().scale(values.data, read_factor(info[1], "factor"), values.n());
    });
}

// divide(values, divisor)
void divide(call info) {
    guard_sync(info.Env(), [&] {
        const view<double> values = read_view<double>(info[0], "values");
        kernels().divide(values.data, read_factor(info[1], "divisor"), values.n());
    });
}

// subtract(minuend, subtrahend, difference)
void subtract(call info) {
    guard_sync(info.Env(), [&] {
        const view<float> a = read_view<float>(info[0], "minuend");
        const view<float> b = read_view_of<float>(info[1], a.length, "subtrahend");
        kernels().subtract(a.data, b.data, a.n(), read_view_of<float>(info[2], a.length, "difference").data);
    });
}

// add(weights, update, sum); the update is of single or of double precision.
void add(call info) {
    guard_sync(info.Env(), [&] {
        const view<float> a   = read_view<float>(info[0], "weights");
        const view<float> sum = read_view_of<float>(info[2], a.length, "sum");
        if (has_type(info[1], napi_float64_array)) {
            kernels().add_double(a.data, read_view_of<double>(info[1], a.length, "update").data, a.n(), sum.data);
        } else {
            kernels().add_single(a.data, read_view_of<float>(info[1], a.length, "update").data, a.n(), sum.data);
        }
    });
}

// dot(left, right): number; both of one type.
Napi::Value dot(call info) {
    return guard_sync(info.Env(), [&] {
        if (has_type(info[0], napi_float64_array)) {
            const view<double> x = read_view<double>(info[0], "left");
            return Napi::Number::New(info.Env(), kernels().dot_double(x.data, read_view_of<double>(info[1], x.length, "right").data, x.n()));
        }
        const view<float> x = read_view<float>(info[0], "left");
        return Napi::Number::New(info.Env(), kernels().dot_single(x.data, read_view_of<float>(info[1], x.length, "right").data, x.n()));
    });
}

// rowProducts(left, right, cols, products)
void row_products(call info) {
    guard_sync(info.Env(), [&] {
        const view<double> left  = read_view<double>(info[0], "left");
        const view<double> right = read_view<double>(info[1], "right");
        const size_t       cols  = size_t(read_integer(info[2], "cols", 1, double(1ll << 32)));
        const size_t       n_left = left.length / cols, n_right = right.length / cols;
        check_length(left.length, n_left * cols, "left");
        check_length(right.length, n_right * cols, "right");
        const view<double> products = read_view_of<double>(info[3], n_left * n_right, "products");
        kernels().row_products(left.data, int64_t(n_left), right.data, int64_t(n_right), int64_t(cols), products.data);
    });
}

}  // namespace

Napi::Object make_arithmetic(Napi::Env env) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("addTerms", Napi::Function::New<add_terms>(env, "addTerms"));
    object.Set("addScaled", Napi::Function::New<add_scaled>(env, "addScaled"));
    object.Set("scale", Napi::Function::New<scale>(env, "scale"));
    object.Set("divide", Napi::Function::New<divide>(env, "divide"));
    object.Set("subtract", Napi::Function::New<subtract>(env, "subtract"));
    object.Set("add", Napi::Function::New<add>(env, "add"));
    object.Set("dot", Napi::Function::New<dot>(env, "dot"));
    object.Set("rowProducts", Napi::Function::New<row_products>(env, "rowProducts"));
    return object;
}

}  // namespace fedllm::addon
