// Each fast path against the plain one kept beside it: custom operations against the operations that every backend has, keeping
// values against computing them again, attention chunks against whole sequences. The kernels alone are in test-kernels.cpp.
#include "engine.h"
#include "random.h"
#include "test-support.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

std::vector<float> engine_gradient(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, const engine_options & options) {
    engine runner(*models.core, &adapter.options, options);
    runner.set_weights(adapter.weights);
    runner.clear_gradient();
    std::vector<uint32_t> indices;
    for (uint32_t i = 0; i < samples.size(); ++i) indices.push_back(i);
    double loss = 0.0;
    for (const micro_batch & batch : batch_pack(samples.view(), indices, 4096, random_combine(options.seed, 0))) {
        for (const row_score & score : runner.run(batch, { true })) loss -= double(score.log_probability);
    }
    std::vector<float> gradient;
    runner.get_gradient(gradient);
    gradient.push_back(float(loss));
    return gradient;
}

}  // namespace

FEDLLM_TEST("lowering: the operations that every backend has give the gradient of the CPU kernels") {
    double worst = 0.0;
    for (const bool biases : { false, true }) {
        fixture_options options;
        options.biases = biases;
        options.rope_factors = biases;
        const model_pair   models = make_models("lowering.gguf", options);
        // One sequence longer than an attention chunk, several short ones that share a chunk.
        const sample_list  samples = random_samples(options.n_vocab, { 20, 150, 9, 33 }, 0.4, 71);
        const adapter_pair adapter = random_adapter(models, ALL_MODULES, 4, 72);
        for (const double dropout : { 0.0, 0.3 }) {
            engine_options kernels, portable;
            kernels.dropout = portable.dropout = dropout;
            kernels.seed = portable.seed = 9;
            portable.portable = true;
            const std::vector<float> expected = engine_gradient(models, adapter, samples, kernels);
            const std::vector<float> received = engine_gradient(models, adapter, samples, portable);
            worst = std::max(worst, relative_l2(received, expected));
        }
    }
    require_below(worst, 1e-5, "relative L2 error");  // F32 sums in another order, as above
    return format("worst relative L2 %.1e", worst);
}

FEDLLM_TEST("lowering: quantized bases agree between the portable operations and the CPU kernels") {
    const model_pair   models = make_models("lowering-q.gguf", fixture_for_type(GGML_TYPE_Q4_K));
    const sample_list  samples = random_samples(models.core->info().n_vocab, { 40, 21 }, 0.4, 73);
    const adapter_pair adapter = random_adapter(models, { "attn_q", "ffn_down" }, 4, 74);
    engine_options portable;
    portable.portable = true;
    const double error = relative_l2(engine_gradient(models, adapter, samples, portable), engine_gradient(models, adapter, samples, {}));
    // llama.cpp's forward product rounds activations to 8 bits (relative step 1/254 per block of 256, about 0.3 % of the
    // values' deviation), once per linear map on the way.
    require_below(error, 3e-2, "relative L2 error");
    return format("relative L2 %.1e", error);
}

FEDLLM_TEST("lowering: computing a layer's values again gives the bits of keeping them") {
    fixture_options options;
    options.n_layers = 3;
    const model_pair  models = make_models("tiers.gguf", options);
    const sample_list samples = random_samples(options.n_vocab, { 20, 140, 9 }, 0.4, 75);
    for (const std::vector<std::string> & modules : { ALL_MODULES, std::vector<std::string>{ "attn_q", "attn_v" } }) {
        const adapter_pair adapter = random_adapter(models, modules, 4, 76);
        engine_options keep, again;
        keep.dropout = again.dropout = 0.2;
        keep.tier = checkpoint_tier::keep_all;
        again.tier = checkpoint_tier::layer_inputs;
        require(engine_gradient(models, adapter, samples, keep) == engine_gradient(models, adapter, samples, again), "other bits");
    }
    return "two adapters";
}

FEDLLM_TEST("lowering: a sequence cut into attention chunks agrees with the reference") {
    const fixture_options options;
    const model_pair  models = make_models("chunks.gguf", options);
    double            worst = 0.0;
    for (const int length : { 128, 129, 257 }) {
        const sample_list  samples = random_samples(options.n_vocab, { 5, length, 7 }, 0.3, uint64_t(length));
        const adapter_pair adapter = random_adapter(models, ALL_MODULES, 2, 77);
        const core_gradient core = core_loss_and_gradient(models, adapter, samples);
        std::vector<double> expected;
        const reference_adapter reference = adapter.reference();
        const reference_loss    loss = models.reference.loss(samples.reference(), &reference, &expected);
        require_close(core.loss_sum, loss.loss_sum, 1e-6, "loss");
        worst = std::max(worst, relative_l2(core.values, expected));
    }
    require_below(worst, 1e-4, "relative L2 error");
    return format("worst relative L2 %.1e", worst);
}
