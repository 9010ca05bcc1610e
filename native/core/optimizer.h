// AdamW over the flat vector of adapter weights, on the host in plain C++: under one per cent of a step's work, and exact on
// every backend. Semantics of torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
#pragma once

#include <cstddef>
#include <vector>

#include "trainer.h"

namespace fedllm {

// Weights [begin, end) that are trained, at rate_factor times the learning rate.
struct parameter_range {
    size_t begin, end;
    double rate_factor;
};

// Those of an adapter, in layout order, neighbours of one factor joined; a frozen half is in none.
std::vector<parameter_range> trained_ranges(const adapter_layout & layout, trained_half trained, double lora_plus_ratio);

class adamw {
  public:
    adamw(const optimizer_options & options, size_t n) : adamw(options, std::vector<parameter_range>{ { 0, n, 1.0 } }) {}
    // Moments are kept for the ranges only; weights outside stay as they are.
    adamw(const optimizer_options & options, std::vector<parameter_range> ranges);

    // One update. gradient: of the mean loss of the step, zero outside the ranges; clipped in place when the options ask for it.
    void step(std::vector<float> & weights, std::vector<float> & gradient, double learning_rate);

  private:
    optimizer_options            options_;
    std::vector<parameter_range> ranges_;
    std::vector<float>           m_, v_;  // first and second moments of the ranges, one after another
    long                         n_steps_ = 0;
};

// L2 norm, summed in double in index order.
double vector_norm(const std::vector<float> & x);

}  // namespace fedllm
