// The engine over streamed weights: one graph per layer and direction, run in the order in which layer-stream.h brings the weights.
// The operations are those of the graph that computes layers again, so on the CPU the bits are too.
#include <algorithm>
#include <cstring>

#include "engine-graph.h"
#include "error.h"

namespace fedllm {

engine::streamed_graph::~streamed_graph() {
    if (buffer) ggml_backend_buffer_free(buffer);
    if (context) ggml_free(context);
}

// The table stays on the host; only the rows of this micro-batch are unpacked and sent.
ggml_tensor * engine::input_embeddings(graph_builder & g, int64_t n_tokens) const {
    const ggml_tensor * table = model_.token_embd();
    return g.input_f32(table->ne[0], n_tokens, [table](const micro_batch & b, float * values) {
        const int64_t n_embd = table->ne[0];
        for (size_t t = 0; t < b.tokens.size(); ++t) {
            const uint8_t * row = static_cast<const uint8_t *>(table->data) + size_t(b.tokens[t]) * table->nb[1];
            float * target = values + int64_t(t) * n_embd;
            if (table->type == GGML_TYPE_F32) std::memcpy(target, row, size_t(n_embd) * sizeof(float));
            else ggml_get_type_traits(table->type)->to_float(row, target, n_embd);
        }
    });
}

void engine::make_checkpoints(streamed_graph & graph, int64_t n_tokens, bool gradient) const {
    const size_t n_layers = layers_.size(), n_x = gradient ? n_layers + 1 : 2;
    graph.context = ggml_init({ ggml_tensor_overhead() * (2 * n_layers + 4), nullptr, true });
    const auto make = [&] { return ggml_new_tensor_2d(graph.context, GGML_TYPE_F32, model_.info().n_embd, n_tokens); };
    std::vector<ggml_tensor *> x;
    for (size_t i = 0; i < n_x; ++i) x.push_back(make());
    for (size_t l = 0; l <= n_layers; ++l) graph.x.push_back(x[l % n_x]);
    for (size_t l = 0; gradient && l < n_layers; ++l) graph.mid.push_back(make());
    if (gradient) graph.d = make();
    const ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(device_.handle);
    if (options_.measure_only) {
        for (ggml_tensor * t = ggml_get_first_tensor(graph.context); t != nullptr; t = ggml_get_next_tensor(graph.context, t)) t->data = graph.context;
        return;
    }
    graph.buffer = ggml_backend_alloc_ctx_tensors_from_buft(graph.context, type);
    if (graph.buffer == nullptr) throw_out_of_memory(ggml_backend_alloc_ctx_tensors_from_buft_size(graph.context, type));
}

void engine::build_segments(streamed_graph & graph, const micro_batch & batch, const run_request & request, bool want_logits) {
    const auto add = [&](int64_t item) -> streamed_segment & {
        graph.segments.push_back(std::make_unique<streamed_segment>(item, *this, estimate_nodes(batch, 2)));
        return *graph.segments.back();
    };
    const auto store = [](graph_builder & g, ggml_tensor * value, ggml_tensor * target) { g.expand(ggml_cpy(g.context(), value, target)); };
    const size_t n_layers = count_layers(request);
    for (size_t l = 0; l < n_layers; ++l) {
        streamed_segment & s = add(int64_t(l));
        graph_builder & g = s.builder;
        make_inputs(g, batch, request, s.pass);
        if (l == 0) {
            ggml_tensor * x = embed(g, batch, request);
            store(g, x, graph.x[0]);
            meet_boundary(g, 0, x, request, s.pass);
        }
        layer_values values;
        ggml_tensor * out = layer_forward(g, layer_for(l, request), s.pass.inputs, graph.x[l], values);
        if (request.gradient) store(g, values.mid, graph.mid[l]);
        store(g, out, graph.x[l + 1]);
        meet_boundary(g, int64_t(l) + 1, out, request, s.pass);
    }
    if (request.head) {
        graph_builder & g = add(layer_stream::HEAD).builder;
        if (want_logits) {
            graph.logits = head_logits(g, make_head(), graph.x[n_layers]);
            return;
        }
        graph.result = head_loss(g, make_head(), batch, graph.x[n_layers], request);
        if (request.gradient) store(g, graph.result.d_hidden, graph.d);
    }
    bool has_gradient = request.head;
    for (int64_t l = int64_t(n_layers) - 1; request.gradient && l >= lowest_adapted_; --l) {
        streamed_segment & s = add(l);
        make_inputs(s.builder, batch, request, s.pass);
        ggml_tensor * d_out = pull(s.builder, l + 1, graph.x[size_t(l) + 1], has_gradient ? graph.d : nullptr, request);
        has_gradient = true;
        const layer_module & layer = layers_[size_t(l)];
        layer_values kept;
        kept.x = graph.x[size_t(l)];
        kept.mid = graph.mid[size_t(l)];
        const layer_values values = layer_recompute(s.builder, layer, s.pass.inputs, kept);
        ggml_tensor * d = layer_backward(s.builder, layer, s.pass.inputs, values, d_out, l > lowest_adapted_);
        if (d != nullptr) store(s.builder, d, graph.d);
    }
}

std::unique_ptr<engine::streamed_graph> engine::build_streamed(const micro_batch & batch, const run_request & request, bool want_logits) {
    std::unique_ptr<streamed_graph> graph(new streamed_graph());
    graph->key = { batch.shape(), request };
    make_checkpoints(*graph, batch.n_tokens(), request.gradient);
    build_segments(*graph, batch, request, want_logits);
    return graph;
}

// All segments use the same memory, one after another: it must have its final size before any of them gets its places.
void engine::allocate_segments(streamed_graph & graph) {
    for (const auto & segment : graph.segments) check_limit(segment->builder);
    const size_t before = ggml_gallocr_get_buffer_size(allocator_, 0);
    for (const auto & segment : graph.segments) segment->builder.reserve(allocator_);
    for (const auto & segment : graph.segments) segment->builder.allocate(allocator_);
    counters_.n_graphs_built += 1;
    counters_.n_allocations += ggml_gallocr_get_buffer_size(allocator_, 0) > before ? 1 : 0;
}

void engine::prepare_streamed(const micro_batch & batch, const run_request & request) {
    FEDLLM_ASSERT(!(request.gradient && request.adapter_off));
    const graph_key key = { batch.shape(), request };
    if (streamed_ != nullptr && streamed_->key == key) return;
    streamed_.reset();
    std::unique_ptr<streamed_graph> next = build_streamed(batch, request, false);
    allocate_segments(*next);
    streamed_ = std::move(next);
}

// after: reads what a segment has left before later ones write over it.
void engine::compute_segments(streamed_graph & graph, const micro_batch & batch, const std::function<void(const streamed_segment &)> & after) {
    std::vector<int64_t> order;
    for (const auto & segment : graph.segments) order.push_back(segment->item);
    layer_stream::pass weights(*stream_, order);
    for (const auto & segment : graph.segments) {
        weights.acquire();
        segment->builder.compute(batch);
        after(*segment);
        weights.release();
    }
    counters_.n_runs += 1;
}

graph_memory engine::measure_streamed(const micro_batch & batch, const run_request & request) {
    streamed_.reset();
    const std::unique_ptr<streamed_graph> graph = build_streamed(batch, request, false);
    graph_memory memory;
    for (const auto & segment : graph->segments) {
        const graph_memory part = segment->builder.measure();
        memory.tensors = std::max(memory.tensors, part.tensors);
        memory.scratch = std::max(memory.scratch, part.scratch);
        memory.descriptions += part.descriptions;
    }
    for (ggml_tensor * t = ggml_get_first_tensor(graph->context); t != nullptr; t = ggml_get_next_tensor(graph->context, t)) memory.checkpoints += ggml_nbytes(t);
    return memory;
}

std::vector<row_score> engine::run_streamed(const micro_batch & batch, const run_request & request, std::vector<std::vector<float>> * errors) {
    prepare_streamed(batch, request);
    std::vector<row_score> scores;
    if (errors != nullptr) errors->clear();
    compute_segments(*streamed_, batch, [&](const streamed_segment & segment) {
        if (segment.item == layer_stream::HEAD) scores = head_read_scores(streamed_->result);
        for (ggml_tensor * error : segment.pass.errors) {
            if (errors != nullptr) errors->push_back(read_chunks({ error }));
        }
    });
    return scores;
}

std::vector<std::vector<float>> engine::hidden_states_streamed(const micro_batch & batch, const run_request & request) {
    prepare_streamed(batch, request);
    std::vector<std::vector<float>> states;
    compute_segments(*streamed_, batch, [&](const streamed_segment & segment) {
        for (ggml_tensor * state : segment.pass.states) states.push_back(read_chunks({ state }));
    });
    return states;
}

std::vector<float> engine::logits_streamed(const micro_batch & batch) {
    streamed_.reset();
    const std::unique_ptr<streamed_graph> graph = build_streamed(batch, {}, true);
    allocate_segments(*graph);
    std::vector<float> values;
    compute_segments(*graph, batch, [&](const streamed_segment & segment) {
        if (segment.item == layer_stream::HEAD) values = read_chunks(graph->logits);
    });
    return values;
}

}  // namespace fedllm
