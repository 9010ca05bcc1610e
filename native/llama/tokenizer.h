// The model file's own tokenizer through llama.cpp. Only the vocabulary is loaded, no weights. Thread-safe after loading.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct llama_model;
struct llama_vocab;

namespace fedllm {

class tokenizer {
  public:
    // Throws MODEL_LOAD_FAILED for a bad file, MODEL_UNSUPPORTED for a file without a text vocabulary we can use.
    static std::shared_ptr<tokenizer> load(const std::string & path);
    ~tokenizer();
    tokenizer(const tokenizer &)             = delete;
    tokenizer & operator=(const tokenizer &) = delete;

    int32_t                    n_vocab() const;
    std::optional<int32_t>     bos_token() const;
    std::optional<int32_t>     eos_token() const;
    bool                       add_bos() const;        // whether the file asks for BOS before a text
    std::optional<std::string> chat_template() const;  // Jinja text as stored in the file

    // Text is UTF-8. parse_special: text such as "</s>" becomes the special token. Never adds BOS or EOS by itself.
    // Throws CONFIG_INVALID for a text that is too long or that the vocabulary cannot express.
    std::vector<int32_t> tokenize(const std::string & text, bool parse_special) const;

    // The bytes may end inside a UTF-8 character. Throws CONFIG_INVALID for an id outside 0..n_vocab-1.
    std::string detokenize(const std::vector<int32_t> & tokens, bool render_special) const;

  private:
    tokenizer() = default;
    llama_model *       model_ = nullptr;
    const llama_vocab * vocab_ = nullptr;
};

}  // namespace fedllm
