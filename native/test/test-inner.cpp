// Fed-SB: only the matrix R between fixed A and B is trained. The engine computes with A and B R, so the oracle is the ordinary
// adapter of these numbers, multiplied out here a second time, and differences of its loss.
#include <algorithm>
#include <cmath>

#include "adapter.h"
#include "inner.h"
#include "optimizer.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

constexpr int RANK = 3;

std::vector<float> random_inner(const adapter_pair & adapter, const model_pair & models, uint64_t seed) {
    random_source      random(seed);
    std::vector<float> inner(fedllm::inner_count(fedllm::adapter_make_layout(*models.core, adapter.options), RANK));
    for (float & value : inner) value = float(random.uniform() - 0.5);
    return inner;
}

// A and B R, pair by pair with plain loops.
adapter_pair multiply_out(const model_pair & models, const adapter_pair & outer, const std::vector<float> & inner) {
    adapter_pair result = outer;
    size_t       pair = 0;
    for (const fedllm::adapter_tensor & tensor : fedllm::adapter_make_layout(*models.core, outer.options).tensors) {
        if (!tensor.is_b) continue;
        for (int64_t d = 0; d < tensor.shape[1]; d++) {
            for (size_t j = 0; j < RANK; j++) {
                double sum = 0.0;
                for (size_t i = 0; i < RANK; i++) {
                    sum += double(outer.weights[tensor.offset + size_t(d) * RANK + i]) * double(inner[(pair * RANK + i) * RANK + j]);
                }
                result.weights[tensor.offset + size_t(d) * RANK + j] = float(sum);
            }
        }
        pair++;
    }
    return result;
}

// dL/dR_ij = sum over d of B_di dL/d(B R)_dj, from the reference's gradient in double.
std::vector<double> reference_gradient(const model_pair & models, const adapter_pair & outer, const std::vector<float> & inner, const sample_list & samples) {
    const reference_adapter reference = multiply_out(models, outer, inner).reference();
    std::vector<double>     whole;
    models.reference.loss(samples.reference(), &reference, &whole);
    std::vector<double> result;
    for (const fedllm::adapter_tensor & tensor : fedllm::adapter_make_layout(*models.core, outer.options).tensors) {
        if (!tensor.is_b) continue;
        for (size_t i = 0; i < RANK; i++) {
            for (size_t j = 0; j < RANK; j++) {
                double sum = 0.0;
                for (size_t d = 0; d < size_t(tensor.shape[1]); d++) {
                    sum += double(outer.weights[tensor.offset + d * RANK + i]) * whole[tensor.offset + d * RANK + j];
                }
                result.push_back(sum);
            }
        }
    }
    return result;
}

double loss_of(const model_pair & models, const adapter_pair & outer, const std::vector<float> & inner, const sample_list & samples) {
    return core_loss_and_gradient(models, multiply_out(models, outer, inner), samples).loss_sum;
}

// One step whose epsilon is far above the gradient is a step of gradient descent: R changes by -rate * gradient / epsilon.
fedllm::train_options descent_step(const adapter_pair & outer, const sample_list & samples) {
    fedllm::train_options options = make_train_options(outer, samples, 1);
    options.outer = outer.weights.data();
    options.batch_size = int64_t(samples.size());
    options.optimizer.epsilon = options.learning_rate = 1e6;
    options.optimizer.weight_decay = 0.0;
    options.optimizer.max_gradient_norm.reset();
    return options;
}

}  // namespace

