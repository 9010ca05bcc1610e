// The operations that every backend has, node by node: none that a backend lacks, none outside the device, and W^T dy in its variants
// (blocks of rows, stored transposes) against the CPU kernels. With --device the same graphs are walked and compared there.
#include <cstring>

#include "architecture-cases.h"
#include "distillation.h"
#include "engine.h"
#include "graph-walk.h"
#include "random.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

struct graph_family {
    const char *    name;
    double          dropout;
    checkpoint_tier tier;
};
const graph_family FAMILIES[] = {
    { "kept", 0.0, checkpoint_tier::keep_all },
    { "computed again", 0.0, checkpoint_tier::layer_inputs },
    { "dropout", 0.2, checkpoint_tier::keep_all },
};

struct computed {
    std::vector<float> gradient;
    std::vector<float> scores;  // log-probability of each loss row
    std::vector<float> logits;
};

// Loss, gradient and logits of one engine.
computed compute(const base_model & model, const adapter_pair & adapter, const sample_list & samples, const engine_options & options) {
    engine runner(model, &adapter.options, options);
    runner.set_weights(adapter.weights);
    runner.clear_gradient();
    std::vector<uint32_t> indices;
    for (uint32_t i = 0; i < samples.size(); ++i) indices.push_back(i);
    computed result;
    for (const micro_batch & batch : batch_pack(samples.view(), indices, 4096, random_combine(options.seed, 0))) {
        for (const row_score & score : runner.run(batch, { true })) result.scores.push_back(score.log_probability);
        result.logits = runner.logits(batch);
    }
    runner.get_gradient(result.gradient);
    return result;
}

std::shared_ptr<base_model> load_on(const std::string & device, const std::string & path) { return base_model::load(path, { device, TEST_THREADS, {} }); }

struct family_check {
    std::string device;       // empty: the CPU with the portable operations
    bool        forbid = false;
    double      gradient_bound = 0.0;  // relative L2
};

// Walks and compares every family of one architecture's graphs; returns the number of nodes and the worst gradient error.
std::string check_families(const architecture_case & c, const family_check & check) {
    const std::string  path = write_case(c, "walk");
    const model_pair   models = load_core_only(path);
    // One sequence longer than an attention chunk and a window, short ones that share a chunk.
    const sample_list  samples = random_samples(c.options.n_vocab, { 40, 150, 9, 33 }, 0.4, 61);
    const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), check.device.empty() ? 3 : DEVICE_RANK, 62);
    const auto         model = load_on(check.device, path);
    const backend      device(check.device, 1);
    walk_result        walked;
    double             worst = 0.0;
    for (const graph_family & family : FAMILIES) {
        engine_options options;
        options.dropout = family.dropout;
        options.tier = family.tier;
        options.seed = 9;
        const computed expected = compute(*models.core, adapter, samples, options);
        options.portable = check.forbid;
        options.inspect = [&](ggml_cgraph * graph) { walk_graph(graph, device.device, check.forbid, walked); };
        const computed received = compute(*model, adapter, samples, options);
        const double error = relative_l2(received.gradient, expected.gradient);
        require_below(error, check.gradient_bound, std::string(family.name) + ": relative L2 error of the gradient");
        require_below(relative_l2(received.scores, expected.scores), check.gradient_bound, std::string(family.name) + ": relative L2 error of the log-probabilities");
        require_below(relative_l2(received.logits, expected.logits), check.gradient_bound, std::string(family.name) + ": relative L2 error of the logits");
        worst = std::max(worst, error);
    }
    walked.check(1000);
    return format("%zu nodes %.0e", walked.n_nodes, worst);
}

// Gradient of one adapter on the CPU with the portable operations.
std::vector<float> portable_gradient(const base_model & model, const adapter_pair & adapter, const sample_list & samples, std::optional<size_t> unpacked_bytes) {
    engine_options options;
    options.portable = true;
    options.unpacked_bytes = unpacked_bytes;
    return compute(model, adapter, samples, options).gradient;
}

}  // namespace

FEDLLM_TEST("portable: no graph of any architecture has an operation that Metal lacks, and all give the CPU kernels' numbers") {
    // F32 sums in another order, through up to 62 layers.
    return for_each_supported([](const architecture_case & c) { return check_families(c, { "", true, 1e-4 }); });
}

