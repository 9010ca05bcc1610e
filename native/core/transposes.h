// Stored copies W^T of frozen weights, so that W^T dy is a plain product on devices without kernels of ours: made on the
// device itself when a model is loaded, out of weights that are there already.
#pragma once

#include <cstddef>
#include <vector>

#include "backend.h"
#include "graph.h"
#include "variants.h"

namespace fedllm {

class transposed_weights {
  public:
    // matrices [d_in, d_out] in the device's buffers. Rows of W^T must hold whole blocks of the type: a matrix whose d_out
    // is not a multiple of the block (32 for Q8_0) gets no copy. step_bytes: of the F32 copies on the way, a few of which exist at
    // once. Throws OUT_OF_MEMORY, MODEL_UNSUPPORTED.
    transposed_weights(const backend & device, const std::vector<ggml_tensor *> & matrices, transpose_cache type, size_t step_bytes = size_t(64) << 20);
    // Describes them only, for a graph that is measured and never run.
    transposed_weights(const std::vector<ggml_tensor *> & matrices, transpose_cache type);
    ~transposed_weights();
    transposed_weights(const transposed_weights &)             = delete;
    transposed_weights & operator=(const transposed_weights &) = delete;

    const transpose_map & map() const { return map_; }

  private:
    void describe(const std::vector<ggml_tensor *> & matrices, transpose_cache type);

    ggml_context *        context_ = nullptr;
    ggml_backend_buffer_t buffer_ = nullptr;
    transpose_map         map_;
};

// Bytes that the copies take.
size_t transposes_bytes(const std::vector<ggml_tensor *> & matrices, transpose_cache type);

// Whether the device has every operation that making and using the copies takes; false for `none`.
bool transposes_are_supported(const backend & device, const std::vector<ggml_tensor *> & matrices, transpose_cache type);

}  // namespace fedllm
