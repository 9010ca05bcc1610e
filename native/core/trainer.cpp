// The local training loop: pack, accumulate, correct, clip, step, report, check for cancel.
#include "trainer.h"

#include <chrono>
#include <cmath>

#include "batch.h"
#include "engine.h"
#include "error.h"
#include "optimizer.h"
#include "random.h"

namespace fedllm {

namespace {

void require(bool condition, const std::string & field, const std::string & expected, double received) {
    if (!condition) throw train_error("CONFIG_INVALID", field + ": expected " + expected + ", received " + std::to_string(received));
}

void check_options(const train_options & o) {
    require(o.local_steps >= 1, "localSteps", "at least 1", double(o.local_steps));
    require(o.batch_size >= 1, "batchSize", "at least 1", double(o.batch_size));
    require(o.micro_batch_tokens >= 1, "microBatchTokens", "at least 1", double(o.micro_batch_tokens));
    require(std::isfinite(o.learning_rate) && o.learning_rate >= 0.0, "learningRate", "a finite number of at least 0", o.learning_rate);
    require(o.dropout >= 0.0 && o.dropout < 1.0, "dropout", "at least 0 and below 1", o.dropout);
    require(o.optimizer.beta1 >= 0.0 && o.optimizer.beta1 < 1.0, "beta1", "at least 0 and below 1", o.optimizer.beta1);
    require(o.optimizer.beta2 >= 0.0 && o.optimizer.beta2 < 1.0, "beta2", "at least 0 and below 1", o.optimizer.beta2);
    require(o.optimizer.epsilon >= 0.0 && std::isfinite(o.optimizer.epsilon), "epsilon", "a finite number of at least 0", o.optimizer.epsilon);
    require(o.optimizer.weight_decay >= 0.0 && std::isfinite(o.optimizer.weight_decay), "weightDecay", "a finite number of at least 0", o.optimizer.weight_decay);
    require(!o.optimizer.max_gradient_norm || *o.optimizer.max_gradient_norm > 0.0, "maxGradientNorm", "above 0", o.optimizer.max_gradient_norm.value_or(0.0));
    require(o.proximal_mu >= 0.0 && std::isfinite(o.proximal_mu), "proximalMu", "a finite number of at least 0", o.proximal_mu);
    require(o.proximal_mu == 0.0 || o.proximal_anchor != nullptr, "proximalAnchor", "weights to stay near to, since proximalMu is set", o.proximal_mu);
}

void check_cancel(const std::atomic<bool> & cancel) {
    if (cancel.load()) throw train_error("CANCELLED", "training was cancelled");
}

struct step_sums {
    double  loss = 0.0;
    int64_t n_supervised = 0;
    int64_t n_tokens = 0;
};

// Loss and gradient of one set of samples, summed over supervised tokens.
step_sums accumulate(engine & runner, const std::vector<micro_batch> & batches, const std::atomic<bool> & cancel) {
    step_sums sums;
    runner.clear_gradient();
    for (const micro_batch & batch : batches) {
        check_cancel(cancel);
        for (const row_score & score : runner.run(batch, true)) sums.loss -= double(score.log_probability);
        sums.n_supervised += batch.n_loss();
        sums.n_tokens += batch.n_tokens();
    }
    return sums;
}

// Gradient of the step's objective from the summed one: divide by supervised tokens, not micro-batches, because masked
// prompts make micro-batches unequal; then FedProx's term mu * (w - anchor) (Li et al. 2020, equation 2).
void finish_gradient(const train_options & o, const std::vector<float> & weights, int64_t n_supervised, std::vector<float> & gradient) {
    const double inverse = 1.0 / double(n_supervised);
    for (size_t i = 0; i < gradient.size(); ++i) {
        double g = double(gradient[i]) * inverse;
        if (o.proximal_mu > 0.0) g += o.proximal_mu * (double(weights[i]) - double(o.proximal_anchor[i]));
        gradient[i] = float(g);
    }
}

// Real adapters stay below 10. Far above, squares leave F32's range inside the norms and the loss can look harmless again
// (all logits zero), so the weights themselves are checked.
constexpr float MAX_WEIGHT = 1e6f;

void check_weights(const std::vector<float> & weights, int64_t step) {
    for (const float w : weights) {
        if (std::fabs(w) <= MAX_WEIGHT) continue;  // false for NaN
        throw train_error("TRAIN_DIVERGED", "step " + std::to_string(step) + ": expected weights within " + std::to_string(int64_t(MAX_WEIGHT)) + ", received " +
                                                std::to_string(w) + ". Lower the learning rate");
    }
}

std::vector<uint32_t> step_samples(const train_options & o, int64_t step) {
    std::vector<uint32_t> indices;
    const uint64_t first = uint64_t(step) * uint64_t(o.batch_size);
    for (int64_t i = 0; i < o.batch_size; ++i) indices.push_back(uint32_t((first + uint64_t(i)) % o.samples.n_samples));
    return indices;
}

}  // namespace

train_result train(const base_model & model, const train_options & o, const std::vector<float> & start_weights,
                   const progress_callback & on_progress, const std::atomic<bool> & cancel) {
    const auto begin = std::chrono::steady_clock::now();
    check_options(o);
    batch_check_samples(o.samples, model.info().n_vocab);
    engine_options settings;
    settings.dropout = o.dropout;
    settings.seed = o.seed;
    engine runner(model, &o.adapter, settings);
    runner.set_weights(start_weights);
    adamw optimizer(o.optimizer, runner.n_parameters());
    train_result result;
    result.weights = start_weights;
    std::vector<float> gradient;
    for (int64_t step = 0; step < o.local_steps; ++step) {
        const std::vector<micro_batch> batches = batch_pack(o.samples, step_samples(o, step), o.micro_batch_tokens, random_combine(o.seed, uint64_t(step)));
        const step_sums sums = accumulate(runner, batches, cancel);
        runner.get_gradient(gradient);
        finish_gradient(o, result.weights, sums.n_supervised, gradient);
        const double loss = sums.loss / double(sums.n_supervised);
        const double norm = vector_norm(gradient);
        if (!std::isfinite(loss) || !std::isfinite(norm)) {
            throw train_error("TRAIN_DIVERGED", "step " + std::to_string(step + 1) + ": expected a finite loss and gradient, received loss " + std::to_string(loss) +
                                                    " and gradient norm " + std::to_string(norm) + ". Lower the learning rate");
        }
        optimizer.step(result.weights, gradient, o.learning_rate);
        if (o.gradient_offset != nullptr) {
            for (size_t i = 0; i < result.weights.size(); ++i) {
                result.weights[i] = float(double(result.weights[i]) - o.learning_rate * double(o.gradient_offset[i]));
            }
        }
        check_weights(result.weights, step + 1);
        runner.set_weights(result.weights);
        result.step_losses.push_back(loss);
        result.gradient_norms.push_back(norm);
        result.n_tokens += sums.n_tokens;
        result.n_supervised_tokens += sums.n_supervised;
        if (on_progress) on_progress({ step + 1, loss, sums.n_tokens });
    }
    result.duration_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    return result;
}

gradient_result loss_and_gradient(const base_model & model, const adapter_options & adapter, const std::vector<float> & weights,
                                  const sample_set & samples, int64_t micro_batch_tokens, double dropout, uint64_t seed,
                                  std::vector<float> & gradient) {
    batch_check_samples(samples, model.info().n_vocab);
    engine_options settings;
    settings.dropout = dropout;
    settings.seed = seed;
    engine runner(model, &adapter, settings);
    runner.set_weights(weights);
    std::vector<uint32_t> indices(samples.n_samples);
    for (size_t i = 0; i < indices.size(); ++i) indices[i] = uint32_t(i);
    const std::atomic<bool> never{ false };
    const step_sums sums = accumulate(runner, batch_pack(samples, indices, micro_batch_tokens, random_combine(seed, 0)), never);
    runner.get_gradient(gradient);
    return { sums.loss, sums.n_supervised };
}

}  // namespace fedllm
