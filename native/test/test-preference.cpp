// Direct preference optimization: loss and gradient against the formula over the reference model in double, against two passes
// with weights of tokens, and against differences; the metrics; what pairs and packing must not change.
#include <algorithm>
#include <array>

#include "architecture-cases.h"
#include "preference.h"

using namespace fedllm_test;
using fedllm::gradient_options;
using fedllm::preference_options;

namespace {

// Pairs of answers of these lengths after prompts; the answers are supervised.
sample_list random_pairs(int64_t n_vocab, const std::vector<std::array<int, 3>> & lengths, uint64_t seed) {
    sample_list samples;
    samples.group_offsets = {0};
    for (size_t pair = 0; pair < lengths.size(); pair++) {
        const auto prompt = random_tokens(n_vocab, lengths[pair][0], seed + 10 * pair);
        for (size_t side = 1; side <= 2; side++) {
            std::vector<int32_t> tokens = prompt, answer = random_tokens(n_vocab, lengths[pair][side], seed + 10 * pair + side);
            tokens.insert(tokens.end(), answer.begin(), answer.end());
            std::vector<uint8_t> mask(tokens.size(), 1);
            std::fill(mask.begin(), mask.begin() + lengths[pair][0], uint8_t(0));
            samples.add(tokens, mask);
        }
        samples.group_offsets.push_back(uint32_t(samples.size()));
    }
    return samples;
}

gradient_options dpo(double beta, double label_smoothing, const std::vector<float> * reference = nullptr, bool portable = false) {
    gradient_options options;
    options.objective.preference = preference_options{beta, label_smoothing, reference == nullptr ? nullptr : reference->data()};
    options.portable = portable;
    return options;
}

double logistic(double x) {
    return 1.0 / (1.0 + std::exp(-x));
}

struct expected_pairs {
    double              loss = 0.0, margin = 0.0;
    std::vector<double> gradient;
};

// Equation 7 and its gradient, equation 8, over the reference model.
expected_pairs by_formula(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, double beta, double s,
                          const adapter_pair * reference) {
    const reference_adapter policy = adapter.reference();
    const reference_adapter other = reference == nullptr ? reference_adapter() : reference->reference();
    expected_pairs          sum;
    sum.gradient.assign(adapter.weights.size(), 0.0);
    for (size_t pair = 0; pair < samples.size() / 2; pair++) {
        double              log_policy[2], log_reference[2];
        std::vector<double> gradients[2];
        for (size_t side = 0; side < 2; side++) {
            const auto answer = samples.only(2 * pair + side).reference();
            log_policy[side] = -models.reference.loss(answer, &policy, &gradients[side]).loss_sum;
            log_reference[side] = -models.reference.loss(answer, reference == nullptr ? nullptr : &other).loss_sum;
        }
        const double h = beta * (log_policy[0] - log_reference[0] - log_policy[1] + log_reference[1]);
        sum.loss -= (1.0 - s) * std::log(logistic(h)) + s * std::log(logistic(-h));
        sum.margin += h;
        for (size_t i = 0; i < sum.gradient.size(); i++) {
            // `gradients` are those of -log p.
            sum.gradient[i] += beta * (1.0 - s - logistic(h)) * (gradients[0][i] - gradients[1][i]);
        }
    }
    return sum;
}

}  // namespace

