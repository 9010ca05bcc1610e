// See graph-walk.h.
#include "graph-walk.h"

#include "harness.h"

namespace fedllm_test {

namespace {

// Operations that Metal lacks; what is computed without them runs on CPU, CUDA, Vulkan and Metal alike.
const std::set<ggml_op> FORBIDDEN = {
    GGML_OP_OUT_PROD, GGML_OP_SOFT_MAX_BACK, GGML_OP_RMS_NORM_BACK, GGML_OP_REPEAT_BACK, GGML_OP_CROSS_ENTROPY_LOSS, GGML_OP_CROSS_ENTROPY_LOSS_BACK,
    GGML_OP_ADD1, GGML_OP_GET_ROWS_BACK, GGML_OP_DIAG_MASK_INF,
};
// Those that only the CPU has: custom functions.
const std::set<ggml_op> CPU_ONLY = { GGML_OP_MAP_CUSTOM1, GGML_OP_MAP_CUSTOM2, GGML_OP_MAP_CUSTOM3, GGML_OP_CUSTOM };

}  // namespace

void walk_result::check(size_t least_nodes) const {
    std::string text;
    for (const std::string & problem : problems) text += "\n    " + problem;
    require(problems.empty(), text);
    require(n_nodes >= least_nodes, "too few nodes were looked at");
}

void walk_graph(ggml_cgraph * graph, ggml_backend_dev_t device, bool forbid, walk_result & result) {
    for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
        ggml_tensor * node = ggml_graph_node(graph, i);
        result.n_nodes += 1;
        const std::string name = ggml_op_desc(node);
        if (forbid && FORBIDDEN.count(node->op) != 0) result.problems.insert(name + " is an operation that some backend lacks");
        if (CPU_ONLY.count(node->op) != 0) result.problems.insert(name + " runs on the CPU only");
        if (!ggml_backend_dev_supports_op(device, node)) result.problems.insert(name + " is refused by the device");
        const ggml_tensor * owner = node->view_src != nullptr ? node->view_src : node;
        if (owner->buffer == nullptr || !ggml_backend_dev_supports_buft(device, ggml_backend_buffer_get_type(owner->buffer))) {
            result.problems.insert(name + " does not lie in the device's memory");
        }
    }
}

}  // namespace fedllm_test
