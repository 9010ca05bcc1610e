// What engine.cpp, engine-cache.cpp and engine-stream.cpp share: a prepared graph and its parts.
#pragma once

#include "engine.h"
#include "layer-stream.h"

namespace fedllm {

struct engine::forward_pass {
    layer_inputs                 inputs;
    std::vector<attention_chunk> chunks, window_chunks;
    std::vector<layer_values>    values;  // per layer
    ggml_tensor *                hidden = nullptr;
    // At the request's boundaries that this graph passes, in order: states, or their squared errors with a gradient ([1, T]).
    std::vector<ggml_tensor *>   states, errors;
};

// Two micro-batches with equal keys have equal graphs, whose inputs alone differ.
struct engine::graph_key {
    batch_shape shape;
    run_request request;

    bool operator==(const graph_key & other) const { return shape == other.shape && request == other.request; }
};

// A graph of run() and what was asked of it.
struct engine::prepared_graph {
    graph_key     key;
    graph_builder builder;
    forward_pass  pass;
    head_result   result;
};

// The same in segments, each of which needs the weights of one layer (or of the head): forward from the bottom, head, backward
// from the top. What goes from one to another is in tensors that outlive the segments.
struct engine::streamed_segment {
    streamed_segment(int64_t needed, const engine & owner, size_t max_nodes) : item(needed), builder(owner.device_, owner.rules_, owner.runtime_.get(), arena, max_nodes) {}
    int64_t       item;  // layer or layer_stream::HEAD
    graph_arena   arena;
    graph_builder builder;
    forward_pass  pass;
};

struct engine::streamed_graph {
    streamed_graph() = default;
    ~streamed_graph();
    streamed_graph(const streamed_graph &)             = delete;
    streamed_graph & operator=(const streamed_graph &) = delete;

    graph_key                             key;
    ggml_context *                        context = nullptr;
    ggml_backend_buffer_t                 buffer = nullptr;
    std::vector<ggml_tensor *>            x, mid;           // [n_embd, T] per layer, x also of the head; without a gradient two of x in turn
    ggml_tensor *                         d = nullptr;      // [n_embd, T], gradient on its way down
    std::vector<std::unique_ptr<streamed_segment>> segments;
    head_result                           result;
    std::vector<ggml_tensor *>            logits;           // instead of the result, for logits()
};

// The layers below the cached hidden states, forward only.
struct engine::fill_graph {
    std::vector<sequence_span> sequences;  // all that its form depends on
    graph_builder              builder;
    forward_pass               pass;
    ggml_tensor *              rows = nullptr;  // [n_embd, T]
};

}  // namespace fedllm
