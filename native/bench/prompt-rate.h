// llama.cpp's own prompt processing on the same file: the yardstick for a training step, which is at best some 2 prompts long.
#pragma once

#include <cstdint>
#include <string>

namespace fedllm_bench {

// Tokens per second of llama_decode over n_tokens in one batch with their last logits, the best of `repeats`; on the CPU, with
// llama.cpp's own weight layouts (repacked where it likes). 0: llama.cpp refuses the file.
double measure_prompt_rate(const std::string & model_path, int64_t n_tokens, int threads, int64_t repeats);

}  // namespace fedllm_bench
