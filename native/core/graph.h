// Builds one ggml graph out of the few primitives that the layers are written in, each lowered for the device at hand:
// our own kernels as custom operations on the CPU, operations that every backend has elsewhere.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "backend.h"
#include "ggml-alloc.h"
#include "ggml.h"

namespace fedllm {

// How primitives become operations. `portable` uses only what CPU, CUDA, Vulkan and Metal all have.
struct lowering {
    bool cpu_kernels    = false;  // custom operations of cpu/
    bool rms_norm_back  = false;  // RMS_NORM_BACK exists on the device
    bool silu_back      = false;  // SILU_BACK exists
    bool soft_max_back  = false;  // SOFT_MAX_BACK exists

    static lowering choose(const backend & device);
    static lowering portable() { return {}; }
};

// One operand of a product. transposed = false: the contracted axis is ne0, as in GGML_OP_MUL_MAT; true: it is ne1.
struct operand {
    ggml_tensor * tensor;
    bool          transposed;
};
inline operand plain(ggml_tensor * tensor) { return { tensor, false }; }
inline operand transposed(ggml_tensor * tensor) { return { tensor, true }; }

// Where a product is written inside a larger tensor: output (i, j) of batch b lies at offset + i*4 + j*row_bytes + b*batch_bytes.
struct placement {
    size_t offset = 0;
    size_t row_bytes = 0;
    size_t batch_bytes = 0;
    int64_t n_batch = 1;
};

struct op_description;  // parameters of one custom operation

class graph_builder {
  public:
    // memory: the buffer for tensor descriptions, reused from graph to graph.
    graph_builder(const backend & device, const lowering & rules, std::vector<uint8_t> & memory, size_t max_nodes);
    ~graph_builder();
    graph_builder(const graph_builder &)             = delete;
    graph_builder & operator=(const graph_builder &) = delete;

    ggml_context * context() const { return context_; }
    ggml_cgraph *  graph() const { return graph_; }
    const lowering & rules() const { return rules_; }

    // A tensor whose data is copied to the device before the graph runs; `data` is copied now.
    ggml_tensor * input_i32(int64_t ne0, int64_t ne1, const int32_t * data);
    ggml_tensor * input_f32(int64_t ne0, int64_t ne1, const float * data);

    // alpha * a . b, contracted as the operands say: [m, n, batch]. a's batch may be a divisor of b's (grouped heads).
    ggml_tensor * product(operand a, operand b, float alpha = 1.0f);
    // The same added to `target`, of the same shape; returns target's new value. target must not be used afterwards.
    ggml_tensor * product_add(ggml_tensor * target, operand a, operand b, float alpha = 1.0f);
    // The same written to (or added at) a place in `target`. With fewer batches there than operands have, neighbouring
    // batches are summed (the heads of one key-value group).
    ggml_tensor * product_into(ggml_tensor * target, const placement & place, operand a, operand b, float alpha, bool accumulate);

    // A tensor of this shape with undefined (zero = false) or zero contents, F32. like: any F32 tensor of that shape.
    ggml_tensor * empty_like(ggml_tensor * like, bool zero);
    ggml_tensor * empty_2d(int64_t ne0, int64_t ne1, bool zero);

    // x with each number dropped with `probability` by (key, token key, row position), the others scaled by 1/(1-p).
    // token_keys: I32 [2, T], the two halves of a 64-bit key per token.
    ggml_tensor * dropout(ggml_tensor * x, ggml_tensor * token_keys, const std::vector<uint64_t> & host_keys, uint64_t key, float probability);

    // CPU kernels only. logits [V, c] become softmax - onehot(labels) (or stay as they are when gradient is false);
    // stats [2, c] receives each row's log-probability of its label and its most likely token.
    ggml_tensor * cross_entropy(ggml_tensor * logits, ggml_tensor * labels, ggml_tensor * stats, bool gradient);

    // Backward of y = RMSNorm(x) * gain given dy * gain: d/dx.
    ggml_tensor * rms_norm_backward(ggml_tensor * dy_times_gain, ggml_tensor * x, float epsilon);
    ggml_tensor * silu_backward(ggml_tensor * dy, ggml_tensor * x);
    // scale * P * (dP - rowsum(P dP)).
    ggml_tensor * soft_max_backward(ggml_tensor * d_probabilities, ggml_tensor * probabilities, float scale);

    void expand(ggml_tensor * tensor) { ggml_build_forward_expand(graph_, tensor); }
    // A result to be read after the run.
    ggml_tensor * output(ggml_tensor * tensor);

    // Allocates, uploads the inputs, computes. Throws OUT_OF_MEMORY or TRAIN_FAILED.
    void run(ggml_gallocr_t allocator);

  private:
    ggml_tensor * lowered_operand(operand a);
    ggml_tensor * custom(ggml_tensor * target, const std::vector<ggml_tensor *> & args, const op_description & description,
                         ggml_custom_op_t function);

    struct pending_input {
        ggml_tensor *        tensor;
        std::vector<uint8_t> bytes;
    };
    const backend &            device_;
    lowering                   rules_;
    ggml_context *             context_ = nullptr;
    ggml_cgraph *              graph_ = nullptr;
    std::deque<op_description> descriptions_;
    std::vector<pending_input> inputs_;
};

// The dropout rule, shared by the kernel and the uploaded masks: true when the number survives.
bool dropout_keeps(uint64_t key, uint64_t token_key, uint64_t position, float probability);

}  // namespace fedllm
