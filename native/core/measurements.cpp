// See measurements.h.
#include "measurements.h"

namespace fedllm {

namespace {

// Far more than a run has lengths of samples; forgetting all of them costs a few milliseconds each.
constexpr size_t MAX_ENTRIES = 1024;

}  // namespace

graph_measurements::entry graph_measurements::get(const std::string & key, const std::function<entry()> & measure) {
    // Held while measuring: calls that start alike at once wait for the first instead of measuring too.
    std::lock_guard<std::mutex> guard(mutex_);
    const auto found = entries_.find(key);
    if (found != entries_.end()) return found->second;
    const entry made = measure();
    n_measured_ += 1;
    if (entries_.size() == MAX_ENTRIES) entries_.clear();
    entries_[key] = made;
    return made;
}

int64_t graph_measurements::n_measured() const {
    std::lock_guard<std::mutex> guard(mutex_);
    return n_measured_;
}

}  // namespace fedllm
