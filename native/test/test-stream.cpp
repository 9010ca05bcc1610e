// Streamed weights: the same numbers as weights in place, from less memory.
#include <algorithm>
#include <cstdint>

#include "adapter.h"
#include "architecture-cases.h"
#include "batch.h"
#include "layer-stream.h"
#include "planner.h"
#include "test-support.h"

namespace fedllm_test {

namespace {

std::shared_ptr<fedllm::base_model> load_streamed(const std::string & path, const std::string & device, size_t limit, int n_threads = TEST_THREADS) {
    fedllm::model_options options = {device, n_threads};
    options.placement = fedllm::weight_placement::streamed;
    options.weight_limit_bytes = limit;
    const auto model = fedllm::base_model::load(path, options);
    return model;
}

// What streaming this model takes with and without a head that stays.
fedllm::stream_sizes sizes_of(const fedllm::base_model & model, bool head_stays) {
    const fedllm::backend device(model.options().device, 1);
    return fedllm::stream_measure(model, device, head_stays ? std::optional<size_t>(SIZE_MAX) : std::nullopt);
}

struct outcome {
    std::vector<float> log_probabilities, gradient, logits;
};

outcome compute(const fedllm::base_model & model, const adapter_pair & adapter, const sample_list & samples, double dropout) {
    fedllm::engine_options options;
    options.tier = fedllm::checkpoint_tier::layer_inputs;
    options.dropout = dropout;
    options.seed = 5;
    fedllm::engine runner(model, &adapter.options, options);
    runner.set_weights(adapter.weights);
    runner.clear_gradient();
    std::vector<uint32_t> indices;
    for (uint32_t i = 0; i < uint32_t(samples.size()); i++) {
        indices.push_back(i);
    }
    outcome             result;
    fedllm::run_request with_gradient;
    with_gradient.gradient = true;
    for (const auto & request : {with_gradient, fedllm::run_request{}, with_gradient}) {
        for (const fedllm::micro_batch & batch : fedllm::batch_pack(samples.view(), indices, 120, 3)) {
            for (const fedllm::row_score & score : runner.run(batch, request)) {
                result.log_probabilities.push_back(score.log_probability);
            }
        }
    }
    runner.get_gradient(result.gradient);
    fedllm::micro_batch first = fedllm::batch_pack(samples.view(), {0}, 4096, 3).front();
    result.logits = runner.logits(first);
    return result;
}

}  // namespace

FEDLLM_TEST("streaming: the bits of weights in place, for every architecture, with the head in place or streamed too") {
    return for_each_supported([](const architecture_case & c) {
        const model_pair   models = load_core_only(write_case(c, "stream"));
        const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), 3, 31);
        const sample_list  samples = random_samples(c.options.n_vocab, {60, 33, 90}, 0.5, 32);
        const outcome      expected = compute(*models.core, adapter, samples, 0.1);
        for (const bool head_stays : {true, false}) {
            const auto        model = load_streamed(models.path, "", sizes_of(*models.core, head_stays).sum());
            const outcome     streamed = compute(*model, adapter, samples, 0.1);
            const std::string what = head_stays ? "head in place" : "head streamed";
            require(streamed.log_probabilities == expected.log_probabilities, what + ": log-probabilities differ");
            require(streamed.gradient == expected.gradient, what + ": gradients differ");
            require(streamed.logits == expected.logits, what + ": logits differ");
        }
        return std::string("same");
    });
}

FEDLLM_TEST("streaming: training over quantized layers of several types gives the bits of weights in place") {
    fixture_options options = fixture_for_type(GGML_TYPE_Q4_K);
    options.mixed = true;
    options.n_layers = 5;
    const model_pair   models = make_models("stream-mixed.gguf", options);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, 4, 33);
    const sample_list  samples = random_samples(options.n_vocab, {40, 60, 22, 70}, 0.6, 34);
    auto               train = make_train_options(adapter, samples, 5);
    train.dropout = 0.1;
    const auto expected = core_train(models, train, adapter.weights);
    for (const bool head_stays : {true, false}) {
        const size_t            limit = sizes_of(*models.core, head_stays).sum();
        const auto              model = load_streamed(models.path, "", limit, 2);
        const std::atomic<bool> never{false};
        const auto              streamed = fedllm::train(*model, train, adapter.weights, nullptr, never);
        require(streamed.weights == expected.weights && streamed.step_losses == expected.step_losses, "training differs");
        require(streamed.memory.streams && streamed.memory.recomputes, "the result does not say that weights were streamed");
        require(limit < models.core->info().weight_bytes, "nothing was saved");
    }
    return "";
}

