// Makes a quantized GGUF out of an unquantized one with llama.cpp's own quantizer.
#pragma once

#include <string>

namespace fedllm {

struct quantize_options {
    // llama.cpp's name, for example "Q4_K_M"; upper or lower case. Types that need an importance matrix are not offered.
    std::string type;
    int         n_threads        = 1;
    bool        allow_requantize = false;  // accept an input that is quantized already (loses quality)
};

// Atomic: writes a temporary file beside `output_path`, syncs it, renames it and syncs the folder; an existing file is
// replaced. Throws CONFIG_INVALID (type, paths, input quantized already), MODEL_LOAD_FAILED (input), IO_FAILED (output).
void quantize_model(const std::string & input_path, const std::string & output_path, const quantize_options & options);

}  // namespace fedllm
