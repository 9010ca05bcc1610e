// The engine over cached hidden states (hidden-cache.h): a micro-batch begins at the lowest layer with a trained pair, whose input is copied from the
// cache. Sequences that the cache lacks go through the layers below first, by a graph of their own.
#include <algorithm>
#include <cstring>
#include <iterator>

#include "engine-graph.h"
#include "random.h"

namespace fedllm {

namespace {

// Tokens that go through the lower layers at once: enough to keep the products busy, few beside the micro-batch's own memory.
constexpr int64_t FILL_TOKENS = 512;

// The sequences `chosen` of a batch, one after another.
micro_batch take_sequences(const micro_batch & batch, const std::vector<size_t> & chosen) {
    micro_batch part;
    for (const size_t s : chosen) {
        const sequence_span & from = batch.sequences[s];
        const auto append = [&](auto & target, const auto & source) { target.insert(target.end(), source.begin() + from.start, source.begin() + from.start + from.length); };
        part.sequences.push_back({ part.n_tokens(), from.length });
        append(part.tokens, batch.tokens);
        append(part.positions, batch.positions);
        append(part.token_keys, batch.token_keys);
    }
    return part;
}

// Of shapes and weights of all adapters, in their order; another key gives an independent hash.
uint64_t hash_adapters(const base_model & model, const std::vector<frozen_adapter> & adapters, uint64_t key) {
    uint64_t hash = random_mix(key);
    for (const frozen_adapter & adapter : adapters) {
        const adapter_layout layout = adapter_make_layout(model, adapter.options);
        for (const adapter_tensor & tensor : layout.tensors) hash = random_combine(hash, random_hash_name(tensor.name) ^ uint64_t(tensor.shape[0] * tensor.shape[1]));
        const auto add = [&hash](float number) {
            uint32_t bits = 0;
            std::memcpy(&bits, &number, sizeof bits);
            hash = random_mix(hash ^ bits);
        };
        add(adapter.options.scale());
        std::for_each(adapter.weights, adapter.weights + layout.n_parameters, add);
    }
    return hash;
}

// Runs of sequences of at most max_tokens; at least one sequence in each.
std::vector<std::vector<size_t>> split_sequences(const micro_batch & batch, const std::vector<size_t> & chosen, int64_t max_tokens) {
    std::vector<std::vector<size_t>> parts;
    int64_t n_tokens = 0;
    for (const size_t s : chosen) {
        const int64_t length = batch.sequences[s].length;
        if (parts.empty() || n_tokens + length > max_tokens) {
            parts.emplace_back();
            n_tokens = 0;
        }
        parts.back().push_back(s);
        n_tokens += length;
    }
    return parts;
}

}  // namespace

bool engine::has_frozen_below(int64_t layer) const {
    const auto is_adapted = [](const layer_module & l) { return std::any_of(l.linear.begin(), l.linear.end(), [](const linear_module & m) { return !m.frozen.empty(); }); };
    return std::any_of(layers_.begin(), layers_.begin() + layer, is_adapted);
}

// The lowest layer with a trained pair (0 without one) and what acts below it.
hidden_place engine::find_cached_place() const {
    hidden_place place;
    if (layout_.tensors.empty()) return place;
    place.layer = lowest_adapted_;
    if (options_.measure_only || options_.cache == nullptr || !has_frozen_below(place.layer)) return place;
    for (size_t i = 0; i < std::size(place.frozen); ++i) place.frozen[i] = hash_adapters(model_, options_.frozen, i + 1);
    return place;
}

// Noise on the embeddings reaches every layer, states may be wanted from below, rows behind a shared prefix are not those of a sequence
// alone, and the base alone is without the frozen adapters.
bool engine::reads_cache(const micro_batch & batch, const run_request & request) const {
    if (options_.cache == nullptr || cached_.layer == 0 || streams() || request.neftune_alpha > 0.0f || !request.boundaries.empty()) return false;
    if (request.adapter_off && has_frozen_below(cached_.layer)) return false;
    return std::all_of(batch.sequences.begin(), batch.sequences.end(), [](const sequence_span & s) { return s.prefix_length == 0 && s.tail == 0; });
}

// The CPU kernels give a token the same bits whatever its sequence is packed with. Elsewhere that is not certain, so sequences go alone:
// results must not depend on what the cache happened to hold.
int64_t engine::fill_tokens() const { return rules_.cpu_kernels ? FILL_TOKENS : 1; }

// Rows of all sequences of the batch, from the cache or computed now.
void engine::hold_rows(const micro_batch & batch) {
    held_.assign(batch.sequences.size(), nullptr);
    std::vector<size_t> missing;
    for (size_t s = 0; s < held_.size(); ++s) {
        const sequence_span & sequence = batch.sequences[s];
        held_[s] = options_.cache->find(cached_, batch.tokens.data() + sequence.start, size_t(sequence.length));
        (held_[s] != nullptr ? counters_.cache.n_hits : counters_.cache.n_misses) += 1;
        (held_[s] != nullptr ? counters_.cache.n_tokens_reused : counters_.cache.n_tokens_computed) += sequence.length;
        if (held_[s] == nullptr) missing.push_back(s);
    }
    for (const std::vector<size_t> & part : split_sequences(batch, missing, fill_tokens())) fill_rows(batch, part);
}

ggml_tensor * engine::input_held_rows(graph_builder & g, int64_t n_tokens) const {
    return g.input_f32(model_.info().n_embd, n_tokens, [this](const micro_batch &, float * values) {
        for (const hidden_cache::rows & rows : held_) values = std::copy(rows->begin(), rows->end(), values);
    });
}

std::unique_ptr<engine::fill_graph> engine::build_fill(const micro_batch & part) {
    std::unique_ptr<fill_graph> next(new fill_graph{ part.sequences, { device_, rules_, runtime_.get(), fill_arena_, estimate_nodes(part, size_t(cached_.layer)) }, {} });
    graph_builder & g = next->builder;
    make_inputs(g, part, {}, next->pass);
    ggml_tensor * x = embed(g, part, {});
    for (size_t l = 0; l < size_t(cached_.layer); ++l) {
        layer_values values;
        x = layer_forward(g, layers_[l], next->pass.inputs, x, values);
        g.expand(x);
    }
    next->rows = g.output(x);
    return next;
}

void engine::fill_rows(const micro_batch & batch, const std::vector<size_t> & missing) {
    const micro_batch part = take_sequences(batch, missing);
    if (fill_ == nullptr || !(fill_->sequences == part.sequences)) {
        fill_.reset();  // gives up fill_arena_
        std::unique_ptr<fill_graph> next = build_fill(part);
        allocate(next->builder, fill_allocator_);
        counters_.n_fill_graphs_built += 1;
        fill_ = std::move(next);
    }
    fill_->builder.compute(part);
    const size_t n_embd = size_t(model_.info().n_embd);
    for (size_t i = 0; i < missing.size(); ++i) {
        const sequence_span & place = part.sequences[i];
        const auto values = std::make_shared<std::vector<float>>(size_t(place.length) * n_embd);
        ggml_backend_tensor_get(fill_->rows, values->data(), size_t(place.start) * n_embd * sizeof(float), values->size() * sizeof(float));
        held_[missing[i]] = values;
        options_.cache->insert(cached_, part.tokens.data() + place.start, size_t(place.length), values);
    }
}

// Of the largest part that a batch may lack.
graph_memory engine::measure_fill(const micro_batch & batch) {
    std::vector<size_t> all(batch.sequences.size());
    for (size_t s = 0; s < all.size(); ++s) all[s] = s;
    fill_.reset();
    return build_fill(take_sequences(batch, split_sequences(batch, all, fill_tokens()).front()))->builder.measure();
}

}  // namespace fedllm
