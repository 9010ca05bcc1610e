// The reference of a student that follows a teacher: states between layers, the loss by its definition, and its gradient by the
// reference's own backward pass.
#include <algorithm>
#include <cmath>

#include "reference-cache.h"

namespace fedllm_test {

std::vector<vec> reference_model::states(const std::vector<int32_t> & tokens, const reference_adapter * adapter) const {
    reference_cache cache;
    forward(tokens, adapter, cache);
    std::vector<vec> all;
    for (const layer_cache & layer : cache.layers) {
        all.push_back(layer.x);
    }
    all.push_back(cache.x_last);
    return all;
}

namespace {

// log softmax of each row.
vec log_probabilities(vec z, int64_t n_vocab) {
    for (auto row = z.begin(); row != z.end(); row += n_vocab) {
        const double largest = *std::max_element(row, row + n_vocab);
        double       total = 0.0;
        for (int64_t k = 0; k < n_vocab; k++) {
            total += std::exp(row[k] - largest);
        }
        std::transform(row, row + n_vocab, row, [&](double value) { return value - largest - std::log(total); });
    }
    return z;
}

}  // namespace

double reference_model::distil(const std::vector<reference_sample> & samples, const reference_adapter & adapter, const reference_teacher & teacher,
                               vec & gradient) const {
    double loss_sum = 0.0;
    gradient.assign(count_weights(adapter), 0.0);
    for (const reference_sample & sample : samples) {
        // What comes after the last label is not computed.
        const size_t n_tokens = size_t(std::find(sample.supervised.rbegin(), sample.supervised.rend(), 1).base() - sample.supervised.begin()) - 1;
        const std::vector<int32_t> tokens(sample.tokens.begin(), sample.tokens.begin() + int64_t(n_tokens));
        reference_cache cache;
        forward(tokens, &adapter, cache);
        const std::vector<vec> own = states(tokens, &adapter), wanted = teacher.model->states(tokens, teacher.adapter);
        std::vector<vec>       pulls(own.size());
        for (size_t b = 0; b < teacher.boundaries.size(); b++) {
            const vec & h = own[size_t(teacher.boundaries[b])];
            const vec & target = wanted[size_t(teacher.teacher_boundaries[b])];
            double      square = 0.0, error = 0.0;
            for (size_t i = 0; i < h.size(); i++) {
                square += target[i] * target[i];
                error += (h[i] - target[i]) * (h[i] - target[i]);
            }
            loss_sum += teacher.hidden_weight * error / square;
            vec & pull = pulls[size_t(teacher.boundaries[b])];
            for (size_t i = 0; i < h.size(); i++) {
                pull.push_back(2.0 * teacher.hidden_weight / square * (h[i] - target[i]));
            }
        }
        const vec log_p = log_probabilities(multiply_transposed(output.values.data(), n_vocab, n_embd, cache.head_in, cache.n_tokens), n_vocab);
        const vec log_q = log_probabilities(teacher.model->logits(tokens, teacher.adapter), n_vocab);
        vec       d_z(log_p.size());
        const auto n_supervised = double(std::count(sample.supervised.begin(), sample.supervised.end(), 1));
        for (size_t i = 0; i < d_z.size(); i++) {
            if (!sample.supervised[i / size_t(n_vocab) + 1]) {
                continue;
            }
            const double weight = teacher.divergence_weight / n_supervised;
            loss_sum += weight * std::exp(log_q[i]) * (log_q[i] - log_p[i]);
            d_z[i] = weight * (std::exp(log_p[i]) - std::exp(log_q[i]));
        }
        vec d_head_in(cache.head_in.size()), d_x(cache.x_last.size());
        add_product(output.values.data(), n_vocab, n_embd, d_z, cache.n_tokens, d_head_in);
        rms_norm_backward(cache.x_last, output_norm, norm_epsilon, d_head_in, d_x);
        backward(adapter, cache, std::move(d_x), gradient, pulls);
    }
    return loss_sum;
}

}  // namespace fedllm_test
