// The reference's training loop: the summed loss divided by the step's supervised tokens, the proximal term, clipping
// as torch.nn.utils.clip_grad_norm_ and AdamW as torch.optim.AdamW state them, and the constant offset after the step.
#include <algorithm>
#include <cmath>

#include "reference-math.h"
#include "reference-model.h"

namespace fedllm_test {

reference_train_result reference_model::train(reference_adapter adapter, const std::vector<reference_sample> & samples,
                                              const reference_train_options & options) const {
    reference_train_result result;
    vec &                  w = adapter.weights;
    vec                    m(w.size()), v(w.size()), gradient;
    size_t                 next = 0;
    const auto             rate_of = [&](size_t i) { return options.learning_rate * (options.rate_factors.empty() ? 1.0 : options.rate_factors[i]); };
    for (int64_t step = 1; step <= options.local_steps; step++) {
        std::vector<reference_sample> batch;
        for (int64_t i = 0; i < options.batch_size; i++) {
            batch.push_back(samples[next]);
            next = (next + 1) % samples.size();
        }
        const reference_loss loss_of_step = loss(batch, &adapter, &gradient);
        double               square = 0.0;
        for (size_t i = 0; i < w.size(); i++) {
            gradient[i] /= double(loss_of_step.n_supervised);
            if (!options.proximal_anchor.empty()) {
                gradient[i] += options.proximal_mu * (w[i] - options.proximal_anchor[i]);
            }
            if (rate_of(i) == 0.0) {
                gradient[i] = 0.0;
            }
            square += gradient[i] * gradient[i];
        }
        const double norm = std::sqrt(square);
        // torch.nn.utils.clip_grad_norm_: the factor is max_norm / (norm + 1e-6), never above one.
        const double clip = options.max_gradient_norm ? std::min(1.0, *options.max_gradient_norm / (norm + 1e-6)) : 1.0;
        const double correction1 = 1.0 - std::pow(options.beta1, double(step));
        const double correction2 = 1.0 - std::pow(options.beta2, double(step));
        for (size_t i = 0; i < w.size(); i++) {
            const double g = clip * gradient[i];
            w[i] *= 1.0 - rate_of(i) * options.weight_decay;
            m[i] = options.beta1 * m[i] + (1.0 - options.beta1) * g;
            v[i] = options.beta2 * v[i] + (1.0 - options.beta2) * g * g;
            w[i] -= rate_of(i) / correction1 * m[i] / (std::sqrt(v[i]) / std::sqrt(correction2) + options.epsilon);
            if (!options.gradient_offset.empty()) {
                w[i] -= rate_of(i) * options.gradient_offset[i];
            }
        }
        result.step_losses.push_back(loss_of_step.loss_sum / double(loss_of_step.n_supervised));
        result.gradient_norms.push_back(norm);
    }
    result.weights = w;
    return result;
}

}  // namespace fedllm_test
