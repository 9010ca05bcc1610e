// Frozen adapters beside the trained one. A pair of rank r and a frozen one of rank s are one pair of rank r + s, so the same numbers
// in one adapter are the oracle; llama.cpp with several adapters is the outside witness.
#include <algorithm>

#include "adapter.h"
#include "llama-oracle.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

// Sums of the same products in another order.
constexpr double LOGITS_TOLERANCE = 1e-9;
constexpr double GRADIENT_TOLERANCE = 1e-5;

fedllm::frozen_adapter frozen_of(const adapter_pair & adapter) { return {adapter.options, adapter.weights.data()}; }

// Both as one adapter of scale 1: the scales go into A.
adapter_pair join(const model_pair & models, const adapter_pair & first, const adapter_pair & second) {
    adapter_pair joined;
    joined.options = first.options;
    joined.options.rank = first.options.rank + second.options.rank;
    joined.options.lora_alpha = float(joined.options.rank);
    const auto layout = fedllm::adapter_make_layout(*models.core, joined.options);
    joined.weights.resize(layout.n_parameters);
    size_t done = 0;
    for (const adapter_pair * part : {&first, &second}) {
        const auto    source = fedllm::adapter_make_layout(*models.core, part->options);
        const int64_t rank = part->options.rank, offset = int64_t(done);
        for (size_t t = 0; t < layout.tensors.size(); t++) {
            const fedllm::adapter_tensor & to = layout.tensors[t];
            const fedllm::adapter_tensor & from = source.tensors[t];
            const float *                  values = part->weights.data() + from.offset;
            float *                        target = joined.weights.data() + to.offset;
            for (int64_t i = 0; !to.is_b && i < rank * to.shape[0]; i++) {
                target[offset * to.shape[0] + i] = values[i] * part->options.scale();
            }
            for (int64_t row = 0; to.is_b && row < to.shape[1]; row++) {
                std::copy_n(values + row * rank, rank, target + row * to.shape[0] + offset);
            }
        }
        done += size_t(rank);
    }
    return joined;
}

// The gradient of the joined adapter, as far as it belongs to the first.
std::vector<double> first_part(const model_pair & models, const adapter_pair & joined, const adapter_pair & first, const std::vector<float> & gradient) {
    const auto          layout = fedllm::adapter_make_layout(*models.core, joined.options);
    const auto          wanted = fedllm::adapter_make_layout(*models.core, first.options);
    std::vector<double> part(wanted.n_parameters);
    for (size_t t = 0; t < layout.tensors.size(); t++) {
        const fedllm::adapter_tensor & from = layout.tensors[t];
        const fedllm::adapter_tensor & to = wanted.tensors[t];
        const int64_t                  rank = first.options.rank;
        for (int64_t i = 0; i < to.shape[0] * to.shape[1]; i++) {
            const int64_t source = to.is_b ? i / rank * from.shape[0] + i % rank : i;
            part[to.offset + size_t(i)] = double(gradient[from.offset + size_t(source)]) * (to.is_b ? 1.0 : double(first.options.scale()));
        }
    }
    return part;
}

}  // namespace

FEDLLM_TEST("frozen adapters: logits equal those of one joined adapter and of llama.cpp with several") {
    fixture_options options;
    options.type = GGML_TYPE_Q8_0;
    options.n_ff = 128;
    const model_pair   models = make_models("frozen.gguf", options);
    const adapter_pair trained = random_adapter(models, ALL_MODULES, 3, 1), frozen = random_adapter(models, ALL_MODULES, 5, 2),
                       other = random_adapter(models, {"attn_v", "ffn_down"}, 2, 3);
    const auto         tokens = random_tokens(options.n_vocab, 50, 4);
    const adapter_pair joined = join(models, trained, frozen);
    const auto         with_frozen = fedllm::compute_logits(*models.core, &trained.options, &trained.weights, tokens, {frozen_of(frozen)});
    const auto         with_joined = fedllm::compute_logits(*models.core, &joined.options, &joined.weights, tokens);
    const double       to_joined = normalised_mse(with_frozen, with_joined);
    require_below(to_joined, LOGITS_TOLERANCE, "error against the joined adapter");

    const auto               all = fedllm::compute_logits(*models.core, &trained.options, &trained.weights, tokens, {frozen_of(frozen), frozen_of(other)});
    std::vector<std::string> paths;
    for (const adapter_pair * adapter : {&trained, &frozen, &other}) {
        paths.push_back(temporary_path(format("frozen-%zu.gguf", paths.size())));
        fedllm::adapter_save_gguf(paths.back(), *models.core, adapter->options, adapter->weights);
    }
    // llama.cpp rounds activations to 8 bits before it multiplies them with Q8_0.
    const double to_llama = normalised_mse(all, llama_oracle(models.path).logits(tokens, paths));
    require_below(to_llama, 1e-3, "error against llama.cpp");
    const double moved = normalised_mse(all, with_frozen);
    require(moved > 1e-2, "the third adapter changes nothing");
    return format("error %.1e against one joined adapter, %.1e against llama.cpp", to_joined, to_llama);
}

