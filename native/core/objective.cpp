// See objective.h.
#include "objective.h"

#include <cmath>

#include "error.h"

namespace fedllm {

void require_option(bool condition, const char * subject, const char * expected, double received) {
    if (!condition) throw train_error("CONFIG_INVALID", std::string(subject) + ": expected " + expected + ", received " + std::to_string(received));
}

void check_objective(const objective_options & o) {
    require_option(o.label_smoothing >= 0.0 && o.label_smoothing < 1.0, "labelSmoothing", "at least 0 and below 1", o.label_smoothing);
    require_option(std::isfinite(o.neftune_alpha) && o.neftune_alpha >= 0.0, "neftuneAlpha", "a finite number of at least 0", o.neftune_alpha);
}

void check_cancel(const std::atomic<bool> & cancel) {
    if (cancel.load()) throw train_error("CANCELLED", "training was cancelled");
}

step_sums objective_accumulate(engine & runner, const std::vector<micro_batch> & batches, const objective_options & objective,
                               double gradient_scale, const std::atomic<bool> & cancel) {
    run_request request;
    request.gradient = true;
    request.label_smoothing = float(objective.label_smoothing);
    request.neftune_alpha = float(objective.neftune_alpha);
    request.gradient_scale = float(gradient_scale);
    step_sums sums;
    runner.clear_gradient();
    for (const micro_batch & batch : batches) {
        check_cancel(cancel);
        const std::vector<row_score> scores = runner.run(batch, request);
        for (size_t i = 0; i < scores.size(); ++i) {
            sums.loss += double(batch.weight(i)) * row_loss(scores[i], objective.label_smoothing);
            sums.weight += std::fabs(double(batch.weight(i)));
        }
        sums.n_supervised += batch.n_loss();
        sums.n_tokens += batch.n_tokens();
    }
    return sums;
}

}  // namespace fedllm
