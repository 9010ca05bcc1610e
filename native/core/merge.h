// A model with an adapter added to its weights, W + scale B A, as an ordinary model.
#pragma once

#include <string>

namespace fedllm {

// Writes the model of `model_path` with the adapter of `adapter_path` in it. Weights with a pair become F32, all other tensors stay as they are
// stored. One row of a weight is computed at a time, in double, and one tensor is in memory. Atomic. Throws MODEL_LOAD_FAILED and
// MODEL_UNSUPPORTED for the model, ADAPTER_INVALID for an adapter that does not fit it, CONFIG_INVALID where the output is one of the inputs, IO_FAILED.
void merge_write(const std::string & model_path, const std::string & adapter_path, const std::string & output_path);

}  // namespace fedllm
