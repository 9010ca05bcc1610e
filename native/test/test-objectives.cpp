// Weights of tokens and smoothed labels: against sums of single-token gradients, against the definition in double over the
// core's own logits, against differences, and in both lowerings.
#include <algorithm>
#include <limits>

#include "architecture-cases.h"

using namespace fedllm_test;
using fedllm::gradient_options;

namespace {

// Only supervised tokens have a number that matters; the others get one that would show.
void add_weights(sample_list & samples, const std::vector<float> & cycle) {
    samples.weights.assign(samples.tokens.size(), 1e6f);
    size_t next = 0;
    for (size_t i = 0; i < samples.tokens.size(); i++) {
        if (samples.supervised[i]) {
            samples.weights[i] = cycle[next++ % cycle.size()];
        }
    }
}

gradient_options with_smoothing(double label_smoothing, bool portable = false) {
    gradient_options options;
    options.objective.label_smoothing = label_smoothing;
    options.portable = portable;
    return options;
}

double loss_by_definition(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, double e) {
    const int64_t n_vocab = models.core->info().n_vocab;
    double        sum = 0.0;
    for (size_t s = 0; s < samples.size(); s++) {
        const reference_sample   sample = samples.reference()[s];
        const std::vector<float> logits = fedllm::compute_logits(*models.core, &adapter.options, &adapter.weights, sample.tokens);
        for (size_t t = 1; t < sample.tokens.size(); t++) {
            if (!sample.supervised[t]) {
                continue;
            }
            const float * z = &logits[(t - 1) * size_t(n_vocab)];
            double        total = 0.0;
            for (int64_t k = 0; k < n_vocab; k++) {
                total += std::exp(double(z[k]));
            }
            for (int64_t k = 0; k < n_vocab; k++) {
                const double target = e / double(n_vocab) + (k == sample.tokens[t] ? 1.0 - e : 0.0);
                sum -= target * (double(z[k]) - std::log(total));
            }
        }
    }
    return sum;
}

}  // namespace

FEDLLM_TEST("objectives: weights of one give the bits of no weights, and weights of two those of twice the gradient") {
    const fixture_options options;
    const model_pair      models = make_models("weights-one.gguf", options);
    sample_list           samples = random_samples(options.n_vocab, {12, 20, 5}, 0.5, 201);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 202);
    const core_gradient   plain = core_loss_and_gradient(models, adapter, samples);
    const auto            trained = core_train(models, make_train_options(adapter, samples, 4), adapter.weights);
    add_weights(samples, {1.0f});
    const core_gradient ones = core_loss_and_gradient(models, adapter, samples);
    require(ones.values == plain.values && ones.loss_sum == plain.loss_sum, "weights of one change bits");
    add_weights(samples, {2.0f});
    const core_gradient twos = core_loss_and_gradient(models, adapter, samples);
    for (size_t i = 0; i < plain.values.size(); i++) {
        require(twos.values[i] == 2.0f * plain.values[i], "a weight of two is not twice the gradient");
    }
    require(twos.weight_sum == 2.0 * double(twos.n_supervised), "other sum of weights");
    // A step divides by the sum of weights, so a common factor has no effect.
    const auto weighted = core_train(models, make_train_options(adapter, samples, 4), adapter.weights);
    require(weighted.weights == trained.weights && weighted.step_losses == trained.step_losses, "a common factor changes the training");
    return "";
}