FEDLLM_TEST("preference: a hand-computed pair has exactly its loss and metrics") {
    // beta m = 0.5 ((-1 + 2) - (-3 + 2)) = 1.
    const fedllm::pair_scores pair = {-1.0, -3.0, -2.0, -2.0};
    const double              at_one = 0.31326168751822286, at_minus_one = 1.3132616875182228;  // log(1 + 1/e), log(1 + e)
    require_close(fedllm::preference_loss({0.5, 0.0, nullptr}, pair), at_one, 1e-15, "loss");
    require_close(fedllm::preference_loss({0.5, 0.25, nullptr}, pair), 0.75 * at_one + 0.25 * at_minus_one, 1e-15, "smoothed loss");
    fedllm::preference_metrics sums;
    fedllm::add_metrics({0.5, 0.0, nullptr}, pair, sums);
    fedllm::add_metrics({0.5, 0.0, nullptr}, {-4.0, -4.0, -1.0, -1.0}, sums);  // equal rewards count half
    fedllm::add_metrics({0.5, 0.0, nullptr}, {-5.0, -2.0, -3.0, -4.0}, sums);
    require(sums.reward_margin == 1.0 + 0.0 - 2.0 && sums.reward_accuracy == 1.5, "margin or accuracy");
    require(sums.chosen_reward == 0.5 - 1.5 - 1.0 && sums.rejected_reward == -0.5 - 1.5 + 1.0, "rewards");
    require(sums.chosen_log_probability == -10.0 && sums.rejected_log_probability == -9.0, "log-probabilities");
    // Far from zero nothing overflows.
    require_close(fedllm::preference_loss({1.0, 0.0, nullptr}, {-5000.0, 0.0, 0.0, 0.0}), 5000.0, 1e-15, "loss of a hopeless pair");
    require(fedllm::preference_loss({1.0, 0.0, nullptr}, {0.0, -5000.0, 0.0, 0.0}) == 0.0, "loss of a certain pair");
    return "";
}

FEDLLM_TEST("preference: loss and gradient are the paper's over the reference model in double, in both lowerings") {
    const fixture_options options;
    const model_pair      models = make_models("preference.gguf", options);
    const sample_list     samples = random_pairs(options.n_vocab, {{5, 4, 7}, {20, 12, 3}, {1, 2, 2}}, 401);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 402);
    const adapter_pair    other = random_adapter(models, ALL_MODULES, 3, 403);
    double                worst = 0.0;
    for (const adapter_pair * reference : {(const adapter_pair *) nullptr, &other}) {
        for (const auto & [beta, s] : {std::pair{0.1, 0.0}, {0.5, 0.2}, {2.0, 0.0}}) {
            const expected_pairs expected = by_formula(models, adapter, samples, beta, s, reference);
            for (const bool portable : {false, true}) {
                const core_gradient core = core_loss_and_gradient(models, adapter, samples, dpo(beta, s, reference == nullptr ? nullptr : &reference->weights, portable));
                // The margin is a difference of sums of some ten log-probabilities, each rounded in F32.
                require_close(core.loss_sum, expected.loss, 1e-5, "loss");
                require_close(core.preference.reward_margin, expected.margin, 1e-4, "margin");
                require(core.weight_sum == 3.0, "a step divides by its three pairs");
                worst = std::max(worst, relative_l2(core.values, expected.gradient));
            }
        }
    }
    require_below(worst, 1e-4, "relative L2 error of the gradient");  // as of the supervised gradient
    return format("relative L2 %.1e", worst);
}

FEDLLM_TEST("preference: two passes, scores and then a supervised gradient with weights of tokens, agree") {
    const fixture_options options;
    const model_pair      models = make_models("preference-two.gguf", options);
    sample_list           samples = random_pairs(options.n_vocab, {{30, 14, 9}, {140, 20, 30}, {8, 150, 5}}, 411);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 412);
    const double          beta = 0.3, s = 0.1;
    const core_gradient   received = core_loss_and_gradient(models, adapter, samples, dpo(beta, s));
    samples.group_offsets.clear();
    samples.weights.assign(samples.tokens.size(), 1.0f);
    for (size_t pair = 0; pair < samples.size() / 2; pair++) {
        double h = 0.0;
        for (size_t side = 0; side < 2; side++) {
            const sample_list answer = samples.only(2 * pair + side);
            const double      ratio = core_evaluate(models, nullptr, answer).loss_sum - core_evaluate(models, &adapter, answer).loss_sum;
            h += (side == 0 ? beta : -beta) * ratio;
        }
        const float weight = float(beta * (1.0 - s - logistic(h)));
        std::fill(samples.weights.begin() + samples.offsets[2 * pair], samples.weights.begin() + samples.offsets[2 * pair + 1], weight);
        std::fill(samples.weights.begin() + samples.offsets[2 * pair + 1], samples.weights.begin() + samples.offsets[2 * pair + 2], -weight);
    }
    const double error = relative_l2(received.values, core_loss_and_gradient(models, adapter, samples).values);
    require_below(error, 1e-4, "relative L2 error of the gradient");  // the margin's rounding enters through the logistic
    return format("relative L2 %.1e", error);
}

