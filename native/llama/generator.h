// Continues prompts with a model file and adapters by llama.cpp's forward pass: many sequences in each llama_decode, prompts that
// begin alike computed once (generation-run.h says how).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "token-sampler.h"

struct ggml_backend_device;
struct ggml_threadpool;
struct llama_adapter_lora;
struct llama_context;
struct llama_model;
struct llama_vocab;

namespace fedllm {

struct generation_adapter {
    std::string path;         // GGUF adapter, as adapter_load_gguf reads it
    float       scale = 1.0f;  // times the adapter's own
};

struct generator_options {
    int64_t                         context_length = 0;  // tokens of a sequence, prompt and answer
    int64_t                         max_sequences  = 1;  // computed at once
    int                             n_threads      = 1;
    std::string                     device;              // empty: the CPU
    bool                            repack = false;      // the CPU's weights are copied in the order of its fastest kernels
    std::vector<generation_adapter> adapters;
};

struct generation_prompt {
    std::vector<int32_t>     tokens;
    int64_t                  max_new_tokens = 0;
    sampling_options         sampling;
    uint64_t                 seed = 0;
    std::vector<std::string> stop_texts;  // UTF-8
};

struct generation_request {
    std::vector<generation_prompt> prompts;
    bool                           log_probabilities = false;
};

enum class generation_stop { end_token, stop_text, max_tokens, context_full };

struct generation {
    std::vector<int32_t> tokens;             // new ones, without an end token
    std::vector<double>  log_probabilities;  // of each, under the softmax of the logits as they are; empty unless asked for
    std::string          text;               // bytes; the end may lie inside a UTF-8 character
    generation_stop      stop = generation_stop::max_tokens;
    int64_t              n_own_prompt_tokens = 0;  // computed for this prompt alone
};

struct generator_info {
    int64_t     context_length = 0;
    int64_t     max_sequences  = 0;
    int64_t     n_vocab        = 0;
    std::string device;               // ggml's name
    size_t      cache_bytes = 0;      // keys and values of all sequences
};

class generator {
  public:
    // Throws CONFIG_INVALID, MODEL_LOAD_FAILED, MODEL_UNSUPPORTED, ADAPTER_INVALID, NATIVE_MISMATCH (device), OUT_OF_MEMORY.
    static std::shared_ptr<generator> open(const std::string & model_path, const generator_options & options);
    ~generator();
    generator(const generator &)             = delete;
    generator & operator=(const generator &) = delete;

    const generator_info & info() const { return info_; }

    // `report` receives the number of new tokens so far, of all prompts. One request at a time; others wait.
    // Throws CONFIG_INVALID for a request that cannot be, CANCELLED, TRAIN_FAILED for logits that are no numbers or a device's failure.
    std::vector<generation> generate(const generation_request & request, const std::function<void(int64_t)> & report,
                                     const std::atomic<bool> & cancelled);

  private:
    generator() = default;
    friend struct generator_opener;
    void check_request(const generation_request & request) const;

    generator_info                    info_;
    llama_model *                     model_   = nullptr;
    const llama_vocab *               vocab_   = nullptr;
    llama_context *                   context_ = nullptr;
    ggml_threadpool *                 threads_ = nullptr;
    std::vector<llama_adapter_lora *> adapters_;  // owned by the model
    int32_t                           columns_ = 1;  // see generation-run.h
    std::timed_mutex                  busy_;
    const std::atomic<bool> *         cancelled_ = nullptr;  // of the running request
};

}  // namespace fedllm
