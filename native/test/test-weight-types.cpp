// Every weight type of the base: logits of the core against llama.cpp's llama_decode on the same file and against the
// reference on the same dequantized weights, bare and with an adapter that llama.cpp reads from our file; gradients
// against the reference and between the core's two paths; and types that hold no weights.
#include <algorithm>
#include <map>

#include "engine.h"
#include "llama-oracle.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

// How far the core may be from llama_decode, normalised mean squared error. llama.cpp rounds activations to suit the
// type of the weight: not at all for F32, to 11 bits for F16, 8 bits for BF16, and to 8-bit integers in blocks of 32
// to 256 for quantized weights. One rounding to b bits of mantissa costs about 2^-2b / 3 of the variance per product,
// int8 blocks about 2e-5 to 1e-4, and the fixture chains some ten products.
double llama_tolerance(const weight_type_case & c) {
    switch (c.options.type) {
        case GGML_TYPE_F32: return 1e-9;
        case GGML_TYPE_F16: return 1e-6;
        case GGML_TYPE_BF16: return 1e-4;
        default: return ggml_blck_size(c.options.type) > 64 ? 2e-3 : 1e-3;
    }
}

// F32 sums of at most 512 terms: relative rounding of 1e-6 at most, squared.
constexpr double REFERENCE_TOLERANCE = 1e-9;

// Each file is written once for all tests here.
const std::string & path_of(const weight_type_case & c) {
    static std::map<std::string, std::string> paths;
    std::string &                             path = paths[c.name];
    if (path.empty()) {
        path = temporary_path("weights-" + c.name + ".gguf");
        fixture_options options = c.options;
        options.rope_factors = true;
        fixture_write(path, options);
    }
    return path;
}

// Runs `check` for every type and joins what it returns; a type that fails does not hide the next.
std::string for_each_type(const std::function<std::string(const weight_type_case &, const model_pair &)> & check) {
    std::string details, problems;
    for (const weight_type_case & c : fixture_weight_types()) {
        try {
            details += (details.empty() ? "" : ", ") + c.name + " " + check(c, load_models(path_of(c)));
        } catch (const fedllm::train_error & error) {
            problems += "\n    " + c.name + ": " + error.code + ": " + error.what();
        } catch (const std::exception & error) {
            problems += "\n    " + c.name + ": " + error.what();
        }
    }
    require(problems.empty(), details + problems);
    return details;
}

std::string compare_logits(const weight_type_case & c, const model_pair & models, bool with_adapter) {
    const auto         tokens = random_tokens(c.options.n_vocab, 32, 31);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, 8, 32);
    const auto         reference_weights = adapter.reference();
    const auto         bare = fedllm::compute_logits(*models.core, nullptr, nullptr, tokens);
    std::vector<float> ours = bare;
    std::string        adapter_path;
    if (with_adapter) {
        adapter_path = temporary_path("weights-" + c.name + "-adapter.gguf");
        fedllm::adapter_save_gguf(adapter_path, *models.core, adapter.options, adapter.weights);
        ours = fedllm::compute_logits(*models.core, &adapter.options, &adapter.weights, tokens);
        require(normalised_mse(ours, bare) > 1e-2, "the adapter changes nothing");
    }
    const double to_llama = normalised_mse(ours, llama_oracle(models.path).logits(tokens, adapter_path));
    const double to_reference = normalised_mse(ours, models.reference.logits(tokens, with_adapter ? &reference_weights : nullptr));
    require_below(to_llama, llama_tolerance(c), "error against llama.cpp");
    require_below(to_reference, REFERENCE_TOLERANCE, "error against the reference");
    return format("%.1e/%.1e", to_llama, to_reference);
}

}  // namespace

FEDLLM_TEST("weight types: logits equal llama_decode's and the reference's") {
    return "to llama.cpp/to the reference: " +
           for_each_type([](const weight_type_case & c, const model_pair & models) { return compare_logits(c, models, false); });
}

