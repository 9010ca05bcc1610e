// Runs micro-batches of one model with one adapter on one device: builds the whole graph of a micro-batch (forward, head,
// backward), computes it, and keeps adapter weights and gradients in flat device buffers between micro-batches. The last graph
// is kept and run again for a micro-batch of the same shapes, so that a steady loop neither builds nor allocates.
#pragma once

#include <memory>
#include <vector>

#include "adapter.h"
#include "batch.h"
#include "frozen.h"
#include "hidden-cache.h"
#include "layer.h"
#include "loss.h"
#include "trainer.h"

namespace fedllm {

struct cpu_runtime;
class layer_stream;

// What is kept from forward to backward: everything (fast), or each layer's x and mid only.
enum class checkpoint_tier { keep_all, layer_inputs };

struct engine_options {
    double   dropout = 0.0;          // of runs with a gradient
    uint64_t seed = 0;               // of dropout and noise
    trained_half trained = trained_half::both;  // no gradient is computed for the other half
    std::vector<frozen_adapter> frozen;          // left out, too, where a run leaves the adapter out
    bool     portable = false;       // only operations that every backend has
    std::optional<size_t> unpacked_bytes;  // see lowering; absent: its own
    std::function<void(ggml_cgraph *)> inspect;  // see lowering
    std::function<ggml_status(ggml_backend_t, ggml_cgraph *)> compute;  // see lowering
    checkpoint_tier tier = checkpoint_tier::keep_all;
    int64_t  head_chunk = HEAD_CHUNK;  // rows of logits computed at once
    hidden_cache * cache = nullptr;    // of this model; nullptr: every run begins at the embeddings
    std::optional<size_t> allocation_limit;  // a graph that takes more is refused as if the device had no more; for tests
    bool     stream = false;           // as if the model's weights were streamed; with measure_only
    bool     measure_only = false;     // allocates nothing; only measure() may be called
    transpose_cache transposes = transpose_cache::none;  // as if the model had these copies; with measure_only
};

// What the engine has done so far, for tests and reports.
struct engine_counters {
    int64_t n_runs = 0;
    int64_t n_graphs_built = 0;
    int64_t n_allocations = 0;  // times the buffer of graphs had to grow
    int64_t n_fill_graphs_built = 0;  // of those that compute what the cache lacks
    hidden_cache_counts cache;
};

class engine {
  public:
    // adapter == nullptr: the base alone, no gradients.
    engine(const base_model & model, const adapter_options * adapter, const engine_options & options);
    ~engine();
    engine(const engine &)             = delete;
    engine & operator=(const engine &) = delete;

    size_t n_parameters() const { return layout_.n_parameters; }
    size_t frozen_bytes() const { return frozen_->bytes(); }
    const adapter_layout & layout() const { return layout_; }
    void   set_weights(const std::vector<float> & weights);
    void   clear_gradient();
    void   get_gradient(std::vector<float> & gradient) const;

    // Scores of the loss rows, in order; with a gradient, adds that of the summed loss. errors: receives, for each boundary of a
    // request with a gradient, every token's squared distance from the teacher's state, [T].
    std::vector<row_score> run(const micro_batch & batch, const run_request & request, std::vector<std::vector<float>> * errors = nullptr);
    // States at the boundaries of a request without gradient and head, each [T][n_embd].
    std::vector<std::vector<float>> hidden_states(const micro_batch & batch, const run_request & request);
    // All logits of one sequence, row after row.
    std::vector<float> logits(const micro_batch & batch);

    // What run() would take for a micro-batch of this shape, beside the flat buffers; nothing is allocated or computed.
    graph_memory measure(const micro_batch & batch, const run_request & request);

    const engine_counters & counters() const { return counters_; }
    // What it takes on the device now beside weights of the model: flat buffers, frozen adapters, the last graph's tensors and checkpoints.
    size_t device_bytes() const;

