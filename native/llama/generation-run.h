// One request on a llama_context. Each sequence has a stream of the cache to itself. Prompts are taken in the order of their tokens,
// so that those which begin alike follow one another; a free stream first takes over the longest common beginning that any stream
// holds (copied, or left standing where it is the stream's own), then the rest of the prompt but its last token is computed, and from
// there on the stream takes part in steps of one token for each sequence. A finished one makes room for the next prompt; when none is
// left, the last stream moves into the gap, because llama.cpp computes only neighbouring streams together.
//
// All of this is a function of the request. On the CPU, moreover, a token's numbers do not depend on what is computed with it: streams
// begin at cell 0 of their own, padding adds zeros at the end of sums, and all products but those inside attention have a multiple of
// `columns` columns, because ggml's kernels sum fewer in another order: a prompt is computed in pieces of such lengths, and a step that is short
// of sequences is filled up with tokens that nobody looks at. Only what pieces have computed is shared, never what steps have, whose attention has a single
// column for each sequence.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "answer-text.h"
#include "generator.h"

namespace fedllm {

struct generation_limits {
    int64_t context_length;
    int32_t n_streams;  // that take prompts
    int32_t columns;    // the context has n_streams, rounded up to a multiple of it; 1: bits may depend on company
};

class generation_run {
  public:
    generation_run(llama_context * context, const generation_limits & limits, const generation_request & request,
                   const std::atomic<bool> & cancelled);

    std::vector<generation> run(const std::function<void(int64_t)> & report);

  private:
    // What a stream of the cache holds and whose it is.
    struct stream {
        size_t               prompt = 0;
        std::vector<int32_t> tokens;         // prompt and answer so far
        int64_t              n_cached = 0;   // of these, from the start
        int64_t              n_filled = 0;   // of those, in pieces: what others may share
        std::optional<answer_text> text;
    };

    void    start_prompts();
    void    fill(stream & target, int32_t index, size_t prompt);
    int64_t share_beginning(stream & target, int32_t index, const std::vector<int32_t> & tokens, int64_t n_wanted);
    void    step();
    int64_t whole_columns(int64_t n) const { return n - n % limits_.columns; }
    bool    take_token(stream & active, const float * logits);
    void    decode(const std::vector<int32_t> & tokens, const std::vector<int32_t> & positions, const std::vector<int32_t> & streams,
                   bool outputs);
    void    check_cancelled() const;

    llama_context *            context_;
    const generation_limits    limits_;
    const generation_request & request_;
    const std::atomic<bool> &  cancelled_;
    int32_t                    n_vocab_ = 0;
    std::vector<size_t>        waiting_;     // prompts, the next one last
    std::vector<stream>        streams_;     // the first n_active_ are at work; the others may still hold a beginning
    int32_t                    n_active_ = 0;
    int64_t                    n_new_tokens_ = 0;
    std::vector<generation>    results_;
};

}  // namespace fedllm
