// What must not matter: how samples are split into micro-batches, packed or ordered, what follows the last supervised
// token, an adapter whose B is zero; and that repeating a call repeats every bit.
#include <algorithm>

#include "test-support.h"

using namespace fedllm_test;

namespace {

// Another order of F32 sums only.
constexpr double LOSS_TOLERANCE = 1e-6;
constexpr double GRADIENT_TOLERANCE = 1e-5;

void require_same(const core_gradient & a, const core_gradient & b, const std::string & what) {
    require(a.n_supervised == b.n_supervised, what + ": other number of supervised tokens");
    require_close(a.loss_sum, b.loss_sum, LOSS_TOLERANCE, what + ": loss");
    require_below(relative_l2(a.values, b.values), GRADIENT_TOLERANCE, what + ": relative L2 error of the gradient");
}

}  // namespace

FEDLLM_TEST("invariance: micro-batches of any size give the gradient of one batch") {
    const fixture_options options;
    const model_pair      models = make_models("micro-batches.gguf", options);
    // Lengths and numbers of supervised tokens differ widely: a mean of micro-batch means would show.
    sample_list           samples = random_samples(options.n_vocab, {40, 3, 17, 29, 2, 11, 40, 8}, 0.1, 61);
    for (size_t i = samples.offsets[3] + 1; i < samples.offsets[4]; i++) {
        samples.supervised[i] = 1;
    }
    const adapter_pair  adapter = random_adapter(models, ALL_MODULES, 4, 62);
    const core_gradient whole = core_loss_and_gradient(models, adapter, samples, 4096);
    double              worst = 0.0;
    for (const int64_t micro_batch_tokens : {40, 41, 57, 64, 100, 149}) {
        const core_gradient split = core_loss_and_gradient(models, adapter, samples, micro_batch_tokens);
        require_same(split, whole, format("micro-batches of %lld tokens", (long long) micro_batch_tokens));
        worst = std::max(worst, relative_l2(split.values, whole.values));
    }
    fedllm::train_options train = make_train_options(adapter, samples, 6);
    train.batch_size = 4;
    const auto at_once = core_train(models, train, adapter.weights);
    train.micro_batch_tokens = 40;
    const auto   split = core_train(models, train, adapter.weights);
    const double trained = relative_l2(split.weights, at_once.weights);
    require_below(trained, 1e-4, "training in micro-batches: relative L2 error of the weights");
    return format("gradients %.1e, weights after 6 steps %.1e", worst, trained);
}

