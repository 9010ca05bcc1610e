// Decoupled weight decay as in Loshchilov and Hutter 2019 (algorithm 2), moments and bias correction as in Kingma and Ba 2015.
#include "optimizer.h"

#include <cmath>

namespace fedllm {

double vector_norm(const std::vector<float> & x) {
    double sum = 0.0;
    for (const float value : x) sum += double(value) * double(value);
    return std::sqrt(sum);
}

std::vector<parameter_range> trained_ranges(const adapter_layout & layout, trained_half trained, double lora_plus_ratio) {
    std::vector<parameter_range> ranges;
    for (const adapter_tensor & tensor : layout.tensors) {
        if (trained == (tensor.is_b ? trained_half::a : trained_half::b)) continue;
        const size_t end = tensor.offset + size_t(tensor.shape[0] * tensor.shape[1]);
        const double factor = tensor.is_b ? lora_plus_ratio : 1.0;
        if (!ranges.empty() && ranges.back().end == tensor.offset && ranges.back().rate_factor == factor) ranges.back().end = end;
        else ranges.push_back({ tensor.offset, end, factor });
    }
    return ranges;
}

adamw::adamw(const optimizer_options & options, std::vector<parameter_range> ranges) : options_(options), ranges_(std::move(ranges)) {
    size_t n = 0;
    for (const parameter_range & range : ranges_) n += range.end - range.begin;
    m_.assign(n, 0.0f);
    v_.assign(n, 0.0f);
}

void adamw::step(std::vector<float> & weights, std::vector<float> & gradient, double learning_rate) {
    if (options_.max_gradient_norm) {
        const double factor = *options_.max_gradient_norm / (vector_norm(gradient) + 1e-6);  // torch's 1e-6 against division by zero
        if (factor < 1.0) {
            for (float & g : gradient) g = float(double(g) * factor);
        }
    }
    n_steps_ += 1;
    const double beta1 = options_.beta1, beta2 = options_.beta2;
    const double root_factor = 1.0 / std::sqrt(1.0 - std::pow(beta2, double(n_steps_)));
    size_t moment = 0;
    for (const parameter_range & range : ranges_) {
        const double rate      = learning_rate * range.rate_factor;
        const double step_size = rate / (1.0 - std::pow(beta1, double(n_steps_)));
        const double keep      = 1.0 - rate * options_.weight_decay;
        for (size_t i = range.begin; i < range.end; ++i, ++moment) {
            const double g = double(gradient[i]);
            const double m = beta1 * double(m_[moment]) + (1.0 - beta1) * g;
            const double v = beta2 * double(v_[moment]) + (1.0 - beta2) * g * g;
            m_[moment] = float(m);
            v_[moment] = float(v);
            weights[i] = float(double(weights[i]) * keep - step_size * m / (std::sqrt(v) * root_factor + options_.epsilon));
        }
    }
}

}  // namespace fedllm
