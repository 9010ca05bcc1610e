// A student that follows a teacher: states between layers and the gradient of the loss against the reference in double and against
// differences, in both lowerings, with weights in place and streamed.
#include <algorithm>
#include <atomic>

#include "architecture-cases.h"
#include "emulator.h"
#include "engine.h"
#include "layer-stream.h"
#include "planner.h"

using namespace fedllm_test;
using fedllm::distillation_options;
using fedllm::gradient_options;

namespace {

// F32 against double, as in test-gradients.cpp.
constexpr double GRADIENT_TOLERANCE = 1e-5;
// Quotients of differences of states that are nearly alike, in F32.
constexpr double LOSS_TOLERANCE = 1e-5;

// A teacher of five layers, its emulator without the second and the fourth, and adapters of both.
struct class_room {
    model_pair   teacher, student;
    adapter_pair teacher_adapter, adapter;
    sample_list  samples;
};

class_room make_class(const fixture_options & shape = {}) {
    fixture_options options = shape;
    options.n_layers = 5;
    class_room room;
    room.teacher = make_models("distillation-teacher.gguf", options);
    const std::string path = temporary_path("distillation-student.gguf");
    fedllm::emulator_write(room.teacher.path, path, {0, 2, 4});
    room.student = load_models(path);
    room.teacher_adapter = random_adapter(room.teacher, ALL_MODULES, 2, 301);
    room.adapter = random_adapter(room.student, ALL_MODULES, 3, 302);
    room.samples = random_samples(options.n_vocab, {12, 20, 5, 9}, 0.5, 303);
    return room;
}

struct distillation_case {
    const char *         name;
    double               hidden_weight, divergence_weight;
    std::vector<int64_t> boundaries, teacher_boundaries;
};
// The emulator's layers 0, 1, 2 are the teacher's 0, 2, 4: what leaves its layer l is like what leaves the teacher's.
const std::vector<distillation_case> CASES = {
    {"plain", 1.0, 0.0, {2}, {4}},
    {"layerwise", 0.7, 0.0, {0, 1, 2, 3}, {0, 1, 3, 5}},
    {"divergence", 0.0, 1.3, {}, {}},
    {"both", 0.7, 1.3, {1, 2}, {1, 4}},
};

distillation_options options_of(const class_room & room, const distillation_case & c) {
    distillation_options options;
    options.teacher = room.teacher.core.get();
    options.teacher_adapters = {{room.teacher_adapter.options, room.teacher_adapter.weights.data()}};
    options.hidden_weight = c.hidden_weight;
    options.divergence_weight = c.divergence_weight;
    options.boundaries = c.boundaries;
    options.teacher_boundaries = c.teacher_boundaries;
    return options;
}

// On the layers below the highest boundary where nothing else has a gradient; the first numbers of the whole adapter.
adapter_pair adapter_of(const class_room & room, const distillation_case & c) {
    adapter_pair part = room.adapter;
    if (c.divergence_weight > 0.0) return part;
    for (int64_t layer = 0; layer < c.boundaries.back(); layer++) part.options.layers.push_back(layer);
    part.weights.resize(fedllm::adapter_make_layout(*room.student.core, part.options).n_parameters);
    return part;
}

gradient_options gradient_of(const class_room & room, const distillation_case & c) {
    gradient_options options;
    options.objective.distillation = options_of(room, c);
    return options;
}

std::shared_ptr<fedllm::base_model> load_streamed(const std::string & path) {
    const auto            measured = load_core(path);
    fedllm::model_options options = {"", TEST_THREADS};
    options.placement = fedllm::weight_placement::streamed;
    options.weight_limit_bytes = fedllm::stream_measure(*measured, fedllm::backend("", 1), std::nullopt).sum();
    return fedllm::base_model::load(path, options);
}

fedllm::hidden_states_result states_of(const fedllm::base_model & model, const adapter_pair & adapter, const sample_list & samples, std::vector<int64_t> boundaries,
                                       int64_t micro_batch_tokens = 4096) {
    fedllm::hidden_states_options options;
    options.adapter = &adapter.options;
    options.weights = &adapter.weights;
    options.samples = samples.view();
    options.boundaries = std::move(boundaries);
    options.micro_batch_tokens = micro_batch_tokens;
    const std::atomic<bool> never(false);
    return fedllm::hidden_states(model, options, never);
}

}  // namespace