FEDLLM_TEST("inner matrices: the gradient is the reference's, and the slope of the loss by differences") {
    fixture_options    options;
    const model_pair   models = make_models("inner.gguf", options);
    const adapter_pair outer = random_adapter(models, ALL_MODULES, RANK, 1);
    const sample_list  samples = random_samples(options.n_vocab, {14, 3, 9}, 0.5, 2);
    // At zero, so that the step itself is what remains.
    const std::vector<float> zero(random_inner(outer, models, 3).size(), 0.0f);
    const auto               result = core_train(models, descent_step(outer, samples), zero);
    std::vector<double>      expected = reference_gradient(models, outer, zero, samples);
    const double             n_supervised = double(result.n_supervised_tokens);
    for (double & value : expected) value *= -1.0 / n_supervised;
    const double error = relative_l2(result.weights, expected);
    // epsilon 1e6 against gradients below 1, and F32.
    require_below(error, 1e-5, "relative error of the gradient");

    std::vector<float> inner = random_inner(outer, models, 4);
    const auto         gradient = reference_gradient(models, outer, inner, samples);
    double             squares = 0.0;
    for (const double value : gradient) squares += value * value;
    const auto loss_at = [&](double h) {
        std::vector<float> moved = inner;
        for (size_t i = 0; i < moved.size(); i++) moved[i] += float(h * gradient[i] / std::sqrt(squares));
        return loss_of(models, outer, moved, samples);
    };
    const double h = 0.02, slope = (8.0 * (loss_at(h) - loss_at(-h)) - (loss_at(2.0 * h) - loss_at(-2.0 * h))) / (12.0 * h);
    const double by_differences = std::fabs(slope / std::sqrt(squares) - 1.0);
    require_below(by_differences, 1e-3, "relative error against differences");
    return format("relative error %.1e against the reference, %.1e by differences", error, by_differences);
}

FEDLLM_TEST("inner matrices: training equals AdamW on the projected gradients of the ordinary adapter, with anchor and offset") {
    fixture_options    options;
    const model_pair   models = make_models("inner-train.gguf", options);
    const adapter_pair outer = random_adapter(models, {"attn_q", "ffn_down"}, RANK, 5);
    const sample_list  samples = random_samples(options.n_vocab, {14, 9}, 0.5, 6);
    std::vector<float> inner = random_inner(outer, models, 7);
    const auto         anchor = random_inner(outer, models, 8), offset = random_inner(outer, models, 9);
    fedllm::train_options train = make_train_options(outer, samples, 4);
    train.outer = outer.weights.data();
    train.batch_size = int64_t(samples.size());
    train.learning_rate = 0.02;
    train.proximal_mu = 0.1;
    train.proximal_anchor = anchor.data();
    train.gradient_offset = offset.data();
    const auto result = core_train(models, train, inner);

    fedllm::adamw optimizer(train.optimizer, inner.size());
    for (int64_t step = 0; step < train.local_steps; step++) {
        const auto         gradient = reference_gradient(models, outer, inner, samples);
        std::vector<float> values(gradient.size());
        for (size_t i = 0; i < values.size(); i++) {
            values[i] = float(gradient[i] / double(result.n_supervised_tokens / train.local_steps) + train.proximal_mu * (double(inner[i]) - double(anchor[i])));
        }
        optimizer.step(inner, values, train.learning_rate);
        for (size_t i = 0; i < inner.size(); i++) inner[i] -= float(train.learning_rate * double(offset[i]));
    }
    const double error = relative_l2(result.weights, inner);
    // AdamW divides by the gradient's size, so small entries carry their relative error into the step.
    require_below(error, 1e-4, "relative error of the trained matrices");
    return format("relative error %.1e after %d steps", error, int(train.local_steps));
}

FEDLLM_TEST("inner matrices: other weights, halves and rates of B are refused") {
    fixture_options    options;
    const model_pair   models = make_models("inner-refused.gguf", options);
    const adapter_pair outer = random_adapter(models, {"attn_q"}, RANK, 10);
    const sample_list  samples = random_samples(options.n_vocab, {9}, 0.5, 11);
    fedllm::train_options train = make_train_options(outer, samples, 1);
    train.outer = outer.weights.data();
    require_error({"ADAPTER_INVALID"}, "weights of A and B", [&] { core_train(models, train, outer.weights); });
    train.trained = fedllm::trained_half::a;
    require_error({"CONFIG_INVALID"}, "half A", [&] { core_train(models, train, random_inner(outer, models, 12)); });
    return "three wrong calls";
}