  private:
    struct forward_pass;
    struct graph_key;
    struct prepared_graph;
    struct streamed_segment;
    struct streamed_graph;
    struct fill_graph;
    void         check_limit(const graph_builder & g) const;
    void         allocate(graph_builder & g, ggml_gallocr_t allocator);
    std::unique_ptr<prepared_graph> build(const micro_batch & batch, const run_request & request);
    void         prepare(const micro_batch & batch, const run_request & request);
    // These fill `pass`, which must stay where it is: its inputs point into it.
    void         make_inputs(graph_builder & g, const micro_batch & batch, const run_request & request, forward_pass & pass) const;
    ggml_tensor * embed(graph_builder & g, const micro_batch & batch, const run_request & request) const;
    layer_module layer_for(size_t l, const run_request & request) const;  // without its side paths when the adapter is off
    // From the layer `first` on, which is 0 or the one whose input is held.
    void         forward(graph_builder & g, const micro_batch & batch, int64_t first, bool keep, const run_request & request, forward_pass & pass);
    void         allocate_flat();
    void         make_layers(const adapter_options * adapter);
    size_t       estimate_nodes(const micro_batch & batch, size_t n_layers) const;
    static std::vector<float> read_chunks(const std::vector<ggml_tensor *> & chunks);
    // Boundaries between layers, engine-states.cpp.
    size_t       count_layers(const run_request & request) const;
    void         meet_boundary(graph_builder & g, int64_t boundary, ggml_tensor * x, const run_request & request, forward_pass & pass) const;
    ggml_tensor * pull(graph_builder & g, int64_t boundary, ggml_tensor * x, ggml_tensor * d, const run_request & request) const;
    // Hidden states below the lowest adapted layer, engine-cache.cpp.
    bool         reads_cache(const micro_batch & batch, const run_request & request) const;
    hidden_place find_cached_place() const;
    bool         has_frozen_below(int64_t layer) const;
    void         hold_rows(const micro_batch & batch);
    ggml_tensor * input_held_rows(graph_builder & g, int64_t n_tokens) const;
    int64_t      fill_tokens() const;
    std::unique_ptr<fill_graph> build_fill(const micro_batch & part);
    void         fill_rows(const micro_batch & batch, const std::vector<size_t> & missing);
    graph_memory measure_fill(const micro_batch & batch);
    // Streamed weights, engine-stream.cpp.
    bool         streams() const;
    ggml_tensor * input_embeddings(graph_builder & g, int64_t n_tokens) const;
    std::unique_ptr<streamed_graph> build_streamed(const micro_batch & batch, const run_request & request, bool want_logits);
    void         build_segments(streamed_graph & graph, const micro_batch & batch, const run_request & request, bool want_logits);
    void         make_checkpoints(streamed_graph & graph, int64_t n_tokens, bool gradient) const;
    void         allocate_segments(streamed_graph & graph);
    void         prepare_streamed(const micro_batch & batch, const run_request & request);
    void         compute_segments(streamed_graph & graph, const micro_batch & batch, const std::function<void(const streamed_segment &)> & after);
    graph_memory measure_streamed(const micro_batch & batch, const run_request & request);
    std::vector<row_score> run_streamed(const micro_batch & batch, const run_request & request, std::vector<std::vector<float>> * errors);
    std::vector<std::vector<float>> hidden_states_streamed(const micro_batch & batch, const run_request & request);
    std::vector<float> logits_streamed(const micro_batch & batch);
    rotation     make_rotation(graph_builder & g, const micro_batch & batch, float base, float scale) const;
    ggml_tensor * input_noise(graph_builder & g, int64_t n_tokens, float alpha) const;
    head_module  make_head() const;

    const base_model &        model_;
    engine_options            options_;
    backend                   device_;
    lowering                  rules_;
    std::unique_ptr<cpu_runtime> runtime_;
    adapter_layout            layout_;
    ggml_context *            flat_context_ = nullptr;
    ggml_backend_buffer_t     flat_buffer_ = nullptr;
    ggml_tensor *             weights_ = nullptr;   // [n_parameters]
    ggml_tensor *             gradient_ = nullptr;  // [n_parameters]
    ggml_gallocr_t            allocator_ = nullptr;
    std::unique_ptr<frozen_weights> frozen_;
    graph_arena               arena_, fill_arena_;
    std::unique_ptr<transposed_weights> described_transposes_;
    std::unique_ptr<layer_stream> stream_;
    std::unique_ptr<prepared_graph> prepared_;  // the graph of the last run(), in arena_
    std::unique_ptr<streamed_graph> streamed_;  // the same where weights are streamed
    ggml_gallocr_t            fill_allocator_ = nullptr;
    std::unique_ptr<fill_graph> fill_;         // the last one, in fill_arena_
    std::vector<hidden_cache::rows> held_;     // per sequence of the micro-batch that runs
    engine_counters           counters_;
    std::vector<layer_module> layers_;
    int64_t                   lowest_adapted_ = 0;  // no gradient is needed below this layer
    hidden_place              cached_;              // whose input does not depend on trained pairs
};

}  // namespace fedllm