FEDLLM_TEST("distillation: states between layers are the reference's, sample by sample, with weights in place and streamed") {
    const class_room room = make_class();
    double           worst = 0.0;
    const auto       whole = states_of(*room.student.core, room.adapter, room.samples, {0, 1, 2, 3});
    for (size_t s = 0; s < room.samples.size(); s++) {
        const size_t begin = whole.offsets[s], end = whole.offsets[s + 1];
        const auto   tokens = room.samples.reference()[s].tokens;
        const reference_adapter adapter = room.adapter.reference();
        const auto   expected = room.student.reference.states({tokens.begin(), tokens.begin() + int64_t(end - begin)}, &adapter);
        for (size_t b = 0; b < expected.size(); b++) {
            const std::vector<float> received(whole.states[b].begin() + int64_t(begin) * 64, whole.states[b].begin() + int64_t(end) * 64);
            worst = std::max(worst, relative_l2(received, expected[b]));
        }
    }
    require_below(worst, 1e-5, "relative L2 error of a state");
    require(whole.states[0].size() == size_t(whole.offsets.back()) * 64, "other number of states");
    require(states_of(*load_streamed(room.student.path), room.adapter, room.samples, {0, 1, 2, 3}).states == whole.states, "streamed states differ");
    const auto chosen = states_of(*room.student.core, room.adapter, room.samples, {1, 3}, 16);
    require(relative_l2(chosen.states[0], whole.states[1]) < 1e-6 && relative_l2(chosen.states[1], whole.states[3]) < 1e-6, "chosen states differ");
    return format("relative L2 %.1e", worst);
}

FEDLLM_TEST("distillation: loss and gradient are the reference's, in both lowerings and in micro-batches of any size") {
    double worst = 0.0;
    fixture_options quantized = fixture_for_type(GGML_TYPE_Q8_0);
    for (const fixture_options & shape : {fixture_options(), quantized}) {
        const class_room room = make_class(shape);
        for (const distillation_case & c : CASES) {
            const adapter_pair      adapter = adapter_of(room, c);
            const reference_adapter whole = room.adapter.reference(), above = room.teacher_adapter.reference();
            std::vector<double>     expected;
            const double expected_loss = room.student.reference.distil(
                room.samples.reference(), whole, {&room.teacher.reference, &above, c.hidden_weight, c.divergence_weight, c.boundaries, c.teacher_boundaries}, expected);
            expected.resize(adapter.weights.size());
            for (const bool portable : {false, true}) {
                if (portable && shape.type != GGML_TYPE_F32) continue;  // ggml rounds activations to 8 bits there
                for (const int64_t micro_batch_tokens : {4096, 10}) {
                    gradient_options options = gradient_of(room, c);
                    options.portable = portable;
                    options.micro_batch_tokens = micro_batch_tokens;
                    const core_gradient received = core_loss_and_gradient(room.student, adapter, room.samples, options);
                    require_close(received.loss_sum, expected_loss, LOSS_TOLERANCE, std::string(c.name) + ": loss");
                    require(received.weight_sum == double(room.samples.size()), "samples do not count once each");
                    const double error = relative_l2(received.values, expected);
                    require_below(error, GRADIENT_TOLERANCE, std::string(c.name) + ": relative L2 error of the gradient");
                    worst = std::max(worst, error);
                }
            }
        }
    }
    return format("worst relative L2 %.1e", worst);
}

