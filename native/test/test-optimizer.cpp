// Ten AdamW steps of the core against the reference: plain, with clipping, weight decay, proximal term and offset, one
// by one and together; steps of unequal numbers of supervised tokens; cancelling.
#include <algorithm>

#include "test-support.h"

using namespace fedllm_test;

namespace {

struct optimizer_case {
    const char *          name;
    double                weight_decay = 0.0;
    std::optional<double> max_gradient_norm = std::nullopt;
    double                proximal_mu = 0.0;
    bool                  has_offset = false;
    bool                  zero_b = false;
    double                learning_rate = 3e-3;
    double                epsilon = 1e-8;
    double                beta1 = 0.9, beta2 = 0.999;
    float                 lora_alpha = 6.0f;
    double                lora_plus_ratio = 1.0;
    fedllm::trained_half  trained = fedllm::trained_half::both;
};

std::vector<double> rate_factors(const model_pair & models, const adapter_pair & adapter, const optimizer_case & c) {
    std::vector<double> factors;
    for (const reference_tensor & tensor : models.reference.layout(adapter.reference())) {
        const bool frozen = c.trained == (tensor.is_b ? fedllm::trained_half::a : fedllm::trained_half::b);
        factors.insert(factors.end(), size_t(tensor.n_columns * tensor.n_rows), frozen ? 0.0 : tensor.is_b ? c.lora_plus_ratio : 1.0);
    }
    return factors;
}

// Numbers around the start weights, so that anchor and offset matter from the first step.
std::vector<float> random_vector(size_t n, double deviation, uint64_t seed) {
    random_source      random(seed);
    std::vector<float> values(n);
    for (float & value : values) {
        value = float(deviation * random.normal());
    }
    return values;
}

struct comparison {
    double weights, losses, norms;
};

comparison compare(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, const optimizer_case & c) {
    const auto              anchor = random_vector(adapter.weights.size(), 0.1, 51);
    const auto              offset = random_vector(adapter.weights.size(), 0.2, 52);
    fedllm::train_options   options = make_train_options(adapter, samples, 10);
    reference_train_options expected_options;
    options.optimizer.weight_decay = expected_options.weight_decay = c.weight_decay;
    options.optimizer.max_gradient_norm = expected_options.max_gradient_norm = c.max_gradient_norm;
    options.optimizer.epsilon = expected_options.epsilon = c.epsilon;
    options.optimizer.beta1 = expected_options.beta1 = c.beta1;
    options.optimizer.beta2 = expected_options.beta2 = c.beta2;
    options.learning_rate = expected_options.learning_rate = c.learning_rate;
    options.proximal_mu = expected_options.proximal_mu = c.proximal_mu;
    options.lora_plus_ratio = c.lora_plus_ratio;
    options.trained = c.trained;
    expected_options.rate_factors = rate_factors(models, adapter, c);
    expected_options.local_steps = options.local_steps;
    expected_options.batch_size = options.batch_size;
    if (c.proximal_mu > 0.0) {
        options.proximal_anchor = anchor.data();
        expected_options.proximal_anchor = to_double(anchor);
    }
    if (c.has_offset) {
        options.gradient_offset = offset.data();
        expected_options.gradient_offset = to_double(offset);
    }
    const auto expected = models.reference.train(adapter.reference(), samples.reference(), expected_options);
    const auto result = core_train(models, options, adapter.weights);
    require(result.step_losses.size() == 10 && result.gradient_norms.size() == 10, "ten losses and ten norms are expected");
    for (size_t i = 0; i < adapter.weights.size(); i++) {
        require(expected_options.rate_factors[i] != 0.0 || result.weights[i] == adapter.weights[i], std::string(c.name) + ": a frozen weight has other bits");
    }
    // Distance of the end points in units of the way travelled.
    std::vector<float>  moved;
    std::vector<double> expected_moved;
    for (size_t i = 0; i < adapter.weights.size(); i++) {
        moved.push_back(result.weights[i] - adapter.weights[i]);
        expected_moved.push_back(expected.weights[i] - double(adapter.weights[i]));
    }
    comparison worst = {relative_l2(moved, expected_moved), 0.0, 0.0};
    for (size_t i = 0; i < 10; i++) {
        worst.losses = std::max(worst.losses, std::fabs(result.step_losses[i] - expected.step_losses[i]) / expected.step_losses[i]);
        worst.norms = std::max(worst.norms, std::fabs(result.gradient_norms[i] - expected.gradient_norms[i]) / expected.gradient_norms[i]);
    }
    return worst;
}

}  // namespace

