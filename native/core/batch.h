// Samples -> packed micro-batches: sequences laid one after another without padding, positions starting over in each. A group's
// common prefix is laid once and what each member has beyond it, its branch, after that; positions of a branch go on where
// the prefix ends. Members in a row that differ in labels only share a branch: scoring many next tokens of a prompt computes it once.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer.h"

namespace fedllm {

struct sequence_span {
    int64_t start;
    int64_t length;
    int64_t prefix_start = 0;   // a branch sees the tokens [prefix_start, prefix_start + prefix_length) before its own
    int64_t prefix_length = 0;
    int64_t tail = 0;           // of a prefix: tokens of its longest branch

    // Equal for the graph, which the tail does not change.
    bool operator==(const sequence_span & other) const {
        return start == other.start && length == other.length && prefix_start == other.prefix_start && prefix_length == other.prefix_length;
    }
};

// Of preferences: how the log-probabilities of rows add up to each pair's difference between chosen and rejected.
struct pair_rows {
    std::vector<float> signs;                  // [n_pairs][n]: weight of a chosen row, minus that of a rejected one, 0 elsewhere
    std::vector<float> reference_differences;  // [n_pairs] log ref(chosen) - log ref(rejected)

    int64_t count() const { return int64_t(reference_differences.size()); }
};

// Of distillation: what a teacher makes of the tokens (distillation.h).
struct teacher_states {
    std::vector<std::vector<float>> targets;  // per boundary of the request: [T][n_embd]
    std::vector<std::vector<float>> factors;  // per boundary: [T], of each token's squared error in the loss
    std::vector<float>              rows;     // [n][n_embd] before the final norm; empty unless rows are compared
};

// What decides the form of a micro-batch's graph, beside the request; the rest is filled in before each run.
struct batch_shape {
    std::vector<sequence_span> sequences;  // the number of tokens and the chunks of attention
    int64_t                    n_loss;
    int64_t                    n_repeats;  // most loss rows of one token
    int64_t                    n_pairs;
    bool                       weighted;

    bool operator==(const batch_shape & other) const {
        return sequences == other.sequences && n_loss == other.n_loss && n_repeats == other.n_repeats && n_pairs == other.n_pairs &&
               weighted == other.weighted;
    }
};

struct micro_batch {
    std::vector<int32_t>       tokens;      // [T] inputs; the last supervised token of a sample is only a label
    std::vector<int32_t>       positions;   // [T] within the sequence
    std::vector<uint64_t>      token_keys;  // [T] for dropout: independent of how samples are packed
    std::vector<sequence_span> sequences;
    std::vector<int32_t>       loss_rows;   // [n] positions in the batch whose next token is supervised, sample by sample; those of a
                                            // prefix once for each member
    std::vector<int32_t>       labels;      // [n] that next token
    std::vector<uint32_t>      loss_samples;// [n] index of the sample in the caller's order
    std::vector<float>         weights;     // [n] of the rows' losses; empty: all 1
    pair_rows                  pairs;       // empty unless preferences are trained
    teacher_states             teacher;     // empty unless a teacher is followed

    int64_t n_tokens() const { return int64_t(tokens.size()); }
    int64_t n_loss() const { return int64_t(labels.size()); }
    batch_shape shape() const { return { sequences, n_loss(), count_repeats(), pairs.count(), !weights.empty() }; }
    int64_t     count_repeats() const;
    float   weight(size_t row) const { return weights.empty() ? 1.0f : weights[row]; }
};

// Throws DATASET_INVALID (naming the sample) for token ids outside the vocabulary, a supervised first position, a sample
// without any supervised token, weights of supervised tokens that are not finite or all zero, and for group offsets that do not
// cover the samples. Everything later relies on this check.
void batch_check_samples(const sample_set & samples, int64_t n_vocab);

// What a member has beyond the prefix of its group.
struct branch_lengths {
    int64_t tokens;  // computed for it; 0 where the computed tokens are those of the member before it
    int64_t rows;    // at most so many loss rows
};

// Computed tokens of a group: those that its members have in common, and what each has beyond them.
struct group_lengths {
    int64_t                     prefix = 0;
    std::vector<branch_lengths> branches;

    int64_t n_tokens() const;
};

// The group with most computed tokens; without branches where there are no groups.
group_lengths batch_longest_group(const sample_set & samples);

// Tokens computed for the longest sample, or group where groups are kept whole.
int64_t batch_longest_sample(const sample_set & samples, bool whole_groups = false);

// Packs the groups `indices` (samples where there are no groups; in this order, an index may repeat) into micro-batches of at most
// max_tokens computed tokens. A sample longer than that gets a micro-batch of its own. A longer group is split between members and
// its prefix computed again in each part, unless whole_groups: then it gets a micro-batch of its own. key: of the optimizer step.
std::vector<micro_batch> batch_pack(const sample_set & samples, const std::vector<uint32_t> & indices, int64_t max_tokens, uint64_t key,
                                    bool whole_groups = false);

}  // namespace fedllm