FEDLLM_TEST("preference: the loss changes as its gradient says on every kind of architecture, under dropout too") {
    double worst = 0.0;
    for (const char * name : {"llama", "qwen3", "gemma2", "gemma3", "phi3", "granite"}) {
        const architecture_case c = {name, std::string(name) == "llama" ? fixture_options() : fixture_for_architecture(name)};
        const model_pair        models = load_core_only(write_case(c, "preference"));
        const sample_list       samples = random_pairs(c.options.n_vocab, {{12, 9, 14}, {30, 6, 40}}, 421);
        const adapter_pair      adapter = random_adapter_of_core(models, modules_of(c.options), 3, 422);
        for (const double dropout : {0.0, 0.3}) {
            gradient_options o = dpo(0.2, 0.1);
            o.dropout = dropout;
            o.seed = 5;
            const double error = error_along_gradient(models, adapter, samples, o);
            require_below(error, 2e-3, c.name + ": relative error of the slope");  // the loss is a small difference of large sums
            worst = std::max(worst, error);
        }
    }
    return format("worst %.1e", worst);
}

FEDLLM_TEST("preference: a fresh adapter, and one equal to its reference, have margin zero and loss log 2") {
    const fixture_options options;
    const model_pair      models = make_models("preference-start.gguf", options);
    const sample_list     samples = random_pairs(options.n_vocab, {{5, 4, 7}, {20, 12, 3}}, 431);
    const adapter_pair    fresh = fresh_adapter(models, ALL_MODULES, 3, 432), moved = random_adapter(models, ALL_MODULES, 3, 433);
    const core_gradient   start = core_loss_and_gradient(models, fresh, samples, dpo(0.1, 0.0));
    require(start.loss_sum == 2.0 * std::log(2.0), format("loss of a fresh adapter is %.17g for two pairs", start.loss_sum));
    require(start.preference.reward_margin == 0.0 && start.preference.reward_accuracy == 1.0, "metrics of a fresh adapter");
    const core_gradient same = core_loss_and_gradient(models, moved, samples, dpo(0.1, 0.0, &moved.weights));
    require_close(same.loss_sum, 2.0 * std::log(2.0), 1e-6, "loss of a policy that is its reference");
    require(core_loss_and_gradient(models, moved, samples, dpo(0.1, 0.0)).preference.reward_margin != 0.0, "the base must not be the reference of a moved adapter's equal");
    // Dropout belongs to the policy alone.
    gradient_options dropped = dpo(0.1, 0.0, &moved.weights);
    dropped.dropout = 0.5;
    const double margin = core_loss_and_gradient(models, moved, samples, dropped).preference.reward_margin;
    require(std::fabs(margin) > 1e-3, "dropout must act on the policy and not on the reference");
    return "";
}

FEDLLM_TEST("preference: micro-batches of any size and the order of pairs change nothing, weights of tokens enter the sums") {
    const fixture_options options;
    const model_pair      models = make_models("preference-split.gguf", options);
    const std::vector<std::array<int, 3>> lengths = {{30, 14, 9}, {14, 20, 30}, {3, 6, 5}, {40, 2, 1}};
    sample_list           samples = random_pairs(options.n_vocab, lengths, 441);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 3, 442);
    const core_gradient   whole = core_loss_and_gradient(models, adapter, samples, dpo(0.2, 0.05));
    double                worst = 0.0;
    for (const int64_t micro_batch_tokens : {1, 53, 70, 120}) {
        gradient_options o = dpo(0.2, 0.05);
        o.micro_batch_tokens = micro_batch_tokens;
        const core_gradient split = core_loss_and_gradient(models, adapter, samples, o);
        require_close(split.loss_sum, whole.loss_sum, 1e-6, "loss");
        worst = std::max(worst, relative_l2(split.values, whole.values));
    }
    require_below(worst, 1e-5, "relative L2 error of the gradient");
    samples.weights.assign(samples.tokens.size(), 0.5f);
    const core_gradient halves = core_loss_and_gradient(models, adapter, samples, dpo(0.4, 0.05));
    require_close(halves.loss_sum, whole.loss_sum, 1e-6, "weights of one half with twice the beta: loss");
    require_below(relative_l2(halves.values, whole.values), 1e-5, "weights of one half with twice the beta: gradient");
    return format("relative L2 %.1e", worst);
}

