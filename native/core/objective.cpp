// See objective.h.
#include "objective.h"

#include <cmath>

#include "distillation.h"
#include "error.h"
#include "preference.h"

namespace fedllm {

void require_option(bool condition, const char * subject, const char * expected, double received) {
    if (!condition) throw train_error("CONFIG_INVALID", std::string(subject) + ": expected " + expected + ", received " + std::to_string(received));
}

void check_objective(const objective_options & o, const base_model & model, const adapter_options & adapter, const sample_set & samples) {
    check_distillation(o, model, adapter, samples);
    check_preference(o, samples);
    require_option(o.label_smoothing >= 0.0 && o.label_smoothing < 1.0, "labelSmoothing", "at least 0 and below 1", o.label_smoothing);
    require_option(std::isfinite(o.neftune_alpha) && o.neftune_alpha >= 0.0, "neftuneAlpha", "a finite number of at least 0", o.neftune_alpha);
}

void check_cancel(const std::atomic<bool> & cancel) {
    if (cancel.load()) throw train_error("CANCELLED", "training was cancelled");
}

void step_objective::prepare(engine & device, const std::vector<uint32_t> & groups, int64_t max_tokens, bool portable) {
    if (options_.distillation && teacher_ == nullptr) {
        engine_options settings;
        settings.frozen = options_.distillation->teacher_adapters;
        settings.portable = portable;
        teacher_ = std::make_unique<engine>(*options_.distillation->teacher, nullptr, settings);
    }
    if (options_.preference) references_ = reference_scores(device, *options_.preference, samples_, groups, max_tokens, cancel_);
}

void step_objective::add_batch(engine & device, micro_batch & batch, const run_request & request, step_sums & sums) const {
    if (options_.preference) attach_pairs(batch, references_);
    if (options_.distillation) attach_teacher(batch, *options_.distillation, *teacher_);
    std::vector<std::vector<float>> errors;
    const std::vector<row_score> scores = device.run(batch, request, &errors);
    sums.n_supervised += batch.n_loss();
    sums.n_tokens += batch.n_tokens();
    if (options_.preference) {
        for (const pair_scores & pair : read_pairs(batch, scores, references_)) {
            sums.loss += preference_loss(*options_.preference, pair);
            sums.weight += 1.0;
            add_metrics(*options_.preference, pair, sums.preference);
        }
        return;
    }
    if (options_.distillation) {
        const distillation_metrics metrics = read_distillation(batch, *options_.distillation, scores, errors);
        sums.loss += distillation_loss(*options_.distillation, metrics);
        sums.weight += double(batch.sequences.size());
        sums.distillation.hidden += metrics.hidden;
        sums.distillation.divergence += metrics.divergence;
        return;
    }
    for (size_t i = 0; i < scores.size(); ++i) {
        sums.loss += double(batch.weight(i)) * row_loss(scores[i], options_.label_smoothing);
        sums.weight += std::fabs(double(batch.weight(i)));
    }
}

run_request objective_request(const objective_options & o, double gradient_scale) {
    run_request request;
    request.gradient = true;
    request.label_smoothing = float(o.label_smoothing);
    request.neftune_alpha = float(o.neftune_alpha);
    request.gradient_scale = float(gradient_scale);
    if (o.preference) {
        request.preference_beta = float(o.preference->beta);
        request.preference_smoothing = float(o.preference->label_smoothing);
    }
    if (o.distillation) request_distillation(*o.distillation, request);
    return request;
}

step_sums step_objective::accumulate(engine & device, const std::vector<uint32_t> & groups, int64_t max_tokens, uint64_t key, double gradient_scale) const {
    const run_request request = objective_request(options_, gradient_scale);
    step_sums sums;
    device.clear_gradient();
    for (micro_batch & batch : batch_pack(samples_, groups, max_tokens, key, options_.preference.has_value())) {
        check_cancel(cancel_);
        add_batch(device, batch, request, sums);
    }
    return sums;
}

}  // namespace fedllm
