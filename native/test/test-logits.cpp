// Logits and evaluation of llama models: the core against llama.cpp's llama_decode on the same file and against the
// reference. The weight types have test-weight-types.cpp, the other architectures test-architectures.cpp.
#include <algorithm>
#include <filesystem>

#include "llama-oracle.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

// F32 sums of at most 512 terms: relative rounding of 1e-6 at most, squared.
constexpr double REFERENCE_TOLERANCE = 1e-9;

std::vector<float> core_logits(const model_pair & models, const adapter_pair * adapter, const std::vector<int32_t> & tokens) {
    return fedllm::compute_logits(*models.core, adapter == nullptr ? nullptr : &adapter->options,
                                  adapter == nullptr ? nullptr : &adapter->weights, tokens);
}

}  // namespace

FEDLLM_TEST("logits: the reference equals llama_decode on F32 files of every architecture variant") {
    fixture_options plain, full, wide;
    full.biases = full.rope_factors = full.tied_head = true;
    full.rope_linear_factor = 4.0f;
    full.norm_epsilon = 1e-3f;
    wide.head_length = 32;
    wide.n_kv_heads = 1;
    double worst = 0.0;
    for (const fixture_options & options : {plain, full, wide}) {
        const std::string path = temporary_path("reference-llama.gguf");
        fixture_write(path, options);
        const auto   tokens = random_tokens(options.n_vocab, 60, 33);
        const double error = normalised_mse(llama_oracle(path).logits(tokens), reference_model::load(path).logits(tokens, nullptr));
        worst = std::max(worst, error);
    }
    // llama.cpp's RoPE in F32 multiplies angles up step by step, the largest of its roundings.
    require_below(worst, 1e-9, "normalised mean squared error");
    return format("worst normalised mean squared error %.1e", worst);
}

FEDLLM_TEST("logits: F32 files of every architecture variant agree with llama_decode and the reference") {
    fixture_options full, wide, deep;
    full.biases = full.rope_factors = full.tied_head = true;
    full.rope_linear_factor = 4.0f;
    full.rope_base = 500000.0f;
    full.norm_epsilon = 1e-3f;
    wide.head_length = 32;
    wide.n_kv_heads = 1;
    deep.n_layers = 6;
    deep.n_kv_heads = 4;
    full.context_length = wide.context_length = deep.context_length = 512;
    std::string details;
    int         variant = 0;
    for (const fixture_options & options : {full, wide, deep}) {
        const model_pair models = make_models(format("architecture-%d.gguf", variant++), options);
        const auto       tokens = random_tokens(options.n_vocab, 280, 34);
        const auto       ours = core_logits(models, nullptr, tokens);
        const double     to_llama = normalised_mse(ours, llama_oracle(models.path).logits(tokens));
        const double     to_reference = normalised_mse(ours, models.reference.logits(tokens, nullptr));
        require_below(to_llama, 1e-6, format("variant %d: error against llama.cpp", variant));
        require_below(to_reference, REFERENCE_TOLERANCE, format("variant %d: error against the reference", variant));
        details += format("%s%.1e/%.1e", details.empty() ? "" : ", ", to_llama, to_reference);
    }
    return details;
}

FEDLLM_TEST("logits: stories260K, a trained model, agrees with llama_decode") {
    const std::string path = shared_data_dir() + "/models/stories260K-f32.gguf";
    if (shared_data_dir().empty() || !std::filesystem::exists(path)) {
        throw test_skipped("no " + path + " (give --shared DIR)");
    }
    const llama_oracle oracle(path);
    const model_pair   models = load_models(path);
    const auto         tokens = oracle.tokenize("Once upon a time, there was a little girl");
    const auto         ours = core_logits(models, nullptr, tokens);
    const double       to_llama = normalised_mse(ours, oracle.logits(tokens));
    require_below(to_llama, 1e-6, "error against llama.cpp");
    sample_list          text;
    std::vector<uint8_t> mask(tokens.size(), 1);
    mask[0] = 0;
    text.add(tokens, mask);
    const reference_loss loss = core_evaluate(models, nullptr, text);
    // A model that was trained on such stories finds this text far from random (ln 512 = 6.2).
    require_below(loss.loss_sum / double(loss.n_supervised), 2.5, "mean loss of a sentence it was trained on");
    return format("%zu tokens, error %.1e, mean loss %.3f", tokens.size(), to_llama, loss.loss_sum / double(loss.n_supervised));
}

FEDLLM_TEST("evaluate: log-probabilities and correct tokens of each sample equal the reference's") {
    std::string details;
    for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K}) {
        const char *          type_name = ggml_type_name(type);
        const fixture_options options = fixture_for_type(type);
        const model_pair      models = make_models(format("evaluate-%s.gguf", type_name), options);
        sample_list           samples = random_samples(options.n_vocab, {14, 3, 9, 12, 5}, 0.4, 35);
        const adapter_pair    adapter = random_adapter(models, {"attn_q", "attn_v"}, 4, 36);
        const auto            weights = adapter.reference();
        // Every other sample ends as the adapted model would have it, so that some tokens are correct.
        for (size_t i = 0; i < samples.size(); i += 2) {
            const std::vector<double> z = models.reference.logits(samples.only(i).tokens, &weights);
            const auto                row = z.end() - 2 * options.n_vocab;
            samples.tokens[samples.offsets[i + 1] - 1] = int32_t(std::max_element(row, row + options.n_vocab) - row);
        }
        double worst = 0.0;
        for (const bool with_adapter : {false, true}) {
            fedllm::evaluate_options evaluation;
            evaluation.adapter = with_adapter ? &adapter.options : nullptr;
            evaluation.weights = with_adapter ? &adapter.weights : nullptr;
            evaluation.samples = samples.view();
            evaluation.micro_batch_tokens = 16;
            const std::atomic<bool> cancel(false);
            const auto              scores = fedllm::evaluate(*models.core, evaluation, cancel).scores;
            require(scores.size() == samples.size(), "one score for each sample is expected");
            for (size_t i = 0; i < scores.size(); i++) {
                const auto expected = models.reference.loss(samples.only(i).reference(), with_adapter ? &weights : nullptr);
                const auto what = format("%s, sample %zu", type_name, i);
                require(int64_t(scores[i].n_supervised) == expected.n_supervised, what + ": other number of supervised tokens");
                require(!with_adapter || i % 2 == 1 || expected.n_correct > 0, what + ": no token is correct");
                require(int64_t(scores[i].n_correct) == expected.n_correct, what + ": other number of correct tokens");
                worst = std::max(worst, std::fabs(scores[i].log_probability + expected.loss_sum) / expected.loss_sum);
            }
        }
        require_below(worst, QUANTIZED_LOSS_TOLERANCE, std::string(type_name) + ": relative error of the log-probability");
        details += format("%s%s %.1e", details.empty() ? "" : ", ", type_name, worst);
    }
    return details;
}
