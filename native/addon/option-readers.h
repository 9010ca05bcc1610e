// How one JS value becomes one checked C++ value. options.h says which errors are thrown.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <napi.h>

#include "errors.h"

namespace fedllm::addon {

std::string number_text(double number);
// What came, in words: for the second half of a message.
std::string describe(const Napi::Value & value);

struct number_range {
    double       min;
    double       max;
    bool         open_min = false;  // min itself is excluded
    bool         open_max = false;
    const char * words;  // "a number above 0"
};

constexpr double       HUGE_NUMBER = std::numeric_limits<double>::max();
constexpr number_range NOT_NEGATIVE{0.0, HUGE_NUMBER, false, false, "a finite number of at least 0"};
constexpr number_range POSITIVE{0.0, HUGE_NUMBER, true, false, "a finite number above 0"};
constexpr number_range PROBABILITY{0.0, 1.0, false, true, "a number from 0 to below 1"};

double       read_number(const Napi::Value & value, const std::string & subject, const number_range & range);
int64_t      read_integer(const Napi::Value & value, const std::string & subject, double min, double max);
Napi::Object read_object(const Napi::Value & value, const std::string & subject);

// Copies a typed array of exactly this type.
template <typename Number>
std::vector<Number> copy_typed_array(const Napi::Value & value, napi_typedarray_type expected_type, const char * type_name,
                                     const char * code, const std::string & subject) {
    if (value.IsTypedArray()) {
        napi_typedarray_type type   = napi_int8_array;
        size_t               length = 0;
        void *               data   = nullptr;
        const napi_status    status =
            napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
        if (status == napi_ok && type == expected_type) {
            std::vector<Number> copy(data == nullptr ? 0 : length);
            if (!copy.empty()) {
                std::memcpy(copy.data(), data, copy.size() * sizeof(Number));
            }
            return copy;
        }
    }
    throw parameter_error(code, subject, std::string("a ") + type_name, describe(value));
}

}  // namespace fedllm::addon
