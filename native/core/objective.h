// From the scores of micro-batches to the loss and gradient of one step, for each objective.
#pragma once

#include <atomic>
#include <vector>

#include "engine.h"
#include "trainer.h"

namespace fedllm {

// Throws CONFIG_INVALID for a number outside its range. `subject` of the message is the option's name.
void require_option(bool condition, const char * subject, const char * expected, double received);
void check_objective(const objective_options & objective);
void check_cancel(const std::atomic<bool> & cancel);

struct step_sums {
    double  loss = 0.0;    // sum of weight * loss
    double  weight = 0.0;  // what loss and gradient are divided by: the sum of |weight| over supervised tokens
    int64_t n_supervised = 0;
    int64_t n_tokens = 0;
};

// Clears the engine's gradient and adds up that of the batches, times gradient_scale; not divided.
step_sums objective_accumulate(engine & runner, const std::vector<micro_batch> & batches, const objective_options & objective,
                               double gradient_scale, const std::atomic<bool> & cancel);

}  // namespace fedllm
