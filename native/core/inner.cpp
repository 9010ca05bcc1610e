// See inner.h.
#include "inner.h"

#include "error.h"

namespace fedllm {

size_t inner_count(const adapter_layout & layout, int32_t rank) { return layout.tensors.size() / 2 * size_t(rank) * size_t(rank); }

std::vector<float> inner_factors::compose(const std::vector<float> & inner) const {
    if (inner.size() != inner_count(layout_, int32_t(rank_))) {
        throw train_error("ADAPTER_INVALID", "inner weights: expected " + std::to_string(inner_count(layout_, int32_t(rank_))) + " numbers, received " +
                                                 std::to_string(inner.size()));
    }
    std::vector<float> weights(outer_, outer_ + layout_.n_parameters);
    const float * r = inner.data();
    std::vector<double> row(rank_);
    for (const adapter_tensor & tensor : layout_.tensors) {
        if (!tensor.is_b) continue;
        for (int64_t d = 0; d < tensor.shape[1]; ++d) {
            const float * b = outer_ + tensor.offset + size_t(d) * rank_;
            row.assign(rank_, 0.0);
            for (size_t i = 0; i < rank_; ++i) {
                for (size_t j = 0; j < rank_; ++j) row[j] += double(b[i]) * double(r[i * rank_ + j]);
            }
            for (size_t j = 0; j < rank_; ++j) weights[tensor.offset + size_t(d) * rank_ + j] = float(row[j]);
        }
        r += rank_ * rank_;
    }
    return weights;
}

std::vector<float> inner_factors::project(const std::vector<float> & gradient) const {
    std::vector<float> result;
    result.reserve(inner_count(layout_, int32_t(rank_)));
    std::vector<double> sums(rank_ * rank_);
    for (const adapter_tensor & tensor : layout_.tensors) {
        if (!tensor.is_b) continue;
        sums.assign(rank_ * rank_, 0.0);
        for (int64_t d = 0; d < tensor.shape[1]; ++d) {
            const size_t offset = tensor.offset + size_t(d) * rank_;
            for (size_t i = 0; i < rank_; ++i) {
                for (size_t j = 0; j < rank_; ++j) sums[i * rank_ + j] += double(outer_[offset + i]) * double(gradient[offset + j]);
            }
        }
        for (const double sum : sums) result.push_back(float(sum));
    }
    return result;
}

}  // namespace fedllm
