// See loss.h. d hidden = weight * W^T (softmax - onehot); the one-hot part is a row look-up in W where the CPU kernel is not used.
#include "loss.h"

#include <algorithm>
#include <cmath>

namespace fedllm {

namespace {

ggml_tensor * rows_view(graph_builder & g, ggml_tensor * x, int64_t begin, int64_t count) {
    return ggml_view_2d(g.context(), x, x->ne[0], count, x->nb[1], size_t(begin) * x->nb[1]);
}

// x [V, c] at one index per row -> [c].
ggml_tensor * pick(graph_builder & g, ggml_tensor * x, ggml_tensor * indices) {
    ggml_context * c = g.context();
    ggml_tensor * picked = ggml_get_rows(c, ggml_reshape_3d(c, x, 1, x->ne[0], x->ne[1]), ggml_reshape_2d(c, indices, 1, x->ne[1]));
    return ggml_reshape_1d(c, picked, x->ne[1]);
}

// Fills the scores of one chunk and returns what W^T is applied to: softmax - e / V, minus (1 - e) onehot on the CPU.
ggml_tensor * score_chunk(graph_builder & g, head_chunk & chunk, ggml_tensor * logits, ggml_tensor * labels, const run_request & request) {
    const float e = request.label_smoothing;
    if (g.rules().cpu_kernels) {
        chunk.stats = g.output(g.empty_2d(3, chunk.count, false));
        ggml_tensor * d_logits = g.cross_entropy(logits, labels, chunk.stats, request.gradient, e);
        g.expand(d_logits);
        return d_logits;
    }
    // log p(label) = z_label - (z_top - log p_top): p_top is at least 1/V, so its logarithm is always finite.
    ggml_tensor * top = ggml_argmax(g.context(), logits);
    chunk.top_token   = g.output(top);
    chunk.label_logit = g.output(pick(g, logits, labels));
    chunk.top_logit   = g.output(pick(g, logits, top));
    g.expand(chunk.label_logit);
    g.expand(chunk.top_logit);
    ggml_tensor * p = ggml_soft_max(g.context(), logits);
    chunk.top_probability = g.output(pick(g, p, top));
    g.expand(chunk.top_probability);
    if (e == 0.0f) return p;
    chunk.mean_logit = g.output(ggml_mean(g.context(), logits));
    g.expand(chunk.mean_logit);
    return ggml_scale_bias(g.context(), p, 1.0f, -e / float(logits->ne[0]));
}

struct top_entry {
    ggml_tensor * logit;        // [c]
    ggml_tensor * probability;  // [c]
};

// Of the most likely token of each row; what the logarithm of the sum of exponentials is made of. p: softmax of the logits.
top_entry pick_top(graph_builder & g, ggml_tensor * logits, ggml_tensor * p) {
    ggml_tensor * top = ggml_argmax(g.context(), logits);
    const top_entry entry = { g.output(pick(g, logits, top)), g.output(pick(g, p, top)) };
    g.expand(entry.logit);
    g.expand(entry.probability);
    return entry;
}

// Fills the divergence of one chunk and returns softmax(logits) - softmax(teacher), its gradient by the logits.
ggml_tensor * diverge_chunk(graph_builder & g, head_chunk & chunk, ggml_tensor * logits, ggml_tensor * teacher, bool gradient) {
    ggml_context * c = g.context();
    if (g.rules().cpu_kernels) {
        chunk.divergence = g.output(g.empty_2d(1, chunk.count, false));
        ggml_tensor * d_logits = g.divergence(logits, teacher, chunk.divergence, gradient);
        g.expand(d_logits);
        return d_logits;
    }
    ggml_tensor * p = ggml_soft_max(c, logits), * q = ggml_soft_max(c, teacher);
    const top_entry top = pick_top(g, logits, p), teacher_top = pick_top(g, teacher, q);
    chunk.top_logit = top.logit;
    chunk.top_probability = top.probability;
    chunk.teacher_top_logit = teacher_top.logit;
    chunk.teacher_top_probability = teacher_top.probability;
    chunk.cross = g.output(ggml_sum_rows(c, ggml_mul(c, q, ggml_sub(c, teacher, logits))));
    g.expand(chunk.cross);
    return ggml_sub(c, p, q);
}

ggml_tensor * input_labels(graph_builder & g, int64_t begin, int64_t count) {
    return g.input_i32(count, 1, [begin, count](const micro_batch & b, int32_t * values) { std::copy_n(b.labels.data() + begin, count, values); });
}

// source [T]: the loss row of each token that has at least round + 1 of them, otherwise one past the last row.
void fill_sources(const micro_batch & b, int64_t round, int32_t * source) {
    std::fill_n(source, b.n_tokens(), int32_t(b.n_loss()));
    std::vector<int64_t> seen(size_t(b.n_tokens()), 0);
    for (size_t i = 0; i < b.loss_rows.size(); ++i) {
        if (seen[size_t(b.loss_rows[i])]++ == round) source[size_t(b.loss_rows[i])] = int32_t(i);
    }
}

// Puts rows back to their places among T, those of one place summed; rows without loss get zero from an extra zero row.
ggml_tensor * scatter_rows(graph_builder & g, ggml_tensor * rows, const micro_batch & batch) {
    ggml_tensor * extended = ggml_concat(g.context(), rows, g.empty_2d(rows->ne[0], 1, true), 1);
    ggml_tensor * sum = nullptr;
    for (int64_t round = 0; round < batch.count_repeats(); ++round) {
        const auto fill = [round](const micro_batch & b, int32_t * source) { fill_sources(b, round, source); };
        ggml_tensor * part = ggml_get_rows(g.context(), extended, g.input_i32(batch.n_tokens(), 1, fill));
        sum = sum == nullptr ? part : g.add(sum, part);
    }
    return sum;
}

// Portable lowering: the one-hot part of d logits is a row of the head, times the logit's slope where logits are capped.
ggml_tensor * subtract_label_rows(graph_builder & g, const head_module & head, const micro_batch & batch, ggml_tensor * d_h, const head_result & result,
                                  float label_smoothing) {
    ggml_context * c = g.context();
    ggml_tensor * rows = ggml_get_rows(c, head.output, input_labels(g, 0, batch.n_loss()));
    rows = g.scale(rows, head.scale * (1.0f - label_smoothing));
    if (head.cap == 0.0f) return ggml_sub(c, d_h, rows);
    // 1 - (z / cap)^2 at each row's label, z the capped logit.
    ggml_tensor * z = result.chunks.front().label_logit;
    for (size_t i = 1; i < result.chunks.size(); ++i) z = ggml_concat(c, z, result.chunks[i].label_logit, 0);
    ggml_tensor * slope = ggml_scale_bias(c, ggml_sqr(c, ggml_scale(c, z, 1.0f / head.cap)), -1.0f, 1.0f);
    return ggml_sub(c, d_h, ggml_mul(c, rows, ggml_reshape_2d(c, slope, 1, batch.n_loss())));
}

// Log-probabilities of the labels of all rows, [n].
ggml_tensor * log_probabilities(graph_builder & g, const head_result & result) {
    ggml_context * c = g.context();
    ggml_tensor * all = nullptr;
    for (const head_chunk & chunk : result.chunks) {
        ggml_tensor * part = nullptr;
        if (chunk.stats != nullptr) part = ggml_reshape_1d(c, ggml_cont(c, ggml_view_2d(c, chunk.stats, 1, chunk.count, chunk.stats->nb[1], 0)), chunk.count);
        else part = ggml_sub(c, chunk.label_logit, ggml_sub(c, chunk.top_logit, ggml_log(c, chunk.top_probability)));
        all = all == nullptr ? part : ggml_concat(c, all, part, 0);
    }
    return all;
}

// [1, n]: minus the derivative of the pairs' loss by each row's log-probability, sign * beta * (1 - s - sigmoid(beta m)).
ggml_tensor * preference_weights(graph_builder & g, const micro_batch & batch, const head_result & result, const run_request & request) {
    ggml_context * c = g.context();
    const int64_t n = batch.n_loss(), n_pairs = batch.pairs.count();
    const float beta = request.preference_beta;
    ggml_tensor * signs = g.input_f32(n, n_pairs, [](const micro_batch & b, float * values) { std::copy(b.pairs.signs.begin(), b.pairs.signs.end(), values); });
    ggml_tensor * signs_by_row = g.input_f32(n_pairs, n, [n, n_pairs](const micro_batch & b, float * values) {
        for (int64_t i = 0; i < n * n_pairs; ++i) values[i] = b.pairs.signs[size_t(i % n_pairs * n + i / n_pairs)];
    });
    ggml_tensor * references = g.input_f32(n_pairs, 1, [](const micro_batch & b, float * values) {
        std::copy(b.pairs.reference_differences.begin(), b.pairs.reference_differences.end(), values);
    });
    const auto multiply = [c](ggml_tensor * a, ggml_tensor * x) {
        ggml_tensor * product = ggml_mul_mat(c, a, x);
        ggml_mul_mat_set_prec(product, GGML_PREC_F32);
        return product;
    };
    ggml_tensor * margins = ggml_scale(c, ggml_sub(c, multiply(signs, ggml_reshape_2d(c, log_probabilities(g, result), n, 1)), references), beta);
    ggml_tensor * slopes = ggml_scale_bias(c, ggml_sigmoid(c, margins), -beta, beta * (1.0f - request.preference_smoothing));
    return ggml_reshape_2d(c, multiply(signs_by_row, slopes), 1, n);
}

// Rows are independent, so a weight or scale of a row's loss is one of its gradient.
ggml_tensor * weigh_rows(graph_builder & g, const micro_batch & batch, const head_result & result, ggml_tensor * d_rows, const run_request & request) {
    if (batch.pairs.count() > 0) {
        d_rows = ggml_mul(g.context(), d_rows, preference_weights(g, batch, result, request));
    } else if (!batch.weights.empty()) {
        const auto fill = [](const micro_batch & b, float * values) { std::copy(b.weights.begin(), b.weights.end(), values); };
        d_rows = ggml_mul(g.context(), d_rows, g.input_f32(1, batch.n_loss(), fill));
    }
    return g.scale(d_rows, request.gradient_scale);
}

ggml_tensor * normalise(graph_builder & g, const head_module & head, ggml_tensor * hidden) {
    return g.norm(hidden, head.norm, head.epsilon);
}

ggml_tensor * input_teacher(graph_builder & g, int64_t n_embd, int64_t n) {
    return g.input_f32(n_embd, n, [](const micro_batch & b, float * values) { std::copy(b.teacher.rows.begin(), b.teacher.rows.end(), values); });
}

}  // namespace

head_result head_loss(graph_builder & g, const head_module & head, const micro_batch & batch, ggml_tensor * hidden, const run_request & request) {
    const bool gradient = request.gradient;
    ggml_context * c = g.context();
    head_result result;
    const int64_t n = batch.n_loss();
    const auto fill_rows = [](const micro_batch & b, int32_t * values) { std::copy(b.loss_rows.begin(), b.loss_rows.end(), values); };
    ggml_tensor * selected = ggml_get_rows(c, hidden, g.input_i32(n, 1, fill_rows));  // [n_embd, n]
    ggml_tensor * h = normalise(g, head, selected);
    ggml_tensor * d_h = gradient ? g.empty_like(h, false) : nullptr;
    ggml_tensor * teacher = request.divergence ? normalise(g, head, input_teacher(g, h->ne[0], n)) : nullptr;
    const auto capped_logits = [&](ggml_tensor * logits) { return head.cap == 0.0f ? logits : g.soft_cap(logits, 1.0f, head.cap); };
    for (int64_t begin = 0; begin < n; begin += head.chunk) {
        head_chunk chunk;
        chunk.begin = begin;
        chunk.count = std::min(head.chunk, n - begin);
        const auto head_product = [&](ggml_tensor * rows) { return g.product(plain(head.output), plain(rows_view(g, rows, begin, chunk.count)), head.scale); };
        ggml_tensor * logits = head_product(h);
        ggml_tensor * d_logits = teacher != nullptr ? diverge_chunk(g, chunk, capped_logits(logits), capped_logits(head_product(teacher)), gradient)
                                                    : score_chunk(g, chunk, capped_logits(logits), input_labels(g, begin, chunk.count), request);
        result.chunks.push_back(chunk);
        if (!gradient) continue;
        const placement place = { size_t(begin) * d_h->nb[1], d_h->nb[1], d_h->nb[2], 1 };
        if (head.cap != 0.0f) d_logits = g.soft_cap_backward(d_logits, logits, 1.0f, head.cap);
        d_h = g.product_into(d_h, place, transposed(head.output), plain(d_logits), head.scale, false);
        g.expand(d_h);
    }
    if (!gradient) return result;
    if (!g.rules().cpu_kernels && teacher == nullptr) d_h = subtract_label_rows(g, head, batch, d_h, result, request.label_smoothing);
    ggml_tensor * d_selected = g.norm_backward(d_h, selected, head.norm, head.epsilon, nullptr);
    result.d_hidden = scatter_rows(g, weigh_rows(g, batch, result, d_selected, request), batch);
    g.expand(result.d_hidden);
    return result;
}

double row_loss(const row_score & score, double label_smoothing) {
    if (label_smoothing == 0.0) return -double(score.log_probability);
    return -(1.0 - label_smoothing) * double(score.log_probability) - label_smoothing * double(score.mean_log_probability);
}

std::vector<row_score> head_read_scores(const head_result & result) {
    std::vector<row_score> scores;
    const auto read = [](ggml_tensor * tensor) {
        std::vector<float> values(size_t(ggml_nelements(tensor)));
        ggml_backend_tensor_get(tensor, values.data(), 0, ggml_nbytes(tensor));
        return values;
    };
    for (const head_chunk & chunk : result.chunks) {
        if (chunk.divergence != nullptr) {
            for (const float divergence : read(chunk.divergence)) scores.push_back({ 0.0f, 0, 0.0f, divergence });
            continue;
        }
        if (chunk.cross != nullptr) {
            const std::vector<float> cross = read(chunk.cross), z = read(chunk.top_logit), p = read(chunk.top_probability), t = read(chunk.teacher_top_logit),
                                     q = read(chunk.teacher_top_probability);
            for (size_t i = 0; i < size_t(chunk.count); ++i) {
                const double log_sum = double(z[i]) - std::log(double(p[i])), teacher_log_sum = double(t[i]) - std::log(double(q[i]));
                scores.push_back({ 0.0f, 0, 0.0f, float(double(cross[i]) + log_sum - teacher_log_sum) });
            }
            continue;
        }
        if (chunk.stats != nullptr) {
            const std::vector<float> stats = read(chunk.stats);
            for (int64_t i = 0; i < chunk.count; ++i) scores.push_back({ stats[size_t(3 * i)], int32_t(stats[size_t(3 * i + 1)]), stats[size_t(3 * i + 2)] });
            continue;
        }
        const std::vector<float> label = read(chunk.label_logit), top = read(chunk.top_logit), p = read(chunk.top_probability);
        const std::vector<float> mean = chunk.mean_logit == nullptr ? std::vector<float>() : read(chunk.mean_logit);
        std::vector<int32_t> tokens(size_t(chunk.count));
        ggml_backend_tensor_get(chunk.top_token, tokens.data(), 0, tokens.size() * sizeof(int32_t));
        for (size_t i = 0; i < size_t(chunk.count); ++i) {
            const float log_sum = top[i] - std::log(p[i]);
            scores.push_back({ label[i] - log_sum, tokens[i], chunk.mean_logit == nullptr ? 0.0f : mean[i] - log_sum });
        }
    }
    return scores;
}

std::vector<ggml_tensor *> head_logits(graph_builder & g, const head_module & head, ggml_tensor * hidden) {
    ggml_tensor * h = normalise(g, head, hidden);
    std::vector<ggml_tensor *> chunks;
    for (int64_t begin = 0; begin < h->ne[1]; begin += head.chunk) {
        const int64_t count = std::min(head.chunk, h->ne[1] - begin);
        ggml_tensor * logits = g.product(plain(head.output), plain(rows_view(g, h, begin, count)), head.scale);
        chunks.push_back(g.output(head.cap == 0.0f ? logits : g.soft_cap(logits, 1.0f, head.cap)));
        g.expand(chunks.back());
    }
    return chunks;
}

}  // namespace fedllm
