// See tuner.h. The first and the last layer stand for all: quantized mixes give some layers finer types than others.
#include "tuner.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "batch.h"
#include "cpu/ops.h"
#include "error.h"
#include "graph.h"

namespace fedllm {

namespace {

// Less is within the noise of a timing, and then exact results are worth more.
constexpr double LEAST_GAIN = 0.05;

std::vector<ggml_tensor *> timed_matrices(const base_model & model) {
    std::vector<ggml_tensor *> list;
    const auto add = [&](const layer_weights & layer) {
        for (ggml_tensor * matrix : layer.linear) {
            if (matrix != nullptr) list.push_back(matrix);
        }
    };
    add(model.layers().front());
    if (model.layers().size() > 1) add(model.layers().back());
    return list;
}

// Median time of a graph with W x and W^T dy of every matrix, in milliseconds.
double time_products(const backend & device, const lowering & rules, cpu_runtime * runtime, const std::vector<ggml_tensor *> & matrices, const tuner_options & o) {
    size_t n_nodes = 64;
    for (const ggml_tensor * matrix : matrices) n_nodes += 24 + 8 * size_t(rules.count_blocks(matrix));
    graph_arena          memory;
    graph_builder        g(device, rules, runtime, memory, n_nodes);
    for (ggml_tensor * matrix : matrices) {
        // Numbers of order one, none like its neighbour.
        const auto wave = [](const micro_batch &, float * values, int64_t n) {
            for (int64_t i = 0; i < n; ++i) values[i] = float((i * 7919) % 2003) / 1001.0f - 1.0f;
        };
        const int64_t n_x = matrix->ne[0] * o.n_tokens, n_y = matrix->ne[1] * o.n_tokens;
        ggml_tensor * x = g.input_f32(matrix->ne[0], o.n_tokens, [=](const micro_batch & batch, float * values) { wave(batch, values, n_x); });
        ggml_tensor * dy = g.input_f32(matrix->ne[1], o.n_tokens, [=](const micro_batch & batch, float * values) { wave(batch, values, n_y); });
        g.expand(g.product(plain(matrix), plain(x)));
        g.expand(g.product(transposed(matrix), plain(dy)));
    }
    const std::unique_ptr<ggml_gallocr, void (*)(ggml_gallocr_t)> allocator(ggml_gallocr_new(ggml_backend_get_default_buffer_type(device.handle)), ggml_gallocr_free);
    g.allocate(allocator.get());
    g.compute({});  // compiles shaders, touches memory
    std::vector<double> times;
    for (int i = 0; i < o.n_repeats; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        g.compute({});
        times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

void time_cpu(const base_model & model, const backend & device, const std::vector<ggml_tensor *> & matrices, const tuner_options & o, tuner_result & result) {
    const bool rounds = cpu_select_kernels().gemm_bf16 != nullptr &&
                        std::any_of(matrices.begin(), matrices.end(), [](const ggml_tensor * matrix) { return matrix->type != GGML_TYPE_F32; });
    for (const weight_product product : { weight_product::f32, weight_product::bf16 }) {
        if (product == weight_product::bf16 && !rounds) continue;
        cpu_runtime runtime(model.options().n_threads, product);
        const double time = time_products(device, lowering::choose(device), &runtime, matrices, o);
        result.timings.push_back({ { product, transpose_cache::none }, time, 0 });
    }
}

void time_device(const base_model & model, const backend & device, const std::vector<ggml_tensor *> & matrices, const tuner_options & o, tuner_result & result) {
    for (const transpose_cache type : { transpose_cache::none, transpose_cache::bf16, transpose_cache::f16, transpose_cache::q8_0 }) {
        const size_t bytes = transposes_bytes(model.matrices(), type);
        lowering rules = lowering::choose(device);
        std::unique_ptr<transposed_weights> copies;
        if (type != transpose_cache::none) {
            if (bytes > o.cache_bytes || !transposes_are_supported(device, model.matrices(), type)) continue;
            copies = std::make_unique<transposed_weights>(device, matrices, type);
            rules.transposes = &copies->map();
        }
        result.timings.push_back({ { weight_product::f32, type }, time_products(device, rules, nullptr, matrices, o), bytes });
    }
}

}  // namespace

tuner_result tune_variants(const base_model & model, const tuner_options & o) {
    if (o.n_tokens < 1 || o.n_tokens > (1 << 16)) throw train_error("CONFIG_INVALID", "numTokens: expected 1 to 65536, received " + std::to_string(o.n_tokens));
    if (model.options().placement != weight_placement::resident) {
        throw train_error("CONFIG_INVALID", "model: expected weights in the device's memory, received streamed or described ones. Load the model without a limit of weights");
    }
    if (o.n_repeats < 1) throw train_error("CONFIG_INVALID", "numRepeats: expected at least 1, received " + std::to_string(o.n_repeats));
    backend device(model.options().device, model.options().n_threads);
    const std::vector<ggml_tensor *> matrices = timed_matrices(model);
    tuner_result result;
    if (device.is_cpu) {
        device.set_threads(1);  // the operations bring their own threads
        time_cpu(model, device, matrices, o, result);
    } else {
        time_device(model, device, matrices, o, result);
    }
    double fastest = result.timings.front().milliseconds * (1.0 - LEAST_GAIN);
    for (const variant_timing & timing : result.timings) {
        if (timing.milliseconds >= fastest) continue;
        fastest = timing.milliseconds;
        result.best = timing.variants;
    }
    return result;
}

}  // namespace fedllm