FEDLLM_TEST("weight types: an adapter of ours loaded by llama.cpp gives our logits") {
    return "to llama.cpp/to the reference: " +
           for_each_type([](const weight_type_case & c, const model_pair & models) { return compare_logits(c, models, true); });
}

FEDLLM_TEST("weight types: loss and gradient agree with the reference in every tensor") {
    return for_each_type([](const weight_type_case & c, const model_pair & models) {
        // Same dequantized weights on both sides, so only the core's rounding of products may differ from F32's.
        const sample_list       samples = random_samples(c.options.n_vocab, {19, 11}, 0.5, 24);
        const adapter_pair      adapter = random_adapter(models, ALL_MODULES, 4, 9);
        const reference_adapter reference = adapter.reference();
        std::vector<double>     expected;
        const reference_loss    loss = models.reference.loss(samples.reference(), &reference, &expected);
        const core_gradient     gradient = core_loss_and_gradient(models, adapter, samples);
        require_close(gradient.loss_sum, loss.loss_sum, QUANTIZED_LOSS_TOLERANCE, "loss");
        require(gradient.values.size() == expected.size(), "the gradient has another length than the layout");
        const std::vector<double> values = to_double(gradient.values);
        double                    worst = 0.0;
        for (const reference_tensor & tensor : models.reference.layout(reference)) {
            const double error = relative_l2(&values[tensor.offset], &expected[tensor.offset], size_t(tensor.n_columns * tensor.n_rows));
            require_below(error, QUANTIZED_GRADIENT_TOLERANCE, "relative L2 error of " + tensor.name);
            worst = std::max(worst, error);
        }
        return format("%.0e", worst);
    });
}

FEDLLM_TEST("weight types: the operations that every backend has give about the gradient of the CPU kernels") {
    return for_each_type([](const weight_type_case & c, const model_pair & models) {
        const sample_list     samples = random_samples(c.options.n_vocab, {21, 14}, 0.5, 25);
        const adapter_pair    adapter = random_adapter(models, {"attn_q", "ffn_down"}, 4, 10);
        fedllm::engine_options options;
        std::vector<float>    gradients[2];
        for (const bool portable : {false, true}) {
            options.portable = portable;
            fedllm::engine computation(*models.core, &adapter.options, options);
            computation.set_weights(adapter.weights);
            computation.clear_gradient();
            for (const fedllm::micro_batch & batch : fedllm::batch_pack(samples.view(), {0, 1}, 4096, 1)) {
                computation.run(batch, { true });
            }
            computation.get_gradient(gradients[portable ? 1 : 0]);
        }
        const double error = relative_l2(gradients[1], gradients[0]);
        // ggml's forward product rounds activations as llama_tolerance says; here the root of it counts, and the backward
        // pass carries it on.
        require_below(error, 2.0 * std::sqrt(llama_tolerance(c)), "relative L2 error");
        return format("%.0e", error);
    });
}

FEDLLM_TEST("weight types: tensors of types that hold no weights are refused by name") {
    for (const ggml_type type : {GGML_TYPE_F64, GGML_TYPE_I8, GGML_TYPE_I16, GGML_TYPE_I32, GGML_TYPE_I64, GGML_TYPE_Q8_1, GGML_TYPE_Q8_K}) {
        fixture_options options = fixture_for_type(GGML_TYPE_F32);
        options.other_types["blk.1.ffn_up.weight"] = type;
        const std::string path = temporary_path("no-weights.gguf");
        fixture_write(path, options);
        const std::string message = require_error({"MODEL_UNSUPPORTED"}, ggml_type_name(type), [&] { load_core(path); });
        require(message.find("blk.1.ffn_up.weight") != std::string::npos && message.find(ggml_type_name(type)) != std::string::npos,
                std::string(ggml_type_name(type)) + ": the message does not name tensor and type: " + message);
    }
    return "";
}