FEDLLM_TEST("preference: training prefers the chosen answers, and each step reports the means over its pairs") {
    const fixture_options options;
    const model_pair      models = make_models("preference-train.gguf", options);
    const sample_list     samples = random_pairs(options.n_vocab, {{10, 6, 8}, {12, 5, 5}, {7, 9, 4}}, 451);
    const adapter_pair    adapter = fresh_adapter(models, ALL_MODULES, 4, 452);
    fedllm::train_options train = make_train_options(adapter, samples, 25);
    train.objective.preference = preference_options{0.1, 0.0, nullptr};
    train.learning_rate = 1e-2;
    train.batch_size = 4;  // more than there are pairs: one comes twice
    const auto result = core_train(models, train, adapter.weights);
    require(result.preference_steps.size() == 25, "one report for each step");
    require_close(result.step_losses[0], std::log(2.0), 1e-6, "loss of the first step");
    const fedllm::preference_metrics & last = result.preference_steps.back();
    require(last.reward_accuracy == 1.0 && last.reward_margin > 0.5, format("accuracy %.2f, margin %.2f after 25 steps", last.reward_accuracy, last.reward_margin));
    require_close(last.chosen_reward - last.rejected_reward, last.reward_margin, 1e-9, "margin");
    require_below(result.step_losses.back(), 0.4, "loss after 25 steps");
    // The last step by hand: pairs 0, 1, 2, 0 at the weights after 24 steps.
    train.local_steps = 24;
    adapter_pair before = adapter;
    before.weights = core_train(models, train, adapter.weights).weights;
    double chosen = 0.0;
    for (const size_t pair : {0, 1, 2, 0}) {
        chosen -= core_evaluate(models, &before, samples.only(2 * pair)).loss_sum / 4.0;
    }
    require_close(last.chosen_log_probability, chosen, 1e-5, "mean log-probability of chosen answers");
    return format("loss %.3f, margin %.2f", result.step_losses.back(), last.reward_margin);
}

FEDLLM_TEST("preference: samples that are no pairs and numbers outside their range are refused") {
    const fixture_options options;
    const model_pair      models = make_models("preference-refused.gguf", options);
    const adapter_pair    adapter = fresh_adapter(models, {"attn_q"}, 2, 461);
    sample_list           samples = random_pairs(options.n_vocab, {{5, 4, 7}}, 462);
    for (const auto & [beta, s] : {std::pair{0.0, 0.0}, {-1.0, 0.0}, {0.1, 0.5}, {0.1, -0.1}, {std::nan(""), 0.0}, {1e9, 0.0}}) {
        const gradient_options o = dpo(beta, s);
        require_error({"CONFIG_INVALID"}, "a number outside its range", [&] { core_loss_and_gradient(models, adapter, samples, o); });
    }
    gradient_options both = dpo(0.1, 0.0);
    both.objective.label_smoothing = 0.1;
    require_error({"CONFIG_INVALID"}, "smoothed tokens", [&] { core_loss_and_gradient(models, adapter, samples, both); });
    samples.group_offsets.clear();
    require_error({"DATASET_INVALID"}, "samples without groups", [&] { core_loss_and_gradient(models, adapter, samples, dpo(0.1, 0.0)); });
    samples = random_samples(options.n_vocab, {5, 6, 7}, 0.5, 463);
    samples.group_offsets = {0, 3};
    require_error({"DATASET_INVALID"}, "a group of three", [&] { core_loss_and_gradient(models, adapter, samples, dpo(0.1, 0.0)); });
    return "";
}
