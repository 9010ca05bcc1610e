// See engine.h.
#include "engine-graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/ops.h"
#include "error.h"
#include "random.h"

namespace fedllm {

engine::engine(const base_model & model, const adapter_options * adapter, const engine_options & options)
    : model_(model), options_(options), device_(model.options().device, model.options().n_threads),
      rules_(options.portable ? lowering::portable() : lowering::choose(device_)) {
    rules_.unpacked_bytes = options.unpacked_bytes.value_or(rules_.unpacked_bytes);
    rules_.transposes = model.transposes();
    if (options.measure_only && rules_.transposes == nullptr && options.transposes != transpose_cache::none) {
        described_transposes_ = std::make_unique<transposed_weights>(model.matrices(), options.transposes);
        rules_.transposes = &described_transposes_->map();
    }
    rules_.inspect = options.inspect;
    rules_.compute = options.compute;
    if (rules_.cpu_kernels) {
        device_.set_threads(1);  // the operations bring their own threads
        runtime_ = std::make_unique<cpu_runtime>(model.options().n_threads, model.options().variants.product);
    }
    if (adapter != nullptr) {
        layout_ = adapter_make_layout(model, *adapter);
        flat_context_ = ggml_init({ ggml_tensor_overhead() * (4 * layout_.tensors.size() + 8), nullptr, true });
        weights_  = ggml_new_tensor_1d(flat_context_, GGML_TYPE_F32, int64_t(layout_.n_parameters));
        gradient_ = ggml_new_tensor_1d(flat_context_, GGML_TYPE_F32, int64_t(layout_.n_parameters));
        if (options.measure_only) weights_->data = gradient_->data = this;  // any address: it is placed, and never looked at
        else allocate_flat();
    }
    frozen_ = std::make_unique<frozen_weights>(model, options.frozen, device_.handle, !options.measure_only);
    if (streams() && !options.measure_only) stream_ = std::make_unique<layer_stream>(model, device_);
    make_layers(adapter);
    cached_ = find_cached_place();
    allocator_ = ggml_gallocr_new(ggml_backend_get_default_buffer_type(device_.handle));
    fill_allocator_ = ggml_gallocr_new(ggml_backend_get_default_buffer_type(device_.handle));
}

void engine::allocate_flat() {
    flat_buffer_ = ggml_backend_alloc_ctx_tensors(flat_context_, device_.handle);
    if (flat_buffer_ != nullptr) return;
    ggml_free(flat_context_);
    throw train_error("OUT_OF_MEMORY", "adapter: expected memory for " + std::to_string(layout_.n_parameters) + " weights and gradients, received too little. Lower the rank");
}

engine::~engine() {
    if (allocator_) ggml_gallocr_free(allocator_);
    if (fill_allocator_) ggml_gallocr_free(fill_allocator_);
    if (flat_buffer_) ggml_backend_buffer_free(flat_buffer_);
    if (flat_context_) ggml_free(flat_context_);
}

void engine::make_layers(const adapter_options * adapter) {
    for (const layer_weights & source : stream_ != nullptr ? stream_->layers() : model_.layers()) {
        layer_module layer;
        layer.attn_norm = source.attn_norm;
        layer.ffn_norm = source.ffn_norm;
        layer.attn_q_norm = source.attn_q_norm;
        layer.attn_k_norm = source.attn_k_norm;
        layer.attn_post_norm = source.attn_post_norm;
        layer.ffn_post_norm = source.ffn_post_norm;
        layer.rotates = model_.info().traits.rotates(int64_t(layers_.size()));
        layer.windowed = model_.info().traits.windowed(int64_t(layers_.size()));
        for (size_t m = 0; m < MODULE_COUNT; ++m) {
            layer.linear[m].weight = source.linear[m];
            layer.linear[m].bias = source.bias[m];
            layer.linear[m].frozen = frozen_->pairs(layers_.size(), m);
        }
        layers_.push_back(layer);
    }
    lowest_adapted_ = int64_t(layers_.size());
    for (const adapter_tensor & entry : layout_.tensors) {
        const size_t offset = entry.offset * sizeof(float), row = size_t(entry.shape[0]) * sizeof(float);
        ggml_tensor * value = ggml_view_2d(flat_context_, weights_, entry.shape[0], entry.shape[1], row, offset);
        ggml_tensor * slope = ggml_view_2d(flat_context_, gradient_, entry.shape[0], entry.shape[1], row, offset);
        if (flat_buffer_ != nullptr) {
            ggml_backend_view_init(value);
            ggml_backend_view_init(slope);
        }
        lora_pair & pair = layers_[size_t(entry.layer)].linear[size_t(entry.module)].lora;
        (entry.is_b ? pair.b : pair.a) = value;
        if (options_.trained != (entry.is_b ? trained_half::a : trained_half::b)) (entry.is_b ? pair.gradient_b : pair.gradient_a) = slope;
        pair.scale = adapter->scale();
        if (!entry.is_b) pair.dropout_key = random_combine(options_.seed, random_hash_name(entry.name));
        lowest_adapted_ = std::min<int64_t>(lowest_adapted_, entry.layer);
    }
}

void engine::set_weights(const std::vector<float> & weights) {
    if (weights.size() != layout_.n_parameters) {
        throw train_error("ADAPTER_INVALID", "weights: expected " + std::to_string(layout_.n_parameters) + " numbers, received " + std::to_string(weights.size()));
    }
    if (weights_ != nullptr) ggml_backend_tensor_set(weights_, weights.data(), 0, weights.size() * sizeof(float));
}

void engine::clear_gradient() {
    if (gradient_ != nullptr) ggml_backend_tensor_memset(gradient_, 0, 0, ggml_nbytes(gradient_));
}

void engine::get_gradient(std::vector<float> & gradient) const {
    gradient.resize(layout_.n_parameters);
    if (gradient_ != nullptr) ggml_backend_tensor_get(gradient_, gradient.data(), 0, ggml_nbytes(gradient_));
}

size_t engine::device_bytes() const {
    const auto size_of = [](ggml_backend_buffer_t buffer) { return buffer == nullptr ? size_t(0) : ggml_backend_buffer_get_size(buffer); };
    const size_t fill = fill_allocator_ == nullptr ? 0 : ggml_gallocr_get_buffer_size(fill_allocator_, 0);
    return size_of(flat_buffer_) + frozen_->bytes() + ggml_gallocr_get_buffer_size(allocator_, 0) + fill + (streamed_ == nullptr ? 0 : size_of(streamed_->buffer));
}

bool engine::streams() const { return options_.stream || model_.options().placement == weight_placement::streamed; }

size_t engine::estimate_nodes(const micro_batch & batch, size_t n_layers) const {
    // Upper bounds for forward, recompute and backward together, about twice what the portable lowering makes: 400 tensors a
    // layer, 120 per attention chunk and layer, 60 per head chunk.
    // 8 per further block of rows of a product with W^T.
    const size_t n_chunks = attention_count_chunks(batch.sequences), n_head_chunks = size_t(batch.n_loss() / options_.head_chunk) + 1;
    size_t n_blocks = size_t(rules_.count_blocks(model_.output())) * n_head_chunks;
    for (const layer_module & layer : layers_) {
        for (const linear_module & module : layer.linear) {
            if (module.weight != nullptr) n_blocks += size_t(rules_.count_blocks(module.weight)) - 1;
        }
    }
    // 8 per frozen pair.
    return n_layers * (400 + 120 * n_chunks + 8 * MODULE_COUNT * options_.frozen.size()) + 60 * n_head_chunks + 8 * n_blocks + 256;
}

head_module engine::make_head() const {
    const model_info & info = model_.info();
    if (stream_ != nullptr) return { stream_->output_norm(), stream_->output(), info.norm_epsilon, info.traits.logit_scale, info.traits.logit_cap, options_.head_chunk };
    return { model_.output_norm(), model_.output(), info.norm_epsilon, info.traits.logit_scale, info.traits.logit_cap, options_.head_chunk };
}

// Angle of pair i at position p: p * scale * base^(-2i / n_rot) / factor_i.
static void fill_turns(const rotation & angles, const std::vector<int32_t> & positions, float * turns) {
    const float * factors = angles.factors != nullptr ? static_cast<const float *>(angles.factors->data) : nullptr;
    const bool    halves = angles.kind == rope_kind::halves;
    const int64_t n_rot = angles.n_rot;
    for (int64_t i = 0; i < n_rot / 2; ++i) {
        const double frequency = double(angles.scale) * std::pow(double(angles.base), -2.0 * double(i) / double(n_rot)) /
                                 (factors != nullptr ? double(factors[i]) : 1.0);
        for (int64_t t = 0; t < int64_t(positions.size()); ++t) {
            const double angle = double(positions[size_t(t)]) * frequency;
            turns[t * n_rot + (halves ? i : 2 * i)] = float(std::cos(angle) * double(angles.factor));
            turns[t * n_rot + (halves ? n_rot / 2 + i : 2 * i + 1)] = float(std::sin(angle) * double(angles.factor));
        }
    }
}

rotation engine::make_rotation(graph_builder & g, const micro_batch & batch, float base, float scale) const {
    const model_info & info = model_.info();
    rotation angles;
    angles.factors = stream_ != nullptr ? stream_->rope_factors() : model_.rope_factors();
    angles.n_rot = int(info.n_rot);
    angles.factor = info.traits.rotation_scale;
    angles.base = base;
    angles.scale = scale;
    angles.kind = info.traits.rope;
    const auto fill_positions = [](const micro_batch & b, int32_t * values) { std::copy(b.positions.begin(), b.positions.end(), values); };
    if (!rules_.cpu_kernels) {
        angles.positions = ggml_reshape_1d(g.context(), g.input_i32(batch.n_tokens(), 1, fill_positions), batch.n_tokens());
        return angles;
    }
    angles.turns = g.input_f32(info.n_rot, batch.n_tokens(), [angles](const micro_batch & b, float * turns) { fill_turns(angles, b.positions, turns); });
    return angles;
}

// Uniform in +-alpha / sqrt(L * n_embd) by (seed, token key, row position).
ggml_tensor * engine::input_noise(graph_builder & g, int64_t n_tokens, float alpha) const {
    const int64_t n_embd = model_.info().n_embd;
    const uint64_t key = random_combine(options_.seed, random_hash_name("neftune"));
    return g.input_f32(n_embd, n_tokens, [n_embd, key, alpha](const micro_batch & b, float * values) {
        for (const sequence_span & sequence : b.sequences) {
            const float bound = alpha / std::sqrt(float((sequence.prefix_length + sequence.length + sequence.tail) * n_embd));
            for (int64_t t = sequence.start; t < sequence.start + sequence.length; ++t) {
                const uint64_t token_key = key ^ b.token_keys[size_t(t)];
                for (int64_t i = 0; i < n_embd; ++i) values[t * n_embd + i] = bound * (2.0f * random_uniform(token_key, uint64_t(i)) - 1.0f);
            }
        }
    });
}

layer_module engine::layer_for(size_t l, const run_request & request) const {
    layer_module layer = layers_[l];
    for (linear_module & module : layer.linear) {
        if (!request.adapter_off) break;
        module.lora = {};
        module.frozen.clear();
    }
    return layer;
}

void engine::make_inputs(graph_builder & g, const micro_batch & batch, const run_request & request, forward_pass & pass) const {
    const architecture_traits & traits = model_.info().traits;
    pass.chunks = attention_plan(g, batch.sequences, 0);
    if (traits.window > 0) pass.window_chunks = attention_plan(g, batch.sequences, traits.window);
    pass.inputs.chunks = &pass.chunks;
    pass.inputs.window_chunks = &pass.window_chunks;
    pass.inputs.info = &model_.info();
    pass.inputs.angles = make_rotation(g, batch, model_.info().rope_base, model_.info().rope_scale);
    if (traits.window > 0) pass.inputs.window_angles = make_rotation(g, batch, traits.window_rope_base, traits.window_rope_scale);
    pass.inputs.dropout.probability = request.gradient ? float(options_.dropout) : 0.0f;
    if (pass.inputs.dropout.probability > 0.0f && rules_.cpu_kernels) {
        pass.inputs.dropout.token_keys = g.input_i32(2, batch.n_tokens(), [](const micro_batch & b, int32_t * values) {
            std::memcpy(values, b.token_keys.data(), b.token_keys.size() * sizeof(uint64_t));
        });
    }
}

// Rows of the embedding, with noise and scale: the input of the first layer.
ggml_tensor * engine::embed(graph_builder & g, const micro_batch & batch, const run_request & request) const {
    const int64_t n = batch.n_tokens();
    const auto fill_tokens = [](const micro_batch & b, int32_t * values) { std::copy(b.tokens.begin(), b.tokens.end(), values); };
    ggml_tensor * x = streams() ? input_embeddings(g, n) : ggml_get_rows(g.context(), model_.token_embd(), g.input_i32(n, 1, fill_tokens));
    if (request.neftune_alpha > 0.0f) x = ggml_add(g.context(), x, input_noise(g, n, request.neftune_alpha));
    return g.scale(x, model_.info().traits.embedding_scale);
}

void engine::forward(graph_builder & g, const micro_batch & batch, int64_t first, bool keep, const run_request & request, forward_pass & pass) {
    make_inputs(g, batch, request, pass);
    ggml_tensor * x = first > 0 ? input_held_rows(g, batch.n_tokens()) : embed(g, batch, request);
    pass.values.resize(layers_.size());
    meet_boundary(g, first, x, request, pass);
    for (size_t l = size_t(first); l < count_layers(request); ++l) {
        layer_values values;
        x = layer_forward(g, layer_for(l, request), pass.inputs, x, values);
        g.expand(x);
        if (!keep) {  // what is not held here is free for reuse, because no later node refers to it
            layer_values kept;
            kept.x = values.x;
            kept.mid = values.mid;
            values = kept;
        }
        pass.values[l] = values;
        meet_boundary(g, int64_t(l) + 1, x, request, pass);
    }
    pass.hidden = x;
}

void engine::check_limit(const graph_builder & g) const {
    if (options_.allocation_limit && g.measure().tensors > *options_.allocation_limit) throw_out_of_memory(g.measure().tensors);
}

void engine::allocate(graph_builder & g, ggml_gallocr_t allocator) {
    check_limit(g);
    const size_t before = ggml_gallocr_get_buffer_size(allocator, 0);
    g.allocate(allocator);
    counters_.n_allocations += ggml_gallocr_get_buffer_size(allocator, 0) > before ? 1 : 0;
}

// Makes prepared_ the graph for `batch`.
void engine::prepare(const micro_batch & batch, const run_request & request) {
    FEDLLM_ASSERT(!(request.gradient && request.adapter_off));
    const graph_key key = { batch.shape(), request };
    if (prepared_ != nullptr && prepared_->key == key) return;
    prepared_.reset();  // gives up arena_; also when building the next one fails
    std::unique_ptr<prepared_graph> next = build(batch, request);
    allocate(next->builder, allocator_);
    counters_.n_graphs_built += 1;
    prepared_ = std::move(next);
}

graph_memory engine::measure(const micro_batch & batch, const run_request & request) {
    if (streams()) return measure_streamed(batch, request);
    prepared_.reset();
    graph_memory memory = build(batch, request)->builder.measure();
    if (!reads_cache(batch, request)) return memory;
    const graph_memory fill = measure_fill(batch);
    memory.tensors += fill.tensors;
    memory.scratch = std::max(memory.scratch, fill.scratch);
    memory.descriptions += fill.descriptions;
    memory.held_rows = size_t(batch.n_tokens() * model_.info().n_embd) * sizeof(float);
    return memory;
}

std::unique_ptr<engine::prepared_graph> engine::build(const micro_batch & batch, const run_request & request) {
    std::unique_ptr<prepared_graph> next(new prepared_graph{ { batch.shape(), request }, { device_, rules_, runtime_.get(), arena_, estimate_nodes(batch, layers_.size()) }, {}, {} });
    graph_builder & g = next->builder;
    forward_pass & pass = next->pass;
    const bool keep = request.gradient && options_.tier == checkpoint_tier::keep_all;
    forward(g, batch, reads_cache(batch, request) ? cached_.layer : 0, keep, request, pass);
    if (request.head) next->result = head_loss(g, make_head(), batch, pass.hidden, request);
    if (request.gradient) {
        ggml_tensor * d = next->result.d_hidden;
        ggml_tensor * out = pass.hidden;
        for (int64_t l = int64_t(count_layers(request)) - 1; l >= lowest_adapted_; --l) {
            const layer_module & layer = layers_[size_t(l)];
            d = pull(g, l + 1, out, d, request);
            out = pass.values[size_t(l)].x;
            const layer_values values = keep ? pass.values[size_t(l)] : layer_recompute(g, layer, pass.inputs, pass.values[size_t(l)]);
            d = layer_backward(g, layer, pass.inputs, values, d, l > lowest_adapted_);
        }
    }
    return next;
}

std::vector<row_score> engine::run(const micro_batch & batch, const run_request & request, std::vector<std::vector<float>> * errors) {
    if (streams()) return run_streamed(batch, request, errors);
    if (reads_cache(batch, request)) hold_rows(batch);
    prepare(batch, request);
    prepared_->builder.compute(batch);
    counters_.n_runs += 1;
    if (errors != nullptr) errors->clear();
    for (ggml_tensor * error : prepared_->pass.errors) {
        if (errors != nullptr) errors->push_back(read_chunks({ error }));
    }
    return head_read_scores(prepared_->result);
}

std::vector<float> engine::logits(const micro_batch & batch) {
    if (streams()) return logits_streamed(batch);
    prepared_.reset();
    graph_builder g(device_, rules_, runtime_.get(), arena_, estimate_nodes(batch, layers_.size()));
    forward_pass pass;
    forward(g, batch, 0, false, {}, pass);
    const std::vector<ggml_tensor *> chunks = head_logits(g, make_head(), pass.hidden);
    allocate(g, allocator_);
    counters_.n_graphs_built += 1;
    g.compute(batch);
    return read_chunks(chunks);
}

std::vector<float> engine::read_chunks(const std::vector<ggml_tensor *> & chunks) {
    std::vector<float> values;
    for (ggml_tensor * chunk : chunks) {
        const size_t begin = values.size();
        values.resize(begin + size_t(ggml_nelements(chunk)));
        ggml_backend_tensor_get(chunk, values.data() + begin, 0, ggml_nbytes(chunk));
    }
    return values;
}

}  // namespace fedllm
