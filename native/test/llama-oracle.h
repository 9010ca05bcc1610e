// Logits and token ids from unmodified llama.cpp, the outside witness of the forward pass.
#pragma once

#include <memory>
#include <string>
#include <vector>

struct llama_model;

namespace fedllm_test {

class llama_oracle {
  public:
    explicit llama_oracle(const std::string & model_path);
    ~llama_oracle();
    llama_oracle(const llama_oracle &)             = delete;
    llama_oracle & operator=(const llama_oracle &) = delete;

    // [T][n_vocab] by llama_decode in one batch: F32 KV cache, no flash attention. adapter_path empty: the base.
    std::vector<float>   logits(const std::vector<int32_t> & tokens, const std::string & adapter_path = "") const;
    // The same with several adapters at once.
    std::vector<float>   logits(const std::vector<int32_t> & tokens, const std::vector<std::string> & adapter_paths) const;
    std::vector<int32_t> tokenize(const std::string & text) const;  // with BOS as the model asks

  private:
    llama_model * model_ = nullptr;
};

}  // namespace fedllm_test
