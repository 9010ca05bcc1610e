// Samples that share a prefix: losses, scores and gradients of a group against those of its members computed one by one, over
// every architecture, with windows, long prefixes and branches, and in both lowerings.
#include <algorithm>

#include "architecture-cases.h"
#include "batch.h"

using namespace fedllm_test;
using fedllm::gradient_options;

namespace {

// F32 sums in another order, as for packing; deep models amplify it.
constexpr double LOSS_TOLERANCE = 1e-6;
constexpr double GRADIENT_TOLERANCE = 2e-5;

// Adds a group: a random prefix, then branches that differ from each other in their first token.
void add_group(sample_list & samples, int64_t n_vocab, int prefix, const std::vector<int> & branches, uint64_t seed, double supervised_share = 0.4) {
    if (samples.group_offsets.empty()) {
        samples.group_offsets.push_back(uint32_t(samples.size()));
    }
    random_source        random(seed);
    std::vector<int32_t> common = random_tokens(n_vocab, prefix, seed + 1);
    for (size_t b = 0; b < branches.size(); b++) {
        std::vector<int32_t> tokens = common, rest = random_tokens(n_vocab, branches[b], seed + 2 + b);
        rest[0] = int32_t(b);
        tokens.insert(tokens.end(), rest.begin(), rest.end());
        std::vector<uint8_t> mask(tokens.size(), 0);
        for (size_t i = 1; i < mask.size(); i++) {
            mask[i] = random.uniform() < supervised_share ? 1 : 0;
        }
        mask[size_t(prefix)] = 1;  // the token that tells the branches apart is learned
        mask.back() = 1;
        samples.add(tokens, mask);
    }
    samples.group_offsets.push_back(uint32_t(samples.size()));
}

sample_list without_groups(sample_list samples) {
    samples.group_offsets.clear();
    return samples;
}

// A short group whose parts share a chunk of attention, one with a long prefix and short branches, one with branches of several
// chunks, one alone.
sample_list mixed_groups(int64_t n_vocab) {
    sample_list samples;
    add_group(samples, n_vocab, 9, {5, 1, 12}, 301);
    add_group(samples, n_vocab, 150, {20, 7, 30, 4}, 302);
    add_group(samples, n_vocab, 40, {140, 3, 135}, 303);
    add_group(samples, n_vocab, 6, {8}, 304);
    add_group(samples, n_vocab, 1, {17, 11}, 305);
    return samples;
}

double compare(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, const gradient_options & options) {
    const core_gradient expected = core_loss_and_gradient(models, adapter, without_groups(samples), options);
    const core_gradient received = core_loss_and_gradient(models, adapter, samples, options);
    require(received.n_supervised == expected.n_supervised, "other number of supervised tokens");
    require_close(received.loss_sum, expected.loss_sum, LOSS_TOLERANCE, "loss");
    return relative_l2(received.values, expected.values);
}

// Three questions after a common beginning, each with four next tokens; one of them learns a token of the question too.
sample_list questions_with_options(int64_t n_vocab, int64_t & n_inputs) {
    sample_list                samples;
    const std::vector<int32_t> beginning = random_tokens(n_vocab, 33, 371);
    samples.group_offsets = {0};
    n_inputs = int64_t(beginning.size());
    for (const int length : {7, 140, 12}) {
        std::vector<int32_t> tokens = beginning, question = random_tokens(n_vocab, length, uint64_t(372 + length));
        question[0] = int32_t(length % n_vocab);
        tokens.insert(tokens.end(), question.begin(), question.end());
        n_inputs += length;
        for (int32_t option = 0; option < 4; option++) {
            std::vector<int32_t> whole = tokens;
            whole.push_back(option);
            std::vector<uint8_t> mask(whole.size(), 0);
            mask.back() = 1;
            mask[beginning.size() + 3] = option == 2 ? 1 : 0;
            samples.add(whole, mask);
        }
    }
    samples.group_offsets.push_back(uint32_t(samples.size()));
    return samples;
}

}  // namespace

