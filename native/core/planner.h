// Predicts what training or scoring takes before anything is loaded, and chooses how to compute so that it fits: builds the graph of
// the largest micro-batch as it would be run and has ggml lay it out without allocating; everything else is counted.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "adapter.h"
#include "batch.h"
#include "engine.h"
#include "layer-stream.h"

namespace fedllm {

// What is to be computed, as far as memory depends on it.
struct plan_request {
    const adapter_options * adapter = nullptr;  // nullptr: the base alone
    bool                    gradient = true;    // false: scores only
    std::vector<frozen_adapter> frozen;         // weights may be absent
    double                  dropout = 0.0;
    run_request             objective = {};          // what a run with a gradient computes beyond the plain loss
    trained_half            trained = trained_half::both;
    bool                    weighted = false;        // tokens have weights
    bool                    pairs = false;           // groups are pairs of preferences, which stay together
    int64_t                 longest_sample = 0;      // tokens computed for the longest sample
    group_lengths           longest_group = {};      // that with most tokens; no branches: samples are alone
    int64_t                 batch_size = 0;          // groups (samples where there are none) of a step; 0: any number
    int64_t                 micro_batch_tokens = 0;  // most tokens at once
    int64_t                 n_vectors = 0;           // vectors of the adapter's size that the caller holds besides
    std::vector<int64_t>    boundaries;    // whose states are wanted instead of scores; empty: scores
    const distillation_options * distillation = nullptr;  // of a step that follows a teacher; nullptr: the supervised loss
    hidden_cache *          cache = nullptr;       // that will be used; what it holds counts as free
    std::optional<size_t>   memory_limit;  // bytes that may be taken; absent: nine tenths of what is free on the device
};

// Bytes. Weights, transposes, adapter, activations and checkpoints are in the device's memory, the rest in the host's; on the CPU
// that is the same.
struct memory_parts {
    size_t weights = 0;       // of the base, with stored transposes; on the CPU pages of the mapped file; with streaming what is on the device at once
    size_t adapter = 0;       // flat weights and gradients, frozen adapters
    size_t activations = 0;   // tensors of the largest graph
    size_t checkpoints = 0;   // layers' inputs and middles where weights are streamed; else they are activations
    size_t scratch = 0;       // packed operands of the CPU's products
    size_t vectors = 0;       // gradient, moments, copies and cached rows in use, on the host
    size_t descriptions = 0;  // of the graph, and what computing takes anyway
    size_t mapped = 0;        // pages of the file that are being read where weights are streamed; the system may take them back at any time
    size_t process = 0;       // resident before anything of this was there
};

struct memory_plan {
    int64_t         micro_batch_tokens = 0;
    int64_t         head_chunk = HEAD_CHUNK;
    checkpoint_tier tier = checkpoint_tier::keep_all;
    transpose_cache transposes = transpose_cache::none;  // to load the model with; not on the CPU
    bool            streams = false;  // weights stay in the file and come layer by layer; parts.weights is the limit to load the model with
    memory_parts    parts;
    size_t          limit = 0;      // bytes that may be taken
    size_t          needed = 0;     // bytes of the parts that are not there yet and must fit into the limit
    bool            is_cpu = true;

    bool   fits() const { return needed <= limit; }
    size_t device_bytes() const;
    // Highest resident memory of the process, beside what a cache of hidden states grows by.
    size_t host_bytes() const;
};

// All plans, the fastest first; those that keep the bits of results come before smaller micro-batches, which change their rounding.
// Copies W^T that the model's options ask for are the first thing to go, before it is loaded: they take as much as the weights or
// more and save only their unpacking in the backward pass, while the other choices cost a part of the computation.
// Each takes a graph to measure, so they are made one by one.
class memory_planner {
  public:
    // model: loaded, or described only (weight_placement::measured). Throws ADAPTER_INVALID, CONFIG_INVALID.
    memory_planner(const base_model & model, const plan_request & request);

    // The next plan, whether it fits or not; nullopt: there is no leaner one.
    std::optional<memory_plan> next();
    // The next plan that fits. Throws OUT_OF_MEMORY with the numbers of the leanest.
    memory_plan choose();

  private:
    struct choice {
        int64_t         micro_batch_tokens;
        int64_t         head_chunk;
        checkpoint_tier tier;
        bool            streams;
        transpose_cache transposes = transpose_cache::none;
    };
    void        list_choices(bool streams, transpose_cache transposes);
    memory_plan measure(const choice & how) const;
    graph_measurements::entry measure_graph(const choice & how, const micro_batch & batch) const;
    void        count_weights(memory_plan & plan, int64_t n_tokens) const;
    void        count_teacher(memory_plan & plan, const micro_batch & batch) const;

    const base_model &  model_;
    plan_request        request_;
    size_t              limit_ = 0;
    size_t              process_ = 0;
    bool                is_cpu_ = true;
    stream_sizes        lean_, rich_;  // of streamed weights, without and with a head that stays
    std::vector<choice> choices_;
    size_t              next_ = 0;
};

// Bytes of the host's memory that a plan leaves for the cache of hidden states: all of it where the cache has a limit of its own, else half,
// because others may want some.
size_t cache_capacity(const memory_plan & plan, const hidden_cache & cache);

// The parts in one line, for messages.
std::string plan_text(const memory_plan & plan);

}  // namespace fedllm
