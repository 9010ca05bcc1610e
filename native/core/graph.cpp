// See graph.h. A product on the CPU is one custom operation that unpacks quantized weights inside the caches; elsewhere it is
// GET_ROWS (the universal dequantiser), CONT of a transposed view and MUL_MAT (training-core formulation c).
#include "graph.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

#include "batch.h"
#include "cpu/ops.h"
#include "device-memory.h"
#include "error.h"
#include "random.h"

namespace fedllm {

namespace {

// Whether the device can run `op` on F32 tensors of a typical shape.
bool device_supports(ggml_backend_dev_t device, ggml_op op) {
    ggml_context * context = ggml_init({ ggml_tensor_overhead() * 8, nullptr, true });
    ggml_tensor * x = ggml_new_tensor_2d(context, GGML_TYPE_F32, 64, 8);
    ggml_tensor * y = ggml_new_tensor_2d(context, GGML_TYPE_F32, 64, 8);
    ggml_tensor * probe = op == GGML_OP_RMS_NORM_BACK   ? ggml_rms_norm_back(context, x, y, 1e-5f)
                          : op == GGML_OP_SILU_BACK     ? ggml_silu_back(context, x, y)
                                                        : ggml_soft_max_ext_back(context, x, y, 1.0f, 0.0f);
    const bool supported = ggml_backend_dev_supports_op(device, probe);
    ggml_free(context);
    return supported;
}

}  // namespace

lowering lowering::choose(const backend & device) {
    lowering rules;
    rules.cpu_kernels   = device.is_cpu;
    rules.rms_norm_back = device_supports(device.device, GGML_OP_RMS_NORM_BACK);
    rules.silu_back     = device_supports(device.device, GGML_OP_SILU_BACK);
    rules.soft_max_back = device_supports(device.device, GGML_OP_SOFT_MAX_BACK);
    return rules;
}

namespace {

int64_t rows_at_once(const lowering & rules, const ggml_tensor * weight) {
    return std::max<int64_t>(1, int64_t(rules.unpacked_bytes / (size_t(weight->ne[0]) * sizeof(float))));
}

}  // namespace

int64_t lowering::count_blocks(const ggml_tensor * weight) const {
    const int64_t step = rows_at_once(*this, weight);
    return cpu_kernels || (transposes != nullptr && transposes->count(weight) > 0) ? 1 : (weight->ne[1] + step - 1) / step;
}

bool dropout_keeps(uint64_t key, uint64_t token_key, uint64_t position, float probability) {
    return random_uniform(key ^ token_key, position) >= probability;
}

graph_builder::graph_builder(const backend & device, const lowering & rules, cpu_runtime * runtime, graph_arena & arena, size_t max_nodes)
    : device_(device), rules_(rules), runtime_(runtime) {
    FEDLLM_ASSERT(runtime != nullptr || !rules.cpu_kernels);
    // Twice the nodes, because views and inputs are tensors too but not nodes of the graph.
    const size_t bytes = 2 * max_nodes * ggml_tensor_overhead() + ggml_graph_overhead_custom(max_nodes, false);
    if (arena.size < bytes) arena = { std::unique_ptr<uint8_t[]>(new uint8_t[bytes]), bytes };
    context_ = ggml_init({ arena.size, arena.data.get(), true });
    graph_   = ggml_new_graph_custom(context_, max_nodes, false);
}

graph_builder::~graph_builder() { ggml_free(context_); }

ggml_tensor * graph_builder::input_i32(int64_t ne0, int64_t ne1, fill_i32 fill) {
    ggml_tensor * tensor = ggml_new_tensor_2d(context_, GGML_TYPE_I32, ne0, ne1);
    ggml_set_input(tensor);
    inputs_.push_back({ tensor, [fill = std::move(fill)](const micro_batch & batch, void * values) { fill(batch, static_cast<int32_t *>(values)); } });
    return tensor;
}

ggml_tensor * graph_builder::input_f32(int64_t ne0, int64_t ne1, fill_f32 fill) {
    ggml_tensor * tensor = ggml_new_tensor_2d(context_, GGML_TYPE_F32, ne0, ne1);
    ggml_set_input(tensor);
    inputs_.push_back({ tensor, [fill = std::move(fill)](const micro_batch & batch, void * values) { fill(batch, static_cast<float *>(values)); } });
    return tensor;
}

ggml_tensor * graph_builder::output(ggml_tensor * tensor) {
    ggml_set_output(tensor);
    return tensor;
}

op_description graph_builder::describe() const {
    op_description d;
    d.runtime = runtime_;
    return d;
}

// One thread of ggml: the operations share their work themselves.
ggml_tensor * graph_builder::custom(ggml_tensor * target, const std::vector<ggml_tensor *> & args, const op_description & description,
                                    ggml_custom_op_t function) {
    descriptions_.push_back(description);
    std::vector<ggml_tensor *> copy = args;
    ggml_tensor * node = ggml_custom_inplace(context_, target, copy.data(), int(copy.size()), function, 1, &descriptions_.back());
    return ggml_set_name(node, op_name(description, function));
}

ggml_tensor * graph_builder::custom_new(int64_t ne0, int64_t ne1, int64_t ne2, const std::vector<ggml_tensor *> & args, const op_description & description,
                                        ggml_custom_op_t function) {
    descriptions_.push_back(description);
    std::vector<ggml_tensor *> copy = args;
    ggml_tensor * node = ggml_custom_4d(context_, GGML_TYPE_F32, ne0, ne1, ne2, 1, copy.data(), int(copy.size()), function, 1, &descriptions_.back());
    return ggml_set_name(node, op_name(description, function));
}

// I32 [count]: begin, begin + 1, ...; one input per graph for all weights of a size.
ggml_tensor * graph_builder::row_numbers(int64_t begin, int64_t count) {
    ggml_tensor *& numbers = row_numbers_[{ begin, count }];
    if (numbers == nullptr) {
        numbers = input_i32(count, 1, [begin, count](const micro_batch &, int32_t * rows) { std::iota(rows, rows + count, int32_t(begin)); });
    }
    return numbers;
}

// Rows [begin, begin + count) of a matrix of any type as F32 columns: [count, ne0].
ggml_tensor * graph_builder::unpacked_transpose(ggml_tensor * weight, int64_t begin, int64_t count) {
    ggml_tensor * values = weight->type == GGML_TYPE_F32 ? ggml_view_2d(context_, weight, weight->ne[0], count, weight->nb[1], size_t(begin) * weight->nb[1])
                                                         : ggml_get_rows(context_, weight, row_numbers(begin, count));
    return ggml_cont(context_, ggml_transpose(context_, values));
}

// The operand with the contracted axis first, as MUL_MAT wants it.
ggml_tensor * graph_builder::lowered_operand(operand a) {
    if (!a.transposed) return a.tensor;
    if (a.tensor->type != GGML_TYPE_F32) return unpacked_transpose(a.tensor, 0, a.tensor->ne[1]);
    return ggml_cont(context_, ggml_transpose(context_, a.tensor));
}

// a . b by MUL_MAT. W^T b takes a stored copy of W^T, or goes over blocks of W's rows: W^T b = sum of W_r^T b_r.
ggml_tensor * graph_builder::lowered_product(operand a, operand b) {
    const auto multiply = [&](ggml_tensor * left, ggml_tensor * right) {
        ggml_tensor * result = ggml_mul_mat(context_, left, right);
        ggml_mul_mat_set_prec(result, GGML_PREC_F32);
        return result;
    };
    const int64_t n_rows = a.tensor->ne[1], step = rows_at_once(rules_, a.tensor);
    if (a.transposed && rules_.transposes != nullptr) {
        const auto copy = rules_.transposes->find(a.tensor);
        if (copy != rules_.transposes->end()) return multiply(copy->second, lowered_operand(b));
    }
    const bool is_weight = a.transposed && !b.transposed && a.tensor->op == GGML_OP_NONE;  // adapters are views, activations have an operation
    if (!is_weight || n_rows <= step) return multiply(lowered_operand(a), lowered_operand(b));
    ggml_tensor * right = lowered_operand(b);
    ggml_tensor * sum = nullptr;
    for (int64_t begin = 0; begin < n_rows; begin += step) {
        const int64_t count = std::min(step, n_rows - begin);
        ggml_tensor * part = multiply(unpacked_transpose(a.tensor, begin, count),
                                      ggml_cont(context_, ggml_view_2d(context_, right, count, right->ne[1], right->nb[1], size_t(begin) * sizeof(float))));
        sum = sum == nullptr ? part : ggml_add_inplace(context_, sum, part);
    }
    return sum;
}

ggml_tensor * graph_builder::product(operand a, operand b, float alpha) {
    if (!rules_.cpu_kernels) return scale(lowered_product(a, b), alpha);
    const int64_t m = a.transposed ? a.tensor->ne[0] : a.tensor->ne[1];
    const int64_t n = b.transposed ? b.tensor->ne[0] : b.tensor->ne[1];
    FEDLLM_ASSERT((a.transposed ? a.tensor->ne[1] : a.tensor->ne[0]) == (b.transposed ? b.tensor->ne[1] : b.tensor->ne[0]));
    op_description d = describe();
    d.a_transposed = a.transposed;
    d.b_transposed = b.transposed;
    d.alpha = alpha;
    d.place = { 0, size_t(m) * sizeof(float), size_t(m * n) * sizeof(float), b.tensor->ne[2] };
    return custom_new(m, n, b.tensor->ne[2], { a.tensor, b.tensor }, d, op_product);
}

ggml_tensor * graph_builder::product_add(ggml_tensor * target, operand a, operand b, float alpha) {
    if (!rules_.cpu_kernels) return ggml_add_inplace(context_, target, product(a, b, alpha));
    return product_into(target, { 0, target->nb[1], target->nb[2], target->ne[2] }, a, b, alpha, true);
}

ggml_tensor * graph_builder::product_into(ggml_tensor * target, const placement & place, operand a, operand b, float alpha, bool accumulate) {
    if (rules_.cpu_kernels) {
        op_description d = describe();
        d.a_transposed = a.transposed;
        d.b_transposed = b.transposed;
        d.in_place   = true;
        d.accumulate = accumulate;
        d.alpha  = alpha;
        d.place  = place;
        return custom(target, { a.tensor, b.tensor }, d, op_product);
    }
    if (b.tensor->ne[2] > place.n_batch) {
        // Sum the group inside the contraction: [x, k, groups * g] becomes [x, k * g, groups]. Both operands are transposed here.
        FEDLLM_ASSERT(a.transposed && b.transposed);
        const int64_t summed = b.tensor->ne[2] / place.n_batch;
        const auto merge = [&](ggml_tensor * t) {
            return ggml_reshape_3d(context_, ggml_cont(context_, t), t->ne[0], t->ne[1] * summed, place.n_batch);
        };
        a.tensor = merge(a.tensor);
        b.tensor = merge(b.tensor);
    }
    ggml_tensor * value = product(a, b, alpha);  // [m, n, batch]
    size_t nb1 = place.row_bytes, nb2 = place.batch_bytes;
    if (place.n_batch > 1 && nb1 > nb2) {  // ACC and SET want growing strides
        value = ggml_cont(context_, ggml_permute(context_, value, 0, 2, 1, 3));
        std::swap(nb1, nb2);
    }
    const size_t nb3 = target->nb[3];
    return accumulate ? ggml_acc_inplace(context_, target, value, nb1, nb2, nb3, place.offset)
                      : ggml_set_inplace(context_, target, value, nb1, nb2, nb3, place.offset);
}

ggml_tensor * graph_builder::empty_like(ggml_tensor * like, bool zero) {
    if (!rules_.cpu_kernels) return zero ? ggml_scale(context_, like, 0.0f) : ggml_dup(context_, like);
    return custom_new(like->ne[0], like->ne[1], like->ne[2], {}, describe(), zero ? op_zero : op_nothing);
}

ggml_tensor * graph_builder::empty_2d(int64_t ne0, int64_t ne1, bool zero) {
    if (rules_.cpu_kernels) return custom_new(ne0, ne1, 1, {}, describe(), zero ? op_zero : op_nothing);
    return ggml_dup(context_, input_f32(ne0, ne1, [n = ne0 * ne1](const micro_batch &, float * values) { std::fill_n(values, n, 0.0f); }));
}

ggml_tensor * graph_builder::dropout(ggml_tensor * x, ggml_tensor * token_keys, uint64_t key, float probability) {
    if (probability == 0.0f) return x;
    if (!rules_.cpu_kernels) {
        const auto fill = [row = x->ne[0], n = x->ne[1], key, probability](const micro_batch & batch, float * mask) {
            const float scale = 1.0f / (1.0f - probability);
            for (int64_t t = 0; t < n; ++t) {
                for (int64_t i = 0; i < row; ++i) {
                    mask[t * row + i] = dropout_keeps(key, batch.token_keys[size_t(t)], uint64_t(i), probability) ? scale : 0.0f;
                }
            }
        };
        return ggml_mul(context_, x, input_f32(x->ne[0], x->ne[1], fill));
    }
    op_description d = describe();
    d.key = key;
    d.probability = probability;
    return custom_new(x->ne[0], x->ne[1], 1, { x, token_keys }, d, op_dropout);
}

ggml_tensor * graph_builder::cross_entropy(ggml_tensor * logits, ggml_tensor * labels, ggml_tensor * stats, bool gradient, float label_smoothing) {
    FEDLLM_ASSERT(rules_.cpu_kernels);
    op_description d = describe();
    d.gradient = gradient;
    d.label_smoothing = label_smoothing;
    return custom(logits, { labels, stats }, d, op_cross_entropy);
}

ggml_tensor * graph_builder::divergence(ggml_tensor * logits, ggml_tensor * teacher, ggml_tensor * stats, bool gradient) {
    FEDLLM_ASSERT(rules_.cpu_kernels);
    op_description d = describe();
    d.gradient = gradient;
    return custom(logits, { teacher, stats }, d, op_divergence);
}

// A node that the device cannot run would end the process inside the device's library.
void graph_builder::check_supported() const {
    if (device_.is_cpu) return;
    for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) {
        const ggml_tensor * node = ggml_graph_node(graph_, i);
        if (node->op == GGML_OP_NONE || ggml_backend_dev_supports_op(device_.device, node)) continue;
        std::string sources;
        for (int j = 0; j < GGML_MAX_SRC && node->src[j] != nullptr; ++j) sources += std::string(j == 0 ? "" : ", ") + ggml_type_name(node->src[j]->type);
        throw train_error("MODEL_UNSUPPORTED", std::string("device ") + ggml_backend_dev_name(device_.device) + ": expected it to run operation " +
                                                   ggml_op_desc(node) + " on " + sources + ", received a refusal. Use another device or weight type");
    }
}

