// Which types of frozen weights a device can multiply with and unpack. Asked when a model is loaded, so that a model that a
// device cannot run is refused before anything is computed.
#pragma once

#include <vector>

#include "backend.h"
#include "ggml.h"

namespace fedllm {

// Whether the device has W x and the unpacking of W's rows for weights [d_in, d_out] of this type.
bool device_takes_weight(const backend & device, ggml_type type, int64_t d_in, int64_t d_out);

// The types that it takes for weights of that size, in ggml's order.
std::vector<ggml_type> device_weight_types(const backend & device, int64_t d_in, int64_t d_out);

}  // namespace fedllm
