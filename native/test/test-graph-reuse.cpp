// The steady loop: a graph is built once for micro-batches of the same shapes, and gives what a new one gives.
#include "adapter.h"
#include "batch.h"
#include "engine.h"
#include "test-support.h"

namespace fedllm_test {

namespace {

// Samples of these lengths whose supervised tokens are the last `n_loss` of each: the same shapes for every seed.
std::vector<fedllm::micro_batch> same_shapes(int64_t n_vocab, const std::vector<int> & lengths, int n_loss, uint64_t seed) {
    sample_list samples;
    for (size_t i = 0; i < lengths.size(); i++) {
        std::vector<uint8_t> mask(size_t(lengths[i]), uint8_t(0));
        std::fill(mask.end() - n_loss, mask.end(), uint8_t(1));
        samples.add(random_tokens(n_vocab, lengths[i], seed * 100 + i), mask);
    }
    std::vector<uint32_t> indices;
    for (uint32_t i = 0; i < uint32_t(samples.size()); i++) {
        indices.push_back(i);
    }
    return fedllm::batch_pack(samples.view(), indices, 4096, seed);
}

struct run_result {
    std::vector<float> log_probabilities, gradient;
};

run_result run_once(fedllm::engine & runner, const std::vector<float> & weights, const fedllm::micro_batch & batch, bool gradient) {
    run_result result;
    runner.set_weights(weights);
    runner.clear_gradient();
    for (const fedllm::row_score & score : runner.run(batch, {gradient})) {
        result.log_probabilities.push_back(score.log_probability);
    }
    runner.get_gradient(result.gradient);
    return result;
}

void require_equal(const run_result & a, const run_result & b, const std::string & what) {
    require(a.log_probabilities == b.log_probabilities, what + ": log-probabilities differ");
    require(a.gradient == b.gradient, what + ": gradients differ");
}

// Runs 5 micro-batches of one shape through one engine and each through an engine of its own.
void check_steady_loop(const model_pair & models, const adapter_pair & adapter, const fedllm::engine_options & options, int64_t n_vocab, const std::string & what) {
    fedllm::engine steady(*models.core, &adapter.options, options);
    for (uint64_t step = 0; step < 5; step++) {
        const fedllm::micro_batch batch = same_shapes(n_vocab, {37, 140, 20}, 6, step).front();
        std::vector<float> weights = adapter.weights;
        for (float & w : weights) {
            w *= 1.0f + 0.01f * float(step);
        }
        const run_result reused = run_once(steady, weights, batch, true);
        fedllm::engine fresh(*models.core, &adapter.options, options);
        require_equal(reused, run_once(fresh, weights, batch, true), what + format(", step %d", int(step)));
    }
    require(steady.counters().n_runs == 5, what + ": expected 5 runs");
    require(steady.counters().n_graphs_built == 1, what + format(": built %lld graphs, expected 1", (long long) steady.counters().n_graphs_built));
    require(steady.counters().n_allocations == 1, what + format(": allocated %lld times, expected once", (long long) steady.counters().n_allocations));
}

}  // namespace

FEDLLM_TEST("graph reuse: a steady loop builds and allocates once, and gives the bits of new graphs") {
    const fixture_options options = fixture_for_type(GGML_TYPE_Q8_0);
    const model_pair      models = make_models("steady.gguf", options);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 4, 11);
    for (const bool portable : {false, true}) {
        for (const double dropout : {0.0, 0.2}) {
            for (const auto tier : {fedllm::checkpoint_tier::keep_all, fedllm::checkpoint_tier::layer_inputs}) {
                fedllm::engine_options settings;
                settings.portable = portable;
                settings.dropout = dropout;
                settings.tier = tier;
                check_steady_loop(models, adapter, settings, options.n_vocab, format("portable %d, dropout %g, tier %d", portable, dropout, int(tier)));
            }
        }
    }
    return "";
}

FEDLLM_TEST("graph reuse: another shape, a run without gradient and logits in between change nothing") {
    const fixture_options options;
    const model_pair      models = make_models("changing.gguf", options);
    const adapter_pair    adapter = random_adapter(models, ALL_MODULES, 4, 12);
    fedllm::engine        steady(*models.core, &adapter.options, {});
    for (uint64_t step = 0; step < 8; step++) {
        // Equal numbers of tokens and of loss rows, but other sequences: not the same graph.
        const std::vector<int>    lengths = step % 3 == 0 ? std::vector<int>{30, 12} : step % 3 == 1 ? std::vector<int>{12, 30} : std::vector<int>{21, 21};
        const fedllm::micro_batch batch = same_shapes(options.n_vocab, lengths, 5, step).front();
        const bool                gradient = step != 4;
        const run_result          result = run_once(steady, adapter.weights, batch, gradient);
        fedllm::engine            fresh(*models.core, &adapter.options, {});
        require_equal(result, run_once(fresh, adapter.weights, batch, gradient), format("step %d", int(step)));
        if (step == 5) {
            require(steady.logits(batch) == fresh.logits(batch), "logits differ");
        }
        require_equal(run_once(steady, adapter.weights, batch, gradient), result, format("step %d repeated", int(step)));
    }
    return "";
}

}  // namespace fedllm_test