graph_memory graph_builder::measure() const {
    // ggml keeps a place for each node and each of its sources while the graph lives.
    constexpr size_t PLACE_BYTES = 32 * (GGML_MAX_SRC + 2);
    graph_memory memory;
    ggml_gallocr_t allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(device_.handle));
    ggml_gallocr_reserve_n_size(allocator, graph_, nullptr, nullptr, &memory.tensors);
    ggml_gallocr_free(allocator);
    memory.descriptions = ggml_used_mem(context_) + size_t(ggml_graph_n_nodes(graph_)) * PLACE_BYTES + descriptions_.size() * sizeof(op_description);
    for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) memory.scratch = std::max(memory.scratch, op_scratch_bytes(ggml_graph_node(graph_, i)));
    return memory;
}

void throw_out_of_memory(size_t bytes) {
    throw train_error("OUT_OF_MEMORY", "training: expected " + bytes_text(bytes) + " for one micro-batch, received too little. Lower microBatchTokens or maxLength");
}

void graph_builder::reserve(ggml_gallocr_t allocator) {
    if (!ggml_gallocr_reserve(allocator, graph_)) throw_out_of_memory(measure().tensors);
}

void graph_builder::allocate(ggml_gallocr_t allocator) {
    check_supported();
    if (!ggml_gallocr_alloc_graph(allocator, graph_)) {
        throw_out_of_memory(measure().tensors);
    }
}

