// Builds one ggml graph out of the few primitives that the layers are written in, each lowered for the device at hand:
// our own kernels as custom operations on the CPU, operations that every backend has elsewhere.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "architecture.h"
#include "backend.h"
#include "ggml-alloc.h"
#include "ggml.h"

namespace fedllm {

// Copies of frozen weights W [d_in, d_out] as W^T [d_out, d_in].
using transpose_map = std::map<const ggml_tensor *, ggml_tensor *>;

// How primitives become operations. `portable` uses only what CPU, CUDA, Vulkan and Metal all have.
struct lowering {
    bool cpu_kernels    = false;  // custom operations of cpu/
    bool rms_norm_back  = false;  // RMS_NORM_BACK exists on the device
    bool silu_back      = false;  // SILU_BACK exists
    bool soft_max_back  = false;  // SOFT_MAX_BACK exists
    // W^T dy without a copy of W^T unpacks W to F32, as many rows at a time as fit into this; the head of a large vocabulary
    // would take gigabytes.
    size_t                unpacked_bytes = size_t(64) << 20;
    const transpose_map * transposes = nullptr;  // nullptr: no copies
    // Called with each graph when its tensors have memory, before it runs: for tests that look at the operations.
    std::function<void(ggml_cgraph *)> inspect;
    // Called instead of ggml_backend_graph_compute where set: for measurements of single operations.
    std::function<ggml_status(ggml_backend_t, ggml_cgraph *)> compute;

    // How many blocks of rows W^T dy goes over.
    int64_t count_blocks(const ggml_tensor * weight) const;
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

struct micro_batch;
// Writes the values of one input of a graph for a micro-batch; called before each run, because a graph may be run again with
// another micro-batch of the same shapes. What does not depend on the micro-batch is captured by value.
using fill_i32 = std::function<void(const micro_batch & batch, int32_t * values)>;
using fill_f32 = std::function<void(const micro_batch & batch, float * values)>;

// Bytes that a graph takes.
struct graph_memory {
    size_t tensors = 0;       // on the device
    size_t scratch = 0;       // packed operands of the CPU kernels
    size_t descriptions = 0;  // of nodes and their places, on the host
    size_t checkpoints = 0;   // what goes from segment to segment where weights are streamed, on the device
    size_t held_rows = 0;     // cached hidden states of the micro-batch, on the host
};

struct op_description;  // parameters of one custom operation
struct cpu_runtime;     // threads and kernels of the CPU lowering

// What turning queries and keys needs. Positions serve the portable lowering, turns the CPU kernels.
struct rotation {
    ggml_tensor * positions = nullptr;  // I32 [T]
    ggml_tensor * turns = nullptr;      // F32 [n_rot, T]: cosine and sine of each pair's angle, as the kind wants them
    rope_kind     kind = rope_kind::neighbours;
    ggml_tensor * factors = nullptr;    // F32 [n_rot / 2] or nullptr
    int           n_rot = 0;    // numbers of a head that rotate
    float         factor = 1.0f;  // multiplies rotated numbers
    float         base = 0.0f;
    float         scale = 1.0f;
};

// Memory for the descriptions of one graph at a time, reused from graph to graph. Left as the system gives it, because sizes are
// upper bounds and what is never written takes no memory.
struct graph_arena {
    std::unique_ptr<uint8_t[]> data;
    size_t                     size = 0;
};

// Refuses to allocate a graph of this size.
[[noreturn]] void throw_out_of_memory(size_t bytes);

class graph_builder {
  public:
    // runtime: needed when the rules name CPU kernels.
    graph_builder(const backend & device, const lowering & rules, cpu_runtime * runtime, graph_arena & arena, size_t max_nodes);
    ~graph_builder();
    graph_builder(const graph_builder &)             = delete;
    graph_builder & operator=(const graph_builder &) = delete;

    ggml_context * context() const { return context_; }
    ggml_cgraph *  graph() const { return graph_; }
    const lowering & rules() const { return rules_; }

    // A tensor [ne0, ne1] whose values `fill` writes before each run.
    ggml_tensor * input_i32(int64_t ne0, int64_t ne1, fill_i32 fill);
    ggml_tensor * input_f32(int64_t ne0, int64_t ne1, fill_f32 fill);

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
    ggml_tensor * dropout(ggml_tensor * x, ggml_tensor * token_keys, uint64_t key, float probability);

    // CPU kernels only. logits [V, c] become softmax - (1 - e) onehot(labels) - e / V (or stay as they are when gradient is false),
    // e the label smoothing. stats [3, c] receives each row's log-probability of its label, its most likely token and, where
    // e is not 0, the mean log-probability of all tokens.
    ggml_tensor * cross_entropy(ggml_tensor * logits, ggml_tensor * labels, ggml_tensor * stats, bool gradient, float label_smoothing);

