// AdamW over the flat vector of adapter weights, on the host in plain C++: under one per cent of a step's work, and exact on
// every backend. Semantics of torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
#pragma once

#include <cstddef>
#include <vector>

#include "trainer.h"

namespace fedllm {

class adamw {
  public:
    adamw(const optimizer_options & options, size_t n) : options_(options), m_(n, 0.0f), v_(n, 0.0f) {}

    // One update. gradient: of the mean loss of the step; clipped in place when the options ask for it.
    void step(std::vector<float> & weights, std::vector<float> & gradient, double learning_rate);

  private:
    optimizer_options  options_;
    std::vector<float> m_, v_;  // first and second moments
    long               n_steps_ = 0;
};

// L2 norm, summed in double in index order.
double vector_norm(const std::vector<float> & x);

}  // namespace fedllm
