// See answer-text.h. UTF-8 can be searched byte by byte: a character never begins inside another one.
#include "answer-text.h"

#include <algorithm>

#include "llama.h"

namespace fedllm {

answer_text::answer_text(const llama_vocab * vocab, const std::vector<std::string> * stop_texts) : vocab_(vocab), stop_texts_(stop_texts) {
    for (const std::string & stop : *stop_texts) {
        longest_stop_ = std::max(longest_stop_, stop.size());
    }
}

bool answer_text::append(int32_t token) {
    std::string piece(64, '\0');
    int32_t     length = llama_token_to_piece(vocab_, token, piece.data(), int32_t(piece.size()), /*lstrip=*/0, /*special=*/false);
    if (length < 0) {
        piece.resize(size_t(-length));
        length = llama_token_to_piece(vocab_, token, piece.data(), int32_t(piece.size()), 0, false);
    }
    // A stop text that is not whole yet may begin this far before the new bytes.
    const size_t from = bytes_.size() - std::min(bytes_.size(), longest_stop_);
    bytes_.append(piece, 0, size_t(std::max(length, 0)));
    size_t first = std::string::npos;
    for (const std::string & stop : *stop_texts_) {
        first = std::min(first, bytes_.find(stop, from));
    }
    if (first == std::string::npos) {
        return false;
    }
    bytes_.resize(first);
    return true;
}

}  // namespace fedllm
