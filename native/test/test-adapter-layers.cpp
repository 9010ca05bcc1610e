// Adapters on some layers only: equal to one on all layers whose other pairs are zero, and the same numbers serve a model and an
// emulator of it under other layer numbers.
#include <algorithm>
#include <cstring>

#include "adapter.h"
#include "emulator.h"
#include "llama-oracle.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

// The same sums; the zero pairs of the other layers add zeros.
constexpr double GRADIENT_TOLERANCE = 1e-6;

fixture_options four_layers() {
    fixture_options options;
    options.n_layers = 4;
    return options;
}

// `adapter` without the pairs of other layers.
adapter_pair only_layers(const model_pair & models, const adapter_pair & adapter, const std::vector<int64_t> & layers) {
    adapter_pair part;
    part.options = adapter.options;
    part.options.layers = layers;
    for (const fedllm::adapter_tensor & t : fedllm::adapter_make_layout(*models.core, adapter.options).tensors) {
        if (std::find(layers.begin(), layers.end(), t.layer) == layers.end()) continue;
        const auto begin = adapter.weights.begin() + std::ptrdiff_t(t.offset);
        part.weights.insert(part.weights.end(), begin, begin + t.shape[0] * t.shape[1]);
    }
    return part;
}

// `adapter` with the numbers of other layers zero, so that they change nothing and have no gradient.
adapter_pair zero_elsewhere(const model_pair & models, adapter_pair adapter, const std::vector<int64_t> & layers) {
    for (const fedllm::adapter_tensor & t : fedllm::adapter_make_layout(*models.core, adapter.options).tensors) {
        if (std::find(layers.begin(), layers.end(), t.layer) != layers.end()) continue;
        std::fill_n(adapter.weights.begin() + std::ptrdiff_t(t.offset), t.shape[0] * t.shape[1], 0.0f);
    }
    return adapter;
}

}  // namespace

FEDLLM_TEST("adapter layers: losses and gradients equal those of an adapter on all layers whose other pairs are zero") {
    const model_pair   models = make_models("adapter-layers.gguf", four_layers());
    const adapter_pair whole = random_adapter(models, ALL_MODULES, 3, 61);
    const sample_list  samples = random_samples(models.core->info().n_vocab, {12, 20, 7}, 0.5, 62);
    double             worst = 0.0, worst_slope = 0.0;
    for (const std::vector<int64_t> & layers : std::vector<std::vector<int64_t>>{{3}, {0, 3}, {1, 2}, {0, 1, 2, 3}}) {
        const adapter_pair zeroed = zero_elsewhere(models, whole, layers), part = only_layers(models, whole, layers);
        for (const double dropout : {0.0, 0.3}) {
            const core_gradient expected = core_loss_and_gradient(models, zeroed, samples, 4096, dropout, 5);
            const core_gradient found = core_loss_and_gradient(models, part, samples, 4096, dropout, 5);
            require_close(found.loss_sum, expected.loss_sum, 1e-6, "loss");
            const adapter_pair wanted = only_layers(models, {zeroed.options, expected.values}, layers);
            worst = std::max(worst, relative_l2(found.values, wanted.weights));
        }
        worst_slope = std::max(worst_slope, error_along_gradient(models, part, samples, {}));
    }
    require_below(worst, GRADIENT_TOLERANCE, "error of the gradient");
    require_below(worst_slope, 5e-4, "error of the slope along the gradient");  // differences of F32 losses
    return format("gradients %.1e, slopes %.1e", worst, worst_slope);
}

FEDLLM_TEST("adapter layers: files say which layers they have, and llama.cpp reads them") {
    const model_pair   models = make_models("adapter-layers.gguf", four_layers());
    const adapter_pair part = only_layers(models, random_adapter(models, {"attn_q", "ffn_down"}, 4, 63), {0, 3});
    const std::string  path = temporary_path("adapter-layers-0-3.gguf");
    fedllm::adapter_save_gguf(path, *models.core, part.options, part.weights);
    const fedllm::loaded_adapter loaded = fedllm::adapter_load_gguf(path, *models.core);
    require(loaded.options.layers == part.options.layers && loaded.options.rank == 4, "other layers or another rank came back");
    require(loaded.weights == part.weights, "other weights came back");
    const auto   tokens = random_tokens(models.core->info().n_vocab, 40, 64);
    const auto   ours = fedllm::compute_logits(*models.core, &part.options, &part.weights, tokens);
    const double error = normalised_mse(ours, llama_oracle(models.path).logits(tokens, path));
    require_below(error, 1e-6, "error against llama.cpp");
    fedllm::adapter_options bad = part.options;
    for (const std::vector<int64_t> & layers : std::vector<std::vector<int64_t>>{{4}, {-1}, {1, 1}, {2, 0}}) {
        bad.layers = layers;
        require_error({"ADAPTER_INVALID"}, "bad layers", [&] { fedllm::adapter_make_layout(*models.core, bad); });
    }
    return format("error %.1e", error);
}

FEDLLM_TEST("adapter layers: what was trained in an emulator serves the full model under that one's layer numbers") {
    const model_pair           models = make_models("adapter-layers.gguf", four_layers());
    const std::string          path = temporary_path("layers-emulator.gguf"), plugged = temporary_path("plugged.gguf");
    const std::vector<int64_t> kept = {0, 2, 3}, in_emulator = {0, 2}, in_full = {0, 3};
    fedllm::emulator_write(models.path, path, kept);
    const model_pair emulator = load_models(path);
    adapter_pair     adapter = only_layers(emulator, fresh_adapter(emulator, {"attn_q", "attn_v", "ffn_up"}, 4, 65), in_emulator);
    const sample_list samples = random_samples(models.core->info().n_vocab, {16, 16}, 0.6, 66);
    fedllm::train_options options = make_train_options(adapter, samples, 8);
    options.learning_rate = 1e-2;
    const fedllm::train_result result = core_train(emulator, options, adapter.weights);
    require(result.step_losses.back() < result.step_losses.front(), "nothing was learned in the emulator");

    // No number moves: the layouts differ in names only.
    fedllm::adapter_options full = adapter.options;
    full.layers = in_full;
    const auto from = fedllm::adapter_make_layout(*emulator.core, adapter.options), to = fedllm::adapter_make_layout(*models.core, full);
    require(from.tensors.size() == to.tensors.size() && from.n_parameters == to.n_parameters, "the layouts differ in size");
    for (size_t t = 0; t < from.tensors.size(); t++) {
        require(from.tensors[t].offset == to.tensors[t].offset && std::memcmp(from.tensors[t].shape, to.tensors[t].shape, sizeof(int64_t) * 2) == 0 &&
                    kept[size_t(from.tensors[t].layer)] == to.tensors[t].layer,
                to.tensors[t].name + ": not where it is in the emulator");
    }
    fedllm::adapter_save_gguf(plugged, *models.core, full, result.weights);
    const auto   tokens = random_tokens(models.core->info().n_vocab, 40, 67);
    const auto   ours = fedllm::compute_logits(*models.core, &full, &result.weights, tokens);
    const double error = normalised_mse(ours, llama_oracle(models.path).logits(tokens, plugged));
    require_below(error, 1e-6, "error against llama.cpp");
    const double moved = normalised_mse(ours, fedllm::compute_logits(*models.core, nullptr, nullptr, tokens));
    require(moved > 1e-4, "the adapter changes nothing in the full model");
    return format("loss %.2f to %.2f, error %.1e", result.step_losses.front(), result.step_losses.back(), error);
}
