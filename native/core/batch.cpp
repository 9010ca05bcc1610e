// See batch.h. Tokens after the last supervised one are not computed: nothing depends on them.
#include "batch.h"

#include <cmath>
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

}  // namespace

void batch_check_samples(const sample_set & samples, int64_t n_vocab) {
    if (samples.n_samples == 0) throw train_error("DATASET_INVALID", "samples: expected at least one, received none");
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

std::vector<micro_batch> batch_pack(const sample_set & samples, const std::vector<uint32_t> & indices, int64_t max_tokens, uint64_t key) {
    std::vector<micro_batch> batches;
    for (size_t order = 0; order < indices.size(); ++order) {
        const uint32_t index  = indices[order];
        const int64_t  length = input_length(samples, index);
        if (batches.empty() || batches.back().n_tokens() + length > max_tokens) batches.emplace_back();
        micro_batch & batch = batches.back();
        const int64_t start = batch.n_tokens();
        const uint32_t begin = samples.offsets[index];
        const uint64_t sample_key = random_combine(key, order);
        batch.sequences.push_back({ start, length });
        for (int64_t i = 0; i < length; ++i) {
            batch.tokens.push_back(samples.tokens[begin + i]);
            batch.positions.push_back(int32_t(i));
            batch.token_keys.push_back(random_combine(sample_key, uint64_t(i)));
            if (!samples.supervised[begin + i + 1]) continue;
            batch.loss_rows.push_back(int32_t(start + i));
            batch.labels.push_back(samples.tokens[begin + i + 1]);
            batch.loss_samples.push_back(index);
            if (samples.weights != nullptr) batch.weights.push_back(samples.weights[begin + i + 1]);
        }
    }
    return batches;
}

}  // namespace fedllm