FEDLLM_TEST("groups: a shared prefix gives the losses and gradients of its members computed one by one, on every architecture") {
    return for_each_supported([](const architecture_case & c) {
        const model_pair   models = load_core_only(write_case(c, "groups"));
        const sample_list  samples = mixed_groups(c.options.n_vocab);
        const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), 3, 311);
        const double       error = compare(models, adapter, samples, {});
        require_below(error, GRADIENT_TOLERANCE, "relative L2 error of the gradient");
        return format("%.1e", error);
    });
}

FEDLLM_TEST("groups: the portable operations, weights of either sign and smoothed labels agree too") {
    double worst = 0.0;
    for (const char * name : {"qwen3", "gemma3", "phi3"}) {
        const architecture_case c = {name, fixture_for_architecture(name)};
        const model_pair        models = load_core_only(write_case(c, "groups-portable"));
        sample_list             samples = mixed_groups(c.options.n_vocab);
        random_source           random(312);
        for (size_t i = 0; i < samples.tokens.size(); i++) {
            samples.weights.push_back(float(0.5 + random.normal()));
        }
        const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), 3, 313);
        for (const bool portable : {false, true}) {
            gradient_options options;
            options.portable = portable;
            options.objective.label_smoothing = 0.1;
            worst = std::max(worst, compare(models, adapter, samples, options));
        }
    }
    require_below(worst, GRADIENT_TOLERANCE, "relative L2 error of the gradient");
    return format("relative L2 %.1e", worst);
}

FEDLLM_TEST("groups: the prefix is computed once, a group longer than a micro-batch is split, and a whole one is not") {
    const fixture_options options;
    const model_pair      models = make_models("groups-split.gguf", options);
    sample_list           samples;
    add_group(samples, options.n_vocab, 30, {6, 9, 4, 11}, 321);
    // The last token of a sample is a label only.
    const auto together = fedllm::batch_pack(samples.view(), {0}, 4096, 0);
    require(together.size() == 1 && together[0].n_tokens() == 30 + 5 + 8 + 3 + 10, "the prefix must be computed once");
    const auto split = fedllm::batch_pack(samples.view(), {0}, 44, 0);
    require(split.size() == 2 && split[0].n_tokens() == 30 + 5 + 8 && split[1].n_tokens() == 30 + 3 + 10, "two members fit into each micro-batch");
    require(fedllm::batch_pack(samples.view(), {0}, 44, 0, true).size() == 1, "a whole group must stay in one micro-batch");
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, 3, 322);
    const auto         expected = core_loss_and_gradient(models, adapter, without_groups(samples));
    double             worst = 0.0;
    for (const int64_t micro_batch_tokens : {1, 34, 44, 50}) {
        const core_gradient received = core_loss_and_gradient(models, adapter, samples, micro_batch_tokens);
        require_close(received.loss_sum, expected.loss_sum, LOSS_TOLERANCE, "loss");
        worst = std::max(worst, relative_l2(received.values, expected.values));
    }
    require_below(worst, GRADIENT_TOLERANCE, "relative L2 error of the gradient");
    return format("relative L2 %.1e", worst);
}

FEDLLM_TEST("groups: equal members, one that ends inside the prefix, and members without a common token") {
    const fixture_options      options;
    const model_pair           models = make_models("groups-edges.gguf", options);
    const std::vector<int32_t> tokens = random_tokens(options.n_vocab, 20, 331);
    sample_list                samples;
    std::vector<uint8_t>       all(20, 1), early(20, 0);
    all[0] = 0;
    early[5] = 1;
    samples.add(tokens, all);
    samples.add(tokens, all);
    samples.add(tokens, early);
    samples.add({1, 2, 3}, {0, 1, 1});
    samples.add({4, 2, 3}, {0, 1, 1});
    samples.group_offsets = {0, 3, 5};
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, 3, 332);
    const double       error = compare(models, adapter, samples, {});
    require_below(error, GRADIENT_TOLERANCE, "relative L2 error of the gradient");
    const auto batches = fedllm::batch_pack(samples.view(), {0, 1}, 4096, 0);
    require(batches.size() == 1 && batches[0].n_tokens() == 5 + 14 + 4, "the shortest member's computed tokens are the prefix, and equal members share a branch");
    return format("relative L2 %.1e", error);
}

