// setLogger: carries log lines of any thread to one JS callback. The channel never keeps the process alive and is closed
// when its environment ends.
#pragma once

#include <napi.h>

namespace fedllm::addon {

// setLogger(callback: ((level, text) => void) | null): void
Napi::Value set_logger(const Napi::CallbackInfo & info);

}  // namespace fedllm::addon
