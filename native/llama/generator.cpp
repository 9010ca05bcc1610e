// See generator.h. Model file and adapters pass the core's own checks first, because llama.cpp asserts a few properties instead of
// reporting them. The weights are mapped from the file, so the system keeps one copy of them for the core and for llama.cpp; they are not
// repacked, which would be a second one.
#include "generator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "adapter.h"
#include "base-model.h"
#include "device-memory.h"
#include "error.h"
#include "generation-plan.h"
#include "generation-run.h"
#include "llama.h"
#include "log-router.h"
#include "tokenizer.h"

namespace fedllm {

namespace {

[[noreturn]] void refuse(const std::string & subject, const std::string & expected, const std::string & received) {
    throw train_error("CONFIG_INVALID", subject + ": expected " + expected + ", received " + received);
}

void require_range(int64_t value, int64_t min, int64_t max, const std::string & subject) {
    if (value < min || value > max) {
        refuse(subject, "an integer from " + std::to_string(min) + " to " + std::to_string(max), std::to_string(value));
    }
}

// Lends a flag to the context's abort callback until the request ends, however it ends.
struct flag_scope {
    const std::atomic<bool> *& place;
    flag_scope(const std::atomic<bool> *& lent_to, const std::atomic<bool> & flag) : place(lent_to) { place = &flag; }
    ~flag_scope() { place = nullptr; }
    flag_scope(const flag_scope &)             = delete;
    flag_scope & operator=(const flag_scope &) = delete;
};

// A function of the CPU's module, which is no library that the addon could be bound to.
template <typename Function>
Function cpu_function(const char * name) {
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    return reinterpret_cast<Function>(ggml_backend_reg_get_proc_address(registry, name));
}

}  // namespace

// The steps of opening; each needs those before it.
struct generator_opener {
    const std::string &       path;
    const generator_options & options;
    generator &               result;
    std::shared_ptr<base_model> checked = {};  // described, not loaded

    bool on_cpu() const { return ggml_backend_dev_type(device()) == GGML_BACKEND_DEVICE_TYPE_CPU; }

    ggml_backend_dev_t device() const { return backend_find_device(options.device); }

    void check() {
        checked = check_generator(path, options);
        for (const generation_adapter & adapter : options.adapters) {
            adapter_load_gguf(adapter.path, *checked);
        }
        tokenizer::load(path);
    }

    void load_model() {
        const size_t weights = generation_memory_of(checked->info(), options, on_cpu()).weights;
        const size_t available = device_free_bytes(backend(options.device, options.n_threads));
        if (available != 0 && weights > available) {
            throw train_error("OUT_OF_MEMORY", path + ": expected weights of at most the free " + bytes_text(available) + ", received " + bytes_text(weights) +
                                                   ". Choose a smaller model or type" + (options.repack ? ", or do not repack" : ""));
        }
        ggml_backend_dev_t devices[] = {on_cpu() ? nullptr : device(), nullptr};
        llama_model_params params    = llama_model_default_params();
        params.devices               = devices;
        params.n_gpu_layers          = on_cpu() ? 0 : -1;
        params.load_mode             = LLAMA_LOAD_MODE_MMAP;
        params.use_extra_bufts       = options.repack && on_cpu();
        log_error_scope log;
        try {
            result.model_ = llama_model_load_from_file(path.c_str(), params);
        } catch (const std::bad_alloc &) {
            throw;
        } catch (const std::exception & error) {
            throw train_error("MODEL_LOAD_FAILED", path + ": llama.cpp cannot load the model: " + error.what());
        }
        if (result.model_ == nullptr) {
            throw train_error("MODEL_LOAD_FAILED", path + ": llama.cpp cannot load the model: " + log.reason("it gave no reason"));
        }
        result.vocab_ = llama_model_get_vocab(result.model_);
        if (llama_vocab_n_tokens(result.vocab_) != checked->info().n_vocab) {
            throw train_error("MODEL_LOAD_FAILED", path + ": expected a vocabulary of " + std::to_string(checked->info().n_vocab) +
                                                       " tokens as the weights have, received " + std::to_string(llama_vocab_n_tokens(result.vocab_)));
        }
    }

    void make_context() {
        const generation_memory memory    = generation_memory_of(checked->info(), options, on_cpu());
        const size_t            needed    = memory.cache + memory.compute;  // the weights are there already
        const size_t            available = device_free_bytes(backend(options.device, options.n_threads));
        const int64_t           n_streams = generation_streams(options, on_cpu());
        const std::string       remedy    = "Lower maxSequences or contextLength";
        if (available != 0 && needed > available) {
            throw train_error("OUT_OF_MEMORY", "generation of " + std::to_string(options.max_sequences) + " sequences of " + std::to_string(options.context_length) +
                                                   " tokens: expected at most the free " + bytes_text(available) + ", received " + bytes_text(needed) + ". " + remedy);
        }
        llama_context_params params = llama_context_default_params();
        params.n_seq_max            = uint32_t(n_streams);
        params.n_ctx                = uint32_t(generation_cells(options.context_length) * n_streams);
        params.n_batch = params.n_ubatch = uint32_t(GENERATION_BATCH_TOKENS);
        params.n_outputs_max        = params.n_seq_max;
        params.n_threads = params.n_threads_batch = options.n_threads;
        // The CPU's fused attention sums in F16.
        params.flash_attn_type      = on_cpu() ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
        params.kv_unified           = false;
        params.swa_full             = true;  // a beginning can be shared only while all of it is there
        params.abort_callback_data  = &result;
        params.abort_callback       = [](void * data) {
            const std::atomic<bool> * cancelled = static_cast<const generator *>(data)->cancelled_;
            return cancelled != nullptr && cancelled->load();
        };
        log_error_scope log;
        result.context_ = llama_init_from_model(result.model_, params);
        if (result.context_ == nullptr) {
            throw train_error("OUT_OF_MEMORY", "generation: expected llama.cpp to make a context, received a refusal: " + log.reason("it gave no reason") + ". " + remedy);
        }
        result.columns_ = generation_columns(options, on_cpu());
        result.info_ = {options.context_length, options.max_sequences, checked->info().n_vocab, ggml_backend_dev_name(device()), memory.cache};
    }