FEDLLM_TEST("distillation: the slope along the gradient is its norm, for every architecture, with the teacher's head capped and scaled alike") {
    return for_each_supported([](const architecture_case & c) {
        const model_pair teacher = load_core_only(write_case(c, "distil-teacher"));
        fixture_options  shape = c.options;
        shape.seed = 77;  // as many layers, other weights: emulators of some architectures keep whole patterns only
        const model_pair   student = load_core_only(write_case({c.name, shape}, "distil-student"));
        const int64_t      n = shape.n_layers;
        const sample_list  samples = random_samples(shape.n_vocab, {30, 9}, 0.5, 304);
        const adapter_pair adapter = random_adapter_of_core(student, modules_of(shape), 3, 305);
        gradient_options   options;
        options.objective.distillation = distillation_options{teacher.core.get(), {}, 0.5, 0.5, {n - 1, n}, {n - 1, n}};
        // Dozens of random layers amplify a step so much that differences say nothing; the portable operations below still do.
        const double error = n > 20 ? 0.0 : error_along_gradient(student, adapter, samples, options);
        require_below(error, 3e-3, "error of the slope");  // of a loss that bends more than that of labels
        gradient_options portable = options;
        portable.portable = true;
        const auto kernels = core_loss_and_gradient(student, adapter, samples, options), general = core_loss_and_gradient(student, adapter, samples, portable);
        require_below(relative_l2(general.values, kernels.values), n > 20 ? 5e-5 : 1e-5, "relative L2 error of the portable gradient");
        require_close(general.loss_sum, kernels.loss_sum, 1e-5, "loss of the portable operations");
        return format("%.0e", error);
    });
}

FEDLLM_TEST("distillation: a student that is its teacher has no loss and no gradient, exactly") {
    const class_room room = make_class();
    for (const bool portable : {false, true}) {
        gradient_options options;
        options.portable = portable;
        options.objective.distillation = distillation_options{room.student.core.get(), {{room.adapter.options, room.adapter.weights.data()}}, 1.0, 1.0, {1, 2}, {1, 2}};
        // The adapter is frozen in both; the trained one beside it has no B yet.
        options.frozen = options.objective.distillation->teacher_adapters;
        const core_gradient received = core_loss_and_gradient(room.student, fresh_adapter(room.student, ALL_MODULES, 2, 306), room.samples, options);
        require(received.loss_sum == 0.0, format("the loss is %.3g", received.loss_sum));
        require(std::all_of(received.values.begin(), received.values.end(), [](float g) { return g == 0.0f; }), "a gradient is not zero");
    }
    return "";
}

FEDLLM_TEST("distillation: streamed weights of student and teacher give the bits of weights in place") {
    const class_room room = make_class();
    for (const distillation_case & c : CASES) {
        const adapter_pair    adapter = adapter_of(room, c);
        fedllm::train_options train = make_train_options(adapter, room.samples, 3);
        train.objective.distillation = options_of(room, c);
        const auto              expected = core_train(room.student, train, adapter.weights);
        const auto              student = load_streamed(room.student.path), teacher = load_streamed(room.teacher.path);
        const std::atomic<bool> never(false);
        train.objective.distillation->teacher = teacher.get();
        const auto streamed = fedllm::train(*student, train, adapter.weights, nullptr, never);
        require(streamed.weights == expected.weights && streamed.step_losses == expected.step_losses, std::string(c.name) + ": training differs");
    }
    return "";
}

FEDLLM_TEST("distillation: training brings the student near to its teacher, and its steps say how near") {
    const class_room room = make_class();
    std::string      details;
    for (const distillation_case & c : CASES) {
        adapter_pair adapter = fresh_adapter(room.student, ALL_MODULES, 4, 307);
        if (c.divergence_weight == 0.0) {
            for (int64_t layer = 0; layer < c.boundaries.back(); layer++) adapter.options.layers.push_back(layer);
            adapter.weights.resize(fedllm::adapter_make_layout(*room.student.core, adapter.options).n_parameters);
        }
        fedllm::train_options train = make_train_options(adapter, room.samples, 60);
        train.batch_size = int64_t(room.samples.size());
        train.learning_rate = 5e-3;
        train.objective.distillation = options_of(room, c);
        const auto result = core_train(room.student, train, adapter.weights);
        const fedllm::distillation_metrics & first = result.distillation_steps.front(), & last = result.distillation_steps.back();
        require_close(result.step_losses.front(), c.hidden_weight * first.hidden + c.divergence_weight * first.divergence, 1e-12, "the loss of its parts");
        require_below(result.step_losses.back(), 0.8 * result.step_losses.front(), std::string(c.name) + ": loss after training");
        require((last.divergence > 0.0) == (c.divergence_weight > 0.0), "a divergence that is not asked for");
        details += format("%s%s %.2f to %.2f", details.empty() ? "" : ", ", c.name, result.step_losses.front(), result.step_losses.back());
    }
    return details;
}

