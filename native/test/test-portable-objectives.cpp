// The graphs of objectives and of scoring, node by node, as test-portable.cpp does for the plain loss: preferences, groups that share a
// prefix with weights, smoothing and noise, and scores without a gradient. With --device they are walked and compared there.
#include <atomic>

#include "architecture-cases.h"
#include "engine.h"
#include "graph-walk.h"
#include "objective.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

// Groups whose members begin alike; the rest of each is supervised, with weights of both signs.
sample_list random_groups(int64_t n_vocab, int prompt, const std::vector<std::vector<int>> & lengths, bool weighted, uint64_t seed) {
    sample_list samples;
    samples.group_offsets = { 0 };
    for (const std::vector<int> & group : lengths) {
        const std::vector<int32_t> start = random_tokens(n_vocab, prompt, ++seed);
        for (const int length : group) {
            std::vector<int32_t>       tokens = start;
            const std::vector<int32_t> rest = random_tokens(n_vocab, length, ++seed);
            tokens.insert(tokens.end(), rest.begin(), rest.end());
            std::vector<uint8_t> mask(tokens.size(), 1);
            std::fill(mask.begin(), mask.begin() + prompt, uint8_t(0));
            samples.add(tokens, mask);
        }
        samples.group_offsets.push_back(uint32_t(samples.size()));
    }
    for (size_t i = 0; weighted && i < samples.tokens.size(); ++i) samples.weights.push_back(i % 3 == 0 ? -0.5f : 1.5f);
    return samples;
}

struct objective_case {
    const char *      name;
    objective_options objective;
    sample_list       samples;
};

std::vector<objective_case> make_objectives(int64_t n_vocab) {
    objective_options preference, shaped;
    preference.preference = preference_options{ 0.3, 0.1, nullptr };
    shaped.label_smoothing = 0.1;
    shaped.neftune_alpha = 5.0;
    // One prompt longer than an attention chunk; three members of a group give its last token three rows.
    return { { "pairs", preference, random_groups(n_vocab, 30, { { 12, 7 }, { 140, 9 } }, false, 901) },
             { "weighted pairs", preference, random_groups(n_vocab, 20, { { 5, 17 } }, true, 921) },
             { "weighted groups, smoothed, with noise", shaped, random_groups(n_vocab, 25, { { 9, 30, 4 }, { 11 } }, true, 941) } };
}

struct computed {
    double             loss = 0.0;
    std::vector<float> gradient;
    std::vector<float> scores;  // of the base alone and of the adapter, without a gradient
};

computed compute(const base_model & model, const adapter_pair & adapter, const objective_case & what, const engine_options & options) {
    engine runner(model, &adapter.options, options);
    std::vector<uint32_t> groups;
    for (uint32_t i = 0; i < what.samples.view().count_groups(); ++i) groups.push_back(i);
    const std::atomic<bool> never{ false };
    step_objective          objective(what.objective, what.samples.view(), never);
    objective.prepare(runner, groups, 4096, options.portable);
    runner.set_weights(adapter.weights);
    computed result;
    result.loss = objective.accumulate(runner, groups, 4096, 3, 1.0).loss;
    runner.get_gradient(result.gradient);
    for (const bool adapter_off : { true, false }) {
        run_request request;
        request.adapter_off = adapter_off;
        for (const micro_batch & batch : batch_pack(what.samples.view(), groups, 100, 0)) {  // some groups are split between members
            for (const row_score & score : runner.run(batch, request)) result.scores.push_back(score.log_probability);
        }
    }
    return result;
}

std::string check_objectives(const architecture_case & c, const std::string & device_name, bool forbid, double bound) {
    const model_pair   models = load_core_only(write_case(c, "walk-objectives"));
    const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), 3, 72);
    const auto         model = base_model::load(models.path, { device_name, TEST_THREADS, {} });
    const backend      device(device_name, 1);
    walk_result        walked;
    double             worst = 0.0;
    for (const objective_case & what : make_objectives(c.options.n_vocab)) {
        engine_options options;
        options.seed = 9;
        const computed expected = compute(*models.core, adapter, what, options);
        options.portable = forbid;
        options.inspect = [&](ggml_cgraph * graph) { walk_graph(graph, device.device, forbid, walked); };
        const computed received = compute(*model, adapter, what, options);
        const double   error = relative_l2(received.gradient, expected.gradient);
        require_below(error, bound, std::string(what.name) + ": relative L2 error of the gradient");
        require_below(relative_l2(received.scores, expected.scores), bound, std::string(what.name) + ": relative L2 error of the scores");
        require_close(received.loss, expected.loss, bound, std::string(what.name) + ": loss");
        worst = std::max(worst, error);
    }
    walked.check(1000);
    return format("%zu nodes %.0e", walked.n_nodes, worst);
}

}  // namespace

FEDLLM_TEST("portable: no graph of preferences, groups and scores has an operation that Metal lacks, and all give the CPU kernels' numbers") {
    // F32 sums in another order, as for the plain loss.
    return for_each_supported([](const architecture_case & c) { return check_objectives(c, "", true, 1e-4); });
}

FEDLLM_TEST("portable: preferences, groups and scores run on the device and give the CPU's numbers") {
    if (test_device().empty()) throw test_skipped("no --device given");
    return for_each_supported([](const architecture_case & c) {
        // Dozens of layers run the same shaders again, which a software driver does slowly.
        return c.options.n_layers > 16 ? std::string("left out") : check_objectives(c, test_device(), false, 2.5e-2);
    });
}
