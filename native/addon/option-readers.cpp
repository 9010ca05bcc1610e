// See option-readers.h.
#include "option-readers.h"

#include <cmath>
#include <cstdio>
#include <iterator>

namespace fedllm::addon {

std::string number_text(double number) {
    char text[32];
    std::snprintf(text, sizeof text, "%.17g", number);
    return text;
}

std::string describe(const Napi::Value & value) {
    if (value.IsEmpty() || value.IsUndefined()) {
        return "undefined";
    }
    if (value.IsNull()) {
        return "null";
    }
    if (value.IsNumber()) {
        return number_text(value.As<Napi::Number>().DoubleValue());
    }
    if (value.IsString()) {
        const std::string text = value.As<Napi::String>().Utf8Value();
        return text.size() <= 40 ? "the string \"" + text + "\"" : "a string of " + std::to_string(text.size()) + " bytes";
    }
    if (value.IsBoolean()) {
        return value.As<Napi::Boolean>().Value() ? "true" : "false";
    }
    if (value.IsTypedArray()) {
        static const char * const NAMES[] = {"Int8Array",    "Uint8Array",   "Uint8ClampedArray", "Int16Array",
                                             "Uint16Array",  "Int32Array",   "Uint32Array",       "Float32Array",
                                             "Float64Array", "BigInt64Array", "BigUint64Array"};
        napi_typedarray_type type = napi_int8_array;
        napi_get_typedarray_info(value.Env(), value, &type, nullptr, nullptr, nullptr, nullptr);
        return size_t(type) < std::size(NAMES) ? std::string("a ") + NAMES[type] : "another typed array";
    }
    if (value.IsArray()) {
        return "an array of length " + std::to_string(value.As<Napi::Array>().Length());
    }
    return value.IsFunction() ? "a function" : value.IsObject() ? "an object" : "another kind of value";
}

double read_number(const Napi::Value & value, const std::string & subject, const number_range & range) {
    if (value.IsNumber()) {
        const double number  = value.As<Napi::Number>().DoubleValue();
        const bool   above   = range.open_min ? number > range.min : number >= range.min;
        const bool   below   = range.open_max ? number < range.max : number <= range.max;
        const bool   in_range = std::isfinite(number) && above && below;
        if (in_range) {
            return number;
        }
    }
    throw parameter_error("CONFIG_INVALID", subject, range.words, describe(value));
}

int64_t read_integer(const Napi::Value & value, const std::string & subject, double min, double max) {
    if (value.IsNumber()) {
        const double number = value.As<Napi::Number>().DoubleValue();
        if (std::isfinite(number) && number == std::floor(number) && number >= min && number <= max) {
            return int64_t(number);
        }
    }
    throw parameter_error("CONFIG_INVALID", subject,
                          "an integer from " + std::to_string(int64_t(min)) + " to " + std::to_string(int64_t(max)),
                          describe(value));
}

Napi::Object read_object(const Napi::Value & value, const std::string & subject) {
    if (!value.IsObject() || value.IsFunction()) {
        throw parameter_error("CONFIG_INVALID", subject, "an object", describe(value));
    }
    return value.As<Napi::Object>();
}

}  // namespace fedllm::addon
