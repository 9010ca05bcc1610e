// See preference.h. Samples of pair g are 2g, the chosen one, and 2g + 1; a batch holds whole pairs, sample by sample.
#include "preference.h"

#include <algorithm>
#include <cmath>

#include "error.h"
#include "objective.h"

namespace fedllm {

namespace {

bool is_rejected(const micro_batch & batch, size_t row) { return batch.loss_samples[row] % 2 == 1; }

// Calls visit(row, pair) for all loss rows; returns the number of pairs.
template <typename Visit>
int64_t for_each_row(const micro_batch & batch, const Visit & visit) {
    int64_t n_pairs = 0;
    for (size_t row = 0; row < batch.labels.size(); ++row) {
        // Each sample has a loss row, so a pair begins wherever a chosen one follows a rejected one.
        if (row == 0 || (is_rejected(batch, row - 1) && !is_rejected(batch, row))) ++n_pairs;
        visit(row, n_pairs - 1);
    }
    return n_pairs;
}

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

double margin_of(const preference_options & o, const pair_scores & p) {
    return o.beta * (p.chosen - p.chosen_reference) - o.beta * (p.rejected - p.rejected_reference);
}

}  // namespace

void check_preference(const objective_options & objective, const sample_set & samples) {
    if (!objective.preference) return;
    const preference_options & o = *objective.preference;
    require_option(o.beta >= 1e-6 && o.beta <= 1e6, "beta", "at least 1e-6 and at most 1e6", o.beta);  // kept well inside F32
    require_option(o.label_smoothing >= 0.0 && o.label_smoothing < 0.5, "labelSmoothing of pairs", "at least 0 and below 0.5", o.label_smoothing);
    require_option(objective.label_smoothing == 0.0, "labelSmoothing of tokens", "0 where pairs are trained", objective.label_smoothing);
    for (size_t group = 0; group < samples.count_groups(); ++group) {
        const uint32_t size = samples.group_offsets == nullptr ? 1 : samples.group_offsets[group + 1] - samples.group_offsets[group];
        if (size == 2) continue;
        throw train_error("DATASET_INVALID", "group " + std::to_string(group) + ": expected two samples, the chosen and the rejected one, received " + std::to_string(size));
    }
}

std::vector<double> reference_scores(engine & device, const preference_options & options, const sample_set & samples,
                                     const std::vector<uint32_t> & groups, int64_t max_tokens, const std::atomic<bool> & cancel) {
    run_request request;
    request.adapter_off = options.reference_weights == nullptr;
    if (!request.adapter_off) device.set_weights({ options.reference_weights, options.reference_weights + device.n_parameters() });
    std::vector<double> scores(samples.n_samples, 0.0);
    for (const micro_batch & batch : batch_pack(samples, groups, max_tokens, 0)) {
        check_cancel(cancel);
        const std::vector<row_score> rows = device.run(batch, request);
        for (size_t row = 0; row < rows.size(); ++row) scores[batch.loss_samples[row]] += double(batch.weight(row)) * double(rows[row].log_probability);
    }
    return scores;
}

void attach_pairs(micro_batch & batch, const std::vector<double> & references) {
    const size_t n = batch.labels.size();
    batch.pairs.reference_differences.clear();
    const auto count = [&](size_t row, int64_t pair) {
        if (size_t(pair) < batch.pairs.reference_differences.size()) return;
        const size_t chosen = batch.loss_samples[row];
        batch.pairs.reference_differences.push_back(float(references[chosen] - references[chosen + 1]));
    };
    batch.pairs.signs.assign(size_t(for_each_row(batch, count)) * n, 0.0f);
    for_each_row(batch, [&](size_t row, int64_t pair) { batch.pairs.signs[size_t(pair) * n + row] = is_rejected(batch, row) ? -batch.weight(row) : batch.weight(row); });
}

std::vector<pair_scores> read_pairs(const micro_batch & batch, const std::vector<row_score> & scores, const std::vector<double> & references) {
    std::vector<pair_scores> pairs;
    for_each_row(batch, [&](size_t row, int64_t index) {
        pairs.resize(size_t(index) + 1);
        pair_scores & pair = pairs.back();
        const double log_probability = double(batch.weight(row)) * double(scores[row].log_probability);
        (is_rejected(batch, row) ? pair.rejected : pair.chosen) += log_probability;
        (is_rejected(batch, row) ? pair.rejected_reference : pair.chosen_reference) = references[batch.loss_samples[row]];
    });
    return pairs;
}

double preference_loss(const preference_options & o, const pair_scores & pair) {
    const double margin = margin_of(o, pair);
    return (1.0 - o.label_smoothing) * softplus(-margin) + o.label_smoothing * softplus(margin);
}

void add_metrics(const preference_options & o, const pair_scores & pair, preference_metrics & sums) {
    const double chosen = o.beta * (pair.chosen - pair.chosen_reference), rejected = o.beta * (pair.rejected - pair.rejected_reference);
    sums.reward_margin += chosen - rejected;
    sums.reward_accuracy += chosen > rejected ? 1.0 : chosen == rejected ? 0.5 : 0.0;
    sums.chosen_reward += chosen;
    sums.rejected_reward += rejected;
    sums.chosen_log_probability += pair.chosen;
    sums.rejected_log_probability += pair.rejected;
}

}  // namespace fedllm