    // Threads that sleep between graphs; llama.cpp's own are started anew for each.
    void attach_threads() {
        const auto make = cpu_function<ggml_threadpool * (*)(ggml_threadpool_params *)>("ggml_threadpool_new");
        if (options.n_threads == 1 || make == nullptr) {
            return;
        }
        ggml_threadpool_params params = ggml_threadpool_params_default(options.n_threads);
        params.poll                   = 0;
        result.threads_               = make(&params);
        if (result.threads_ != nullptr) {
            llama_attach_threadpool(result.context_, result.threads_, result.threads_);
        }
    }

    void apply_adapters() {
        std::vector<float> scales;
        for (const generation_adapter & adapter : options.adapters) {
            log_error_scope log;
            result.adapters_.push_back(llama_adapter_lora_init(result.model_, adapter.path.c_str()));
            if (result.adapters_.back() == nullptr) {
                result.adapters_.pop_back();
                throw train_error("ADAPTER_INVALID", adapter.path + ": llama.cpp cannot load the adapter: " + log.reason("it gave no reason"));
            }
            scales.push_back(adapter.scale);
        }
        if (!scales.empty() && llama_set_adapters_lora(result.context_, result.adapters_.data(), scales.size(), scales.data()) != 0) {
            throw train_error("ADAPTER_INVALID", "adapters: llama.cpp cannot apply them together");
        }
    }
};

std::shared_ptr<generator> generator::open(const std::string & model_path, const generator_options & options) {
    std::shared_ptr<generator> result(new generator());
    generator_opener           opener{model_path, options, *result};
    opener.check();
    opener.load_model();
    opener.make_context();
    opener.attach_threads();
    opener.apply_adapters();
    return result;
}

generator::~generator() {
    if (context_ != nullptr) {
        llama_free(context_);
    }
    if (threads_ != nullptr) {
        cpu_function<void (*)(ggml_threadpool *)>("ggml_threadpool_free")(threads_);
    }
    if (model_ != nullptr) {
        llama_model_free(model_);
    }
}

void generator::check_request(const generation_request & request) const {
    for (size_t i = 0; i < request.prompts.size(); ++i) {
        const generation_prompt & prompt  = request.prompts[i];
        const std::string         subject = "prompts[" + std::to_string(i) + "].";
        if (prompt.tokens.empty()) {
            refuse(subject + "tokens", "at least one token", "none");
        }
        const auto bad = std::find_if(prompt.tokens.begin(), prompt.tokens.end(),
                                      [&](int32_t token) { return token < 0 || token >= info_.n_vocab; });
        if (bad != prompt.tokens.end()) {
            refuse(subject + "tokens[" + std::to_string(bad - prompt.tokens.begin()) + "]",
                   "a token id from 0 to " + std::to_string(info_.n_vocab - 1), std::to_string(*bad));
        }
        require_range(prompt.max_new_tokens, 1, int64_t(1) << 31, subject + "maxNewTokens");
        require_range(prompt.sampling.top_k, 0, std::numeric_limits<int32_t>::max(), subject + "topK");
        if (!(prompt.sampling.temperature >= 0.0 && std::isfinite(prompt.sampling.temperature))) {
            refuse(subject + "temperature", "a finite number of at least 0", std::to_string(prompt.sampling.temperature));
        }
        if (!(prompt.sampling.top_p >= 0.0 && prompt.sampling.top_p <= 1.0)) {
            refuse(subject + "topP", "a number from 0 to 1", std::to_string(prompt.sampling.top_p));
        }
        for (const std::string & stop : prompt.stop_texts) {
            if (stop.empty()) {
                refuse(subject + "stopTexts", "texts that are not empty", "an empty one");
            }
        }
    }
}

std::vector<generation> generator::generate(const generation_request & request, const std::function<void(int64_t)> & report,
                                            const std::atomic<bool> & cancelled) {
    check_request(request);
    std::unique_lock<std::timed_mutex> turn(busy_, std::defer_lock);
    while (!turn.try_lock_for(std::chrono::milliseconds(10))) {
        if (cancelled.load()) {
            throw train_error("CANCELLED", "generation was cancelled");
        }
    }
    const flag_scope scope(cancelled_, cancelled);
    return generation_run(context_, {info_.context_length, int32_t(info_.max_sequences), columns_}, request, cancelled).run(report);
}

}  // namespace fedllm
