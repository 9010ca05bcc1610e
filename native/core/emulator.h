// An emulator is a model with some layers of another one left out, in a GGUF file of its own that every program opens as an ordinary
// model (offsite tuning, Xiao et al. 2023; FedBiOT, Wu et al. 2024). The file holds nothing of the dropped layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fedllm {

// Writes the model of `input_path` with only the layers `kept` (ascending numbers of the full model), which become layers 0, 1, ... .
// Tensors are copied as they are stored; block_count and keys with a number per layer follow. Atomic. The keys fedllm.emulator.layers and
// fedllm.emulator.layer_count say where the layers came from. Throws MODEL_LOAD_FAILED and MODEL_UNSUPPORTED for the input, CONFIG_INVALID for the
// list or equal paths, MODEL_UNSUPPORTED where a layer would mean something else at its new place (a sliding window, a layer
// without rotation), IO_FAILED.
void emulator_write(const std::string & input_path, const std::string & output_path, const std::vector<int64_t> & kept);

}  // namespace fedllm