// Into the tensor itself where the host can reach it. An input that no node uses has no place.
void graph_builder::fill_input(const graph_input & input, const micro_batch & batch) {
    ggml_tensor * tensor = input.tensor;
    if (tensor->buffer == nullptr) return;
    if (ggml_backend_buffer_is_host(tensor->buffer)) return input.fill(batch, tensor->data);
    const size_t n_bytes = ggml_nbytes(tensor);
    if (staging_.size() < n_bytes) staging_.resize(n_bytes);
    input.fill(batch, staging_.data());
    ggml_backend_tensor_set(tensor, staging_.data(), 0, n_bytes);
}

void graph_builder::compute(const micro_batch & batch) {
    for (const graph_input & input : inputs_) fill_input(input, batch);
    if (rules_.inspect) rules_.inspect(graph_);
    const ggml_status status = rules_.compute ? rules_.compute(device_.handle, graph_) : ggml_backend_graph_compute(device_.handle, graph_);
    if (status == GGML_STATUS_ALLOC_FAILED) {
        throw train_error("OUT_OF_MEMORY", "training: expected working memory on the device, received too little. Lower microBatchTokens");
    }
    if (status != GGML_STATUS_SUCCESS) {
        throw train_error("TRAIN_FAILED", std::string("training: expected the device to finish the graph, received status ") + ggml_status_to_string(status));
    }
}

}  // namespace fedllm
