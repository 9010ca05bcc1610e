// From the scores of micro-batches to the loss and gradient of one step, for each objective.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine.h"
#include "trainer.h"

namespace fedllm {

// Throws CONFIG_INVALID for a number outside its range. `subject` of the message is the option's name.
void require_option(bool condition, const char * subject, const char * expected, double received);
void check_objective(const objective_options & objective, const base_model & model, const adapter_options & adapter, const sample_set & samples);
void check_cancel(const std::atomic<bool> & cancel);

// What a run for one step of this objective is to compute, with its gradient.
run_request objective_request(const objective_options & objective, double gradient_scale);

struct step_sums {
    double  loss = 0.0;    // sum of weight * loss, or over pairs
    double  weight = 0.0;  // what loss and gradient are divided by: the sum of |weight| over supervised tokens, or the number of pairs, or of samples with a teacher
    int64_t n_supervised = 0;
    int64_t n_tokens = 0;
    preference_metrics preference;  // sums over pairs
    distillation_metrics distillation;  // sums over samples
};

// An objective over some samples with what it needs to know of them beforehand.
class step_objective {
  public:
    // Options and samples have been checked.
    step_objective(const objective_options & options, const sample_set & samples, const std::atomic<bool> & cancel)
        : options_(options), samples_(samples), cancel_(cancel) {}

    // Computes what must be known of the groups that will be used: for preferences their reference. Leaves other weights behind.
    // Makes the teacher's engine, with these settings where there is one.
    void prepare(engine & device, const std::vector<uint32_t> & groups, int64_t max_tokens, bool portable = false);

    // Clears the engine's gradient and adds up that of the groups, times gradient_scale; not divided. key: of the step.
    step_sums accumulate(engine & device, const std::vector<uint32_t> & groups, int64_t max_tokens, uint64_t key, double gradient_scale) const;

  private:
    void add_batch(engine & device, micro_batch & batch, const run_request & request, step_sums & sums) const;

    objective_options         options_;
    sample_set                samples_;
    const std::atomic<bool> & cancel_;
    std::vector<double>       references_;  // log ref of each sample; empty without preferences
    std::unique_ptr<engine>   teacher_;     // nullptr: none is followed
};

}  // namespace fedllm
