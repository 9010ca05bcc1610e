// See batch.h. Tokens after the last supervised one are not computed: nothing depends on them.
#include "batch.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "error.h"
#include "random.h"

namespace fedllm {

namespace {

// Number of inputs that matter: all before the last supervised token.
int64_t input_length(const sample_set & samples, uint32_t index) {
    const uint32_t begin = samples.offsets[index], end = samples.offsets[index + 1];
    for (uint32_t i = end; i > begin + 1; --i) {
        if (samples.supervised[i - 1]) return int64_t(i - 1 - begin);
    }
    return 0;
}

void check_weights(const sample_set & samples, uint32_t begin, uint32_t end, const std::string & name) {
    bool any = false;
    for (uint32_t i = begin; i < end; ++i) {
        if (!samples.supervised[i]) continue;
        if (!std::isfinite(samples.weights[i])) throw train_error("DATASET_INVALID", name + ": expected finite weights, received " + std::to_string(samples.weights[i]));
        any = any || samples.weights[i] != 0.0f;
    }
    if (!any) throw train_error("DATASET_INVALID", name + ": expected a supervised token whose weight is not 0, received none");
}

// One sample of a group.
struct member {
    uint32_t index;
    uint32_t begin;   // of its tokens
    int64_t  length;  // computed tokens
    uint64_t key;     // of its dropout and noise
    bool     repeats; // the computed tokens are those of the member before it
};

bool equal_inputs(const sample_set & samples, const member & a, const member & b) {
    const int32_t * tokens = samples.tokens + a.begin;
    return a.length == b.length && std::equal(tokens, tokens + a.length, samples.tokens + b.begin);
}

std::vector<member> members_of(const sample_set & samples, uint32_t group) {
    std::vector<member> members;
    const uint32_t first = samples.group_offsets == nullptr ? group : samples.group_offsets[group];
    const uint32_t last  = samples.group_offsets == nullptr ? group + 1 : samples.group_offsets[group + 1];
    for (uint32_t index = first; index < last; ++index) {
        members.push_back({ index, samples.offsets[index], input_length(samples, index), 0, false });
        if (index > first) members.back().repeats = equal_inputs(samples, members[members.size() - 2], members.back());
    }
    return members;
}

// Computed tokens that all members begin with. Labels and weights may differ: each member has loss rows of its own.
int64_t common_prefix(const sample_set & samples, const std::vector<member> & members) {
    if (members.size() < 2) return 0;
    int64_t length = members.front().length;
    const int32_t * first = samples.tokens + members.front().begin;
    for (const member & m : members) {
        const int32_t * tokens = samples.tokens + m.begin;
        length = std::min(length, m.length);
        length = std::mismatch(first, first + length, tokens).first - first;
    }
    return length;
}

// Tokens that are computed for a member alone: none where it repeats the one before it.
int64_t branch_tokens(const member & m, int64_t prefix) { return m.repeats ? 0 : m.length - prefix; }

int64_t count_tokens(const std::vector<member> & members, int64_t prefix) {
    int64_t count = prefix;
    for (const member & m : members) count += branch_tokens(m, prefix);
    return count;
}

// Loss rows of a member behind the prefix.
int64_t count_branch_rows(const sample_set & samples, const member & m, int64_t prefix) {
    const uint8_t * supervised = samples.supervised + m.begin + 1;
    return std::count_if(supervised + prefix, supervised + m.length, [](uint8_t flag) { return flag != 0; });
}

// Runs of members that fit into max_tokens with the prefix of the whole group; at least one member in each. Who repeats the member before
// it stays with it.
std::vector<std::vector<member>> split_group(const sample_set & samples, const std::vector<member> & members, int64_t max_tokens) {
    const int64_t prefix = common_prefix(samples, members);
    std::vector<std::vector<member>> parts;
    int64_t count = 0;
    for (const member & m : members) {
        if (parts.empty() || (!m.repeats && count + m.length - prefix > max_tokens)) {
            parts.emplace_back();
            count = prefix;
        }
        parts.back().push_back(m);
        count += branch_tokens(m, prefix);
    }
    return parts;
}

void append_tokens(micro_batch & batch, const sample_set & samples, const member & m, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
        batch.tokens.push_back(samples.tokens[m.begin + i]);
        batch.positions.push_back(int32_t(i));
        batch.token_keys.push_back(random_combine(m.key, uint64_t(i)));
    }
}

void append_members(micro_batch & batch, const sample_set & samples, const std::vector<member> & members) {
    const int64_t prefix = common_prefix(samples, members), prefix_start = batch.n_tokens();
    if (prefix > 0) {
        int64_t longest = 0;
        for (const member & m : members) longest = std::max(longest, m.length);
        append_tokens(batch, samples, members.front(), 0, prefix);
        batch.sequences.push_back({ prefix_start, prefix, 0, 0, longest - prefix });
    }
    int64_t start = 0;
    for (const member & m : members) {
        if (!m.repeats) {
            start = batch.n_tokens();
            append_tokens(batch, samples, m, prefix, m.length);
            if (m.length > prefix) batch.sequences.push_back({ start, m.length - prefix, prefix > 0 ? prefix_start : 0, prefix, 0 });
        }
        for (int64_t i = 0; i < m.length; ++i) {
            const size_t label = size_t(m.begin + i + 1);
            if (!samples.supervised[label]) continue;
            batch.loss_rows.push_back(int32_t(i < prefix ? prefix_start + i : start + i - prefix));
            batch.labels.push_back(samples.tokens[label]);
            batch.loss_samples.push_back(m.index);
            if (samples.weights != nullptr) batch.weights.push_back(samples.weights[label]);
        }
    }
}

void check_groups(const sample_set & samples) {
    if (samples.group_offsets == nullptr) return;
    const uint32_t * offsets = samples.group_offsets;
    bool covers = samples.n_groups > 0 && offsets[0] == 0 && offsets[samples.n_groups] == samples.n_samples;
    for (size_t i = 0; covers && i < samples.n_groups; ++i) covers = offsets[i + 1] > offsets[i];
    if (!covers) {
        throw train_error("DATASET_INVALID", "groups: expected offsets that rise from 0 to the number of samples (" + std::to_string(samples.n_samples) +
                                                 "), received others");
    }
}

}  // namespace

