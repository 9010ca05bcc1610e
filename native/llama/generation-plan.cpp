// See generation-plan.h.
#include "generation-plan.h"

#include <algorithm>

#include "device-memory.h"
#include "error.h"
#include "llama.h"

namespace fedllm {

namespace {

void require_range(int64_t value, int64_t min, int64_t max, const std::string & subject) {
    if (value < min || value > max) {
        throw train_error("CONFIG_INVALID", subject + ": expected an integer from " + std::to_string(min) + " to " + std::to_string(max) + ", received " +
                                                std::to_string(value));
    }
}

bool is_cpu(const generator_options & options) {
    return ggml_backend_dev_type(backend_find_device(options.device)) == GGML_BACKEND_DEVICE_TYPE_CPU;
}

}  // namespace

int64_t generation_cells(int64_t context_length) {
    return (context_length + GENERATION_CELLS_MULTIPLE - 1) / GENERATION_CELLS_MULTIPLE * GENERATION_CELLS_MULTIPLE;
}

// The CPU's kernels for repacked weights take four columns at once; the others only set a single column apart on x86, fewer than four on
// ARM. A generator of one sequence has no company to be independent of.
int32_t generation_columns(const generator_options & options, bool on_cpu) {
#ifdef __aarch64__
    constexpr int32_t UNPACKED = 4;
#else
    constexpr int32_t UNPACKED = 2;
#endif
    if (!on_cpu || options.max_sequences == 1) {
        return 1;
    }
    return options.repack ? 4 : UNPACKED;
}

int64_t generation_streams(const generator_options & options, bool on_cpu) {
    const int32_t columns = generation_columns(options, on_cpu);
    return (options.max_sequences + columns - 1) / columns * columns;
}

generation_memory generation_memory_of(const model_info & model, const generator_options & options, bool on_cpu) {
    const int64_t     cells     = generation_cells(options.context_length);
    const int64_t     n_streams = generation_streams(options, on_cpu);
    generation_memory memory;
    memory.cache = size_t(n_streams) * size_t(cells) * size_t(model.n_layers * model.n_kv_heads * model.head_length) * 2 * sizeof(ggml_fp16_t);
    // Of each token: scores of all heads, once as they are, once after the softmax and once in F16; the mask; the widest vectors of a layer.
    const int64_t attention = cells * model.n_heads * (2 * 4 + 2) + cells * 4;
    const int64_t vectors   = 4 * (3 * model.n_ff + 8 * model.n_embd + 4 * model.n_heads * model.head_length);
    memory.compute = size_t(GENERATION_BATCH_TOKENS) * size_t(attention + vectors) + size_t(n_streams) * size_t(model.n_vocab) * 2 * sizeof(float);
    memory.weights = on_cpu && !options.repack ? 0 : model.weight_bytes;
    return memory;
}

std::shared_ptr<base_model> check_generator(const std::string & model_path, const generator_options & options) {
    const enum ggml_backend_dev_type type = ggml_backend_dev_type(backend_find_device(options.device));
    if (type != GGML_BACKEND_DEVICE_TYPE_CPU && type != GGML_BACKEND_DEVICE_TYPE_GPU && type != GGML_BACKEND_DEVICE_TYPE_IGPU) {
        throw train_error("NATIVE_MISMATCH", "device: expected the CPU or a GPU, received " + options.device);
    }
    require_range(options.n_threads, 1, GGML_MAX_N_THREADS, "numThreads");
    require_range(options.max_sequences, 1, int64_t(llama_max_parallel_sequences()), "maxSequences");
    model_options description;
    description.placement                     = weight_placement::measured;
    const std::shared_ptr<base_model> checked = base_model::load(model_path, description);
    require_range(options.context_length, 2, checked->info().context_length, "contextLength");
    return checked;
}

generation_plan plan_generation(const std::string & model_path, const generator_options & options, std::optional<size_t> limit) {
    const std::shared_ptr<base_model> model = check_generator(model_path, options);
    generation_plan                   plan;
    plan.limit                 = limit.has_value() ? *limit : device_free_bytes(backend(options.device, options.n_threads)) / 10 * 9;
    generator_options fitted   = options;
    for (; fitted.max_sequences > 0; --fitted.max_sequences) {
        plan.parts = generation_memory_of(model->info(), fitted, is_cpu(options));
        if (plan.parts.total() <= plan.limit) {
            plan.max_sequences = fitted.max_sequences;
            return plan;
        }
    }
    throw train_error("OUT_OF_MEMORY", "generation of one sequence of " + std::to_string(options.context_length) + " tokens: expected at most " +
                                           bytes_text(plan.limit) + ", received " + bytes_text(plan.parts.total()) + ". Lower contextLength" +
                                           (plan.parts.weights == 0 ? "" : ", or leave the weights where they are"));
}

}  // namespace fedllm