FEDLLM_TEST("invariance: packed samples give the sum of what each gives alone, in any order") {
    const fixture_options options;
    const model_pair      models = make_models("packing.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {31, 5, 5, 64, 2, 18, 31}, 0.5, 63);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 4, 64);
    const core_gradient   together = core_loss_and_gradient(models, adapter, samples);
    core_gradient         sum = {0.0, 0, std::vector<float>(adapter.weights.size())};
    std::vector<double>   values(adapter.weights.size());
    sample_list           reversed;
    for (size_t i = samples.size(); i-- > 0;) {
        const core_gradient alone = core_loss_and_gradient(models, adapter, samples.only(i));
        sum.loss_sum += alone.loss_sum;
        sum.n_supervised += alone.n_supervised;
        for (size_t j = 0; j < values.size(); j++) {
            values[j] += double(alone.values[j]);
        }
        const reference_sample sample = samples.reference()[i];
        reversed.add(sample.tokens, sample.supervised);
    }
    std::copy(values.begin(), values.end(), sum.values.begin());
    require_same(together, sum, "packed against alone");
    require_same(core_loss_and_gradient(models, adapter, reversed), together, "reversed order");
    return format("gradients %.1e", relative_l2(together.values, sum.values));
}

FEDLLM_TEST("invariance: tokens after the last supervised one change nothing, those before it do") {
    const fixture_options options;
    const model_pair      models = make_models("masking.gguf", options);
    sample_list           samples = random_samples(options.n_vocab, {24}, 0.5, 65);
    std::fill(samples.supervised.begin() + 14, samples.supervised.end(), uint8_t(0));
    samples.supervised[13] = 1;
    const adapter_pair  adapter = random_adapter(models, ALL_MODULES, 4, 66);
    const core_gradient before = core_loss_and_gradient(models, adapter, samples);
    sample_list         changed = samples, cut, context = samples;
    for (size_t i = 14; i < 24; i++) {
        changed.tokens[i] = int32_t((samples.tokens[i] + 31) % options.n_vocab);
    }
    require_same(core_loss_and_gradient(models, adapter, changed), before, "other tokens after the last supervised one");
    cut.add({samples.tokens.begin(), samples.tokens.begin() + 14}, {samples.supervised.begin(), samples.supervised.begin() + 14});
    require_same(core_loss_and_gradient(models, adapter, cut), before, "no tokens after the last supervised one");
    context.tokens[0] = int32_t((samples.tokens[0] + 31) % options.n_vocab);
    require(std::fabs(core_loss_and_gradient(models, adapter, context).loss_sum - before.loss_sum) > 1e-3,
            "another first token must change the loss");
    return "";
}

FEDLLM_TEST("invariance: a single supervised token at either end of a sample is learned") {
    const fixture_options options;
    const model_pair      models = make_models("single-token.gguf", options);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 4, 67);
    const auto            reference = adapter.reference();
    for (const size_t position : {size_t(1), size_t(9), size_t(19)}) {
        sample_list samples = random_samples(options.n_vocab, {20}, 0.0, 68);
        std::fill(samples.supervised.begin(), samples.supervised.end(), uint8_t(0));
        samples.supervised[position] = 1;
        std::vector<double>  expected;
        const reference_loss loss = models.reference.loss(samples.reference(), &reference, &expected);
        const core_gradient  gradient = core_loss_and_gradient(models, adapter, samples);
        require(gradient.n_supervised == 1, "one supervised token is expected");
        require_close(gradient.loss_sum, loss.loss_sum, LOSS_TOLERANCE, format("position %zu: loss", position));
        require_below(relative_l2(gradient.values, expected), 1e-4, format("position %zu: gradient", position));
    }
    return "";
}

FEDLLM_TEST("invariance: an adapter with zero B gives the loss and logits of the base exactly") {
    for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_Q4_K}) {
        const fixture_options options = fixture_for_type(type);
        const model_pair      models = make_models(format("zero-b-%s.gguf", ggml_type_name(type)), options);
        const sample_list     samples = random_samples(options.n_vocab, {21, 13}, 0.5, 69);
        const adapter_pair    adapter = fresh_adapter(models, ALL_MODULES, 4, 70);
        const double          base = core_evaluate(models, nullptr, samples).loss_sum;
        require(core_evaluate(models, &adapter, samples).loss_sum == base, "the evaluated loss differs from the base's");
        const auto tokens = random_tokens(options.n_vocab, 20, 71);
        require(fedllm::compute_logits(*models.core, &adapter.options, &adapter.weights, tokens) ==
                    fedllm::compute_logits(*models.core, nullptr, nullptr, tokens),
                "the logits differ from the base's");
        require_close(core_loss_and_gradient(models, adapter, samples).loss_sum, base, LOSS_TOLERANCE, "training loss");
    }
    return "";
}

