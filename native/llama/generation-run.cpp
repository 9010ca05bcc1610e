// See generation-run.h.
#include "generation-run.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "error.h"
#include "generation-plan.h"
#include "llama.h"

namespace fedllm {

namespace {

// A beginning shorter than this is computed again rather than copied: a copy moves the whole stream.
constexpr int64_t MIN_COPIED_TOKENS = 16;

int64_t common_length(const std::vector<int32_t> & a, const std::vector<int32_t> & b, int64_t most) {
    const int64_t end = std::min({most, int64_t(a.size()), int64_t(b.size())});
    int64_t       n   = 0;
    while (n < end && a[size_t(n)] == b[size_t(n)]) {
        ++n;
    }
    return n;
}

}  // namespace

generation_run::generation_run(llama_context * context, const generation_limits & limits, const generation_request & request,
                               const std::atomic<bool> & cancelled)
    : context_(context), limits_(limits), request_(request), cancelled_(cancelled), waiting_(request.prompts.size()),
      streams_(size_t(limits.n_streams)), results_(request.prompts.size()) {
    n_vocab_ = llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(context)));
    std::iota(waiting_.begin(), waiting_.end(), size_t(0));
    std::stable_sort(waiting_.begin(), waiting_.end(),
                     [&](size_t a, size_t b) { return request.prompts[b].tokens < request.prompts[a].tokens; });
}

std::vector<generation> generation_run::run(const std::function<void(int64_t)> & report) {
    llama_memory_clear(llama_get_memory(context_), /*data=*/false);
    start_prompts();
    while (n_active_ > 0) {
        step();
        report(n_new_tokens_);
        start_prompts();
    }
    return std::move(results_);
}

// Gives every stream without an unfinished prompt the next one, and closes the gaps that remain.
void generation_run::start_prompts() {
    for (int32_t i = 0; i < limits_.n_streams; ++i) {
        while (!streams_[size_t(i)].text.has_value() && !waiting_.empty()) {
            const size_t prompt = waiting_.back();
            waiting_.pop_back();
            if (int64_t(request_.prompts[prompt].tokens.size()) >= limits_.context_length) {
                results_[prompt].stop = generation_stop::context_full;
            } else {
                fill(streams_[size_t(i)], i, prompt);
                n_active_ = std::max(n_active_, i + 1);
            }
        }
    }
    for (int32_t i = 0; i < n_active_; ++i) {
        while (n_active_ > i && !streams_[size_t(n_active_ - 1)].text.has_value()) {
            --n_active_;
        }
        if (i < n_active_ && !streams_[size_t(i)].text.has_value()) {
            --n_active_;
            llama_memory_seq_cp(llama_get_memory(context_), n_active_, i, -1, -1);
            streams_[size_t(i)] = std::exchange(streams_[size_t(n_active_)], stream{});
        }
    }
}

// Makes `target` hold a prompt but for its last token and what is left of whole pieces, which take part in the next steps.
void generation_run::fill(stream & target, int32_t index, size_t prompt) {
    const std::vector<int32_t> & tokens   = request_.prompts[prompt].tokens;
    const int64_t                n_wanted = whole_columns(int64_t(tokens.size()) - 1);
    const int64_t                n_shared = share_beginning(target, index, tokens, n_wanted);
    results_[prompt].n_own_prompt_tokens  = int64_t(tokens.size()) - n_shared;
    target.prompt   = prompt;
    target.tokens   = tokens;
    target.n_cached = n_shared;
    target.text.emplace(llama_model_get_vocab(llama_get_model(context_)), &request_.prompts[prompt].stop_texts);
    while (target.n_cached < n_wanted) {
        const int64_t        n = std::min<int64_t>(n_wanted - target.n_cached, GENERATION_BATCH_TOKENS);
        std::vector<int32_t> positions(static_cast<size_t>(n));
        std::iota(positions.begin(), positions.end(), int32_t(target.n_cached));
        const auto begin = tokens.begin() + std::ptrdiff_t(target.n_cached);
        decode({begin, begin + std::ptrdiff_t(n)}, positions, std::vector<int32_t>(size_t(n), index), /*outputs=*/false);
        target.n_cached += n;
    }
    target.n_filled = target.n_cached;
}