FEDLLM_TEST("streaming: the planner turns to it when nothing else fits, and a limit below two layers is refused with the numbers") {
    fixture_options options = fixture_for_type(GGML_TYPE_Q8_0);
    options.n_layers = 12;
    const model_pair      models = make_models("stream-plan.gguf", options);
    const adapter_pair    adapter = fresh_adapter(models, {"attn_q"}, 2, 35);
    fedllm::model_options described = {"", TEST_THREADS};
    described.placement = fedllm::weight_placement::measured;
    const auto           model = fedllm::base_model::load(models.path, described);
    fedllm::plan_request request;
    request.adapter = &adapter.options;
    request.longest_sample = 8;
    request.micro_batch_tokens = 64;
    fedllm::memory_planner               all(*model, request);
    std::optional<fedllm::memory_plan>   leanest_resident, first_streamed;
    for (auto plan = all.next(); plan && !first_streamed; plan = all.next()) {
        if (plan->streams) {
            first_streamed = plan;
        } else if (!leanest_resident || plan->needed < leanest_resident->needed) {
            leanest_resident = plan;
        }
    }
    require(first_streamed && first_streamed->needed < leanest_resident->needed, "streaming saves nothing");
    request.memory_limit = leanest_resident->needed;
    require(!fedllm::memory_planner(*model, request).choose().streams, "streams although weights fit");
    request.memory_limit = leanest_resident->needed - 1;
    const auto chosen = fedllm::memory_planner(*model, request).choose();
    require(chosen.streams && chosen.fits(), "does not turn to streaming");
    const auto streamed = load_streamed(models.path, "", chosen.parts.weights);
    const fedllm::engine runner(*streamed, &adapter.options, {});
    const auto starved = load_streamed(models.path, "", 1000);
    const std::string message = require_error({"OUT_OF_MEMORY"}, "a limit below two layers", [&] { const fedllm::engine none(*starved, &adapter.options, {}); });
    require(message.find("received 1.00 kB") != std::string::npos, "the message has no numbers: " + message);
    return format("%.1f MB in place, %.1f MB streamed", double(leanest_resident->needed) / 1e6, double(chosen.needed) / 1e6);
}

FEDLLM_TEST("streaming: the device gives what it gives with weights in place") {
    if (test_device().empty()) {
        throw test_skipped("no --device given");
    }
    fixture_options options = fixture_for_type(GGML_TYPE_Q8_0);
    options.n_layers = 4;
    const model_pair   models = make_models("stream-device.gguf", options);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, DEVICE_RANK, 36);
    const sample_list  samples = random_samples(options.n_vocab, DEVICE_LENGTHS, 0.8, 37);
    const auto         resident = fedllm::base_model::load(models.path, {test_device(), TEST_THREADS});
    const outcome      expected = compute(*resident, adapter, samples, 0.0);
    double             worst = 0.0;
    for (const bool head_stays : {true, false}) {
        const auto    model = load_streamed(models.path, test_device(), sizes_of(*resident, head_stays).sum());
        const outcome streamed = compute(*model, adapter, samples, 0.0);
        worst = std::max({worst, relative_l2(streamed.gradient, expected.gradient), relative_l2(streamed.log_probabilities, expected.log_probabilities)});
    }
    // The same operations on the same numbers; a device may only unpack embedding rows with other rounding than the host.
    require_below(worst, 1e-3, "relative L2 error against weights in place");
    return format("%.1e", worst);
}

}  // namespace fedllm_test
