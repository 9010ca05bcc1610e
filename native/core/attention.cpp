// See attention.h. Heads are the batch axis; the keys and values of a group serve several query heads by broadcasting, and
// their gradients sum over the group.
#include "attention.h"

#include <algorithm>
#include <limits>

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

chunk_scores score_chunk(graph_builder & g, const attention_chunk & chunk, const score_rule & rule, ggml_tensor * q, ggml_tensor * k) {
    chunk_scores scores;
    ggml_tensor * products = g.product(plain(token_view(g, k, chunk.k0, chunk.q1)), plain(token_view(g, q, chunk.q0, chunk.q1)));
    if (rule.cap == 0.0f) {
        scores.probabilities = g.soft_max(products, chunk.mask, rule.scale);
        return scores;
    }
    scores.uncapped = products;
    scores.probabilities = g.soft_max(g.soft_cap(products, rule.scale, rule.cap), chunk.mask, 1.0f);
    return scores;
}

attention_chunk make_chunk(graph_builder & g, const std::vector<sequence_span> & members, int64_t q0, int64_t q1, int64_t window) {
    const int64_t first = members.front().start;
    attention_chunk chunk{ q0, q1, window > 0 ? std::max(first, q0 - window + 1) : first, nullptr };
    const int64_t n_keys = q1 - chunk.k0;
    const auto fill = [members, q0, q1, k0 = chunk.k0, n_keys, window](const micro_batch &, float * mask) {
        std::fill_n(mask, n_keys * (q1 - q0), -std::numeric_limits<float>::infinity());
        for (const sequence_span & sequence : members) {
            for (int64_t q = std::max(q0, sequence.start); q < std::min(q1, sequence.start + sequence.length); ++q) {
                const int64_t oldest = window > 0 ? std::max(sequence.start, q - window + 1) : sequence.start;
                for (int64_t key = oldest; key <= q; ++key) mask[(q - q0) * n_keys + key - k0] = 0.0f;
            }
        }
    };
    chunk.mask = g.input_f32(n_keys, q1 - q0, fill);
    return chunk;
}

}  // namespace

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
        if (group_length + sequence.length > ATTENTION_CHUNK) flush();
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
        ggml_tensor * p = score_chunk(g, chunk, rule, q, k).probabilities;
        out = g.product_into(out, token_place(out, chunk.q0), transposed(token_view(g, v, chunk.k0, chunk.q1)), plain(p), 1.0f, false);
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
        ggml_tensor * k_c = token_view(g, k, chunk.k0, chunk.q1);
        ggml_tensor * v_c = token_view(g, v, chunk.k0, chunk.q1);
        ggml_tensor * d_c = token_view(g, d_out, chunk.q0, chunk.q1);
        const chunk_scores scores = score_chunk(g, chunk, rule, q, k);
        ggml_tensor * p   = scores.probabilities;
        ggml_tensor * dp  = g.product(plain(v_c), plain(d_c));                                                        // [keys, queries, H]
        d.dv = g.product_into(d.dv, token_place(d.dv, chunk.k0), transposed(d_c), transposed(p), 1.0f, true);
        g.expand(d.dv);
        ggml_tensor * ds = g.soft_max_backward(dp, p, rule.cap == 0.0f ? rule.scale : 1.0f);
        if (rule.cap != 0.0f) ds = g.soft_cap_backward(ds, scores.uncapped, rule.scale, rule.cap);
        d.dq = g.product_into(d.dq, token_place(d.dq, chunk.q0), transposed(k_c), plain(ds), 1.0f, false);
        g.expand(d.dq);
        d.dk = g.product_into(d.dk, token_place(d.dk, chunk.k0), transposed(q_c), transposed(ds), 1.0f, true);
        g.expand(d.dk);
    }
    return d;
}

}  // namespace fedllm
