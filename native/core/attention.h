// Causal grouped-query attention over packed sequences, forward and backward, in chunks of queries: scores exist only for
// one chunk at a time, and only for the keys that chunk may see (FlashAttention's recomputation, Dao et al. 2022, section 3.1).
#pragma once

#include <vector>

#include "batch.h"
#include "graph.h"

namespace fedllm {

// Queries [q0, q1) against keys [k0, q1): either several whole short sequences or a piece of one long one. Branches of a prefix that
// lies farther back see keys [p0, p1) of it before those.
struct attention_chunk {
    int64_t       q0, q1, k0;
    int64_t       p0 = 0, p1 = 0;    // equal: none
    ggml_tensor * mask = nullptr;  // F32 [keys, q1 - q0]: 0 where the key may be seen, -inf elsewhere

    int64_t n_prefix() const { return p1 - p0; }
    int64_t n_keys() const { return n_prefix() + q1 - k0; }
};

// Queries per chunk: large enough for full matrix speed, small enough that scores stay in the caches.
constexpr int64_t ATTENTION_CHUNK = 128;

// How many chunks attention_plan makes of these sequences.
size_t attention_count_chunks(const std::vector<sequence_span> & sequences);
// window: a token sees itself and the window - 1 positions before it; 0: all before it.
std::vector<attention_chunk> attention_plan(graph_builder & g, const std::vector<sequence_span> & sequences, int64_t window);

// Scores are scale * q . k, then cap * tanh(score / cap) where cap is not 0 (Gemma 2 report, section 2).
struct score_rule {
    float scale;
    float cap;
};

// q [head, H, T], k and v [head, H_kv, T], rotated -> [head * H, T].
ggml_tensor * attention_forward(graph_builder & g, const std::vector<attention_chunk> & chunks, const score_rule & rule, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v);

struct attention_gradient {
    ggml_tensor * dq;  // [head, H, T]
    ggml_tensor * dk;  // [head, H_kv, T]
    ggml_tensor * dv;
};

// d_out [head * H, T].
attention_gradient attention_backward(graph_builder & g, const std::vector<attention_chunk> & chunks, const score_rule & rule, ggml_tensor * q,
                                      ggml_tensor * k, ggml_tensor * v, ggml_tensor * d_out);

}  // namespace fedllm