FEDLLM_TEST("objectives: the weighted gradient is the weighted sum of the tokens' own, in both lowerings") {
    const fixture_options options;
    const model_pair      models = make_models("weights-sum.gguf", options);
    sample_list           samples = random_samples(options.n_vocab, {9, 14}, 0.5, 203);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 204);
    add_weights(samples, {0.5f, -1.25f, 0.0f, 3.0f});
    std::vector<double> expected(adapter.weights.size(), 0.0);
    double              expected_loss = 0.0, expected_weight = 0.0;
    for (size_t s = 0; s < samples.size(); s++) {
        const reference_sample sample = samples.reference()[s];
        for (size_t t = 0; t < sample.tokens.size(); t++) {
            if (!sample.supervised[t]) {
                continue;
            }
            std::vector<uint8_t> mask(sample.tokens.size(), 0);
            mask[t] = 1;
            sample_list single;
            single.add(sample.tokens, mask);
            const double        weight = double(samples.weights[samples.offsets[s] + t]);
            const core_gradient alone = core_loss_and_gradient(models, adapter, single);
            expected_loss += weight * alone.loss_sum;
            expected_weight += std::fabs(weight);
            for (size_t i = 0; i < expected.size(); i++) {
                expected[i] += weight * double(alone.values[i]);
            }
        }
    }
    double worst = 0.0;
    for (const bool portable : {false, true}) {
        const core_gradient received = core_loss_and_gradient(models, adapter, samples, with_smoothing(0.0, portable));
        require_close(received.loss_sum, expected_loss, 1e-5, "loss");  // terms of both signs cancel in part
        require_close(received.weight_sum, expected_weight, 1e-12, "sum of weights");
        worst = std::max(worst, relative_l2(received.values, expected));
    }
    require_below(worst, 1e-5, "relative L2 error of the gradient");  // F32 sums in another order
    return format("relative L2 %.1e", worst);
}

FEDLLM_TEST("objectives: weights that are not finite or all zero within a sample are refused with its number") {
    const fixture_options options;
    const model_pair      models = make_models("weights-refused.gguf", options);
    const adapter_pair    adapter = fresh_adapter(models, {"attn_q"}, 2, 205);
    for (const float bad : {0.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        sample_list samples = random_samples(options.n_vocab, {6, 7}, 0.5, 206);
        samples.weights.assign(samples.tokens.size(), 1.0f);
        std::fill(samples.weights.begin() + samples.offsets[1], samples.weights.end(), bad);
        const std::string message = require_error({"DATASET_INVALID"}, "bad weights", [&] { core_loss_and_gradient(models, adapter, samples); });
        require(message.find("sample 1") != std::string::npos, "the sample is not named: " + message);
    }
    return "";
}

FEDLLM_TEST("objectives: the loss of smoothed labels is the definition's, in both lowerings and with capped logits") {
    double worst = 0.0;
    for (const char * name : {"llama", "gemma2", "granite"}) {
        const architecture_case c = {name, std::string(name) == "llama" ? fixture_options() : fixture_for_architecture(name)};
        const model_pair        models = load_core_only(write_case(c, "smoothing"));
        const sample_list       samples = random_samples(c.options.n_vocab, {11, 30}, 0.5, 207);
        const adapter_pair      adapter = random_adapter_of_core(models, modules_of(c.options), 3, 208);
        for (const double e : {0.1, 0.7}) {
            const double expected = loss_by_definition(models, adapter, samples, e);
            const auto   kernels = core_loss_and_gradient(models, adapter, samples, with_smoothing(e));
            const auto   portable = core_loss_and_gradient(models, adapter, samples, with_smoothing(e, true));
            require_close(kernels.loss_sum, expected, 1e-6, c.name + ": loss");
            require_close(portable.loss_sum, expected, 1e-6, c.name + ": loss of the portable operations");
            require_below(relative_l2(portable.values, kernels.values), 1e-5, c.name + ": portable gradient");
            worst = std::max(worst, error_along_gradient(models, adapter, samples, with_smoothing(e)));
        }
    }
    require_below(worst, 1e-3, "relative error of the slope along the gradient");
    return format("slope along the gradient %.1e", worst);
}

FEDLLM_TEST("objectives: label smoothing outside its range is refused") {
    const fixture_options options;
    const model_pair      models = make_models("smoothing-refused.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {6}, 0.5, 209);
    const adapter_pair    adapter = fresh_adapter(models, {"attn_q"}, 2, 210);
    for (const double e : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()}) {
        fedllm::train_options train = make_train_options(adapter, samples, 1);
        train.objective.label_smoothing = e;
        require_error({"CONFIG_INVALID"}, "label smoothing", [&] { core_train(models, train, adapter.weights); });
    }
    return "";
}
