// Weights that do not fit into the device's memory: they stay in the mapped file, and layers are copied to two slots on the device
// in the order in which they are needed, the next one by a second thread while the current one computes. Neighbouring layers have
// different slots. The head has memory of its own where the limit leaves room, and both slots together otherwise.
#pragma once

#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base-model.h"

namespace fedllm {

// What streaming takes on the device.
struct stream_sizes {
    size_t slots = 0;     // two layers, or the head where that is larger and has no memory of its own
    size_t resident = 0;  // output norm, rope factors, the head where it stays
    bool   head_stays = true;

    size_t sum() const { return slots + resident; }
};

// limit: bytes for weights on the device; absent: the head shares the slots' memory.
stream_sizes stream_measure(const base_model & model, const backend & device, std::optional<size_t> limit);

class layer_stream {
  public:
    // Throws OUT_OF_MEMORY when even the leanest way is over the model's limit or the device has less.
    layer_stream(const base_model & model, const backend & device);
    ~layer_stream();
    layer_stream(const layer_stream &)             = delete;
    layer_stream & operator=(const layer_stream &) = delete;

    // Tensors in the slots; what they hold is right only between acquire and release of a pass.
    const std::vector<layer_weights> & layers() const { return layers_; }
    ggml_tensor * output() const { return output_; }
    ggml_tensor * output_norm() const { return output_norm_; }
    ggml_tensor * rope_factors() const { return rope_factors_; }

    static constexpr int64_t HEAD = -1, NOTHING = -2;

    // One walk over layers (and HEAD) in a given order. The thread that copies lives as long as the pass.
    class pass {
      public:
        pass(layer_stream & stream, std::vector<int64_t> order);
        ~pass();
        pass(const pass &)             = delete;
        pass & operator=(const pass &) = delete;

        // Waits until the weights of the next item of the order are there.
        void acquire();
        // Computing with them is over: their slot may be overwritten.
        void release();

      private:
        void copy_all();

        layer_stream &          stream_;
        std::vector<int64_t>    order_;
        std::mutex              mutex_;
        std::condition_variable changed_;
        size_t                  n_ready_ = 0, n_done_ = 0;
        bool                    stop_ = false;
        std::exception_ptr      failure_;
        std::thread             thread_;
    };

  private:
    struct copy {
        const ggml_tensor * source;  // in the mapped file
        ggml_tensor *       target;
    };
    ggml_tensor * place(const ggml_tensor * source, size_t & offset, std::vector<copy> & copies);
    void          place_layers(size_t slot_bytes);
    void          fill(int64_t item);

    const base_model &             model_;
    ggml_context *                 context_ = nullptr;
    ggml_backend_buffer_t          buffer_ = nullptr;
    std::vector<layer_weights>     layers_;
    ggml_tensor *                  output_ = nullptr;
    ggml_tensor *                  output_norm_ = nullptr;
    ggml_tensor *                  rope_factors_ = nullptr;
    std::vector<std::vector<copy>> copies_;      // per layer
    std::vector<copy>              head_copies_;  // empty: the head stays
    int64_t                        content_[2] = { NOTHING, NOTHING };  // layer or HEAD in each slot
};

}  // namespace fedllm
