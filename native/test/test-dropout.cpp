// Dropout on the input of A: seeded, with the right gradient under a fixed mask, and without bias in the mean.
#include <cmath>

#include "test-support.h"

using namespace fedllm_test;

FEDLLM_TEST("dropout: probability zero ignores the seed, and another probability follows it") {
    const fixture_options options;
    const model_pair      models = make_models("dropout-seeds.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {20, 12}, 0.5, 74);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 4, 75);
    const auto            none = core_loss_and_gradient(models, adapter, samples, 4096, 0.0, 1);
    require(core_loss_and_gradient(models, adapter, samples, 4096, 0.0, 2).values == none.values, "probability zero depends on the seed");
    const auto some = core_loss_and_gradient(models, adapter, samples, 4096, 0.25, 1);
    require(core_loss_and_gradient(models, adapter, samples, 4096, 0.25, 1).values == some.values, "the same seed gives other bits");
    require(core_loss_and_gradient(models, adapter, samples, 4096, 0.25, 2).values != some.values, "another seed gives the same bits");
    require(some.values != none.values, "dropout changes nothing");
    return "";
}

FEDLLM_TEST("dropout: a sample's mask does not depend on how a step is split into micro-batches") {
    const fixture_options options;
    const model_pair      models = make_models("dropout-split.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {20, 12, 17}, 0.5, 82);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 4, 83);
    const auto            whole = core_loss_and_gradient(models, adapter, samples, 4096, 0.25, 3);
    const auto            split = core_loss_and_gradient(models, adapter, samples, 20, 0.25, 3);
    require_close(split.loss_sum, whole.loss_sum, 1e-6, "loss");
    require_below(relative_l2(split.values, whole.values), 1e-5, "relative L2 error of the gradient");
    return "";
}

FEDLLM_TEST("dropout: equal samples and repeated steps get masks of their own") {
    const fixture_options options;
    const model_pair      models = make_models("dropout-own.gguf", options);
    const sample_list     one = random_samples(options.n_vocab, {20}, 0.5, 84);
    sample_list           twice = one;
    twice.add(one.tokens, one.supervised);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, 4, 85);
    const double       single = core_loss_and_gradient(models, adapter, one, 4096, 0.25, 3).loss_sum;
    const double       both = core_loss_and_gradient(models, adapter, twice, 4096, 0.25, 3).loss_sum;
    require(std::fabs(both - 2.0 * single) > 1e-3 * single, "two equal samples have the same masks");
    fedllm::train_options train = make_train_options(adapter, one, 2);
    train.learning_rate = 0.0;
    train.dropout = 0.25;
    const auto losses = core_train(models, train, adapter.weights).step_losses;
    require(std::fabs(losses[0] - losses[1]) > 1e-3 * losses[0], "two steps have the same masks");
    return "";
}

FEDLLM_TEST("dropout: the gradient under a fixed mask agrees with central differences") {
    const fixture_options options;
    const model_pair      models = make_models("dropout-differences.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {16, 9}, 0.7, 76);
    adapter_pair          adapter = random_adapter(models, ALL_MODULES, 4, 77);
    const auto            start = adapter.weights;
    const auto            gradient = core_loss_and_gradient(models, adapter, samples, 4096, 0.3, 9).values;
    double                worst = 0.0;
    std::string           where;
    for (const reference_tensor & tensor : models.reference.layout(adapter.reference())) {
        // Along the tensor's own gradient: the slope is its norm.
        double norm = 0.0;
        for (size_t i = 0; i < size_t(tensor.n_columns * tensor.n_rows); i++) {
            norm += double(gradient[tensor.offset + i]) * double(gradient[tensor.offset + i]);
        }
        norm = std::sqrt(norm);
        const auto loss_at = [&](double h) {
            adapter.weights = start;
            for (size_t i = 0; i < size_t(tensor.n_columns * tensor.n_rows); i++) {
                adapter.weights[tensor.offset + i] += float(h * double(gradient[tensor.offset + i]) / norm);
            }
            return core_loss_and_gradient(models, adapter, samples, 4096, 0.3, 9).loss_sum;
        };
        const double h = 1.0 / 64;
        const double slope = (8.0 * (loss_at(h) - loss_at(-h)) - (loss_at(2 * h) - loss_at(-2 * h))) / (12.0 * h);
        const double error = std::fabs(slope - norm) / norm;
        if (!(error <= worst)) {
            worst = error;
            where = tensor.name;
        }
    }
    require_below(worst, 1e-3, "worst relative error, in " + where);
    return format("worst relative error %.1e in %s", worst, where.c_str());
}

FEDLLM_TEST("dropout: the mean over seeds is the gradient without dropout") {
    // With B zero the output does not depend on the mask, so the gradient of B is linear in it and its mean exact.
    const fixture_options options;
    const model_pair      models = make_models("dropout-mean.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {20, 12}, 0.5, 78);
    const adapter_pair    adapter = fresh_adapter(models, ALL_MODULES, 4, 79);
    const auto            none = core_loss_and_gradient(models, adapter, samples).values;
    constexpr int         n_seeds = 64;
    std::vector<double>   mean(none.size());
    double                single = 0.0;
    for (int seed = 0; seed < n_seeds; seed++) {
        const auto some = core_loss_and_gradient(models, adapter, samples, 4096, 0.25, uint64_t(seed)).values;
        single += relative_l2(some, none) / n_seeds;
        for (size_t i = 0; i < mean.size(); i++) {
            mean[i] += double(some[i]) / n_seeds;
        }
    }
    const double error = relative_l2(std::vector<float>(mean.begin(), mean.end()), none);
    // Independent masks shrink the deviation by the root of their number; a wrong scale (0.75 or 1) leaves 25 %.
    require(single > 0.05, format("dropout deviates by %.3f only", single));
    require_below(error, 1.3 * single / std::sqrt(double(n_seeds)), "deviation of the mean");
    return format("single %.3f, mean of %d %.4f", single, n_seeds, error);
}
