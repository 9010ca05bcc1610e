// See planner.h.
#include "planner.h"

#include <algorithm>
#include <limits>

#include "device-memory.h"
#include "distillation.h"
#include "error.h"
#include "transposes.h"

namespace fedllm {

namespace {

// Rows of logits at once when memory is short; fewer would leave the processor waiting for the head's weights.
constexpr int64_t SMALL_HEAD_CHUNK = 64;
// A smaller micro-batch saves little: the weights are unpacked anew for each.
constexpr int64_t SMALLEST_MICRO_BATCH = 64;
// What the process itself grows by when it begins to compute: code that is read for the first time, stacks, the heap's own needs.
constexpr size_t STARTING_BYTES = size_t(3) << 20;
// Vectors of the adapter's size on the host: start, weights, gradient, two moments.
constexpr size_t TRAINING_VECTORS = 5;
constexpr size_t SCORING_VECTORS = 1;

// The largest micro-batch: samples of the greatest length until no more fit, all rows with loss.
micro_batch largest_batch(const plan_request & request, int64_t max_tokens) {
    const int64_t most = request.batch_size > 0 ? request.batch_size * request.longest_sample : max_tokens;
    const int64_t n_tokens = std::max(request.longest_sample, std::min(max_tokens, most));
    micro_batch batch;
    for (int64_t start = 0; start < n_tokens; start += request.longest_sample) {
        const int64_t length = std::min(request.longest_sample, n_tokens - start);
        batch.sequences.push_back({ start, length });
        for (int64_t i = 0; i < length; ++i) batch.positions.push_back(int32_t(i));
    }
    batch.tokens.resize(size_t(n_tokens));
    batch.token_keys.resize(size_t(n_tokens));
    batch.labels.resize(size_t(n_tokens));
    batch.loss_samples.resize(size_t(n_tokens));
    for (int64_t i = 0; i < n_tokens; ++i) batch.loss_rows.push_back(int32_t(i));
    return batch;
}

run_request run_of(const plan_request & request) {
    run_request run;
    run.gradient = request.gradient;
    run.boundaries = request.boundaries;
    run.head = request.boundaries.empty();
    if (request.distillation != nullptr) request_distillation(*request.distillation, run);
    return run;
}

}  // namespace

size_t memory_plan::device_bytes() const { return parts.weights + parts.adapter + parts.activations + parts.checkpoints; }

size_t memory_plan::host_bytes() const {
    const size_t host = parts.scratch + parts.vectors + parts.descriptions + parts.process;
    return is_cpu ? host + device_bytes() : host;
}

memory_planner::memory_planner(const base_model & model, const plan_request & request) : model_(model), request_(request) {
    if (request.longest_sample < 1) throw train_error("CONFIG_INVALID", "longestSample: expected at least 1, received " + std::to_string(request.longest_sample));
    if (request.micro_batch_tokens < 1) {
        throw train_error("CONFIG_INVALID", "microBatchTokens: expected at least 1, received " + std::to_string(request.micro_batch_tokens));
    }
    const backend device(model.options().device, model.options().n_threads);
    is_cpu_ = device.is_cpu;
    const size_t cached = request.cache != nullptr && is_cpu_ ? request.cache->state().bytes : 0;
    limit_ = request.memory_limit ? *request.memory_limit : (device_free_bytes(device) + cached) / 10 * 9;
    process_ = process_resident_bytes();
    const weight_placement placement = model.options().placement;
    lean_ = stream_measure(model, device, std::nullopt);
    rich_ = stream_measure(model, device, std::numeric_limits<size_t>::max());
    if (placement == weight_placement::streamed) lean_ = rich_ = stream_measure(model, device, model.options().weight_limit_bytes);
    if (placement != weight_placement::streamed) list_choices(false);
    if (placement != weight_placement::resident) list_choices(true);
}

void memory_planner::list_choices(bool streams) {
    const std::vector<checkpoint_tier> tiers = request_.gradient && !streams ? std::vector<checkpoint_tier>{ checkpoint_tier::keep_all, checkpoint_tier::layer_inputs }
                                                                 : std::vector<checkpoint_tier>{ checkpoint_tier::layer_inputs };
    int64_t tokens = request_.micro_batch_tokens;
    while (true) {
        for (const int64_t chunk : { HEAD_CHUNK, SMALL_HEAD_CHUNK }) {
            for (const checkpoint_tier tier : tiers) choices_.push_back({ tokens, chunk, tier, streams });
        }
        if (tokens <= std::max(request_.longest_sample, SMALLEST_MICRO_BATCH)) break;
        tokens = std::max(tokens / 2, SMALLEST_MICRO_BATCH);
    }
}

memory_plan memory_planner::measure(const choice & how) const {
    memory_plan plan;
    plan.micro_batch_tokens = how.micro_batch_tokens;
    plan.head_chunk = how.head_chunk;
    plan.tier = how.tier;
    plan.streams = how.streams;
    plan.limit = limit_;
    plan.is_cpu = is_cpu_;
    engine_options settings;
    settings.dropout = request_.dropout;
    settings.tier = how.tier;
    settings.head_chunk = how.head_chunk;
    settings.frozen = request_.frozen;
    settings.stream = how.streams;
    settings.cache = request_.cache;
    settings.measure_only = true;
    engine runner(model_, request_.adapter, settings);
    const micro_batch batch = largest_batch(request_, how.micro_batch_tokens);
    const graph_memory graph = runner.measure(batch, run_of(request_));
    const size_t vector = runner.n_parameters() * sizeof(float);
    plan.parts.adapter = 2 * vector + runner.frozen_bytes();
    plan.parts.activations = graph.tensors;
    plan.parts.checkpoints = graph.checkpoints;
    plan.parts.scratch = graph.scratch;
    plan.parts.vectors = vector * ((request_.gradient ? TRAINING_VECTORS : SCORING_VECTORS) + size_t(request_.n_vectors)) + runner.frozen_bytes() + graph.held_rows;
    plan.parts.descriptions = graph.descriptions + STARTING_BYTES;
    plan.parts.process = process_;
    if (request_.distillation != nullptr) count_teacher(plan, batch);
    plan.needed = is_cpu_ ? plan.host_bytes() - process_ : plan.device_bytes();  // without weights, which come on top
    count_weights(plan);
    return plan;
}

// Its engine lives beside the student's. Its states are on the host once as they come and once more while they are sorted.
void memory_planner::count_teacher(memory_plan & plan, const micro_batch & batch) const {
    const distillation_options & distillation = *request_.distillation;
    engine_options settings;
    settings.frozen = distillation.teacher_adapters;
    settings.measure_only = true;
    engine teacher(*distillation.teacher, nullptr, settings);
    const run_request request = teacher_request(distillation);
    const graph_memory graph = teacher.measure(batch, request);
    const size_t state = size_t(batch.n_tokens()) * size_t(distillation.teacher->info().n_embd) * sizeof(float);
    plan.parts.adapter += teacher.frozen_bytes();
    plan.parts.activations += graph.tensors;
    plan.parts.checkpoints += graph.checkpoints;
    plan.parts.scratch += graph.scratch;
    plan.parts.descriptions += graph.descriptions;
    plan.parts.vectors += 2 * request.boundaries.size() * state;
    const backend device(distillation.teacher->options().device, 1);
    if (distillation.teacher->options().placement == weight_placement::streamed) {
        plan.parts.checkpoints += stream_measure(*distillation.teacher, device, distillation.teacher->options().weight_limit_bytes).sum();
    }
}

void memory_planner::count_weights(memory_plan & plan) const {
    if (plan.streams) {
        plan.parts.weights = plan.needed + rich_.sum() <= limit_ ? rich_.sum() : lean_.sum();
    } else {
        plan.parts.weights = model_.info().weight_bytes + (is_cpu_ ? 0 : transposes_bytes(model_.matrices(), model_.options().variants.transposes));
        // Loaded weights are in the device's memory already; on the CPU their pages can be given up and read again.
        if (model_.options().placement == weight_placement::resident) return;
    }
    plan.needed += plan.parts.weights;
}

std::optional<memory_plan> memory_planner::next() {
    if (next_ == choices_.size()) return std::nullopt;
    return measure(choices_[next_++]);
}

memory_plan memory_planner::choose() {
    std::optional<memory_plan> leanest;
    while (const std::optional<memory_plan> plan = next()) {
        if (plan->fits()) return *plan;
        if (!leanest || plan->needed < leanest->needed) leanest = plan;
    }
    if (!leanest) throw train_error("OUT_OF_MEMORY", "memory: expected a leaner plan than the last, received none. Lower microBatchTokens, maxLength or rank");
    throw train_error("OUT_OF_MEMORY", "memory of " + (model_.options().device.empty() ? std::string("the CPU") : model_.options().device) + ": expected at most " + bytes_text(leanest->limit) + ", received " + bytes_text(leanest->needed) +
                                           " for the leanest plan (" + plan_text(*leanest) + "). Lower maxLength or rank, or take a smaller model or another device");
}

size_t cache_capacity(const memory_plan & plan, const hidden_cache & cache) {
    const size_t limit = plan.is_cpu ? plan.limit : (host_free_bytes() + cache.state().bytes) / 10 * 9;
    // Weights that are mapped from the file are not counted as needed, but without their pages every step would read them again.
    const size_t weights = plan.is_cpu && !plan.streams ? plan.parts.weights : 0;
    const size_t needed = weights + (plan.is_cpu ? plan.needed : plan.host_bytes() - plan.parts.process);
    const size_t left = limit > needed ? limit - needed : 0;
    return cache.most_bytes() ? std::min(*cache.most_bytes(), left) : left / 2;
}

std::string plan_text(const memory_plan & plan) {
    const memory_parts & p = plan.parts;
    return "micro-batches of " + std::to_string(plan.micro_batch_tokens) + " tokens" +
           (plan.tier == checkpoint_tier::layer_inputs ? ", layers computed again" : "") + (plan.streams ? ", weights streamed" : "") + ": weights " + bytes_text(p.weights) + ", adapter " +
           bytes_text(p.adapter + p.vectors) + ", activations " + bytes_text(p.activations + p.checkpoints) + ", scratch " + bytes_text(p.scratch + p.descriptions);
}

}  // namespace fedllm