FEDLLM_TEST("groups: members that differ in labels only share a branch, whatever fits into a micro-batch") {
    double worst = 0.0;
    for (const char * name : {"qwen3", "gemma3", "phi3"}) {
        const architecture_case c = {name, fixture_for_architecture(name)};
        const model_pair        models = load_core_only(write_case(c, "groups-repeats"));
        int64_t                 n_inputs = 0;
        const sample_list       samples = questions_with_options(c.options.n_vocab, n_inputs);
        const auto              together = fedllm::batch_pack(samples.view(), {0}, 4096, 0);
        require(together.size() == 1 && together[0].n_tokens() == n_inputs, "each question must be computed once");
        require(fedllm::batch_longest_group(samples.view()).n_tokens() == n_inputs, "the plan must count each question once");
        const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), 3, 373);
        const auto         expected = core_loss_and_gradient(models, adapter, without_groups(samples));
        for (const int64_t micro_batch_tokens : {1, 60, 4096}) {
            const core_gradient received = core_loss_and_gradient(models, adapter, samples, micro_batch_tokens);
            require_close(received.loss_sum, expected.loss_sum, LOSS_TOLERANCE, "loss");
            worst = std::max(worst, relative_l2(received.values, expected.values));
        }
    }
    require_below(worst, GRADIENT_TOLERANCE, "relative L2 error of the gradient");
    return format("relative L2 %.1e", worst);
}

FEDLLM_TEST("groups: groups of one sample give the bits of no groups") {
    const fixture_options options;
    const model_pair      models = make_models("groups-single.gguf", options);
    sample_list           samples = random_samples(options.n_vocab, {20, 150, 9}, 0.5, 341);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 342);
    const auto            expected = core_loss_and_gradient(models, adapter, samples, 4096, 0.2, 3);
    samples.group_offsets = {0, 1, 2, 3};
    const auto received = core_loss_and_gradient(models, adapter, samples, 4096, 0.2, 3);
    require(received.values == expected.values && received.loss_sum == expected.loss_sum, "other bits");
    return "";
}

FEDLLM_TEST("groups: evaluation scores each member as alone, and training steps count groups") {
    const fixture_options options;
    const model_pair      models = make_models("groups-evaluate.gguf", options);
    const sample_list     samples = mixed_groups(options.n_vocab), plain = without_groups(samples);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 351);
    fedllm::evaluate_options evaluation;
    evaluation.adapter = &adapter.options;
    evaluation.weights = &adapter.weights;
    evaluation.micro_batch_tokens = 200;
    const std::atomic<bool> cancel(false);
    evaluation.samples = plain.view();
    const auto expected = fedllm::evaluate(*models.core, evaluation, cancel).scores;
    evaluation.samples = samples.view();
    const auto received = fedllm::evaluate(*models.core, evaluation, cancel).scores;
    require(received.size() == expected.size(), "other number of scores");
    for (size_t i = 0; i < expected.size(); i++) {
        require_close(received[i].log_probability, expected[i].log_probability, LOSS_TOLERANCE, format("sample %zu", i));
        require(received[i].n_supervised == expected[i].n_supervised && received[i].n_correct == expected[i].n_correct, format("counts of sample %zu", i));
    }
    // Two groups a step are their five and two, then four and one members, and so on.
    fedllm::train_options train = make_train_options(adapter, samples, 5);
    const auto            result = core_train(models, train, adapter.weights);
    int64_t               n_supervised = 0;
    for (const uint8_t flag : samples.supervised) {
        n_supervised += flag;
    }
    require(result.n_supervised_tokens == 2 * n_supervised, "five steps of two groups must pass over the five groups twice");
    return "";
}

FEDLLM_TEST("groups: offsets that do not cover the samples are refused") {
    const fixture_options options;
    const model_pair      models = make_models("groups-refused.gguf", options);
    const adapter_pair    adapter = fresh_adapter(models, {"attn_q"}, 2, 361);
    for (const std::vector<uint32_t> & offsets : std::vector<std::vector<uint32_t>>{{0, 1}, {1, 2}, {0, 2, 2}, {0, 3}, {0}, {0, 2, 1, 2}}) {
        sample_list samples = random_samples(options.n_vocab, {6, 7}, 0.5, 362);
        samples.group_offsets = offsets;
        require_error({"DATASET_INVALID"}, "bad groups", [&] { core_loss_and_gradient(models, adapter, samples); });
    }
    return "";
}
