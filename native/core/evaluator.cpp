// Log-probabilities of the supervised tokens without gradients.
#include <chrono>
#include <numeric>

#include "batch.h"
#include "distillation.h"
#include "engine.h"
#include "error.h"
#include "planned-engine.h"
#include "trainer.h"

namespace fedllm {

static std::vector<sample_score> score_samples(engine & device, const sample_set & samples, int64_t micro_batch_tokens, const std::atomic<bool> & cancel) {
    std::vector<uint32_t> indices(samples.count_groups());
    std::iota(indices.begin(), indices.end(), 0u);
    std::vector<sample_score> scores(samples.n_samples);
    for (const micro_batch & batch : batch_pack(samples, indices, micro_batch_tokens, 0)) {
        if (cancel.load()) throw train_error("CANCELLED", "evaluation was cancelled");
        const std::vector<row_score> rows = device.run(batch, {});
        for (size_t i = 0; i < rows.size(); ++i) {
            sample_score & score = scores[batch.loss_samples[i]];
            score.log_probability += double(rows[i].log_probability);
            score.n_supervised += 1;
            score.n_correct += rows[i].top_token == batch.labels[i] ? 1 : 0;
        }
    }
    return scores;
}

evaluation evaluate(const base_model & model, const evaluate_options & options, const std::atomic<bool> & cancel) {
    const auto begin = std::chrono::steady_clock::now();
    if (options.micro_batch_tokens < 1) throw train_error("CONFIG_INVALID", "microBatchTokens: expected at least 1, received " + std::to_string(options.micro_batch_tokens));
    batch_check_samples(options.samples, model.info().n_vocab);
    if (options.adapter != nullptr && options.weights == nullptr) throw train_error("ADAPTER_INVALID", "weights: expected numbers for the adapter, received none");
    plan_request request;
    request.adapter = options.adapter;
    request.frozen = options.frozen;
    request.gradient = false;
    request.longest_sample = batch_longest_sample(options.samples);
    request.longest_group = batch_longest_group(options.samples);
    request.batch_size = int64_t(options.samples.count_groups());
    request.micro_batch_tokens = options.micro_batch_tokens;
    request.memory_limit = options.memory.limit;
    request.cache = options.samples.group_offsets == nullptr ? options.cache : nullptr;
    engine_options settings;
    settings.frozen = options.frozen;
    settings.allocation_limit = options.memory.allocation_limit;
    settings.cache = request.cache;
    planned_engine runner(model, request, settings);
    evaluation result;
    result.scores = runner.run([&](engine & device, int64_t micro_batch_tokens) {
        if (options.adapter != nullptr) device.set_weights(*options.weights);
        return score_samples(device, options.samples, micro_batch_tokens, cancel);
    });
    result.memory = runner.use();
    result.duration_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    return result;
}

static void check_states(const base_model & model, const hidden_states_options & o) {
    if (o.micro_batch_tokens < 1) throw train_error("CONFIG_INVALID", "microBatchTokens: expected at least 1, received " + std::to_string(o.micro_batch_tokens));
    batch_check_samples(o.samples, model.info().n_vocab);
    if (o.samples.group_offsets != nullptr) throw train_error("DATASET_INVALID", "samples: expected none in groups where states are read, received groups");
    if (o.adapter != nullptr && o.weights == nullptr) throw train_error("ADAPTER_INVALID", "weights: expected numbers for the adapter, received none");
    if (o.boundaries.empty()) throw train_error("CONFIG_INVALID", "boundaries: expected at least one, received none");
    check_boundaries(o.boundaries, model.info().n_layers, "boundaries");
}

hidden_states_result hidden_states(const base_model & model, const hidden_states_options & options, const std::atomic<bool> & cancel) {
    check_states(model, options);
    plan_request request;
    request.adapter = options.adapter;
    request.frozen = options.frozen;
    request.gradient = false;
    request.boundaries = options.boundaries;
    request.longest_sample = batch_longest_sample(options.samples);
    request.batch_size = int64_t(options.samples.n_samples);
    request.micro_batch_tokens = options.micro_batch_tokens;
    request.memory_limit = options.memory.limit;
    engine_options settings;
    settings.frozen = options.frozen;
    settings.allocation_limit = options.memory.allocation_limit;
    planned_engine runner(model, request, settings);
    std::vector<uint32_t> indices(options.samples.n_samples);
    std::iota(indices.begin(), indices.end(), 0u);
    run_request run;
    run.boundaries = options.boundaries;
    run.head = false;
    return runner.run([&](engine & device, int64_t micro_batch_tokens) {
        if (options.adapter != nullptr) device.set_weights(*options.weights);
        hidden_states_result result = { { 0 }, std::vector<std::vector<float>>(options.boundaries.size()) };
        for (const micro_batch & batch : batch_pack(options.samples, indices, micro_batch_tokens, 0)) {
            if (cancel.load()) throw train_error("CANCELLED", "reading hidden states was cancelled");
            const std::vector<std::vector<float>> states = device.hidden_states(batch, run);
            for (size_t b = 0; b < states.size(); ++b) result.states[b].insert(result.states[b].end(), states[b].begin(), states[b].end());
            for (const sequence_span & sequence : batch.sequences) result.offsets.push_back(result.offsets.back() + uint32_t(sequence.length));
        }
        return result;
    });
}

std::vector<float> compute_logits(const base_model & model, const adapter_options * adapter, const std::vector<float> * weights,
                                  const std::vector<int32_t> & tokens, const std::vector<frozen_adapter> & frozen) {
    micro_batch batch;
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i] < 0 || tokens[i] >= model.info().n_vocab) {
            throw train_error("DATASET_INVALID", "tokens: expected ids from 0 to " + std::to_string(model.info().n_vocab - 1) + ", received " + std::to_string(tokens[i]));
        }
        batch.tokens.push_back(tokens[i]);
        batch.positions.push_back(int32_t(i));
        batch.token_keys.push_back(0);
    }
    if (tokens.empty()) throw train_error("DATASET_INVALID", "tokens: expected at least one, received none");
    batch.sequences.push_back({ 0, int64_t(tokens.size()) });
    engine_options settings;
    settings.frozen = frozen;
    engine runner(model, adapter, settings);
    if (adapter != nullptr && weights != nullptr) runner.set_weights(*weights);
    return runner.logits(batch);
}

}  // namespace fedllm
