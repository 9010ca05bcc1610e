// See hidden-cache.h.
#include "hidden-cache.h"

#include <algorithm>
#include <utility>

namespace fedllm {

namespace {

// Of list, map and allocator for one entry, roughly.
constexpr size_t ENTRY_BYTES = 256;

std::string make_key(const hidden_place & place, const int32_t * tokens, size_t n_tokens) {
    static_assert(sizeof place == sizeof place.layer + sizeof place.frozen, "no bytes between the members");
    std::string key(reinterpret_cast<const char *>(&place), sizeof place);
    return key.append(reinterpret_cast<const char *>(tokens), n_tokens * sizeof *tokens);
}

}  // namespace

size_t hidden_cache::entry::bytes() const { return values->size() * sizeof(float) + key.size() + ENTRY_BYTES; }

hidden_cache::rows hidden_cache::find(const hidden_place & place, const int32_t * tokens, size_t n_tokens) {
    const std::string key = make_key(place, tokens, n_tokens);
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = places_.find(key);
    if (found == places_.end()) {
        counts_.n_misses += 1;
        counts_.n_tokens_computed += int64_t(n_tokens);
        return nullptr;
    }
    counts_.n_hits += 1;
    counts_.n_tokens_reused += int64_t(n_tokens);
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->values;
}

void hidden_cache::insert(const hidden_place & place, const int32_t * tokens, size_t n_tokens, rows values) {
    entry added{ make_key(place, tokens, n_tokens), std::move(values) };
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t bytes = added.bytes();
    if (bytes > capacity_ || places_.count(added.key) > 0) return;
    shrink(capacity_ - bytes);
    entries_.push_front(std::move(added));
    places_.emplace(entries_.front().key, entries_.begin());
    bytes_ += bytes;
}

// Until at most so many bytes are left.
void hidden_cache::shrink(size_t bytes) {
    while (bytes_ > bytes) {
        const entry & last = entries_.back();
        bytes_ -= last.bytes();
        n_evicted_ += 1;
        places_.erase(last.key);
        entries_.pop_back();
    }
}

void hidden_cache::set_capacity(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    capacity_ = std::min(bytes, most_bytes_.value_or(bytes));
    shrink(capacity_);
}

hidden_cache_state hidden_cache::state() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return { counts_, capacity_, bytes_, entries_.size(), n_evicted_ };
}

}  // namespace fedllm
