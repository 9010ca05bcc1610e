// Decoupled weight decay as in Loshchilov and Hutter 2019 (algorithm 2), moments and bias correction as in Kingma and Ba 2015.
#include "optimizer.h"

#include <cmath>

namespace fedllm {

double vector_norm(const std::vector<float> & x) {
    double sum = 0.0;
    for (const float value : x) sum += double(value) * double(value);
    return std::sqrt(sum);
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
    const double step_size   = learning_rate / (1.0 - std::pow(beta1, double(n_steps_)));
    const double root_factor = 1.0 / std::sqrt(1.0 - std::pow(beta2, double(n_steps_)));
    const double keep        = 1.0 - learning_rate * options_.weight_decay;
    for (size_t i = 0; i < weights.size(); ++i) {
        const double g = double(gradient[i]);
        const double m = beta1 * double(m_[i]) + (1.0 - beta1) * g;
        const double v = beta2 * double(v_[i]) + (1.0 - beta2) * g * g;
        m_[i] = float(m);
        v_[i] = float(v);
        weights[i] = float(double(weights[i]) * keep - step_size * m / (std::sqrt(v) * root_factor + options_.epsilon));
    }
}

}  // namespace fedllm
