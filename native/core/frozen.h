// The weights of frozen adapters on the device, and the pairs of them that a layer's modules use.
#pragma once

#include <array>
#include <vector>

#include "adapter.h"
#include "linear.h"

namespace fedllm {

class frozen_weights {
  public:
    // Copies the weights to the device; place = false: only measures, nothing is allocated. Throws ADAPTER_INVALID for options that do
    // not fit the model or missing weights, OUT_OF_MEMORY.
    frozen_weights(const base_model & model, const std::vector<frozen_adapter> & adapters, ggml_backend_t device, bool place);
    ~frozen_weights();
    frozen_weights(const frozen_weights &)             = delete;
    frozen_weights & operator=(const frozen_weights &) = delete;

    // Pairs of one module, in the order of the adapters; empty: no adapter targets it.
    const std::vector<frozen_pair> & pairs(size_t layer, size_t module) const { return pairs_[layer][module]; }
    size_t bytes() const { return bytes_; }

  private:
    void place_weights(const std::vector<frozen_adapter> & adapters, const std::vector<ggml_tensor *> & flats, ggml_backend_t device);
    void add_views(const adapter_layout & layout, float scale, ggml_tensor * flat);

    ggml_context *        context_ = nullptr;
    ggml_backend_buffer_t buffer_ = nullptr;
    size_t                bytes_ = 0;
    std::vector<std::array<std::vector<frozen_pair>, MODULE_COUNT>> pairs_;  // per layer
};

}  // namespace fedllm
