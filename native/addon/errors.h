// Turns C++ exceptions into JS errors with a `code`. guard_sync is the synchronous twin of the catch in async-task.cpp.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include <napi.h>

#include "error.h"

namespace fedllm::addon {

struct task_failure {
    std::string code;
    std::string message;
};

// Describes the exception being handled: train_error keeps its code, std::bad_alloc is OUT_OF_MEMORY, the rest
// TRAIN_FAILED. Call only inside a catch block.
task_failure describe_current_exception();

// `caller_stack` replaces the frames of the error's own stack, which show nothing of the code that asked for the work.
Napi::Error make_js_error(Napi::Env env, const task_failure & failure, const std::string & caller_stack = "");

// Frames of the JS stack at this moment, without the first line.
std::string capture_caller_stack(Napi::Env env);

// "subject: expected ..., received ...": the form of all messages about parameters (describeProblem in src/errors.ts).
train_error parameter_error(const std::string & code, const std::string & subject, const std::string & expected,
                            const std::string & received);

// Runs a synchronous body; whatever it throws becomes a JS error with a code. JS exceptions pass through.
template <typename Body>
auto guard_sync(Napi::Env env, Body && body) -> decltype(body()) {
    try {
        return std::forward<Body>(body)();
    } catch (const Napi::Error &) {
        throw;
    } catch (...) {
        throw make_js_error(env, describe_current_exception());
    }
}

// Runs the body of a call from the event loop into JS. Its exception becomes JS's uncaught one; in a worker that is being
// terminated, where no JS can run, every call fails and the failure has no one left to tell.
template <typename Body>
void guard_callback(Napi::Env env, Body && body) noexcept {
    try {
        guard_sync(env, std::forward<Body>(body));
    } catch (const Napi::Error & error) {
        try {
            error.ThrowAsJavaScriptException();
        } catch (const Napi::Error &) {  // the environment is ending
        }
    }
}

}  // namespace fedllm::addon