namespace {

// A step that follows a teacher at all boundaries and in the logits.
std::vector<float> distilled_gradient(const base_model & student, const base_model & teacher, const adapter_pair & adapter, const sample_list & samples, const engine_options & options) {
    distillation_options distillation = { &teacher, {}, 0.5, 0.5, {}, {} };
    for (int64_t b = 0; b <= student.info().n_layers; ++b) distillation.boundaries.push_back(b);
    distillation.teacher_boundaries = distillation.boundaries;
    engine follower(student, &adapter.options, options), leader(teacher, nullptr, options);
    follower.set_weights(adapter.weights);
    follower.clear_gradient();
    run_request request;
    request.gradient = true;
    request_distillation(distillation, request);
    std::vector<uint32_t> indices;
    for (uint32_t i = 0; i < samples.size(); ++i) indices.push_back(i);
    for (micro_batch & batch : batch_pack(samples.view(), indices, 4096, 0)) {
        attach_teacher(batch, distillation, leader);
        follower.run(batch, request);
    }
    std::vector<float> gradient;
    follower.get_gradient(gradient);
    return gradient;
}

std::string check_distillation_graphs(const architecture_case & c, const family_check & check) {
    const model_pair   teacher = load_core_only(write_case(c, "walk-teacher"));
    architecture_case  other = c;
    other.options.seed = 77;
    const model_pair   student = load_core_only(write_case(other, "walk-student"));
    const sample_list  samples = random_samples(c.options.n_vocab, { 40, 9 }, 0.4, 67);
    const adapter_pair adapter = random_adapter_of_core(student, modules_of(c.options), 3, 68);
    const auto         leader = load_on(check.device, teacher.path), follower = load_on(check.device, student.path);
    const backend      device(check.device, 1);
    walk_result        walked;
    engine_options     options;
    const std::vector<float> expected = distilled_gradient(*student.core, *teacher.core, adapter, samples, options);
    options.portable = check.forbid;
    options.inspect = [&](ggml_cgraph * graph) { walk_graph(graph, device.device, check.forbid, walked); };
    const double error = relative_l2(distilled_gradient(*follower, *leader, adapter, samples, options), expected);
    walked.check(300);
    require_below(error, check.gradient_bound, "relative L2 error of the gradient");
    return format("%zu nodes %.0e", walked.n_nodes, error);
}

}  // namespace

FEDLLM_TEST("portable: no graph that follows a teacher has an operation that Metal lacks, and all give the CPU kernels' numbers") {
    return for_each_supported([](const architecture_case & c) { return check_distillation_graphs(c, { "", true, 1e-4 }); });
}

FEDLLM_TEST("portable: W^T dy in blocks of rows gives the CPU kernels' gradient, also where blocks do not divide the rows") {
    double worst = 0.0;
    for (const ggml_type type : { GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K }) {
        for (const bool tied : { false, true }) {
            fixture_options fixture = fixture_for_type(type);
            fixture.tied_head = tied;
            const model_pair   models = make_models("blocks.gguf", fixture);
            const sample_list  samples = random_samples(fixture.n_vocab, { 40, 21 }, 0.4, 63);
            const adapter_pair adapter = random_adapter(models, { "attn_q", "ffn_up" }, 4, 64);
            const std::vector<float> whole = portable_gradient(*models.core, adapter, samples, std::nullopt);
            const size_t row = size_t(fixture.n_embd) * sizeof(float);
            // One row, 7, 33 and 100 rows of n_embd, and less than a row.
            for (const size_t bytes : { size_t(1), row, 7 * row, 33 * row, 100 * row }) {
                const double error = relative_l2(portable_gradient(*models.core, adapter, samples, bytes), whole);
                require_below(error, 1e-5, format("%s, %zu bytes: relative L2 error", ggml_type_name(type), bytes));  // sums in another order
                worst = std::max(worst, error);
            }
        }
    }
    return format("worst relative L2 %.1e", worst);
}

namespace {

struct transpose_case {
    transpose_cache type;
    const char *    name;
    double          weight_bound;    // relative L2 of a stored copy
    double          gradient_bound;  // relative L2 of the adapter's gradient
};
// A copy rounds W once: to 8, 11 bits of mantissa, or to integers up to 127 per block of 32 (a step of 1/127 of the block's largest number,
// uniform error of 0.29 steps, largest about 2.2 deviations: 0.5 %). The product rounds dy likewise, once per linear map on the way down.
const transpose_case TRANSPOSES[] = {
    { transpose_cache::bf16, "bf16", 2e-3, 1e-2 },
    { transpose_cache::f16, "f16", 3e-4, 1.5e-3 },
    { transpose_cache::q8_0, "q8_0", 8e-3, 4e-2 },
};

// Relative L2 distance between copy [d_out, d_in] and matrix [d_in, d_out], both in host memory.
double copy_error(const ggml_tensor * matrix, const ggml_tensor * copy) {
    const auto unpack = [](const ggml_tensor * t) {
        std::vector<float> values(size_t(ggml_nelements(t)));
        std::vector<uint8_t> bytes(ggml_nbytes(t));
        ggml_backend_tensor_get(t, bytes.data(), 0, bytes.size());
        if (t->type == GGML_TYPE_F32) std::memcpy(values.data(), bytes.data(), bytes.size());
        else ggml_get_type_traits(t->type)->to_float(bytes.data(), values.data(), ggml_nelements(t));
        return values;
    };
    const std::vector<float> original = unpack(matrix), turned = unpack(copy);
    std::vector<float> back(original.size());
    for (int64_t i = 0; i < matrix->ne[1]; ++i) {
        for (int64_t j = 0; j < matrix->ne[0]; ++j) back[size_t(i * matrix->ne[0] + j)] = turned[size_t(j * matrix->ne[1] + i)];
    }
    return relative_l2(back, original);
}

}  // namespace

