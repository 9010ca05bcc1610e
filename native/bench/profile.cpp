// See profile.h. What a node is for is read off its own name and those of the weights it uses.
#include "profile.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <memory>
#include <vector>

namespace fedllm_bench {

namespace {

bool starts_with(const std::string & text, const char * prefix) { return text.rfind(prefix, 0) == 0; }

struct product_shape {
    const ggml_tensor * a = nullptr;  // nullptr: the node is no product
    const ggml_tensor * b = nullptr;
    bool                a_transposed = false, b_transposed = false;

    double operations() const {
        const int64_t m = a_transposed ? a->ne[0] : a->ne[1], k = a_transposed ? a->ne[1] : a->ne[0], n = b_transposed ? b->ne[0] : b->ne[1];
        return 2.0 * double(m) * double(n) * double(k) * double(b->ne[2] * b->ne[3]);
    }
};

product_shape shape_of(const ggml_tensor * node) {
    const std::string name = node->name;
    if (node->op == GGML_OP_MUL_MAT) return { node->src[0], node->src[1] };
    if (node->op != GGML_OP_CUSTOM || !starts_with(name, "product")) return {};
    const int first = starts_with(name, "product into") ? 1 : 0;
    return { node->src[first], node->src[first + 1], name[name.size() - 2] == 't', name[name.size() - 1] == 't' };
}

// "attn_q" of "blk.3.attn_q.weight", "head" of the last matrix; empty: not a weight of the base.
std::string weight_of(const ggml_tensor * tensor) {
    const std::string name = tensor->name;
    if (name == "output.weight" || name == "token_embd.weight") return "head";
    const size_t begin = name.find('.', 4), end = name.find(".weight");
    return starts_with(name, "blk.") && begin != std::string::npos && end != std::string::npos && begin < end ? name.substr(begin + 1, end - begin - 1) : "";
}

std::string label_of(const ggml_tensor * node, const product_shape & product) {
    if (product.a != nullptr) {
        const std::string weight = weight_of(product.a);
        if (!weight.empty()) return (product.a_transposed ? "W^T dy, " : "W x, ") + weight;
        return product.b->ne[2] > 1 ? "attention products" : "other products (LoRA)";
    }
    return node->op == GGML_OP_CUSTOM ? node->name : ggml_op_desc(node);
}

bool computes_nothing(const ggml_tensor * node) {
    return node->op == GGML_OP_NONE || node->op == GGML_OP_VIEW || node->op == GGML_OP_RESHAPE || node->op == GGML_OP_PERMUTE || node->op == GGML_OP_TRANSPOSE;
}

}  // namespace

double clock_seconds(bool processor) {
    timespec time{};
    clock_gettime(processor ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

ggml_status graph_profile::compute(ggml_backend_t backend, ggml_cgraph * graph) {
    const std::unique_ptr<ggml_context, decltype(&ggml_free)> context(ggml_init({ ggml_graph_overhead_custom(1, false) + 64, nullptr, true }), ggml_free);
    ggml_cgraph * one = ggml_new_graph_custom(context.get(), 1, false);
    for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) {
        ggml_tensor * node = ggml_graph_node(graph, i);
        if (computes_nothing(node)) continue;
        ggml_graph_clear(one);
        ggml_graph_add_node(one, node);
        const double begin = clock_seconds(processor_time_);
        const ggml_status status = ggml_backend_graph_compute(backend, one);
        if (status != GGML_STATUS_SUCCESS) return status;
        const product_shape product = shape_of(node);
        profile_entry & entry = entries_[label_of(node, product)];
        entry.seconds += clock_seconds(processor_time_) - begin;
        entry.operations += product.a != nullptr ? product.operations() : 0.0;
        entry.calls += 1;
    }
    return GGML_STATUS_SUCCESS;
}

double graph_profile::total_seconds() const {
    double total = 0.0;
    for (const auto & [label, entry] : entries_) total += entry.seconds;
    return total;
}

void graph_profile::print(double n_steps, double limit) const {
    std::vector<std::pair<std::string, profile_entry>> sorted(entries_.begin(), entries_.end());
    std::sort(sorted.begin(), sorted.end(), [](const auto & a, const auto & b) { return a.second.seconds > b.second.seconds; });
    const double total = total_seconds();
    double operations = 0.0, product_seconds = 0.0;
    std::printf("| operation | calls a step | ms a step | share | GFLOP/s | of the F32 product |\n|---|---|---|---|---|---|\n");
    for (const auto & [label, e] : sorted) {
        std::printf("| %s | %.0f | %.2f | %.1f %% |", label.c_str(), double(e.calls) / n_steps, e.seconds / n_steps * 1e3, e.seconds / total * 100.0);
        if (e.operations > 0.0) std::printf(" %.1f | %.2f |\n", e.operations / e.seconds / 1e9, e.operations / e.seconds / 1e9 / limit);
        else std::printf(" | |\n");
        operations += e.operations;
        product_seconds += e.operations > 0.0 ? e.seconds : 0.0;
    }
    std::printf("| all products | | %.2f | %.1f %% | %.1f | %.2f |\n", product_seconds / n_steps * 1e3, product_seconds / total * 100.0,
                operations / product_seconds / 1e9, operations / product_seconds / 1e9 / limit);
    std::printf("| all | | %.2f | 100 %% | %.1f | %.2f |\n", total / n_steps * 1e3, operations / total / 1e9, operations / total / 1e9 / limit);
}

}  // namespace fedllm_bench