FEDLLM_TEST("frozen adapters: the trained adapter's gradient is its part of the joined adapter's, on both lowerings") {
    fixture_options options;
    const model_pair   models = make_models("frozen-gradient.gguf", options);
    const adapter_pair trained = random_adapter(models, ALL_MODULES, 3, 5), frozen = random_adapter(models, ALL_MODULES, 2, 6);
    const adapter_pair joined = join(models, trained, frozen);
    const sample_list  samples = random_samples(options.n_vocab, {14, 3, 9}, 0.5, 7);
    const auto         expected = first_part(models, joined, trained, core_loss_and_gradient(models, joined, samples).values);
    double             worst = 0.0;
    for (const bool portable : {false, true}) {
        fedllm::gradient_options settings;
        settings.frozen = {frozen_of(frozen)};
        settings.portable = portable;
        worst = std::max(worst, relative_l2(core_loss_and_gradient(models, trained, samples, settings).values, expected));
    }
    require_below(worst, GRADIENT_TOLERANCE, "relative error of the gradient");
    return format("worst relative error %.1e", worst);
}

FEDLLM_TEST("frozen adapters: gradients go through modules that the trained adapter leaves alone") {
    fixture_options options;
    const model_pair   models = make_models("frozen-through.gguf", options);
    const adapter_pair trained = random_adapter(models, {"attn_q"}, 3, 8), frozen = random_adapter(models, {"attn_output", "ffn_up"}, 2, 9);
    const sample_list  samples = random_samples(options.n_vocab, {12, 8}, 0.5, 10);
    fedllm::gradient_options settings;
    settings.frozen = {frozen_of(frozen)};
    const double error = error_along_gradient(models, trained, samples, settings);
    require_below(error, 1e-3, "error of the slope along the gradient");
    return format("error %.1e", error);
}

FEDLLM_TEST("frozen adapters: training and evaluation keep them as they are, and dropout leaves them alone") {
    fixture_options options;
    const model_pair   models = make_models("frozen-train.gguf", options);
    const adapter_pair trained = fresh_adapter(models, ALL_MODULES, 3, 11), frozen = random_adapter(models, ALL_MODULES, 2, 12);
    const sample_list  samples = random_samples(options.n_vocab, {12, 8}, 0.5, 13);
    fedllm::train_options train = make_train_options(trained, samples, 1);
    train.frozen = {frozen_of(frozen)};
    const double plain_loss = core_train(models, train, trained.weights).step_losses[0];
    // B of the trained pair is zero, so its dropout changes no loss, and the frozen pair has none.
    train.dropout = 0.5;
    require_below(std::fabs(core_train(models, train, trained.weights).step_losses[0] - plain_loss), 1e-9, "change of the loss by dropout");
    fedllm::evaluate_options evaluation;
    evaluation.frozen = train.frozen;
    evaluation.samples = samples.view();
    evaluation.micro_batch_tokens = 64;
    const std::atomic<bool> cancel(false);
    double  sum = 0.0;
    int64_t n = 0;
    for (const fedllm::sample_score & score : fedllm::evaluate(*models.core, evaluation, cancel).scores) {
        sum -= score.log_probability;
        n += score.n_supervised;
    }
    require_below(std::fabs(sum / double(n) - plain_loss), 1e-5, "difference between evaluation and the first step's loss");
    require(std::fabs(core_evaluate(models, nullptr, samples).loss_sum / double(n) - plain_loss) > 1e-3, "the frozen adapter changes nothing");
    return format("loss %.6f", plain_loss);
}

FEDLLM_TEST("frozen adapters: options that do not fit and missing weights are refused") {
    const model_pair models = make_models("frozen-errors.gguf", {});
    adapter_pair     frozen = random_adapter(models, {"attn_q"}, 2, 14);
    const auto       code_of = [&](const fedllm::frozen_adapter & adapter) {
        try {
            fedllm::compute_logits(*models.core, nullptr, nullptr, {1, 2, 3}, {adapter});
        } catch (const fedllm::train_error & error) {
            return error.code;
        }
        return std::string("none");
    };
    require(code_of({frozen.options, nullptr}) == "ADAPTER_INVALID", "missing weights are accepted");
    frozen.options.rank = 1000;
    require(code_of(frozen_of(frozen)) == "ADAPTER_INVALID", "a rank beyond the model's is accepted");
    return std::string();
}