FEDLLM_TEST("portable: stored transposes hold W^T within their type's rounding, made in one step or in many") {
    std::string detail;
    const backend cpu("", 1);
    for (const ggml_type type : { GGML_TYPE_F32, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K }) {
        const model_pair models = make_models("copies.gguf", fixture_for_type(type));
        for (const transpose_case & c : TRANSPOSES) {
            double worst = 0.0;
            for (const size_t step_bytes : { size_t(9000), size_t(70000), size_t(64) << 20 }) {
                const transposed_weights copies(cpu, models.core->matrices(), c.type, step_bytes);
                require(copies.map().size() == models.core->matrices().size(), "a matrix has no copy");
                for (const auto & [matrix, copy] : copies.map()) worst = std::max(worst, copy_error(matrix, copy));
            }
            require_below(worst, c.weight_bound, std::string(c.name) + ": relative L2 error");
            detail += format("%s%s as %s %.1e", detail.empty() ? "" : ", ", ggml_type_name(type), c.name, worst);
        }
    }
    return detail;
}

FEDLLM_TEST("portable: stored transposes of each type give the gradient within the type's bound") {
    std::string detail;
    for (const bool tied : { false, true }) {
        for (const ggml_type type : { GGML_TYPE_F32, GGML_TYPE_Q8_0 }) {
            fixture_options fixture = fixture_for_type(type);
            fixture.tied_head = tied;
            const model_pair   models = make_models("copies.gguf", fixture);
            const sample_list  samples = random_samples(fixture.n_vocab, { 40, 150, 21 }, 0.4, 65);
            const adapter_pair adapter = random_adapter(models, ALL_MODULES, 4, 66);
            const std::vector<float> expected = portable_gradient(*models.core, adapter, samples, std::nullopt);
            for (const transpose_case & c : TRANSPOSES) {
                models.core->make_transposes(c.type);
                const double error = relative_l2(portable_gradient(*models.core, adapter, samples, std::nullopt), expected);
                require_below(error, c.gradient_bound, std::string(c.name) + ": relative L2 error of the gradient");
                require(error > 0.0, "the copies were not used");
                detail += format("%s%s %.1e", detail.empty() ? "" : ", ", c.name, error);
            }
        }
    }
    // A vocabulary that is no multiple of 32 leaves the head without a copy in Q8_0, and the CPU kernels ignore all copies.
    fixture_options fixture;
    fixture.n_vocab = 97;
    const model_pair   models = make_models("copies.gguf", fixture);
    const sample_list  samples = random_samples(fixture.n_vocab, { 30 }, 0.4, 67);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, 4, 68);
    const std::vector<float> before = compute(*models.core, adapter, samples, {}).gradient;
    models.core->make_transposes(transpose_cache::q8_0);
    require(models.core->transposes()->count(models.core->output()) == 0, "rows of 97 numbers in blocks of 32");
    portable_gradient(*models.core, adapter, samples, std::nullopt);
    require(compute(*models.core, adapter, samples, {}).gradient == before, "the CPU kernels used the copies");
    return detail;
}

FEDLLM_TEST("portable: every node of every architecture's graphs runs on the device and gives the CPU's numbers") {
    if (test_device().empty()) throw test_skipped("no --device given");
    // As in test-backends.cpp, not squared: matrix units round F32 operands to 10 bits, through several layers.
    return for_each_supported([](const architecture_case & c) {
        // Dozens of layers run the same shaders again, which a software driver does slowly.
        return c.options.n_layers > 16 ? std::string("left out") : check_families(c, { test_device(), false, 2.5e-2 });
    });
}

FEDLLM_TEST("portable: a teacher is followed on the device as on the CPU") {
    if (test_device().empty()) throw test_skipped("no --device given");
    return for_each_supported([](const architecture_case & c) { return check_distillation_graphs(c, { test_device(), false, 2.5e-2 }); });
}
