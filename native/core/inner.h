// Fed-SB (Singhal et al. 2025, arXiv 2502.15436, section 3): y = W x + scale * B R A x with A and B given and fixed; of each pair only
// the matrix R [rank, rank] between them, the inner one, is trained.
// The inner matrices of all pairs lie in one flat F32 buffer in the order of the layout's pairs, in ggml order like B: the number that
// direction i of B takes of direction j of A is at i * rank + j of its matrix.
// To the engine a pair is A and B R: B R is formed on the host before a step, and since it is linear in R the gradient of R is
// B^T times that of B R. Both cost rank * rank * d_out, a small part of a step.
#pragma once

#include <cstddef>
#include <vector>

#include "adapter.h"

namespace fedllm {

// Numbers in the inner matrices of an adapter.
size_t inner_count(const adapter_layout & layout, int32_t rank);

class inner_factors {
  public:
    // outer: A and B in layout order; must outlive this.
    inner_factors(const adapter_layout & layout, int32_t rank, const float * outer) : layout_(layout), rank_(size_t(rank)), outer_(outer) {}

    // A and B R in layout order. Throws ADAPTER_INVALID for another number of inner weights than there are.
    std::vector<float> compose(const std::vector<float> & inner) const;
    // The gradient of R from that of A and B R in layout order; A's part is not looked at. Sums in double.
    std::vector<float> project(const std::vector<float> & gradient) const;

  private:
    adapter_layout layout_;
    size_t         rank_;
    const float *  outer_;
};

}  // namespace fedllm
