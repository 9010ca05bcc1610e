// Arithmetic on long typed arrays, on the calling thread and in place: Arithmetic of src/adapter/arithmetic.ts.
#pragma once

#include <napi.h>

namespace fedllm::addon {

// The object with the functions. They throw CONFIG_INVALID for arrays of another type or length.
Napi::Object make_arithmetic(Napi::Env env);

}  // namespace fedllm::addon
