// The engine at the boundaries between layers: states that are read, and states that are pulled to those of a teacher.
//   loss of a boundary = sum over tokens of factor_t * ||x_t - target_t||^2,  gradient of x_t = 2 factor_t (x_t - target_t)
#include <algorithm>

#include "engine-graph.h"
#include "error.h"

namespace fedllm {

namespace {

// Its number among the boundaries of the request; absent: it is none of them.
std::optional<size_t> number_of(int64_t boundary, const run_request & request) {
    const auto found = std::find(request.boundaries.begin(), request.boundaries.end(), boundary);
    if (found == request.boundaries.end()) return std::nullopt;
    return size_t(found - request.boundaries.begin());
}

// x - target, [n_embd, T].
ggml_tensor * distance(graph_builder & g, size_t index, ggml_tensor * x) {
    const auto fill = [index](const micro_batch & b, float * values) { std::copy(b.teacher.targets[index].begin(), b.teacher.targets[index].end(), values); };
    return ggml_sub(g.context(), x, g.input_f32(x->ne[0], x->ne[1], fill));
}

}  // namespace

// All layers, or those below the highest boundary where nothing above it is asked for; at least one, which streaming needs.
size_t engine::count_layers(const run_request & request) const {
    return request.head ? layers_.size() : size_t(std::max<int64_t>(1, request.boundaries.back()));
}

// Keeps the state x [n_embd, T] for reading, or its squared distance from the teacher's.
void engine::meet_boundary(graph_builder & g, int64_t boundary, ggml_tensor * x, const run_request & request, forward_pass & pass) const {
    const std::optional<size_t> index = number_of(boundary, request);
    if (!index) return;
    if (!request.gradient) {
        pass.states.push_back(g.output(x));
        g.expand(x);
        return;
    }
    ggml_tensor * error = g.output(ggml_sum_rows(g.context(), ggml_sqr(g.context(), distance(g, *index, x))));
    g.expand(error);
    pass.errors.push_back(error);
}

// The gradient of the state x that leaves layer boundary - 1: d, which comes from above (nullptr: nothing does), and the pull of the
// boundary where it is one.
ggml_tensor * engine::pull(graph_builder & g, int64_t boundary, ggml_tensor * x, ggml_tensor * d, const run_request & request) const {
    const std::optional<size_t> index = number_of(boundary, request);
    if (!index) return d;
    const auto fill = [i = *index](const micro_batch & b, float * values) { std::copy(b.teacher.factors[i].begin(), b.teacher.factors[i].end(), values); };
    ggml_tensor * force = ggml_mul(g.context(), distance(g, *index, x), g.input_f32(1, x->ne[1], fill));
    force = g.scale(force, 2.0f * request.gradient_scale);
    d = d == nullptr ? force : g.add(d, force);
    g.expand(d);
    return d;
}

std::vector<std::vector<float>> engine::hidden_states(const micro_batch & batch, const run_request & request) {
    FEDLLM_ASSERT(!request.gradient && !request.head && !request.boundaries.empty());
    if (streams()) return hidden_states_streamed(batch, request);
    prepare(batch, request);
    prepared_->builder.compute(batch);
    counters_.n_runs += 1;
    std::vector<std::vector<float>> states;
    for (ggml_tensor * state : prepared_->pass.states) states.push_back(read_chunks({ state }));
    return states;
}

}  // namespace fedllm
