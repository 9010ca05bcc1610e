// The local training loop: pack, accumulate, correct, clip, step, report, check for cancel.
#include "trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "batch.h"
#include "engine.h"
#include "error.h"
#include "inner.h"
#include "objective.h"
#include "optimizer.h"
#include "planned-engine.h"
#include "random.h"

namespace fedllm {

namespace {

void check_options(const train_options & o) {
    require_option(o.local_steps >= 1, "localSteps", "at least 1", double(o.local_steps));
    require_option(o.batch_size >= 1, "batchSize", "at least 1", double(o.batch_size));
    require_option(o.micro_batch_tokens >= 1, "microBatchTokens", "at least 1", double(o.micro_batch_tokens));
    require_option(std::isfinite(o.learning_rate) && o.learning_rate >= 0.0, "learningRate", "a finite number of at least 0", o.learning_rate);
    require_option(std::isfinite(o.lora_plus_ratio) && o.lora_plus_ratio > 0.0, "loraPlusRatio", "a finite number above 0", o.lora_plus_ratio);
    int exponent = 0;
    const bool is_power = !o.loss_scale || (*o.loss_scale > 0.0 && std::frexp(*o.loss_scale, &exponent) == 0.5 && exponent >= -23 && exponent <= 127);
    require_option(is_power, "lossScale", "a power of two from 2^-24 to 2^126", o.loss_scale.value_or(1.0));
    require_option(o.dropout >= 0.0 && o.dropout < 1.0, "dropout", "at least 0 and below 1", o.dropout);
    require_option(o.optimizer.beta1 >= 0.0 && o.optimizer.beta1 < 1.0, "beta1", "at least 0 and below 1", o.optimizer.beta1);
    require_option(o.optimizer.beta2 >= 0.0 && o.optimizer.beta2 < 1.0, "beta2", "at least 0 and below 1", o.optimizer.beta2);
    require_option(o.optimizer.epsilon >= 0.0 && std::isfinite(o.optimizer.epsilon), "epsilon", "a finite number of at least 0", o.optimizer.epsilon);
    require_option(o.optimizer.weight_decay >= 0.0 && std::isfinite(o.optimizer.weight_decay), "weightDecay", "a finite number of at least 0", o.optimizer.weight_decay);
    require_option(!o.optimizer.max_gradient_norm || *o.optimizer.max_gradient_norm > 0.0, "maxGradientNorm", "above 0", o.optimizer.max_gradient_norm.value_or(0.0));
    require_option(o.proximal_mu >= 0.0 && std::isfinite(o.proximal_mu), "proximalMu", "a finite number of at least 0", o.proximal_mu);
    if (o.outer != nullptr && (o.trained != trained_half::both || o.lora_plus_ratio != 1.0)) {
        throw train_error("CONFIG_INVALID", "outer: expected neither trainable nor loraPlusRatio, since only the matrices between A and B are trained, received one of them");
    }
    require_option(o.proximal_mu == 0.0 || o.proximal_anchor != nullptr, "proximalAnchor", "weights to stay near to, since proximalMu is set", o.proximal_mu);
}

// Gradient of the step's objective from the summed one: divide by supervised tokens (the sum of their |weights|), not
// micro-batches, because masked prompts make micro-batches unequal; then FedProx's term mu * (w - anchor) (Li et al. 2020,
// equation 2).
void finish_gradient(const train_options & o, const std::vector<parameter_range> & ranges, const std::vector<float> & weights, double weight_sum,
                     std::vector<float> & gradient) {
    const double inverse = 1.0 / weight_sum;
    for (const parameter_range & range : ranges) {
        for (size_t i = range.begin; i < range.end; ++i) {
            double g = double(gradient[i]) * inverse;
            if (o.proximal_mu > 0.0) g += o.proximal_mu * (double(weights[i]) - double(o.proximal_anchor[i]));
            gradient[i] = float(g);
        }
    }
}

void subtract_offset(const train_options & o, const std::vector<parameter_range> & ranges, std::vector<float> & weights) {
    if (o.gradient_offset == nullptr) return;
    for (const parameter_range & range : ranges) {
        const double rate = o.learning_rate * range.rate_factor;
        for (size_t i = range.begin; i < range.end; ++i) weights[i] = float(double(weights[i]) - rate * double(o.gradient_offset[i]));
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

std::vector<uint32_t> step_groups(const train_options & o, int64_t step) {
    std::vector<uint32_t> indices;
    const uint64_t first = uint64_t(step) * uint64_t(o.batch_size);
    for (int64_t i = 0; i < o.batch_size; ++i) indices.push_back(uint32_t((first + uint64_t(i)) % o.samples.count_groups()));
    return indices;
}

hidden_cache * cache_of(const train_options & o) { return o.samples.group_offsets == nullptr && o.objective.neftune_alpha == 0.0 ? o.cache : nullptr; }

// Every group that a call will use.
std::vector<uint32_t> used_groups(const train_options & o) {
    const double n_used = double(o.local_steps) * double(o.batch_size);
    std::vector<uint32_t> indices(size_t(std::min(n_used, double(o.samples.count_groups()))));
    std::iota(indices.begin(), indices.end(), 0u);
    return indices;
}

void divide(preference_metrics & sums, double n) {
    for (double * value : { &sums.reward_margin, &sums.reward_accuracy, &sums.chosen_reward, &sums.rejected_reward, &sums.chosen_log_probability,
                            &sums.rejected_log_probability }) {
        *value /= n;
    }
}

}  // namespace

plan_request plan_training(const train_options & o) {
    plan_request request;
    request.adapter = &o.adapter;
    request.frozen = o.frozen;
    request.dropout = o.dropout;
    request.objective = objective_request(o.objective, o.loss_scale.value_or(1.0));
    request.trained = o.outer == nullptr ? o.trained : trained_half::b;
    request.weighted = o.samples.weights != nullptr && !o.objective.preference;
    request.pairs = o.objective.preference.has_value();
    request.longest_sample = batch_longest_sample(o.samples, request.pairs);
    request.longest_group = batch_longest_group(o.samples);
    request.batch_size = o.batch_size;
    request.micro_batch_tokens = o.micro_batch_tokens;
    request.distillation = o.objective.distillation ? &*o.objective.distillation : nullptr;
    request.memory_limit = o.memory.limit;
    request.cache = cache_of(o);
    return request;
}

// Chosen so that a gradient of F16's smallest normal number, 2^-14, gains the ten bits that it would lose.
constexpr double DEVICE_LOSS_SCALE = 1024.0;
constexpr int MAX_HALVINGS = 24;

// Sums and gradient of a step, which is computed again with half the scale while its gradient overflows and its loss does not.
static step_sums compute_step(planned_engine & runner, const step_objective & objective, const train_options & o, int64_t step, train_result & result,
                              const std::vector<float> & pairs, std::vector<float> & gradient) {
    const auto compute = [&](engine & device, int64_t micro_batch_tokens) {
        device.set_weights(pairs);
        const step_sums sums = objective.accumulate(device, step_groups(o, step), micro_batch_tokens, random_combine(o.seed, uint64_t(step)), result.loss_scale);
        device.get_gradient(gradient);
        return sums;
    };
    step_sums sums = runner.run(compute);
    for (int i = 0; i < MAX_HALVINGS && std::isfinite(sums.loss) && !std::isfinite(vector_norm(gradient)); ++i) {
        result.loss_scale *= 0.5;
        result.n_scale_halvings += 1;
        sums = runner.run(compute);
    }
    for (float & g : gradient) g = float(double(g) / result.loss_scale);
    return sums;
}

train_result train(const base_model & model, const train_options & o, const std::vector<float> & start_weights,
                   const progress_callback & on_progress, const std::atomic<bool> & cancel) {
    const auto begin = std::chrono::steady_clock::now();
    check_options(o);
    batch_check_samples(o.samples, model.info().n_vocab);
    check_objective(o.objective, model, o.adapter, o.samples);
    engine_options settings;
    settings.dropout = o.dropout;
    settings.seed = o.seed;
    settings.trained = o.outer == nullptr ? o.trained : trained_half::b;
    settings.frozen = o.frozen;
    settings.allocation_limit = o.memory.allocation_limit;
    settings.cache = cache_of(o);
    planned_engine runner(model, plan_training(o), settings);
    const adapter_layout layout = adapter_make_layout(model, o.adapter);
    std::optional<inner_factors> inner;
    if (o.outer != nullptr) inner.emplace(layout, o.adapter.rank, o.outer);
    const std::vector<parameter_range> ranges =
        inner ? std::vector<parameter_range>{ { 0, inner_count(layout, o.adapter.rank), 1.0 } } : trained_ranges(layout, o.trained, o.lora_plus_ratio);
    adamw optimizer(o.optimizer, ranges);
    train_result result;
    result.weights = start_weights;
    result.loss_scale = o.loss_scale.value_or(runner.plan().is_cpu ? 1.0 : DEVICE_LOSS_SCALE);
    std::vector<float> gradient;
    step_objective objective(o.objective, o.samples, cancel);
    runner.run([&](engine & device, int64_t micro_batch_tokens) { objective.prepare(device, used_groups(o), micro_batch_tokens); });
    for (int64_t step = 0; step < o.local_steps; ++step) {
        const step_sums sums = inner ? compute_step(runner, objective, o, step, result, inner->compose(result.weights), gradient)
                                     : compute_step(runner, objective, o, step, result, result.weights, gradient);
        if (inner) gradient = inner->project(gradient);
        finish_gradient(o, ranges, result.weights, sums.weight, gradient);
        const double loss = sums.loss / sums.weight;
        const double norm = vector_norm(gradient);
        if (!std::isfinite(loss) || !std::isfinite(norm)) {
            throw train_error("TRAIN_DIVERGED", "step " + std::to_string(step + 1) + ": expected a finite loss and gradient, received loss " + std::to_string(loss) +
                                                    " and gradient norm " + std::to_string(norm) + ". Lower the learning rate");
        }
        optimizer.step(result.weights, gradient, o.learning_rate);
        subtract_offset(o, ranges, result.weights);
        check_weights(result.weights, step + 1);
        result.step_losses.push_back(loss);
        result.gradient_norms.push_back(norm);
        if (o.objective.preference) {
            result.preference_steps.push_back(sums.preference);
            divide(result.preference_steps.back(), sums.weight);
        }
        if (o.objective.distillation) result.distillation_steps.push_back({ sums.distillation.hidden / sums.weight, sums.distillation.divergence / sums.weight });
        result.n_tokens += sums.n_tokens;
        result.n_supervised_tokens += sums.n_supervised;
        if (on_progress) on_progress({ step + 1, loss, sums.n_tokens });
    }
    result.memory = runner.use();
    result.cache = runner.cache_counts();
    result.duration_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    return result;
}

gradient_result loss_and_gradient(const base_model & model, const adapter_options & adapter, const std::vector<float> & weights,
                                  const sample_set & samples, const gradient_options & o, std::vector<float> & gradient) {
    batch_check_samples(samples, model.info().n_vocab);
    check_objective(o.objective, model, adapter, samples);
    engine_options settings;
    settings.dropout = o.dropout;
    settings.seed = o.seed;
    settings.portable = o.portable;
    settings.frozen = o.frozen;
    settings.cache = o.cache;
    engine runner(model, &adapter, settings);
    std::vector<uint32_t> indices(samples.count_groups());
    std::iota(indices.begin(), indices.end(), 0u);
    const std::atomic<bool> never{ false };
    step_objective objective(o.objective, samples, never);
    objective.prepare(runner, indices, o.micro_batch_tokens, o.portable);
    runner.set_weights(weights);
    const step_sums sums = objective.accumulate(runner, indices, o.micro_batch_tokens, random_combine(o.seed, 0), o.gradient_scale);
    runner.get_gradient(gradient);
    return { sums.loss, sums.n_supervised, sums.weight, sums.preference, sums.distillation };
}

}  // namespace fedllm
