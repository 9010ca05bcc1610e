// See ops.h. No two chunks write the same number, and every sum has a fixed order, so results do not depend on the threads.
#include "cpu/ops.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "error.h"

namespace fedllm {

namespace {

const op_description & describe(void * userdata) { return *static_cast<const op_description *>(userdata); }

const uint8_t * batch_data(const ggml_tensor * t, int64_t batch) { return static_cast<const uint8_t *>(t->data) + batch * int64_t(t->nb[2]); }

// Row r of a tensor whose rows are counted through all axes above the first; those axes are contiguous in every use here.
float * row_of(const ggml_tensor * t, int64_t r) { return reinterpret_cast<float *>(static_cast<uint8_t *>(t->data) + r * int64_t(t->nb[1])); }

// Calls work(row) for all rows. Chunks hold at least 16k numbers: below that, handing them out would cost more than the work.
template <typename Work>
void for_rows(const op_description & d, int64_t n_rows, int64_t row_length, const Work & work) {
    const int64_t at_least = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, row_length));
    const int64_t step = std::max(at_least, n_rows / (4 * d.runtime->pool.n_threads()) + 1);
    d.runtime->pool.run((n_rows + step - 1) / step, [&](int64_t chunk) {
        for (int64_t r = chunk * step; r < std::min(n_rows, (chunk + 1) * step); ++r) work(r);
    });
}

int64_t count_rows(const ggml_tensor * t) { return t->ne[1] * t->ne[2] * t->ne[3]; }

gemm_problem product_problem(const op_description & d, ggml_tensor * dst, const ggml_tensor * a, const ggml_tensor * b, int64_t out, int64_t summed, int64_t s) {
    const int64_t i = out * summed + s;
    gemm_problem p;
    p.a = { batch_data(a, i / (b->ne[2] / a->ne[2])), a->type, int64_t(a->nb[1]), d.a_transposed };
    p.b = { batch_data(b, i), b->type, int64_t(b->nb[1]), d.b_transposed };
    p.c = reinterpret_cast<float *>(static_cast<uint8_t *>(dst->data) + d.place.offset + size_t(out) * d.place.batch_bytes);
    p.c_row_bytes = int64_t(d.place.row_bytes);
    p.m = d.a_transposed ? a->ne[0] : a->ne[1];
    p.n = d.b_transposed ? b->ne[0] : b->ne[1];
    p.k = d.a_transposed ? a->ne[1] : a->ne[0];
    p.alpha = d.alpha;
    p.accumulate = d.accumulate || s > 0;
    return p;
}

}  // namespace

void op_product(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    const ggml_tensor * a = dst->src[d.in_place ? 1 : 0];
    const ggml_tensor * b = dst->src[d.in_place ? 2 : 1];
    const gemm_kernel & kernel = a->type == GGML_TYPE_F32 ? *d.runtime->kernels.gemm : d.runtime->frozen_gemm;
    const int64_t n_outputs = d.place.n_batch;
    const int64_t summed    = b->ne[2] / n_outputs;  // batches of b per written one
    if (n_outputs < d.runtime->pool.n_threads()) {
        for (int64_t out = 0; out < n_outputs; ++out) {
            for (int64_t s = 0; s < summed; ++s) gemm_run(kernel, d.runtime->pool, d.runtime->packed, product_problem(d, dst, a, b, out, summed, s));
        }
        return;
    }
    // Enough batches (attention heads) to give each thread whole ones; each packs into memory of its own.
    d.runtime->pool.run(n_outputs, [&](int64_t out) {
        static thread_local std::vector<float> packed;
        for (int64_t s = 0; s < summed; ++s) {
            const gemm_problem p = product_problem(d, dst, a, b, out, summed, s);
            packed.resize(std::max(packed.size(), size_t(kernel.packed_b_size(p.n, p.k))));
            kernel.pack_b(p, 0, p.n, packed.data());
            kernel.multiply(p, packed.data(), 0, p.m, 0, p.n);
        }
    });
}

size_t op_scratch_bytes(const ggml_tensor * node) {
    if (node->op != GGML_OP_CUSTOM) return 0;
    // ggml keeps function, number of threads and pointer in this order (ggml_custom_op_params).
    struct { ggml_custom_op_t function; int n_tasks; void * userdata; } params;
    static_assert(sizeof params <= sizeof node->op_params, "the parameters fit into a node");
    std::memcpy(&params, node->op_params, sizeof params);
    if (params.function != op_product) return 0;
    const op_description & d = describe(params.userdata);
    const ggml_tensor * b = node->src[d.in_place ? 2 : 1];
    const size_t packed = size_t(d.runtime->kernels.gemm->packed_b_size(d.b_transposed ? b->ne[0] : b->ne[1], d.b_transposed ? b->ne[1] : b->ne[0])) * sizeof(float);
    return d.place.n_batch < d.runtime->pool.n_threads() ? packed : packed * size_t(d.runtime->pool.n_threads());
}

