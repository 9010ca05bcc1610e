// See tokenizer.h. llama.cpp asserts a few properties of the vocabulary instead of reporting them; those are checked here
// first, because an assertion there would end the process.
#include "tokenizer.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "error.h"
#include "gguf-file.h"
#include "gguf.h"
#include "llama.h"
#include "log-router.h"

namespace fedllm {

namespace {

struct gguf_deleter {
    void operator()(gguf_context * context) const { gguf_free(context); }
};

[[noreturn]] void fail(const char * code, const std::string & path, const std::string & problem) {
    throw train_error(code, path + ": " + problem);
}

// llama.cpp asserts that all token texts differ and gives an empty text a made-up name.
void check_token_texts(const std::string & path) {
    gguf_init_params params = {};
    params.no_alloc         = true;
    params.ctx              = nullptr;
    const std::unique_ptr<gguf_context, gguf_deleter> context(gguf_init_from_file(path.c_str(), params));
    if (context == nullptr) {
        fail("MODEL_LOAD_FAILED", path, "expected a readable GGUF file, received one whose metadata cannot be parsed");
    }
    const int64_t key = gguf_find_key(context.get(), "tokenizer.ggml.tokens");
    if (key < 0) {
        fail("MODEL_UNSUPPORTED", path, "tokenizer.ggml.tokens: expected a vocabulary, received none");
    }
    if (gguf_get_kv_type(context.get(), key) != GGUF_TYPE_ARRAY ||
        gguf_get_arr_type(context.get(), key) != GGUF_TYPE_STRING) {
        fail("MODEL_LOAD_FAILED", path, "tokenizer.ggml.tokens: expected an array of strings, received another type");
    }
    const size_t n_tokens = gguf_get_arr_n(context.get(), key);
    if (n_tokens == 0 || n_tokens > size_t(std::numeric_limits<int32_t>::max())) {
        fail("MODEL_LOAD_FAILED", path,
             "tokenizer.ggml.tokens: expected 1 to 2147483647 tokens, received " + std::to_string(n_tokens));
    }
    std::unordered_set<std::string> seen;
    seen.reserve(n_tokens);
    for (size_t i = 0; i < n_tokens; ++i) {
        std::string text = gguf_get_arr_str(context.get(), key, i);
        if (text.empty()) {
            text = "[EMPTY_" + std::to_string(i) + "]";
        }
        if (!seen.insert(text).second) {
            fail("MODEL_LOAD_FAILED", path,
                 "tokenizer.ggml.tokens: expected distinct texts, received token " + std::to_string(i) +
                     " with the text of an earlier one");
        }
    }
}

// Of llama.cpp's tokenizer kinds, the two that models of the supported architectures use.
void check_tokenizer_kind(const gguf_file & file) {
    const std::optional<std::string> kind = file.get_string("tokenizer.ggml.model");
    if (!kind.has_value()) {
        fail("MODEL_UNSUPPORTED", file.path(), "tokenizer.ggml.model: expected a tokenizer kind, received none");
    }
    if (*kind != "llama" && *kind != "gpt2") {
        fail("MODEL_UNSUPPORTED", file.path(),
             "tokenizer.ggml.model: expected \"llama\" or \"gpt2\", received \"" + *kind + "\"");
    }
}

std::optional<int32_t> existing_token(llama_token token, int32_t n_vocab) {
    if (token < 0 || token >= n_vocab) {
        return std::nullopt;
    }
    return token;
}

}  // namespace

std::shared_ptr<tokenizer> tokenizer::load(const std::string & path) {
    const std::shared_ptr<gguf_file> file = gguf_file::open(path);
    check_tokenizer_kind(*file);
    check_token_texts(path);

    log_error_scope    log;
    llama_model_params params = llama_model_default_params();
    params.vocab_only         = true;
    params.n_gpu_layers       = 0;
    std::shared_ptr<tokenizer> result(new tokenizer());
    try {
        result->model_ = llama_model_load_from_file(path.c_str(), params);
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const std::exception & error) {
        fail("MODEL_LOAD_FAILED", path, std::string("llama.cpp cannot load the vocabulary: ") + error.what());
    }
    if (result->model_ == nullptr) {
        fail("MODEL_LOAD_FAILED", path, "llama.cpp cannot load the vocabulary: " + log.reason("it gave no reason"));
    }
    result->vocab_ = llama_model_get_vocab(result->model_);
    return result;
}

tokenizer::~tokenizer() {
    llama_model_free(model_);
}

int32_t tokenizer::n_vocab() const {
    return llama_vocab_n_tokens(vocab_);
}

std::optional<int32_t> tokenizer::bos_token() const {
    return existing_token(llama_vocab_bos(vocab_), n_vocab());
}

std::optional<int32_t> tokenizer::eos_token() const {
    return existing_token(llama_vocab_eos(vocab_), n_vocab());
}

bool tokenizer::add_bos() const {
    return llama_vocab_get_add_bos(vocab_);
}

std::optional<std::string> tokenizer::chat_template() const {
    const char * text = llama_model_chat_template(model_, nullptr);
    if (text == nullptr || *text == '\0') {
        return std::nullopt;
    }
    return std::string(text);
}

std::vector<int32_t> tokenizer::tokenize(const std::string & text, bool parse_special) const {
    // llama.cpp counts in int32; the margin leaves room for tokens it puts in front.
    constexpr size_t MAX_TEXT_BYTES = size_t(std::numeric_limits<int32_t>::max()) - 1024;
    if (text.size() > MAX_TEXT_BYTES) {
        throw train_error("CONFIG_INVALID", "text: expected at most " + std::to_string(MAX_TEXT_BYTES) +
                                                " bytes, received " + std::to_string(text.size()));
    }
    const int32_t text_length = int32_t(text.size());
    // A token covers at least one byte in every usual vocabulary, so one call is nearly always enough.
    std::vector<int32_t> tokens(text.size() + 16);
    try {
        int32_t count = llama_tokenize(vocab_, text.data(), text_length, tokens.data(), int32_t(tokens.size()),
                                       /*add_special=*/false, parse_special);
        if (count < 0 && count != std::numeric_limits<int32_t>::min()) {
            tokens.resize(size_t(-count));
            count = llama_tokenize(vocab_, text.data(), text_length, tokens.data(), int32_t(tokens.size()), false,
                                   parse_special);
        }
        if (count < 0) {
            throw train_error("CONFIG_INVALID", "text: expected a text of at most 2147483647 tokens, received a longer one");
        }
        tokens.resize(size_t(count));
    } catch (const std::out_of_range & error) {
        throw train_error("CONFIG_INVALID", std::string("text: expected characters that the vocabulary can express, "
                                                        "received one that it cannot (") + error.what() + ")");
    }
    return tokens;
}

std::string tokenizer::detokenize(const std::vector<int32_t> & tokens, bool render_special) const {
    if (tokens.size() > size_t(std::numeric_limits<int32_t>::max())) {
        throw train_error("CONFIG_INVALID", "tokens: expected at most 2147483647 tokens, received " +
                                                std::to_string(tokens.size()));
    }
    const int32_t size = n_vocab();
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i] < 0 || tokens[i] >= size) {
            throw train_error("CONFIG_INVALID", "tokens[" + std::to_string(i) + "]: expected a token id in 0.." +
                                                    std::to_string(size - 1) + ", received " + std::to_string(tokens[i]));
        }
    }
    // Four bytes a token are typical of English; llama.cpp tells the length needed when that is too little.
    std::string text(std::min<size_t>(tokens.size() * 8 + 64, size_t(1) << 30), '\0');
    for (;;) {
        const int32_t length = llama_detokenize(vocab_, tokens.data(), int32_t(tokens.size()), text.data(),
                                                int32_t(text.size()), /*remove_special=*/false, render_special);
        if (length >= 0) {
            text.resize(size_t(length));
            return text;
        }
        text.resize(size_t(-int64_t(length)));
    }
}

}  // namespace fedllm