FEDLLM_TEST("optimizer: ten AdamW steps end where the reference ends, with every option") {
    const optimizer_case cases[] = {
        {"plain"},
        {"from zero B", 0.0, std::nullopt, 0.0, false, true},
        {"weight decay", 0.5},
        {"clip", 0.0, 0.05},
        {"loose clip", 0.0, 1e6},
        {"proximal", 0.0, std::nullopt, 0.5},
        {"offset", 0.0, std::nullopt, 0.0, true},
        {"everything", 0.1, 0.05, 0.3, true},
        {"other betas", 0.0, std::nullopt, 0.0, false, false, 3e-3, 1e-8, 0.7, 0.95},
        // Adam forgets the gradient's size unless epsilon is large beside it, and with it whether it was clipped.
        {"clip seen through epsilon", 0.0, 0.05, 0.0, false, false, 1.0, 1.0},
        // Gradients near torch's 1e-6 in the clipping factor.
        {"clip of a tiny gradient", 0.0, 1e-7, 0.0, false, false, 3e-3, 1e-8, 0.9, 0.999, 1e-6f},
        {"LoRA+", 0.1, 0.05, 0.3, true, false, 3e-4, 1e-8, 0.9, 0.999, 6.0f, 16.0},
        {"A alone", 0.1, 0.05, 0.3, true, false, 3e-3, 1e-8, 0.9, 0.999, 6.0f, 1.0, fedllm::trained_half::a},
        {"B alone", 0.1, 0.05, 0.3, true, false, 3e-4, 1e-8, 0.9, 0.999, 6.0f, 4.0, fedllm::trained_half::b},
    };
    const fixture_options options;
    const model_pair      models = make_models("optimizer.gguf", options);
    // Five samples, two a step: steps wrap around the end and have unequal numbers of supervised tokens.
    const sample_list     samples = random_samples(options.n_vocab, {12, 5, 20, 3, 16}, 0.5, 41);
    std::string           details;
    for (const optimizer_case & c : cases) {
        adapter_pair adapter = c.zero_b ? fresh_adapter(models, ALL_MODULES, 3, 42) : random_adapter(models, ALL_MODULES, 3, 42);
        adapter.options.lora_alpha = c.lora_alpha;
        const comparison worst = compare(models, adapter, samples, c);
        // Adam divides by the gradient's own size, so entries with gradients near F32's rounding take steps of
        // uncertain sign; they are few, and ten steps of the others agree to about 1e-5.
        require_below(worst.losses, 1e-5, std::string(c.name) + ": relative error of a step's loss");
        require_below(worst.norms, 1e-4, std::string(c.name) + ": relative error of a gradient norm");
        require_below(worst.weights, 1e-3, std::string(c.name) + ": relative L2 error of the way travelled");
        details += format("%s%s %.0e", details.empty() ? "" : ", ", c.name, worst.weights);
    }
    return "error of the way travelled: " + details;
}

