// Hidden states that enter the lowest layer with a trained pair. Everything below it is frozen, so a sequence has the same rows there at every
// step and in every call with the same frozen adapters: they are computed once and kept in F32 in the host's memory. What has not been used for
// longest makes room. Belongs to one loaded model; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fedllm {

// Since a cache was made, or of one call.
struct hidden_cache_counts {
    int64_t n_hits = 0;             // sequences whose rows were there
    int64_t n_misses = 0;           // sequences whose rows were computed
    int64_t n_tokens_reused = 0;    // tokens of the former
    int64_t n_tokens_computed = 0;  // tokens of the latter
};

// What is there now.
struct hidden_cache_state {
    hidden_cache_counts counts;
    size_t              capacity_bytes = 0;
    size_t              bytes = 0;
    size_t              n_sequences = 0;
    int64_t             n_evicted = 0;
};

// Where rows are taken: they enter `layer`, and these frozen adapters act below it.
struct hidden_place {
    int64_t  layer = 0;
    uint64_t frozen[2] = { 0, 0 };  // two independent hashes of their shapes and weights; zeros: there are none
};

class hidden_cache {
  public:
    // [n_tokens][n_embd] of one sequence. Shared, so that rows in use outlive their eviction.
    using rows = std::shared_ptr<const std::vector<float>>;

    // most_bytes: rows never take more; absent: what each call's plan leaves (planner.h, cache_capacity).
    explicit hidden_cache(std::optional<size_t> most_bytes) : most_bytes_(most_bytes), capacity_(most_bytes.value_or(0)) {}
    hidden_cache(const hidden_cache &)             = delete;
    hidden_cache & operator=(const hidden_cache &) = delete;

    // Rows of a sequence of tokens from position 0 on; nullptr: not there. Tokens are compared, not only their hash.
    rows find(const hidden_place & place, const int32_t * tokens, size_t n_tokens);
    // Keeps rows unless they alone are larger than the capacity.
    void insert(const hidden_place & place, const int32_t * tokens, size_t n_tokens, rows values);

    std::optional<size_t> most_bytes() const { return most_bytes_; }
    // Takes at most so many bytes from now on, and never more than most_bytes; drops what is too much.
    void set_capacity(size_t bytes);

    hidden_cache_state state() const;

  private:
    struct entry {
        std::string key;  // place and tokens
        rows        values;

        size_t bytes() const;
    };
    using position = std::list<entry>::iterator;
    void shrink(size_t bytes);

    mutable std::mutex                             mutex_;
    std::optional<size_t>                          most_bytes_;
    size_t                                         capacity_ = 0, bytes_ = 0;
    std::list<entry>                               entries_;  // the last used first
    std::unordered_map<std::string_view, position> places_;   // keys lie in the entries
    hidden_cache_counts                            counts_;
    int64_t                                        n_evicted_ = 0;
};

}  // namespace fedllm
