// See errors.h.
#include "errors.h"

#include <exception>
#include <new>

namespace fedllm::addon {

task_failure describe_current_exception() {
    try {
        throw;
    } catch (const train_error & error) {
        return {error.code, error.what()};
    } catch (const std::bad_alloc &) {
        return {"OUT_OF_MEMORY", "memory: expected enough for this work, received an allocation failure. Use a smaller "
                                 "micro-batch or close other programs"};
    } catch (const std::exception & error) {
        return {"TRAIN_FAILED", std::string("unexpected native error: ") + error.what()};
    } catch (...) {
        return {"TRAIN_FAILED", "unexpected native error of unknown type"};
    }
}

Napi::Error make_js_error(Napi::Env env, const task_failure & failure, const std::string & caller_stack) {
    Napi::Error error = Napi::Error::New(env, failure.message);
    error.Set("code", Napi::String::New(env, failure.code));
    if (!caller_stack.empty()) {
        error.Set("stack", Napi::String::New(env, "Error: " + failure.message + "\n" + caller_stack));
    }
    return error;
}

std::string capture_caller_stack(Napi::Env env) {
    const Napi::Value stack = Napi::Error::New(env, "").Get("stack");
    if (!stack.IsString()) {
        return "";
    }
    const std::string text     = stack.As<Napi::String>().Utf8Value();
    const size_t      line_end = text.find('\n');
    return line_end == std::string::npos ? "" : text.substr(line_end + 1);
}

train_error parameter_error(const std::string & code, const std::string & subject, const std::string & expected,
                            const std::string & received) {
    return train_error(code, subject + ": expected " + expected + ", received " + received);
}

}  // namespace fedllm::addon
