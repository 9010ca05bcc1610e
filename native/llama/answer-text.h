// The text of an answer while it grows: bytes of its tokens one after another, and the search for texts that end it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct llama_vocab;

namespace fedllm {

class answer_text {
  public:
    // Both must outlive this.
    answer_text(const llama_vocab * vocab, const std::vector<std::string> * stop_texts);

    // Appends a token's text; control tokens have none. True: the text now holds a stop text, and is cut before the first.
    bool append(int32_t token);

    const std::string & bytes() const { return bytes_; }

  private:
    const llama_vocab *              vocab_;
    const std::vector<std::string> * stop_texts_;
    size_t                           longest_stop_ = 0;
    std::string                      bytes_;
};

}  // namespace fedllm