FEDLLM_TEST("distillation: what cannot be followed is refused before anything is computed") {
    const class_room room = make_class();
    const auto       refused = [&](const char * what, const std::function<void(fedllm::train_options &)> & spoil, const char * code = "CONFIG_INVALID") {
        const adapter_pair    adapter = adapter_of(room, CASES[3]);
        fedllm::train_options train = make_train_options(adapter, room.samples, 1);
        train.objective.distillation = options_of(room, CASES[3]);
        spoil(train);
        require_error({code}, what, [&] { core_train(room.student, train, adapter.weights); });
    };
    fixture_options other;
    other.n_embd = 32;
    const model_pair narrow = make_models("distillation-narrow.gguf", other);
    refused("no teacher", [](auto & o) { o.objective.distillation->teacher = nullptr; });
    refused("a teacher of another width", [&](auto & o) { o.objective.distillation->teacher = narrow.core.get(); });
    refused("a boundary above the last", [](auto & o) { o.objective.distillation->boundaries = {1, 4}; });
    refused("a boundary below the first", [](auto & o) { o.objective.distillation->teacher_boundaries = {-1, 4}; });
    refused("boundaries that fall", [](auto & o) { o.objective.distillation->boundaries = {2, 1}; });
    refused("other numbers of boundaries", [](auto & o) { o.objective.distillation->boundaries = {1}; });
    refused("a negative weight", [](auto & o) { o.objective.distillation->hidden_weight = -1.0; });
    refused("no weight at all", [](auto & o) { o.objective.distillation->hidden_weight = o.objective.distillation->divergence_weight = 0.0; });
    refused("an adapter above the highest boundary", [](auto & o) { o.objective.distillation->divergence_weight = 0.0; });
    refused("smoothed labels", [](auto & o) { o.objective.label_smoothing = 0.1; });
    const std::vector<float>    ones(room.samples.tokens.size(), 1.0f);
    const std::vector<uint32_t> pairs = {0, 2, 4};
    refused("weights of tokens", [&](auto & o) { o.samples.weights = ones.data(); }, "DATASET_INVALID");
    refused("groups", [&](auto & o) { o.samples.group_offsets = pairs.data(); o.samples.n_groups = 2; }, "DATASET_INVALID");
    return "";
}

FEDLLM_TEST("distillation: the plan has room for the teacher, and a plan without that room is not taken") {
    const class_room      room = make_class();
    const adapter_pair    adapter = adapter_of(room, CASES[3]);
    const auto            distillation = options_of(room, CASES[3]);
    fedllm::plan_request  request;
    request.adapter = &adapter.options;
    request.longest_sample = 20;
    request.micro_batch_tokens = 256;
    const auto alone = fedllm::memory_planner(*room.student.core, request).choose();
    request.distillation = &distillation;
    const auto together = fedllm::memory_planner(*room.student.core, request).choose();
    // The teacher's states at three boundaries, at least.
    require(together.needed > alone.needed + 3 * 256 * 64 * sizeof(float), "the teacher is not counted");
    request.memory_limit = together.needed - 1;
    require(fedllm::memory_planner(*room.student.core, request).choose().needed < together.needed, "a plan above the limit is taken");
    return format("%.1f MB alone, %.1f MB with the teacher", double(alone.needed) / 1e6, double(together.needed) / 1e6);
}
