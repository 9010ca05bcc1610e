// See transposes.h. A matrix is turned in blocks, so that the F32 copies on the way stay small: for each block of W's columns, the rows
// are unpacked a block at a time (GET_ROWS), their columns cut out and turned (CONT), put side by side (CONCAT) and converted (CPY).
#include "transposes.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>
#include <tuple>

#include "batch.h"
#include "error.h"

namespace fedllm {

namespace {

ggml_type type_of(transpose_cache type) {
    switch (type) {
        case transpose_cache::bf16: return GGML_TYPE_BF16;
        case transpose_cache::f16:  return GGML_TYPE_F16;
        case transpose_cache::q8_0: return GGML_TYPE_Q8_0;
        case transpose_cache::none: break;
    }
    return GGML_TYPE_F32;
}

bool has_copy(const ggml_tensor * matrix, transpose_cache type) {
    return type != transpose_cache::none && matrix->ne[1] % ggml_blck_size(type_of(type)) == 0;
}

// Builds the steps for rows [begin, begin + count) of `copy` [d_out, d_in], which are columns of `matrix` [d_in, d_out].
void turn_columns(graph_builder & g, ggml_tensor * matrix, ggml_tensor * copy, int64_t begin, int64_t count, size_t step_bytes) {
    ggml_context * c = g.context();
    const int64_t  d_out = matrix->ne[1];
    const int64_t  n_rows = std::max<int64_t>(1, int64_t(step_bytes / (size_t(matrix->ne[0]) * sizeof(float))));
    ggml_tensor *  turned = nullptr;
    for (int64_t row = 0; row < d_out; row += n_rows) {
        const int64_t n = std::min(n_rows, d_out - row);
        ggml_tensor * rows = g.input_i32(n, 1, [row, n](const micro_batch &, int32_t * values) { std::iota(values, values + n, int32_t(row)); });
        ggml_tensor * values = ggml_get_rows(c, matrix, rows);
        ggml_tensor * columns = ggml_view_2d(c, values, count, values->ne[1], values->nb[1], size_t(begin) * sizeof(float));
        ggml_tensor * part = ggml_cont(c, ggml_transpose(c, columns));  // [rows, count]
        turned = turned == nullptr ? part : ggml_concat(c, turned, part, 0);
    }
    g.expand(ggml_cpy(c, turned, ggml_view_2d(c, copy, d_out, count, copy->nb[1], size_t(begin) * copy->nb[1])));
}

size_t count_nodes(const ggml_tensor * matrix, size_t step_bytes) {
    return 16 + 8 * (size_t(matrix->ne[0]) * sizeof(float) * size_t(matrix->ne[1]) / step_bytes + 1);
}

void turn_matrix(const backend & device, ggml_gallocr_t allocator, graph_arena & memory, ggml_tensor * matrix, ggml_tensor * copy,
                 size_t step_bytes) {
    const int64_t n_columns = std::max<int64_t>(1, int64_t(step_bytes / (size_t(matrix->ne[1]) * sizeof(float))));
    for (int64_t begin = 0; begin < matrix->ne[0]; begin += n_columns) {
        graph_builder g(device, lowering::portable(), nullptr, memory, count_nodes(matrix, step_bytes));
        turn_columns(g, matrix, copy, begin, std::min(n_columns, matrix->ne[0] - begin), step_bytes);
        g.allocate(allocator);
        g.compute({});
    }
}

}  // namespace

size_t transposes_bytes(const std::vector<ggml_tensor *> & matrices, transpose_cache type) {
    size_t sum = 0;
    for (const ggml_tensor * matrix : matrices) {
        if (has_copy(matrix, type)) sum += ggml_row_size(type_of(type), matrix->ne[1]) * size_t(matrix->ne[0]);
    }
    return sum;
}

bool transposes_are_supported(const backend & device, const std::vector<ggml_tensor *> & matrices, transpose_cache type) {
    if (type == transpose_cache::none) return false;
    std::set<std::tuple<ggml_type, int64_t, int64_t>> seen;
    graph_arena memory;
    for (ggml_tensor * matrix : matrices) {
        if (!has_copy(matrix, type) || !seen.insert({ matrix->type, matrix->ne[0], matrix->ne[1] }).second) continue;
        graph_builder g(device, lowering::portable(), nullptr, memory, 64);
        ggml_context * c = g.context();
        ggml_tensor * copy = ggml_new_tensor_2d(c, type_of(type), matrix->ne[1], matrix->ne[0]);
        // Two blocks, so that putting them side by side is asked for too.
        turn_columns(g, matrix, copy, 0, matrix->ne[0], std::max<size_t>(1, size_t((matrix->ne[1] + 1) / 2)) * size_t(matrix->ne[0]) * sizeof(float));
        g.expand(ggml_mul_mat(c, copy, ggml_new_tensor_2d(c, GGML_TYPE_F32, matrix->ne[1], 64)));
        for (int i = 0; i < ggml_graph_n_nodes(g.graph()); ++i) {
            if (!ggml_backend_dev_supports_op(device.device, ggml_graph_node(g.graph(), i))) return false;
        }
    }
    return true;
}

void transposed_weights::describe(const std::vector<ggml_tensor *> & matrices, transpose_cache type) {
    context_ = ggml_init({ ggml_tensor_overhead() * (matrices.size() + 1), nullptr, true });
    for (ggml_tensor * matrix : matrices) {
        if (has_copy(matrix, type)) map_[matrix] = ggml_new_tensor_2d(context_, type_of(type), matrix->ne[1], matrix->ne[0]);
    }
}

transposed_weights::transposed_weights(const std::vector<ggml_tensor *> & matrices, transpose_cache type) {
    describe(matrices, type);
    for (const auto & [matrix, copy] : map_) copy->data = this;  // any address: it is placed, and never looked at
}

transposed_weights::transposed_weights(const backend & device, const std::vector<ggml_tensor *> & matrices, transpose_cache type, size_t step_bytes) {
    describe(matrices, type);
    if (map_.empty()) return;
    buffer_ = ggml_backend_alloc_ctx_tensors(context_, device.handle);
    if (buffer_ == nullptr) {
        const size_t bytes = transposes_bytes(matrices, type);
        ggml_free(context_);
        throw train_error("OUT_OF_MEMORY", "transposes: expected " + std::to_string(bytes) + " bytes free on " + ggml_backend_dev_name(device.device) +
                                               ", received too little. Choose a smaller type or none");
    }
    ggml_backend_buffer_set_usage(buffer_, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    graph_arena memory;
    const std::unique_ptr<ggml_gallocr, void (*)(ggml_gallocr_t)> allocator(ggml_gallocr_new(ggml_backend_get_default_buffer_type(device.handle)), ggml_gallocr_free);
    try {
        for (const auto & [matrix, copy] : map_) turn_matrix(device, allocator.get(), memory, const_cast<ggml_tensor *>(matrix), copy, step_bytes);
    } catch (...) {
        ggml_backend_buffer_free(buffer_);
        ggml_free(context_);
        throw;
    }
}

transposed_weights::~transposed_weights() {
    if (buffer_) ggml_backend_buffer_free(buffer_);
    ggml_free(context_);
}

}  // namespace fedllm
