// Samples -> packed micro-batches: sequences laid one after another without padding, positions starting over in each.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer.h"

namespace fedllm {

struct sequence_span {
    int64_t start;
    int64_t length;

    bool operator==(const sequence_span & other) const { return start == other.start && length == other.length; }
};

// What decides the form of a micro-batch's graph, beside the request; the rest is filled in before each run.
struct batch_shape {
    std::vector<sequence_span> sequences;  // the number of tokens and the chunks of attention
    int64_t                    n_loss;
    bool                       weighted;

    bool operator==(const batch_shape & other) const { return sequences == other.sequences && n_loss == other.n_loss && weighted == other.weighted; }
};

struct micro_batch {
    std::vector<int32_t>       tokens;      // [T] inputs; the last supervised token of a sample is only a label
    std::vector<int32_t>       positions;   // [T] within the sequence
    std::vector<uint64_t>      token_keys;  // [T] for dropout: independent of how samples are packed
    std::vector<sequence_span> sequences;
    std::vector<int32_t>       loss_rows;   // [n] positions in the batch whose next token is supervised, ascending
    std::vector<int32_t>       labels;      // [n] that next token
    std::vector<uint32_t>      loss_samples;// [n] index of the sample in the caller's order
    std::vector<float>         weights;     // [n] of the rows' losses; empty: all 1

    int64_t n_tokens() const { return int64_t(tokens.size()); }
    int64_t n_loss() const { return int64_t(labels.size()); }
    batch_shape shape() const { return { sequences, n_loss(), !weights.empty() }; }
    float   weight(size_t row) const { return weights.empty() ? 1.0f : weights[row]; }
};

// Throws DATASET_INVALID (naming the sample) for token ids outside the vocabulary, a supervised first position, a sample
// without any supervised token, or weights of supervised tokens that are not finite or all zero. Everything later relies on this check.
void batch_check_samples(const sample_set & samples, int64_t n_vocab);

// Packs the samples `indices` (in this order; an index may repeat) into micro-batches of at most max_tokens computed tokens;
// a sample longer than that gets a micro-batch of its own. key: of the optimizer step.
std::vector<micro_batch> batch_pack(const sample_set & samples, const std::vector<uint32_t> & indices, int64_t max_tokens, uint64_t key);

}  // namespace fedllm
