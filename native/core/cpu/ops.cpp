// See ops.h. Work is split so that no two threads write the same number; every sum has a fixed order.
#include "cpu/ops.h"

#include <algorithm>
#include <cstring>

#include "error.h"
#include "random.h"

namespace fedllm {

namespace {

struct share_range {
    int64_t begin, end;
};

share_range share_of(int64_t total, int ith, int nth) {
    const int64_t step = (total + nth - 1) / nth;
    return { std::min<int64_t>(total, step * ith), std::min<int64_t>(total, step * (ith + 1)) };
}

const op_description & describe(void * userdata) { return *static_cast<const op_description *>(userdata); }

const uint8_t * batch_data(const ggml_tensor * t, int64_t batch) { return static_cast<const uint8_t *>(t->data) + batch * int64_t(t->nb[2]); }

}  // namespace

void op_product(ggml_tensor * dst, int ith, int nth, void * userdata) {
    const op_description & d = describe(userdata);
    const ggml_tensor * a = dst->src[d.in_place ? 1 : 0];
    const ggml_tensor * b = dst->src[d.in_place ? 2 : 1];
    const int64_t n_operands = b->ne[2];                    // batches of b
    const int64_t n_outputs  = d.place.n_batch;             // batches written
    const int64_t summed     = n_operands / n_outputs;      // batches of b per written one
    const int64_t a_ratio    = n_operands / a->ne[2];       // batches of b per batch of a
    const auto problem = [&](int64_t out, int64_t s) {
        const int64_t i = out * summed + s;
        gemm_problem p;
        p.a = { batch_data(a, i / a_ratio), a->type, int64_t(a->nb[1]), d.a_transposed };
        p.b = { batch_data(b, i), b->type, int64_t(b->nb[1]), d.b_transposed };
        p.c = reinterpret_cast<float *>(static_cast<uint8_t *>(dst->data) + d.place.offset + size_t(out) * d.place.batch_bytes);
        p.c_row_bytes = int64_t(d.place.row_bytes);
        p.m = d.a_transposed ? a->ne[0] : a->ne[1];
        p.n = d.b_transposed ? b->ne[0] : b->ne[1];
        p.k = d.a_transposed ? a->ne[1] : a->ne[0];
        p.alpha = d.alpha;
        p.accumulate = d.accumulate || s > 0;
        return p;
    };
    if (n_outputs >= nth) {
        const share_range mine = share_of(n_outputs, ith, nth);
        for (int64_t out = mine.begin; out < mine.end; ++out) {
            for (int64_t s = 0; s < summed; ++s) gemm_run_share(*d.kernel, problem(out, s), 0, 1);
        }
        return;
    }
    for (int64_t out = 0; out < n_outputs; ++out) {
        for (int64_t s = 0; s < summed; ++s) gemm_run_share(*d.kernel, problem(out, s), ith, nth);
    }
}

void op_nothing(ggml_tensor *, int, int, void *) {}

void op_zero(ggml_tensor * dst, int ith, int nth, void *) {
    const share_range mine = share_of(int64_t(ggml_nelements(dst)), ith, nth);
    std::memset(static_cast<float *>(dst->data) + mine.begin, 0, size_t(mine.end - mine.begin) * sizeof(float));
}

void op_dropout(ggml_tensor * dst, int ith, int nth, void * userdata) {
    const op_description & d = describe(userdata);
    const ggml_tensor * x = dst->src[0];
    const ggml_tensor * keys = dst->src[1];
    const float scale = 1.0f / (1.0f - d.probability);
    const share_range mine = share_of(x->ne[1], ith, nth);
    for (int64_t t = mine.begin; t < mine.end; ++t) {
        uint64_t token_key;
        std::memcpy(&token_key, static_cast<const uint8_t *>(keys->data) + t * 8, 8);
        const float * in = reinterpret_cast<const float *>(static_cast<const uint8_t *>(x->data) + t * int64_t(x->nb[1]));
        float * out = reinterpret_cast<float *>(static_cast<uint8_t *>(dst->data) + t * int64_t(dst->nb[1]));
        for (int64_t i = 0; i < x->ne[0]; ++i) {
            out[i] = dropout_keeps(d.key, token_key, uint64_t(i), d.probability) ? in[i] * scale : 0.0f;
        }
    }
}

void op_cross_entropy(ggml_tensor * dst, int ith, int nth, void * userdata) {
    const op_description & d = describe(userdata);
    const ggml_tensor * labels = dst->src[1];
    const ggml_tensor * stats = dst->src[2];
    const int64_t n_vocab = dst->ne[0];
    const share_range mine = share_of(dst->ne[1], ith, nth);
    for (int64_t row = mine.begin; row < mine.end; ++row) {
        float * z = reinterpret_cast<float *>(static_cast<uint8_t *>(dst->data) + row * int64_t(dst->nb[1]));
        float * stat = static_cast<float *>(stats->data) + 2 * row;
        const int32_t label = static_cast<const int32_t *>(labels->data)[row];
        d.kernel->cross_entropy_row(z, n_vocab, label, d.gradient, stat);
    }
}

}  // namespace fedllm