void batch_check_samples(const sample_set & samples, int64_t n_vocab) {
    if (samples.n_samples == 0) throw train_error("DATASET_INVALID", "samples: expected at least one, received none");
    check_groups(samples);
    for (size_t s = 0; s < samples.n_samples; ++s) {
        const std::string name = "sample " + std::to_string(s);
        const uint32_t begin = samples.offsets[s], end = samples.offsets[s + 1];
        if (end < begin + 2) throw train_error("DATASET_INVALID", name + ": expected at least 2 tokens, received " + std::to_string(end < begin ? 0 : end - begin));
        if (samples.supervised[begin]) throw train_error("DATASET_INVALID", name + ": expected the first token to be unsupervised, since nothing comes before it");
        for (uint32_t i = begin; i < end; ++i) {
            if (samples.tokens[i] < 0 || samples.tokens[i] >= n_vocab) {
                throw train_error("DATASET_INVALID", name + ": expected token ids from 0 to " + std::to_string(n_vocab - 1) + ", received " + std::to_string(samples.tokens[i]));
            }
        }
        if (input_length(samples, uint32_t(s)) == 0) throw train_error("DATASET_INVALID", name + ": expected at least one supervised token, received none");
        if (samples.weights != nullptr) check_weights(samples, begin, end, name);
    }
}

int64_t batch_longest_sample(const sample_set & samples, bool whole_groups) {
    int64_t longest = 0;
    for (size_t group = 0; whole_groups && group < samples.count_groups(); ++group) {
        const std::vector<member> members = members_of(samples, uint32_t(group));
        longest = std::max(longest, count_tokens(members, common_prefix(samples, members)));
    }
    for (size_t s = 0; s < samples.n_samples; ++s) longest = std::max(longest, input_length(samples, uint32_t(s)));
    return longest;
}

int64_t group_lengths::n_tokens() const {
    return std::accumulate(branches.begin(), branches.end(), prefix, [](int64_t sum, const branch_lengths & branch) { return sum + branch.tokens; });
}

group_lengths batch_longest_group(const sample_set & samples) {
    group_lengths longest;
    for (size_t group = 0; samples.group_offsets != nullptr && group < samples.n_groups; ++group) {
        const std::vector<member> members = members_of(samples, uint32_t(group));
        group_lengths lengths{ common_prefix(samples, members), {} };
        for (const member & m : members) {
            const int64_t rows = m.repeats ? count_branch_rows(samples, m, lengths.prefix) : m.length - lengths.prefix;
            lengths.branches.push_back({ branch_tokens(m, lengths.prefix), rows });
        }
        if (longest.branches.empty() || lengths.n_tokens() > longest.n_tokens()) longest = std::move(lengths);
    }
    return longest;
}

std::vector<micro_batch> batch_pack(const sample_set & samples, const std::vector<uint32_t> & indices, int64_t max_tokens, uint64_t key,
                                    bool whole_groups) {
    std::vector<micro_batch> batches;
    uint64_t order = 0;
    for (const uint32_t group : indices) {
        std::vector<member> members = members_of(samples, group);
        for (member & m : members) m.key = random_combine(key, order++);
        for (const std::vector<member> & part : whole_groups ? std::vector<std::vector<member>>{ members } : split_group(samples, members, max_tokens)) {
            if (batches.empty() || batches.back().n_tokens() + count_tokens(part, common_prefix(samples, part)) > max_tokens) batches.emplace_back();
            append_members(batches.back(), samples, part);
        }
    }
    return batches;
}

int64_t micro_batch::count_repeats() const {
    std::vector<int64_t> count(tokens.size(), 0);
    int64_t most = 0;
    for (const int32_t row : loss_rows) most = std::max(most, ++count[size_t(row)]);
    return most;
}

}  // namespace fedllm
