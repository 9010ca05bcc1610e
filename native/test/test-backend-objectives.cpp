// Groups, smoothed labels and preferences on another device against the CPU. Runs only when a device is named (--device).
#include "test-support.h"

using namespace fedllm_test;

namespace {

// Two pairs of answers behind prompts, one longer than a chunk of attention.
sample_list make_pairs(int64_t n_vocab) {
    sample_list samples;
    samples.group_offsets = {0};
    for (const int prompt : {140, 12}) {
        for (const int answer : {9, 17}) {
            std::vector<int32_t> tokens = random_tokens(n_vocab, prompt, uint64_t(prompt)), rest = random_tokens(n_vocab, answer, uint64_t(answer));
            tokens.insert(tokens.end(), rest.begin(), rest.end());
            std::vector<uint8_t> mask(size_t(prompt), 0);
            mask.resize(tokens.size(), 1);
            samples.add(tokens, mask);
        }
        samples.group_offsets.push_back(uint32_t(samples.size()));
    }
    return samples;
}

}  // namespace

FEDLLM_TEST("backends: groups, smoothed labels, noise and preferences give the CPU's loss and gradient on the device") {
    if (test_device().empty()) {
        throw test_skipped("no --device given");
    }
    fixture_options fixture;
    fixture.n_layers = 1;
    const model_pair   cpu = make_models("backend-objectives.gguf", fixture);
    const model_pair   device = {cpu.path, fedllm::base_model::load(cpu.path, {test_device(), TEST_THREADS, {}}), {}};
    const sample_list  samples = make_pairs(fixture.n_vocab);
    const adapter_pair adapter = random_adapter(cpu, ALL_MODULES, DEVICE_RANK, 602);
    fedllm::gradient_options smoothed, preferred;
    smoothed.objective.label_smoothing = 0.1;
    smoothed.objective.neftune_alpha = 5.0;
    preferred.objective.preference = fedllm::preference_options{0.2, 0.1, nullptr};
    preferred.gradient_scale = 1024.0;
    std::string details;
    for (const auto & [name, options] : {std::pair{"smoothed labels", smoothed}, {"preferences", preferred}}) {
        const core_gradient expected = core_loss_and_gradient(cpu, adapter, samples, options);
        const core_gradient received = core_loss_and_gradient(device, adapter, samples, options);
        const double        error = relative_l2(received.values, expected.values);
        // As in test-backends.cpp for F32 weights: operands may be rounded to TF32 or F16.
        require_below(error * error, 5e-4, std::string(name) + ": squared relative L2 error of the gradient");
        require_close(received.loss_sum, expected.loss_sum, 1e-2, std::string(name) + ": loss");
        details += format("%s%s %.1e", details.empty() ? "" : ", ", name, error * error);
    }
    return test_device() + ": " + details;
}
