// See planner.h.
#include "planner.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "device-memory.h"
#include "distillation.h"
#include "error.h"
#include "preference.h"
#include "transposes.h"

namespace fedllm {

namespace {

// Rows of logits at once when memory is short; fewer would leave the processor waiting for the head's weights.
constexpr int64_t SMALL_HEAD_CHUNK = 64;
// A smaller micro-batch saves little: the weights are unpacked anew for each.
constexpr int64_t SMALLEST_MICRO_BATCH = 64;
// What the process itself grows by when it begins to compute: code that is read for the first time, stacks, the heap's own needs.
constexpr size_t STARTING_BYTES = size_t(3) << 20;
// What Linux maps of a file around a page that is read.
constexpr size_t MAPPED_AROUND = size_t(64) << 10;
// Vectors of the adapter's size on the host: start, weights, gradient, two moments.
constexpr size_t TRAINING_VECTORS = 5;
constexpr size_t SCORING_VECTORS = 1;

// Adds a sequence whose first token has this position.
void append_sequence(micro_batch & batch, int64_t length, int64_t position, int64_t prefix_start) {
    batch.sequences.push_back({ int64_t(batch.positions.size()), length, position == 0 ? 0 : prefix_start, position });
    for (int64_t i = 0; i < length; ++i) batch.positions.push_back(int32_t(position + i));
}

void append_loss(micro_batch & batch, int64_t first_row, int64_t count, uint32_t sample) {
    for (int64_t i = 0; i < count; ++i) {
        batch.loss_rows.push_back(int32_t(first_row + i));
        batch.loss_samples.push_back(sample);
    }
}

// Adds as many members of the group as fit into max_tokens, at least one, or all of them; every token after the prefix carries loss, and the
// last one of the prefix once for each member. A member without tokens of its own has its rows on the branch before it.
void append_group(micro_batch & batch, const group_lengths & group, int64_t max_tokens, bool whole, uint32_t first_sample) {
    const int64_t prefix_start = int64_t(batch.positions.size());
    int64_t start = prefix_start;
    if (group.prefix > 0) append_sequence(batch, group.prefix, 0, 0);
    for (size_t m = 0; m < group.branches.size(); ++m) {
        const branch_lengths & branch = group.branches[m];
        const int64_t end = int64_t(batch.positions.size());
        if (m > 0 && !whole && branch.tokens > 0 && end + branch.tokens > max_tokens) return;
        if (group.prefix > 0) append_loss(batch, prefix_start + group.prefix - 1, 1, first_sample + uint32_t(m));
        if (branch.tokens > 0) {
            start = end;
            append_sequence(batch, branch.tokens, group.prefix, prefix_start);
        }
        append_loss(batch, start, branch.rows, first_sample + uint32_t(m));
    }
}

// The largest micro-batch: samples (groups) of the greatest length until no more fit, all rows with loss. The last sample is cut, a
// group is not.
micro_batch largest_batch(const plan_request & request, int64_t max_tokens) {
    micro_batch batch;
    if (request.longest_group.branches.empty()) {
        const int64_t most = request.batch_size > 0 ? request.batch_size * request.longest_sample : max_tokens;
        const int64_t n_tokens = std::max(request.longest_sample, std::min(max_tokens, most));
        for (int64_t start = 0; start < n_tokens; start += request.longest_sample) {
            append_sequence(batch, std::min(request.longest_sample, n_tokens - start), 0, 0);
        }
        append_loss(batch, 0, n_tokens, 0);
    } else {
        const uint32_t n_members = uint32_t(request.longest_group.branches.size());
        for (int64_t g = 0; g == 0 || ((request.batch_size == 0 || g < request.batch_size) && int64_t(batch.positions.size()) + request.longest_group.n_tokens() <= max_tokens); ++g) {
            append_group(batch, request.longest_group, max_tokens, request.pairs, uint32_t(g) * n_members);
        }
    }
    batch.tokens.resize(batch.positions.size());
    batch.token_keys.resize(batch.positions.size());
    batch.labels.resize(batch.loss_rows.size());
    if (request.weighted) batch.weights.assign(batch.loss_rows.size(), 1.0f);
    if (request.pairs) attach_pairs(batch, std::vector<double>(size_t(batch.loss_samples.back()) + 2, 0.0));
    return batch;
}

run_request run_of(const plan_request & request) {
    run_request run = request.objective;
    run.gradient = request.gradient;
    run.boundaries = request.boundaries;
    run.head = request.boundaries.empty();
    if (request.distillation != nullptr) request_distillation(*request.distillation, run);
    return run;
}

void write_adapter(std::ostream & key, const adapter_options & adapter) {
    key << "adapter " << adapter.rank << ' ' << adapter.lora_alpha;
    for (const std::string & name : adapter.target_modules) key << ' ' << name;
    for (const int64_t layer : adapter.layers) key << ' ' << layer;
    key << ';';
}

// All that the graph of a request depends on beside the model.
std::string graph_key(const plan_request & request, int64_t micro_batch_tokens, int64_t head_chunk, checkpoint_tier tier, bool streams, transpose_cache transposes) {
    const run_request run = run_of(request);
    std::ostringstream key;
    key << std::hexfloat << micro_batch_tokens << ' ' << head_chunk << ' ' << int(tier) << ' ' << streams << ' ' << int(transposes) << ' ' << request.longest_sample << ' ' << request.batch_size << ' '
        << request.dropout << ' ' << int(request.trained) << ' ' << request.weighted << ' ' << request.pairs << ' ' << (request.cache != nullptr) << ';' << request.longest_group.prefix;
    for (const branch_lengths & branch : request.longest_group.branches) key << ' ' << branch.tokens << ' ' << branch.rows;
    key << ';' << run.gradient << ' ' << run.adapter_off << ' ' << run.label_smoothing << ' ' << run.neftune_alpha << ' ' << run.preference_beta << ' '
        << run.preference_smoothing << ' ' << run.gradient_scale << ' ' << run.head << ' ' << run.divergence << ';';
    for (const int64_t boundary : run.boundaries) key << boundary << ' ';
    if (request.adapter != nullptr) write_adapter(key, *request.adapter);
    for (const frozen_adapter & frozen : request.frozen) write_adapter(key, frozen.options);
    return key.str();
}

// On the host: how rows add up to pairs, kept for all micro-batches of a step.
size_t pair_bytes(const plan_request & request, const micro_batch & batch) {
    if (!request.pairs) return 0;
    const size_t n_pairs = size_t(batch.pairs.count()), n_batches = (size_t(request.batch_size) + n_pairs - 1) / n_pairs;
    return n_batches * batch.pairs.signs.size() * sizeof(float);
}

}  // namespace

size_t memory_plan::device_bytes() const { return parts.weights + parts.adapter + parts.activations + parts.checkpoints; }

size_t memory_plan::host_bytes() const {
    const size_t host = parts.scratch + parts.vectors + parts.descriptions + parts.mapped + parts.process;
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
    const transpose_cache wanted = model.options().variants.transposes;
    if (placement == weight_placement::measured && !is_cpu_ && transposes_are_supported(device, model.matrices(), wanted)) {
        list_choices(false, wanted);
        choices_.resize(1);
    }
    if (placement != weight_placement::streamed) list_choices(false, model.transposes() != nullptr ? wanted : transpose_cache::none);
    if (placement != weight_placement::resident) list_choices(true, transpose_cache::none);
}

void memory_planner::list_choices(bool streams, transpose_cache transposes) {
    const std::vector<checkpoint_tier> tiers = request_.gradient && !streams ? std::vector<checkpoint_tier>{ checkpoint_tier::keep_all, checkpoint_tier::layer_inputs }
                                                                 : std::vector<checkpoint_tier>{ checkpoint_tier::layer_inputs };
    int64_t tokens = request_.micro_batch_tokens;
    while (true) {
        for (const int64_t chunk : { HEAD_CHUNK, SMALL_HEAD_CHUNK }) {
            for (const checkpoint_tier tier : tiers) choices_.push_back({ tokens, chunk, tier, streams, transposes });
        }
        if (tokens <= std::max(request_.longest_sample, SMALLEST_MICRO_BATCH)) break;
        tokens = std::max(tokens / 2, SMALLEST_MICRO_BATCH);
    }
}

graph_measurements::entry memory_planner::measure_graph(const choice & how, const micro_batch & batch) const {
    return model_.measurements().get(graph_key(request_, how.micro_batch_tokens, how.head_chunk, how.tier, how.streams, how.transposes), [&] {
        engine_options settings;
        settings.dropout = request_.dropout;
        settings.trained = request_.trained;
        settings.tier = how.tier;
        settings.head_chunk = how.head_chunk;
        settings.frozen = request_.frozen;
        settings.stream = how.streams;
        settings.transposes = how.transposes;
        settings.cache = request_.cache;
        settings.measure_only = true;
        engine runner(model_, request_.adapter, settings);
        const graph_memory graph = runner.measure(batch, run_of(request_));
        return graph_measurements::entry{ graph, runner.n_parameters(), runner.frozen_bytes() };
    });
}

memory_plan memory_planner::measure(const choice & how) const {
    memory_plan plan;
    plan.micro_batch_tokens = how.micro_batch_tokens;
    plan.head_chunk = how.head_chunk;
    plan.tier = how.tier;
    plan.streams = how.streams;
    plan.transposes = how.transposes;
    plan.limit = limit_;
    plan.is_cpu = is_cpu_;
    const micro_batch batch = largest_batch(request_, how.micro_batch_tokens);
    const graph_measurements::entry found = measure_graph(how, batch);
    const graph_memory & graph = found.graph;
    const size_t vector = found.n_parameters * sizeof(float);
    plan.parts.adapter = 2 * vector + found.frozen_bytes;
    plan.parts.activations = graph.tensors;
    plan.parts.checkpoints = graph.checkpoints;
    plan.parts.scratch = graph.scratch;
    plan.parts.vectors = vector * ((request_.gradient ? TRAINING_VECTORS : SCORING_VECTORS) + size_t(request_.n_vectors)) + found.frozen_bytes + pair_bytes(request_, batch) + graph.held_rows;
    plan.parts.descriptions = graph.descriptions + STARTING_BYTES;
    plan.parts.process = process_;
    if (request_.distillation != nullptr) count_teacher(plan, batch);
    plan.needed = is_cpu_ ? plan.host_bytes() - process_ : plan.device_bytes();  // without weights, which come on top
    count_weights(plan, batch.n_tokens());
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

// The rows of the embedding that the tokens look up, and the layer (or head) that is being copied.
static size_t mapped_bytes(const base_model & model, const stream_sizes & sizes, int64_t n_tokens) {
    return std::min(ggml_nbytes(model.token_embd()), size_t(n_tokens) * MAPPED_AROUND) + std::max(sizes.slots / 2, ggml_nbytes(model.output()));
}

void memory_planner::count_weights(memory_plan & plan, int64_t n_tokens) const {
    if (plan.streams) {
        plan.parts.mapped = mapped_bytes(model_, rich_, n_tokens);
        plan.parts.weights = plan.needed + rich_.sum() <= limit_ ? rich_.sum() : lean_.sum();
    } else {
        plan.parts.weights = model_.info().weight_bytes + (is_cpu_ ? 0 : transposes_bytes(model_.matrices(), plan.transposes));
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
           (plan.tier == checkpoint_tier::layer_inputs ? ", layers computed again" : "") + (plan.streams ? ", weights streamed" : "") +
           (plan.transposes == transpose_cache::none ? "" : std::string(", copies of the weights' transposes in ") + TRANSPOSE_CACHE_NAMES[size_t(plan.transposes)]) + ": weights " + bytes_text(p.weights) + ", adapter " +
           bytes_text(p.adapter + p.vectors) + ", activations " + bytes_text(p.activations + p.checkpoints) + ", scratch " + bytes_text(p.scratch + p.descriptions);
}

}  // namespace fedllm
