// The only exception that leaves the core. Codes are the ones of src/errors.ts, so that the addon passes them on
// unchanged. The core never prints, never exits and never returns a Boolean for failure.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace fedllm {

struct train_error : std::runtime_error {
    // Stable code: MODEL_LOAD_FAILED, MODEL_UNSUPPORTED, ADAPTER_INVALID, TRAIN_DIVERGED, TRAIN_FAILED, OUT_OF_MEMORY,
    // IO_FAILED, CANCELLED, CONFIG_INVALID, DATASET_INVALID, NATIVE_MISMATCH.
    std::string code;

    train_error(std::string error_code, const std::string & message)
        : std::runtime_error(message), code(std::move(error_code)) {}
};

// Programmer errors end the process: they are bugs of ours and never reachable from user input.
#define FEDLLM_ASSERT(condition)                                                                       \
    do {                                                                                               \
        if (!(condition)) {                                                                            \
            std::fprintf(stderr, "%s:%d: assertion failed: %s\n", __FILE__, __LINE__, #condition);     \
            std::abort();                                                                              \
        }                                                                                              \
    } while (0)

}  // namespace fedllm
