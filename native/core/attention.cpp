// See attention.h. Heads are the batch axis; the keys and values of a group serve several query heads by broadcasting, and
// their gradients sum over the group.
#include "attention.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace fedllm {

namespace {

// Tokens [t0, t1) of x [head, heads, T], seen as [head, t1 - t0, heads].
ggml_tensor * token_view(graph_builder & g, ggml_tensor * x, int64_t t0, int64_t t1) {
    return ggml_view_3d(g.context(), x, x->ne[0], t1 - t0, x->ne[1], x->nb[2], x->nb[1], size_t(t0) * x->nb[2]);
}

// Where outputs for tokens from t0 on go inside x [head, heads, T].
placement token_place(const ggml_tensor * x, int64_t t0) { return { size_t(t0) * x->nb[2], x->nb[2], x->nb[1], x->ne[1] }; }

struct chunk_scores {
    ggml_tensor * uncapped = nullptr;       // q . k, only with a cap
    ggml_tensor * probabilities = nullptr;  // [keys, queries, H]
};

chunk_scores score_chunk(graph_builder & g, const attention_chunk & chunk, const score_rule & rule, ggml_tensor * q, ggml_tensor * keys) {
    chunk_scores scores;
    ggml_tensor * products = g.product(plain(keys), plain(token_view(g, q, chunk.q0, chunk.q1)));
    if (rule.cap == 0.0f) {
        scores.probabilities = g.soft_max(products, chunk.mask, rule.scale);
        return scores;
    }
    scores.uncapped = products;
    scores.probabilities = g.soft_max(g.soft_cap(products, rule.scale, rule.cap), chunk.mask, 1.0f);
    return scores;
}

// The first position that the token at `position` sees.
int64_t oldest_position(int64_t position, int64_t window) { return window > 0 ? std::max<int64_t>(0, position - window + 1) : 0; }

// Chooses the keys: from the oldest that any query sees, in the sequences themselves and in a prefix before the chunk.
attention_chunk choose_keys(const std::vector<sequence_span> & members, int64_t q0, int64_t q1, int64_t window) {
    attention_chunk chunk{ q0, q1, q0 };
    for (const sequence_span & s : members) {
        const int64_t oldest = oldest_position(s.prefix_length + std::max(q0, s.start) - s.start, window);
        chunk.k0 = std::min(chunk.k0, s.start + std::max<int64_t>(0, oldest - s.prefix_length));
        if (oldest >= s.prefix_length || s.prefix_start >= members.front().start) continue;
        chunk.p0 = chunk.n_prefix() > 0 ? std::min(chunk.p0, s.prefix_start + oldest) : s.prefix_start + oldest;
        chunk.p1 = s.prefix_start + s.prefix_length;
    }
    if (chunk.n_prefix() > 0 && chunk.p1 == chunk.k0) {  // neighbours: one range
        chunk.k0 = chunk.p0;
        chunk.p0 = chunk.p1 = 0;
    }
    return chunk;
}

// mask [keys, queries].
void fill_mask(const std::vector<sequence_span> & members, const attention_chunk & chunk, int64_t window, float * mask) {
    const int64_t n_keys = chunk.n_keys();
    std::fill_n(mask, n_keys * (chunk.q1 - chunk.q0), -std::numeric_limits<float>::infinity());
    for (const sequence_span & s : members) {
        for (int64_t q = std::max(chunk.q0, s.start); q < std::min(chunk.q1, s.start + s.length); ++q) {
            const int64_t position = s.prefix_length + q - s.start;
            for (int64_t seen = oldest_position(position, window); seen <= position; ++seen) {
                const int64_t key = seen < s.prefix_length ? s.prefix_start + seen : s.start + seen - s.prefix_length;
                const bool in_prefix = key >= chunk.p0 && key < chunk.p1;
                mask[(q - chunk.q0) * n_keys + (in_prefix ? key - chunk.p0 : chunk.n_prefix() + key - chunk.k0)] = 0.0f;
            }
        }
    }
}

attention_chunk make_chunk(graph_builder & g, const std::vector<sequence_span> & members, int64_t q0, int64_t q1, int64_t window) {
    attention_chunk chunk = choose_keys(members, q0, q1, window);
    chunk.mask = g.input_f32(chunk.n_keys(), q1 - q0, [members, chunk, window](const micro_batch &, float * mask) { fill_mask(members, chunk, window, mask); });
    return chunk;
}

// The chunk's tokens of k or v, [head, keys, H_kv].
ggml_tensor * keys_of(graph_builder & g, const attention_chunk & chunk, ggml_tensor * x) {
    ggml_tensor * own = token_view(g, x, chunk.k0, chunk.q1);
    return chunk.n_prefix() == 0 ? own : ggml_concat(g.context(), token_view(g, x, chunk.p0, chunk.p1), own, 1);
}

// Adds q d^T to the gradient of the chunk's keys (or values); q [head, queries, H], d [keys, queries, H].
ggml_tensor * add_to_keys(graph_builder & g, const attention_chunk & chunk, ggml_tensor * target, ggml_tensor * q, ggml_tensor * d) {
    if (chunk.n_prefix() > 0) {
        const auto part = [&](int64_t begin, int64_t end) {
            return ggml_view_3d(g.context(), d, end - begin, d->ne[1], d->ne[2], d->nb[1], d->nb[2], size_t(begin) * d->nb[0]);
        };
        target = g.product_into(target, token_place(target, chunk.p0), transposed(q), transposed(part(0, chunk.n_prefix())), 1.0f, true);
        d = part(chunk.n_prefix(), chunk.n_keys());
    }
    target = g.product_into(target, token_place(target, chunk.k0), transposed(q), transposed(d), 1.0f, true);
    g.expand(target);
    return target;
}

}  // namespace