const char * op_name(const op_description & d, ggml_custom_op_t function) {
    static const char * const PRODUCTS[2][2][2] = { { { "product nn", "product nt" }, { "product tn", "product tt" } },
                                                    { { "product into nn", "product into nt" }, { "product into tn", "product into tt" } } };
    if (function == op_product) return PRODUCTS[d.in_place ? 1 : 0][d.a_transposed ? 1 : 0][d.b_transposed ? 1 : 0];
    static const std::pair<ggml_custom_op_t, const char *> NAMES[] = {
        { op_nothing, "empty" }, { op_zero, "zero" }, { op_stack_rows, "stack rows" }, { op_dropout, "dropout" }, { op_cross_entropy, "cross entropy" }, { op_divergence, "divergence" }, { op_norm, "norm" },
        { op_norm_backward, "norm backward" }, { op_glu, "glu" }, { op_glu_backward, "glu backward" }, { op_soft_max, "softmax" },
        { op_soft_max_backward, "softmax backward" }, { op_rotate, "rotate" }, { op_soft_cap, "soft cap" },
        { op_soft_cap_backward, "soft cap backward" }, { op_add, "add" },
    };
    for (const auto & [known, name] : NAMES) {
        if (known == function) return name;
    }
    return "custom";
}

void op_nothing(ggml_tensor *, int, int, void *) {}

void op_zero(ggml_tensor * dst, int, int, void *) { std::memset(dst->data, 0, ggml_nbytes(dst)); }

void op_stack_rows(ggml_tensor * dst, int, int, void *) {
    uint8_t * out = static_cast<uint8_t *>(dst->data);
    for (int i = 0; i < GGML_MAX_SRC && dst->src[i] != nullptr; ++i) {
        std::memcpy(out, dst->src[i]->data, ggml_nbytes(dst->src[i]));
        out += ggml_nbytes(dst->src[i]);
    }
}

void op_dropout(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    const ggml_tensor * x = dst->src[0];
    const ggml_tensor * keys = dst->src[1];
    const float scale = 1.0f / (1.0f - d.probability);
    for_rows(d, x->ne[1], x->ne[0], [&](int64_t t) {
        uint64_t token_key;
        std::memcpy(&token_key, static_cast<const uint8_t *>(keys->data) + t * 8, 8);
        const float * in = row_of(x, t);
        float * out = row_of(dst, t);
        for (int64_t i = 0; i < x->ne[0]; ++i) out[i] = dropout_keeps(d.key, token_key, uint64_t(i), d.probability) ? in[i] * scale : 0.0f;
    });
}

void op_cross_entropy(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    const int32_t * labels = static_cast<const int32_t *>(dst->src[1]->data);
    float * stats = static_cast<float *>(dst->src[2]->data);
    for_rows(d, dst->ne[1], dst->ne[0], [&](int64_t r) {
        d.runtime->kernels.rows->cross_entropy(row_of(dst, r), dst->ne[0], labels[r], d.gradient, d.label_smoothing, stats + 3 * r);
    });
}

void op_divergence(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    float * stats = static_cast<float *>(dst->src[2]->data);
    for_rows(d, dst->ne[1], dst->ne[0], [&](int64_t r) { d.runtime->kernels.rows->divergence(row_of(dst, r), row_of(dst->src[1], r), dst->ne[0], d.gradient, stats + r); });
}

void op_norm(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    const float * gain = static_cast<const float *>(dst->src[1]->data);
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) { d.runtime->kernels.rows->norm(row_of(dst->src[0], r), gain, dst->ne[0], d.epsilon, row_of(dst, r)); });
}

void op_norm_backward(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    const float * gain = static_cast<const float *>(dst->src[2]->data);
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) {
        d.runtime->kernels.rows->norm_backward(row_of(dst->src[0], r), row_of(dst->src[1], r), gain, dst->src[3] != nullptr ? row_of(dst->src[3], r) : nullptr, dst->ne[0], d.epsilon, row_of(dst, r));
    });
}

void op_glu(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) {
        d.runtime->kernels.rows->glu(row_of(dst->src[0], r), row_of(dst->src[1], r), dst->ne[0], d.variant, row_of(dst, r));
    });
}

void op_glu_backward(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    for_rows(d, dst->ne[1], dst->ne[0], [&](int64_t r) {
        d.runtime->kernels.rows->glu_backward(row_of(dst->src[0], r), row_of(dst->src[1], r), row_of(dst->src[2], r), dst->ne[0], d.variant, row_of(dst, r),
                                                 row_of(dst, dst->ne[1] + r));
    });
}

void op_soft_max(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    const ggml_tensor * mask = dst->src[1];  // [keys, queries], the same for all heads
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) { d.runtime->kernels.rows->soft_max(row_of(dst, r), row_of(mask, r % mask->ne[1]), dst->ne[0], d.alpha); });
}

void op_soft_max_backward(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) { d.runtime->kernels.rows->soft_max_backward(row_of(dst, r), row_of(dst->src[1], r), dst->ne[0], d.alpha); });
}

void op_rotate(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    const int64_t n_heads = dst->ne[1];
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) {
        d.runtime->kernels.rows->rotate(row_of(dst->src[0], r), row_of(dst->src[1], r / n_heads), dst->ne[0], dst->src[1]->ne[0], d.variant, d.alpha, row_of(dst, r));
    });
}

void op_soft_cap(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) { d.runtime->kernels.rows->soft_cap(row_of(dst->src[0], r), dst->ne[0], d.alpha, d.cap, row_of(dst, r)); });
}

void op_soft_cap_backward(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) { d.runtime->kernels.rows->soft_cap_backward(row_of(dst, r), row_of(dst->src[1], r), dst->ne[0], d.alpha, d.cap); });
}

void op_add(ggml_tensor * dst, int, int, void * userdata) {
    const op_description & d = describe(userdata);
    for_rows(d, count_rows(dst), dst->ne[0], [&](int64_t r) { d.runtime->kernels.rows->add(row_of(dst->src[0], r), row_of(dst->src[1], r), dst->ne[0], row_of(dst, r)); });
}

}  // namespace fedllm
