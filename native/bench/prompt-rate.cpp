// See prompt-rate.h; through llama.h only.
#include "prompt-rate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "llama.h"

namespace fedllm_bench {

double measure_prompt_rate(const std::string & model_path, int64_t n_tokens, int threads, int64_t repeats) {
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    const std::unique_ptr<llama_model, decltype(&llama_model_free)> model(llama_model_load_from_file(model_path.c_str(), model_params), llama_model_free);
    if (model == nullptr) return 0.0;
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = uint32_t(n_tokens);
    params.n_threads = params.n_threads_batch = threads;
    const std::unique_ptr<llama_context, decltype(&llama_free)> context(llama_init_from_model(model.get(), params), llama_free);
    if (context == nullptr) return 0.0;
    std::vector<llama_token> tokens(static_cast<size_t>(n_tokens));
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = llama_token((i * 7919 + 13) % size_t(n_vocab));
    double best = 1e30;
    for (int64_t repeat = 0; repeat < repeats; ++repeat) {
        llama_memory_clear(llama_get_memory(context.get()), true);
        const auto begin = std::chrono::steady_clock::now();
        if (llama_decode(context.get(), llama_batch_get_one(tokens.data(), int32_t(n_tokens))) != 0) return 0.0;
        llama_synchronize(context.get());
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return double(n_tokens) / best;
}

}  // namespace fedllm_bench
