// See token-sampler.h. Top-p after temperature as in Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020).
#include "token-sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "random.h"

namespace fedllm {

namespace {

// Order of candidates: falling probability, then rising id.
bool is_likelier(const token_probability & a, const token_probability & b) {
    return a.probability != b.probability ? a.probability > b.probability : a.token < b.token;
}

double sum_of(const std::vector<token_probability> & candidates) {
    double sum = 0.0;
    for (const token_probability & candidate : candidates) {
        sum += candidate.probability;
    }
    return sum;
}

// Keeps the `count` first in order, sorted.
void keep_likeliest(std::vector<token_probability> & candidates, size_t count) {
    count = std::min(count, candidates.size());
    std::partial_sort(candidates.begin(), candidates.begin() + std::ptrdiff_t(count), candidates.end(), is_likelier);
    candidates.resize(count);
}

// Keeps the shortest beginning, in order, that holds `top_p` of the sum. Sorts no more than about twice what it keeps.
void keep_nucleus(std::vector<token_probability> & candidates, double top_p) {
    constexpr size_t FIRST_SORTED = 64;
    const double     wanted       = top_p * sum_of(candidates);
    size_t           n_sorted     = 0;
    double           held         = 0.0;
    for (size_t n_kept = 0; n_kept < candidates.size(); ++n_kept) {
        if (n_kept == n_sorted) {
            const size_t next = std::min(candidates.size(), std::max(FIRST_SORTED, 2 * n_sorted));
            std::partial_sort(candidates.begin() + std::ptrdiff_t(n_sorted), candidates.begin() + std::ptrdiff_t(next), candidates.end(), is_likelier);
            n_sorted = next;
        }
        held += candidates[n_kept].probability;
        if (held >= wanted) {
            candidates.resize(n_kept + 1);
            return;
        }
    }
    keep_likeliest(candidates, candidates.size());  // rounding of the sums: all are needed
}

}  // namespace

bool logits_are_usable(const float * logits, int32_t n_vocab) {
    bool  no_nan  = true;
    float highest = -std::numeric_limits<float>::infinity();
    for (int32_t i = 0; i < n_vocab; ++i) {
        no_nan  = no_nan && logits[i] == logits[i];
        highest = std::max(highest, logits[i]);
    }
    return no_nan && std::isfinite(highest);
}

int32_t greedy_token(const float * logits, int32_t n_vocab) {
    return int32_t(std::max_element(logits, logits + n_vocab) - logits);  // the first of equals
}

std::vector<token_probability> sampling_distribution(const float * logits, int32_t n_vocab, const sampling_options & options) {
    const double                   highest = logits[greedy_token(logits, n_vocab)];
    std::vector<token_probability> candidates(static_cast<size_t>(n_vocab));
    for (int32_t i = 0; i < n_vocab; ++i) {
        candidates[size_t(i)] = {i, std::exp((double(logits[i]) - highest) / options.temperature)};
    }
    if (options.top_k > 0 && options.top_k < n_vocab) {
        keep_likeliest(candidates, size_t(options.top_k));
    }
    if (options.top_p < 1.0) {
        keep_nucleus(candidates, options.top_p);
    }
    const double sum = sum_of(candidates);
    for (token_probability & candidate : candidates) {
        candidate.probability /= sum;
    }
    return candidates;
}

int32_t sample_token(const float * logits, int32_t n_vocab, const sampling_options & options, double uniform) {
    if (options.temperature == 0.0) {
        return greedy_token(logits, n_vocab);
    }
    const std::vector<token_probability> candidates = sampling_distribution(logits, n_vocab, options);
    double                               below      = 0.0;
    int32_t                              last       = candidates.front().token;
    for (const token_probability & candidate : candidates) {
        if (candidate.probability == 0.0) {
            continue;
        }
        last = candidate.token;
        below += candidate.probability;
        if (uniform < below) {
            return last;
        }
    }
    return last;  // the sum may end a rounding below 1
}

double token_log_probability(const float * logits, int32_t n_vocab, int32_t token) {
    const double highest = logits[greedy_token(logits, n_vocab)];
    double       sum     = 0.0;
    for (int32_t i = 0; i < n_vocab; ++i) {
        sum += std::exp(double(logits[i]) - highest);
    }
    return double(logits[token]) - highest - std::log(sum);
}

double sampling_uniform(uint64_t seed, uint64_t position) {
    return double(random_combine(seed, position) >> 11) * 0x1.0p-53;
}

}  // namespace fedllm
