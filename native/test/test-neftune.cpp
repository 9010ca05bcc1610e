// NEFTune's noise on the embeddings: against the reference model with the same noise added to its embedding table.
#include <algorithm>

#include "batch.h"
#include "random.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

fedllm::gradient_options with_noise(double alpha, uint64_t seed, bool portable = false) {
    fedllm::gradient_options options;
    options.objective.neftune_alpha = alpha;
    options.seed = seed;
    options.portable = portable;
    return options;
}

// Samples of one token each time, so that a row of the table stands for one position.
sample_list distinct_tokens(const std::vector<int> & lengths) {
    sample_list samples;
    for (const int length : lengths) {
        std::vector<int32_t> tokens;
        for (int i = 0; i < length; i++) {
            tokens.push_back(int32_t((7 * i + 3) % 97));  // 97 is prime
        }
        std::vector<uint8_t> mask(size_t(length), 1);
        mask[0] = 0;
        samples.add(tokens, mask);
    }
    return samples;
}

}  // namespace

FEDLLM_TEST("neftune: loss and gradient are the reference's with uniform noise of alpha / sqrt(L d) on its embeddings") {
    const fixture_options options;
    const model_pair      models = make_models("neftune.gguf", options);
    const sample_list     samples = distinct_tokens({13, 40});
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 221);
    const double          alpha = 5.0;
    const uint64_t        seed = 9;
    const auto            batch = fedllm::batch_pack(samples.view(), {0, 1}, 4096, fedllm::random_combine(seed, 0)).front();
    const reference_adapter weights = adapter.reference();
    std::vector<double>     expected(adapter.weights.size(), 0.0), gradient;
    double                  expected_loss = 0.0, largest = 0.0;
    for (size_t s = 0; s < samples.size(); s++) {
        reference_model              noisy = models.reference;
        const fedllm::sequence_span & span = batch.sequences[s];
        const double                 bound = alpha / std::sqrt(double(span.length) * double(options.n_embd));
        for (int64_t t = span.start; t < span.start + span.length; t++) {
            const uint64_t key = fedllm::random_combine(seed, fedllm::random_hash_name("neftune")) ^ batch.token_keys[size_t(t)];
            for (int64_t i = 0; i < options.n_embd; i++) {
                const double noise = bound * (2.0 * double(fedllm::random_uniform(key, uint64_t(i))) - 1.0);
                noisy.token_embd.values[size_t(batch.tokens[size_t(t)] * options.n_embd + i)] += noise;
                largest = std::max(largest, std::fabs(noise) / bound);
            }
        }
        expected_loss += noisy.loss(samples.only(s).reference(), &weights, &gradient).loss_sum;
        for (size_t i = 0; i < expected.size(); i++) {
            expected[i] += gradient[i];
        }
    }
    require(largest > 0.99 && largest <= 1.0, "the noise must fill its range");
    double worst = 0.0;
    for (const bool portable : {false, true}) {
        const core_gradient core = core_loss_and_gradient(models, adapter, samples, with_noise(alpha, seed, portable));
        require_close(core.loss_sum, expected_loss, 1e-6, "loss");
        worst = std::max(worst, relative_l2(core.values, expected));
    }
    require_below(worst, 1e-4, "relative L2 error of the gradient");  // as without noise: F32 rounding through the layers
    require(std::fabs(core_loss_and_gradient(models, adapter, samples).loss_sum - expected_loss) > 1e-3, "the noise changes nothing");
    return format("relative L2 %.1e", worst);
}

FEDLLM_TEST("neftune: noise follows the seed and not the packing, and evaluation has none") {
    const fixture_options options;
    const model_pair      models = make_models("neftune-seed.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {20, 12, 17}, 0.5, 222);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 223);
    const core_gradient   first = core_loss_and_gradient(models, adapter, samples, with_noise(5.0, 0));
    require(core_loss_and_gradient(models, adapter, samples, with_noise(5.0, 0)).values == first.values, "the same seed gives other bits");
    require(core_loss_and_gradient(models, adapter, samples, with_noise(5.0, 1)).values != first.values, "another seed gives the same bits");
    fedllm::gradient_options split = with_noise(5.0, 0);
    split.micro_batch_tokens = 20;
    require_below(relative_l2(core_loss_and_gradient(models, adapter, samples, split).values, first.values), 1e-5, "micro-batches: relative L2 error");
    const double without = core_loss_and_gradient(models, adapter, samples, with_noise(0.0, 0)).loss_sum;
    require_close(core_evaluate(models, &adapter, samples).loss_sum, without, 1e-6, "evaluated loss");
    fedllm::train_options train = make_train_options(adapter, samples, 1);
    train.objective.neftune_alpha = -1.0;
    require_error({"CONFIG_INVALID"}, "a negative alpha", [&] { core_train(models, train, adapter.weights); });
    return "";
}