// Leaves in the stream the longest beginning of `tokens`, at most n_wanted, that a stream holds, and nothing else; returns its length.
int64_t generation_run::share_beginning(stream & target, int32_t index, const std::vector<int32_t> & tokens, int64_t n_wanted) {
    llama_memory_t memory = llama_get_memory(context_);
    int64_t        best   = common_length(target.tokens, tokens, std::min(n_wanted, target.n_filled));
    int32_t        source = index;
    for (int32_t i = 0; i < limits_.n_streams; ++i) {
        const stream & other = streams_[size_t(i)];
        const int64_t  n     = common_length(other.tokens, tokens, std::min(n_wanted, other.n_filled));
        if (n >= std::max(MIN_COPIED_TOKENS, best + 1)) {
            best   = n;
            source = i;
        }
    }
    best = whole_columns(best);
    if (source != index) {
        llama_memory_seq_cp(memory, source, index, -1, -1);
    }
    llama_memory_seq_rm(memory, index, llama_pos(best), -1);
    return best;
}

// One token for each stream at work.
void generation_run::step() {
    std::vector<int32_t> tokens, positions, streams;
    for (int32_t i = 0; i < n_active_; ++i) {
        const stream & active = streams_[size_t(i)];
        tokens.push_back(active.tokens[size_t(active.n_cached)]);
        positions.push_back(int32_t(active.n_cached));
        streams.push_back(i);
    }
    for (int32_t i = n_active_; i % limits_.columns != 0; ++i) {
        if (i < limits_.n_streams) {
            streams_[size_t(i)] = stream{};
        }
        llama_memory_seq_rm(llama_get_memory(context_), i, -1, -1);
        tokens.push_back(tokens.front());
        positions.push_back(0);
        streams.push_back(i);
    }
    decode(tokens, positions, streams, /*outputs=*/true);
    for (int32_t i = 0; i < n_active_; ++i) {
        stream & active = streams_[size_t(i)];
        ++active.n_cached;
        if (active.n_cached == int64_t(active.tokens.size()) && take_token(active, llama_get_logits_ith(context_, i))) {
            results_[active.prompt].text = active.text->bytes();
            active.text.reset();
        }
    }
}

// Chooses the next token; true: the answer has ended.
bool generation_run::take_token(stream & active, const float * logits) {
    const generation_prompt & prompt = request_.prompts[active.prompt];
    generation &              result = results_[active.prompt];
    if (logits == nullptr || !logits_are_usable(logits, n_vocab_)) {
        throw train_error("TRAIN_FAILED", "prompt " + std::to_string(active.prompt) + ", new token " + std::to_string(result.tokens.size()) +
                                              ": expected logits that are numbers, received others. Check the model and its adapters");
    }
    const double  uniform = sampling_uniform(prompt.seed, result.tokens.size());
    const int32_t token   = sample_token(logits, n_vocab_, prompt.sampling, uniform);
    if (llama_vocab_is_eog(llama_model_get_vocab(llama_get_model(context_)), token)) {
        result.stop = generation_stop::end_token;
        return true;
    }
    result.tokens.push_back(token);
    active.tokens.push_back(token);
    ++n_new_tokens_;
    if (request_.log_probabilities) {
        result.log_probabilities.push_back(token_log_probability(logits, n_vocab_, token));
    }
    if (active.text->append(token)) {
        result.stop = generation_stop::stop_text;
        return true;
    }
    if (int64_t(result.tokens.size()) == prompt.max_new_tokens) {
        result.stop = generation_stop::max_tokens;
        return true;
    }
    result.stop = generation_stop::context_full;
    return int64_t(active.tokens.size()) == limits_.context_length;
}

void generation_run::decode(const std::vector<int32_t> & tokens, const std::vector<int32_t> & positions, const std::vector<int32_t> & streams,
                            bool outputs) {
    check_cancelled();
    // llama_batch has no const members; llama_decode changes none of these.
    std::vector<int32_t>   token_copy = tokens, position_copy = positions, stream_copy = streams;
    std::vector<int32_t>   n_streams(tokens.size(), 1);
    std::vector<int32_t *> stream_of;
    for (int32_t & stream_id : stream_copy) {
        stream_of.push_back(&stream_id);
    }
    std::vector<int8_t> wants_logits(tokens.size(), outputs ? 1 : 0);
    llama_batch         batch = {};
    batch.n_tokens            = int32_t(tokens.size());
    batch.token               = token_copy.data();
    batch.pos                 = position_copy.data();
    batch.n_seq_id            = n_streams.data();
    batch.seq_id              = stream_of.data();
    batch.logits              = wants_logits.data();
    const int32_t status      = llama_decode(context_, batch);
    check_cancelled();
    if (status != 0) {
        throw train_error("TRAIN_FAILED", "llama_decode of " + std::to_string(tokens.size()) + " tokens: expected status 0, received " +
                                              std::to_string(status) + ". On a device that is short of memory lower maxSequences or contextLength");
    }
}

void generation_run::check_cancelled() const {
    if (cancelled_.load()) {
        throw train_error("CANCELLED", "generation was cancelled");
    }
}

}  // namespace fedllm
