// Implements llama-oracle.h through llama.h only.
#include "llama-oracle.h"

#include <algorithm>
#include <stdexcept>

#include "llama.h"
#include "test-support.h"

namespace fedllm_test {

llama_oracle::llama_oracle(const std::string & model_path) {
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    params.use_extra_bufts = false;  // repacked weights round differently
    model_ = llama_model_load_from_file(model_path.c_str(), params);
    if (model_ == nullptr) {
        throw std::runtime_error("llama.cpp refuses " + model_path);
    }
}

llama_oracle::~llama_oracle() {
    llama_model_free(model_);
}

std::vector<float> llama_oracle::logits(const std::vector<int32_t> & tokens, const std::string & adapter_path) const {
    return logits(tokens, adapter_path.empty() ? std::vector<std::string>() : std::vector<std::string>{adapter_path});
}

std::vector<float> llama_oracle::logits(const std::vector<int32_t> & tokens, const std::vector<std::string> & adapter_paths) const {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = uint32_t(std::max<size_t>(tokens.size(), 32));
    params.n_threads = params.n_threads_batch = TEST_THREADS;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    const std::unique_ptr<llama_context, decltype(&llama_free)> context(llama_init_from_model(model_, params), llama_free);
    if (context == nullptr) {
        throw std::runtime_error("llama.cpp cannot make a context");
    }
    using adapter_ptr = std::unique_ptr<llama_adapter_lora, decltype(&llama_adapter_lora_free)>;
    std::vector<adapter_ptr>          owners;
    std::vector<llama_adapter_lora *> adapters;
    for (const std::string & path : adapter_paths) {
        owners.emplace_back(llama_adapter_lora_init(model_, path.c_str()), llama_adapter_lora_free);
        if (owners.back() == nullptr) {
            throw std::runtime_error("llama.cpp refuses the adapter " + path);
        }
        adapters.push_back(owners.back().get());
    }
    std::vector<float> scales(adapters.size(), 1.0f);
    if (!adapters.empty() && llama_set_adapters_lora(context.get(), adapters.data(), adapters.size(), scales.data()) != 0) {
        throw std::runtime_error("llama.cpp cannot set the adapters");
    }
    llama_batch batch = llama_batch_init(int32_t(tokens.size()), 0, 1);
    for (size_t i = 0; i < tokens.size(); i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = llama_pos(i);
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    batch.n_tokens = int32_t(tokens.size());
    const int          status = llama_decode(context.get(), batch);
    const int64_t      n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model_));
    std::vector<float> result;
    for (size_t i = 0; status == 0 && i < tokens.size(); i++) {
        const float * row = llama_get_logits_ith(context.get(), int32_t(i));
        result.insert(result.end(), row, row + n_vocab);
    }
    llama_batch_free(batch);
    if (status != 0) {
        throw std::runtime_error("llama_decode failed");
    }
    return result;
}

std::vector<int32_t> llama_oracle::tokenize(const std::string & text) const {
    std::vector<int32_t> tokens(text.size() + 8);
    const int32_t        n_tokens = llama_tokenize(llama_model_get_vocab(model_), text.data(), int32_t(text.size()),
                                                   tokens.data(), int32_t(tokens.size()), true, false);
    if (n_tokens < 0) {
        throw std::runtime_error("llama_tokenize failed");
    }
    tokens.resize(size_t(n_tokens));
    return tokens;
}

}  // namespace fedllm_test
