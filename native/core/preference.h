// Preferences over pairs of answers: direct preference optimization (Rafailov et al. 2023, equation 7) with the label smoothing of
// conservative DPO (Mitchell 2023). The host's half; the gradient's half is in loss.cpp.
//   m = log pi(c) - log ref(c) - (log pi(r) - log ref(r)),  loss = -(1 - s) log sigmoid(beta m) - s log sigmoid(-beta m),
// where a log-probability is the sum over an answer's supervised tokens, each times its weight.
#pragma once

#include <atomic>
#include <vector>

#include "engine.h"
#include "trainer.h"

namespace fedllm {

// Throws CONFIG_INVALID for numbers outside their range, DATASET_INVALID unless every group has two samples.
void check_preference(const objective_options & objective, const sample_set & samples);

// log ref of the samples of `groups`, indexed by sample; those of other samples are 0. Forward only, without dropout; the
// engine's weights become the reference's when there are any.
std::vector<double> reference_scores(engine & device, const preference_options & options, const sample_set & samples,
                                     const std::vector<uint32_t> & groups, int64_t max_tokens, const std::atomic<bool> & cancel);

// Fills batch.pairs, so that a run can weigh the rows of each pair.
void attach_pairs(micro_batch & batch, const std::vector<double> & references);

struct pair_scores {
    double chosen = 0.0, rejected = 0.0;                      // log pi
    double chosen_reference = 0.0, rejected_reference = 0.0;  // log ref
};
std::vector<pair_scores> read_pairs(const micro_batch & batch, const std::vector<row_score> & scores, const std::vector<double> & references);

double preference_loss(const preference_options & options, const pair_scores & pair);
// Adds the pair's figures to `sums`, undivided.
void add_metrics(const preference_options & options, const pair_scores & pair, preference_metrics & sums);

}  // namespace fedllm