FEDLLM_TEST("invariance: the same call gives the same bits") {
    const fixture_options options = fixture_for_type(GGML_TYPE_Q8_0);
    const model_pair      models = make_models("same-bits.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {40, 12, 25, 33}, 0.5, 72);
    const adapter_pair    adapter = fresh_adapter(models, ALL_MODULES, 8, 73);
    fedllm::train_options train = make_train_options(adapter, samples, 8);
    train.micro_batch_tokens = 64;
    train.dropout = 0.1;
    train.seed = 0;
    train.optimizer.max_gradient_norm = 0.3;
    const auto first = core_train(models, train, adapter.weights);
    for (int repeat = 0; repeat < 3; repeat++) {
        // Also over a freshly loaded base, as after a restart.
        const model_pair again = repeat == 2 ? load_models(models.path) : models;
        const auto       result = core_train(again, train, adapter.weights);
        require(result.weights == first.weights, format("weights of repeat %d differ", repeat));
        require(result.step_losses == first.step_losses, format("losses of repeat %d differ", repeat));
    }
    require(core_evaluate(models, &adapter, samples).loss_sum == core_evaluate(models, &adapter, samples).loss_sum,
            "evaluations differ");
    train.seed = 1;
    require(core_train(models, train, adapter.weights).weights != first.weights, "another dropout seed gives the same weights");
    return "";
}

FEDLLM_TEST("invariance: two threads repeat their bits too, and agree with one thread") {
    fixture_options options = fixture_for_type(GGML_TYPE_Q4_K);
    options.n_layers = 1;
    const model_pair      one = make_models("threads.gguf", options);
    const model_pair      two = load_models(one.path, 2);
    const sample_list     samples = random_samples(options.n_vocab, {30, 12}, 0.5, 80);
    const adapter_pair    adapter = random_adapter(one, ALL_MODULES, 4, 81);
    fedllm::train_options train = make_train_options(adapter, samples, 3);
    train.dropout = 0.1;
    const auto first = core_train(two, train, adapter.weights);
    require(core_train(two, train, adapter.weights).weights == first.weights, "two threads do not repeat their bits");
    const double error = relative_l2(core_train(one, train, adapter.weights).weights, first.weights);
    require_below(error, 1e-5, "one thread against two: relative L2 error of the weights");
    return format("one thread against two %.1e", error);
}

FEDLLM_TEST("invariance: initial weights are seeded by tensor name, A within its limit and B zero") {
    const fixture_options         options;
    const model_pair              models = make_models("initial.gguf", options);
    const fedllm::adapter_options adapter = {8, 16.0f, ALL_MODULES};
    const fedllm::adapter_options only_v = {8, 16.0f, {"attn_v"}};
    const auto layout = fedllm::adapter_make_layout(*models.core, adapter);
    const auto layout_v = fedllm::adapter_make_layout(*models.core, only_v);
    const auto weights = fedllm::adapter_init_weights(layout, 0);
    const auto weights_v = fedllm::adapter_init_weights(layout_v, 0);
    require(weights.size() == layout.n_parameters, "other number of weights than the layout's");
    require(weights == fedllm::adapter_init_weights(layout, 0), "the same seed gives other weights");
    require(weights != fedllm::adapter_init_weights(layout, 1), "another seed gives the same weights");
    for (const fedllm::adapter_tensor & tensor : layout.tensors) {
        const size_t n = size_t(tensor.shape[0] * tensor.shape[1]);
        const double limit = 1.0 / std::sqrt(double(tensor.shape[0]));
        double       square = 0.0, largest = 0.0;
        for (size_t i = 0; i < n; i++) {
            const double value = double(weights[tensor.offset + i]);
            square += value * value;
            largest = std::max(largest, std::fabs(value));
        }
        if (tensor.is_b) {
            require(largest == 0.0, tensor.name + " is not zero");
            continue;
        }
        require(largest <= limit * 1.0001, tensor.name + " leaves its limit");
        // Uniform numbers have a mean square of a third of the limit's; 512 of them stay within 20 %.
        require_close(square / double(n), limit * limit / 3.0, 0.2, tensor.name + ": mean square");
        for (const fedllm::adapter_tensor & other : layout.tensors) {
            require(&other == &tensor || other.is_b || other.shape[0] != tensor.shape[0] ||
                        !std::equal(&weights[tensor.offset], &weights[tensor.offset] + n, &weights[other.offset]),
                    tensor.name + " starts equal to " + other.name);
        }
        for (const fedllm::adapter_tensor & same : layout_v.tensors) {
            require(same.name != tensor.name ||
                        std::equal(&weights[tensor.offset], &weights[tensor.offset] + n, &weights_v[same.offset]),
                    tensor.name + " depends on which other modules are adapted");
        }
    }
    return "";
}