    // CPU kernels only. logits [V, c] become softmax(logits) - softmax(teacher) (or stay as they are when gradient is false); stats [1, c]
    // receives each row's KL(softmax(teacher) || softmax(logits)).
    ggml_tensor * divergence(ggml_tensor * logits, ggml_tensor * teacher, ggml_tensor * stats, bool gradient);

    ggml_tensor * add(ggml_tensor * a, ggml_tensor * b);
    // value added to `target`, of the same shape; returns target's new value. target must not be used afterwards.
    ggml_tensor * add_into(ggml_tensor * target, ggml_tensor * value);
    // Matrices of one width, F32, contiguous, one below the other.
    ggml_tensor * stack_rows(const std::vector<ggml_tensor *> & parts);
    // RMSNorm(x) * gain.
    ggml_tensor * norm(ggml_tensor * x, ggml_tensor * gain, float epsilon);
    // d/dx of that, plus `bypass` (the gradient that goes around the norm; nullptr: none).
    ggml_tensor * norm_backward(ggml_tensor * dy, ggml_tensor * x, ggml_tensor * gain, float epsilon, ggml_tensor * bypass);
    // act(gate) * up.
    ggml_tensor * glu(ggml_tensor * gate, ggml_tensor * up, glu_kind kind);
    struct gate_gradient {
        ggml_tensor * d_gate;
        ggml_tensor * d_up;
    };
    gate_gradient glu_backward(ggml_tensor * dy, ggml_tensor * gate, ggml_tensor * up, glu_kind kind);
    // x * factor; x itself when the factor is 1.
    ggml_tensor * scale(ggml_tensor * x, float factor) { return factor == 1.0f ? x : ggml_scale(context_, x, factor); }
    // cap * tanh(scale * x / cap), and the gradient of that: d * scale * (1 - tanh^2), d must not be used afterwards.
    ggml_tensor * soft_cap(ggml_tensor * x, float scale, float cap);
    ggml_tensor * soft_cap_backward(ggml_tensor * d, ggml_tensor * x, float scale, float cap);
    // softmax(scale * scores + mask) along ne0; scores must not be used afterwards. mask [keys, queries], the same for all batches.
    ggml_tensor * soft_max(ggml_tensor * scores, ggml_tensor * mask, float scale);
    // scale * P * (dP - rowsum(P dP)); dP must not be used afterwards.
    ggml_tensor * soft_max_backward(ggml_tensor * d_probabilities, ggml_tensor * probabilities, float scale);
    // x [head, heads, T] turned by position (RoPE paper, Su et al. 2021, equation 34), or turned back.
    ggml_tensor * rotate(ggml_tensor * x, const rotation & angles);
    ggml_tensor * rotate_back(ggml_tensor * x, const rotation & angles);

    void expand(ggml_tensor * tensor) { ggml_build_forward_expand(graph_, tensor); }
    // A result to be read after the run.
    ggml_tensor * output(ggml_tensor * tensor);

    // What the graph would take on the device and beside it; nothing is allocated.
    graph_memory measure() const;
    // Makes the allocator large enough for this graph.
    void reserve(ggml_gallocr_t allocator);
    // Gives every tensor its place, once, before the first compute(). Throws MODEL_UNSUPPORTED for an operation the device
    // lacks, OUT_OF_MEMORY.
    void allocate(ggml_gallocr_t allocator);
    // Fills the inputs and computes; any number of times while the allocator serves no other graph. Throws OUT_OF_MEMORY or TRAIN_FAILED.
    void compute(const micro_batch & batch);

  private:
    void          check_supported() const;
    ggml_tensor * row_numbers(int64_t begin, int64_t count);
    ggml_tensor * unpacked_transpose(ggml_tensor * weight, int64_t begin, int64_t count);
    ggml_tensor * lowered_operand(operand a);
    ggml_tensor * lowered_product(operand a, operand b);
    op_description describe() const;
    ggml_tensor * custom_new(int64_t ne0, int64_t ne1, int64_t ne2, const std::vector<ggml_tensor *> & args, const op_description & description,
                             ggml_custom_op_t function);
    ggml_tensor * custom(ggml_tensor * target, const std::vector<ggml_tensor *> & args, const op_description & description,
                         ggml_custom_op_t function);

    struct graph_input {
        ggml_tensor *                                      tensor;
        std::function<void(const micro_batch &, void *)>   fill;
    };
    void fill_input(const graph_input & input, const micro_batch & batch);
    const backend &            device_;
    lowering                   rules_;
    cpu_runtime *              runtime_ = nullptr;
    ggml_context *             context_ = nullptr;
    ggml_cgraph *              graph_ = nullptr;
    std::deque<op_description> descriptions_;
    std::vector<graph_input>   inputs_;
    std::vector<uint8_t>       staging_;  // of inputs on their way to a device
    std::map<std::pair<int64_t, int64_t>, ggml_tensor *> row_numbers_;
};

// The dropout rule, shared by the kernel and the uploaded masks: true when the number survives.
bool dropout_keeps(uint64_t key, uint64_t token_key, uint64_t position, float probability);

}  // namespace fedllm
