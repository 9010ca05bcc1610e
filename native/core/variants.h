// Choices that change speed and memory, and results only within the bounds that are stated here and tested.
#pragma once

#include <array>

namespace fedllm {

// How products with a frozen weight are computed on the CPU; everything else is F32.
enum class weight_product {
    f32,   // operands in F32
    bf16,  // weights that are not F32, and what they are multiplied with, rounded to BF16 (relative error 2^-9 each); sums in F32
};

// Transposed copies of the frozen weights for W^T dy, made when the model is loaded.
enum class transpose_cache {
    none,  // the weight's rows are dequantised in each product
    bf16,
    f16,
    q8_0,  // rounded again to Q8_0, relative error about 0.4 %
};

// In the order of the two enumerations.
constexpr std::array<const char *, 2> WEIGHT_PRODUCT_NAMES  = { "f32", "bf16" };
constexpr std::array<const char *, 4> TRANSPOSE_CACHE_NAMES = { "none", "bf16", "f16", "q8_0" };

struct kernel_variants {
    weight_product  product = weight_product::f32;
    transpose_cache transposes = transpose_cache::none;
};

}  // namespace fedllm