// Where the prefix of `sequence` starts if it lies before a chunk that starts at `begin`. One chunk has at most one such prefix.
static std::optional<int64_t> outer_prefix(const sequence_span & sequence, int64_t begin) {
    if (sequence.prefix_length == 0 || sequence.prefix_start >= begin) return std::nullopt;
    return sequence.prefix_start;
}

// Calls make(members, q0, q1) for each chunk: groups of short neighbours, or the pieces of a long sequence.
template <typename Make>
static void for_each_chunk(const std::vector<sequence_span> & sequences, const Make & make) {
    std::vector<sequence_span> group;
    int64_t group_length = 0;
    const auto flush = [&] {
        if (!group.empty()) make(group, group.front().start, group.front().start + group_length);
        group.clear();
        group_length = 0;
    };
    for (const sequence_span & sequence : sequences) {
        const auto outer = [&](const sequence_span & s) { return outer_prefix(s, group.front().start); };
        if (group_length + sequence.length > ATTENTION_CHUNK || (!group.empty() && outer(sequence) != outer(group.back()))) flush();
        if (sequence.length > ATTENTION_CHUNK) {
            for (int64_t q0 = 0; q0 < sequence.length; q0 += ATTENTION_CHUNK) {
                const int64_t q1 = std::min(sequence.length, q0 + ATTENTION_CHUNK);
                make({ sequence }, sequence.start + q0, sequence.start + q1);
            }
            continue;
        }
        group.push_back(sequence);
        group_length += sequence.length;
    }
    flush();
}

size_t attention_count_chunks(const std::vector<sequence_span> & sequences) {
    size_t count = 0;
    for_each_chunk(sequences, [&](const std::vector<sequence_span> &, int64_t, int64_t) { ++count; });
    return count;
}

std::vector<attention_chunk> attention_plan(graph_builder & g, const std::vector<sequence_span> & sequences, int64_t window) {
    std::vector<attention_chunk> chunks;
    for_each_chunk(sequences, [&](const std::vector<sequence_span> & members, int64_t q0, int64_t q1) { chunks.push_back(make_chunk(g, members, q0, q1, window)); });
    return chunks;
}

ggml_tensor * attention_forward(graph_builder & g, const std::vector<attention_chunk> & chunks, const score_rule & rule, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v) {
    ggml_tensor * out = g.empty_like(q, false);
    for (const attention_chunk & chunk : chunks) {
        ggml_tensor * p = score_chunk(g, chunk, rule, q, keys_of(g, chunk, k)).probabilities;
        out = g.product_into(out, token_place(out, chunk.q0), transposed(keys_of(g, chunk, v)), plain(p), 1.0f, false);
        g.expand(out);
    }
    return ggml_reshape_2d(g.context(), out, q->ne[0] * q->ne[1], q->ne[2]);
}

attention_gradient attention_backward(graph_builder & g, const std::vector<attention_chunk> & chunks, const score_rule & rule, ggml_tensor * q,
                                      ggml_tensor * k, ggml_tensor * v, ggml_tensor * d_out) {
    d_out = ggml_reshape_3d(g.context(), d_out, q->ne[0], q->ne[1], q->ne[2]);
    attention_gradient d{ g.empty_like(q, false), g.empty_like(k, true), g.empty_like(v, true) };
    for (const attention_chunk & chunk : chunks) {
        ggml_tensor * q_c = token_view(g, q, chunk.q0, chunk.q1);
        ggml_tensor * k_c = keys_of(g, chunk, k);
        ggml_tensor * v_c = keys_of(g, chunk, v);
        ggml_tensor * d_c = token_view(g, d_out, chunk.q0, chunk.q1);
        const chunk_scores scores = score_chunk(g, chunk, rule, q, k_c);
        ggml_tensor * p   = scores.probabilities;
        ggml_tensor * dp  = g.product(plain(v_c), plain(d_c));                                                        // [keys, queries, H]
        d.dv = add_to_keys(g, chunk, d.dv, d_c, p);
        ggml_tensor * ds = g.soft_max_backward(dp, p, rule.cap == 0.0f ? rule.scale : 1.0f);
        if (rule.cap != 0.0f) ds = g.soft_cap_backward(ds, scores.uncapped, rule.scale, rule.cap);
        d.dq = g.product_into(d.dq, token_place(d.dq, chunk.q0), transposed(k_c), plain(ds), 1.0f, false);
        g.expand(d.dq);
        d.dk = add_to_keys(g, chunk, d.dk, q_c, ds);
    }
    return d;
}

}  // namespace fedllm
