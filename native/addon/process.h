// Functions about the process as a whole: its backends and its memory.
#pragma once

#include <napi.h>

namespace fedllm::addon {

// initBackends(binsDir): NativeDevice[]
Napi::Value init_backends(const Napi::CallbackInfo & info);

// peakResidentBytes(): number
Napi::Value peak_resident_bytes(const Napi::CallbackInfo & info);

}  // namespace fedllm::addon