FEDLLM_TEST("optimizer: the first step has exact size when only one thing acts") {
    const fixture_options options;
    const model_pair      models = make_models("exact-step.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {10, 10}, 0.5, 43);
    const adapter_pair    adapter = random_adapter(models, {"attn_q", "attn_v"}, 2, 44);
    fedllm::train_options train = make_train_options(adapter, samples, 1);
    // AdamW's first step is the learning rate times the gradient's sign, whatever the gradient's size.
    train.optimizer.epsilon = 0.0;
    train.learning_rate = 0.0625;
    const auto gradient = core_loss_and_gradient(models, adapter, samples).values;
    const auto result = core_train(models, train, adapter.weights);
    double     worst = 0.0;
    for (size_t i = 0; i < gradient.size(); i++) {
        if (gradient[i] != 0.0f) {
            const double expected = double(adapter.weights[i]) - (gradient[i] > 0.0f ? 0.0625 : -0.0625);
            worst = std::max(worst, std::fabs(double(result.weights[i]) - expected));
        }
    }
    require_below(worst, 1e-6, "distance from a step of the learning rate");
    // A learning rate of zero moves nothing.
    train.learning_rate = 0.0;
    train.optimizer.weight_decay = 0.1;
    require(core_train(models, train, adapter.weights).weights == adapter.weights, "a learning rate of zero changes the weights");
    return format("largest distance %.1e", worst);
}

FEDLLM_TEST("optimizer: the loss falls when a few samples are repeated, and the counts are right") {
    const fixture_options options;
    const model_pair      models = make_models("overfit.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {10, 14}, 0.5, 45);
    const adapter_pair    adapter = fresh_adapter(models, ALL_MODULES, 8, 46);
    fedllm::train_options train = make_train_options(adapter, samples, 60);
    train.learning_rate = 1e-2;
    int64_t                 last_step = 0, n_tokens = 0;
    bool                    in_order = true;
    std::vector<double>     reported;
    const std::atomic<bool> cancel(false);
    const auto              result = fedllm::train(
        *models.core, train, adapter.weights,
        [&](const fedllm::train_progress & progress) {
            in_order = in_order && progress.step >= last_step && progress.step <= 60;
            if (progress.step > last_step) {
                n_tokens += progress.n_tokens;
                reported.push_back(progress.loss);
            }
            last_step = progress.step;
        },
        cancel);
    int64_t n_supervised = 0;
    for (const uint8_t flag : samples.supervised) {
        n_supervised += flag;
    }
    require(in_order && last_step == 60, "progress must count the steps 1 to 60 in order");
    require(reported == result.step_losses, "progress and result must tell the same losses");
    require(result.n_supervised_tokens == 60 * n_supervised, format("%lld supervised tokens, expected %lld",
            (long long) result.n_supervised_tokens, (long long) (60 * n_supervised)));
    // No padding is computed. The last token of a sample predicts nothing, so leaving it out is allowed.
    require(result.n_tokens <= 60 * 24 && result.n_tokens >= 60 * 22, format("%lld tokens computed, expected %d at most",
            (long long) result.n_tokens, 60 * 24));
    require(n_tokens == result.n_tokens, "progress and result must tell the same number of tokens");
    require(result.duration_ms > 0.0, "the duration must be positive");
    require_below(result.step_losses.back(), 0.05, "loss after 60 steps on two samples");
    return format("loss %.2f -> %.4f", result.step_losses.front(), result.step_losses.back());
}

FEDLLM_TEST("optimizer: a cancelled training stops with CANCELLED within a step") {
    const fixture_options options;
    const model_pair      models = make_models("cancel.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {10, 14}, 0.5, 47);
    const adapter_pair    adapter = fresh_adapter(models, ALL_MODULES, 2, 48);
    fedllm::train_options train = make_train_options(adapter, samples, 1000000);
    std::atomic<bool>     cancel(true);
    int                   n_reports = 0;
    require_error({"CANCELLED"}, "a flag set before the start", [&] {
        fedllm::train(*models.core, train, adapter.weights, [&](const fedllm::train_progress &) { n_reports++; }, cancel);
    });
    require(n_reports == 0, "a training that never started reported a step");
    cancel = false;
    require_error({"CANCELLED"}, "a flag set during the third step", [&] {
        fedllm::train(*models.core, train, adapter.weights,
                      [&](const fedllm::train_progress & progress) {
                          n_reports++;
                          cancel = progress.step >= 3;
                      },
                      cancel);
    });
    require(n_reports >= 3 && n_reports <= 8, format("%d reports came, expected about 3", n_reports));
    fedllm::evaluate_options evaluation;
    evaluation.samples = samples.view();
    evaluation.micro_batch_tokens = 64;
    cancel = true;
    require_error({"CANCELLED"}, "a cancelled evaluation", [&] { fedllm::evaluate(*models.core, evaluation, cancel); });
    return "";
}
