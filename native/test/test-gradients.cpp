// Gradients of A and B of all seven modules: the reference against central differences of its own loss in double, the
// core against central differences of its own F32 loss, and the core against the reference, tensor by tensor.
#include <algorithm>

#include "test-support.h"

using namespace fedllm_test;

namespace {

// The largest and a random entry among the largest eighth of a tensor's gradient: a difference quotient of an entry near
// zero measures rounding only.
std::vector<size_t> choose_entries(const std::vector<double> & gradient, const reference_tensor & tensor, random_source & random) {
    std::vector<size_t> order;
    for (size_t i = 0; i < size_t(tensor.n_columns * tensor.n_rows); i++) {
        order.push_back(tensor.offset + i);
    }
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return std::fabs(gradient[a]) > std::fabs(gradient[b]); });
    return {order[0], order[size_t(random.below(int64_t(order.size() / 8)))]};
}

// Central difference of fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h. Its higher order allows a step so
// large that F32 rounding of the loss (about 1e-6 of it) stays below the tolerance.
double central_difference(const std::function<double(double)> & loss_at, double h) {
    return (8.0 * (loss_at(h) - loss_at(-h)) - (loss_at(2.0 * h) - loss_at(-2.0 * h))) / (12.0 * h);
}

struct worst_value {
    double      value = 0.0;
    std::string where = "nothing";

    void add(double candidate, const std::string & name) {
        if (!(candidate <= value)) {  // NaN counts as worst
            value = candidate;
            where = name;
        }
    }
};

// Every variation of the architecture at once or alone.
std::vector<std::pair<std::string, fixture_options>> architecture_variants() {
    fixture_options plain, full, wide, single, grouped_by_one;
    full.biases = full.rope_factors = full.tied_head = true;
    full.rope_base = 5000.0f;
    full.rope_linear_factor = 2.0f;
    full.norm_epsilon = 1e-2f;
    wide.head_length = 32;  // n_heads * head_length is not n_embd
    single.n_kv_heads = 1;
    single.n_layers = 1;
    grouped_by_one.n_kv_heads = 4;
    grouped_by_one.n_layers = 3;
    return {{"grouped-query", plain}, {"biases, factors, scaling, tied", full}, {"wide heads", wide},
            {"one kv head", single}, {"multi-head", grouped_by_one}};
}

double worst_relative_l2(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, worst_value & worst) {
    const reference_adapter reference = adapter.reference();
    std::vector<double>     expected;
    const reference_loss    loss = models.reference.loss(samples.reference(), &reference, &expected);
    const core_gradient     gradient = core_loss_and_gradient(models, adapter, samples);
    require(gradient.n_supervised == loss.n_supervised, "the number of supervised tokens differs");
    require(gradient.values.size() == expected.size(), "the gradient has another length than the layout");
    const std::vector<double> values = to_double(gradient.values);
    for (const reference_tensor & tensor : models.reference.layout(reference)) {
        const size_t n = size_t(tensor.n_columns * tensor.n_rows);
        worst.add(relative_l2(&values[tensor.offset], &expected[tensor.offset], n), tensor.name);
    }
    return std::fabs(gradient.loss_sum - loss.loss_sum) / loss.loss_sum;
}

}  // namespace

FEDLLM_TEST("gradients: the reference agrees with central differences of its own loss") {
    fixture_options options = architecture_variants()[1].second;
    const std::string path = temporary_path("reference-check.gguf");
    fixture_write(path, options);
    const model_pair     models = {path, nullptr, reference_model::load(path)};
    const auto           samples = random_samples(options.n_vocab, {9, 6}, 0.6, 3).reference();
    const adapter_pair   adapter = random_adapter(models, ALL_MODULES, 3, 5);
    reference_adapter    moved = adapter.reference();
    std::vector<double>  gradient;
    random_source        random(11);
    worst_value          worst;
    models.reference.loss(samples, &moved, &gradient);
    for (const reference_tensor & tensor : models.reference.layout(moved)) {
        for (const size_t entry : choose_entries(gradient, tensor, random)) {
            const double start = moved.weights[entry];
            const double slope = central_difference(
                [&](double h) {
                    moved.weights[entry] = start + h;
                    return models.reference.loss(samples, &moved).loss_sum;
                },
                1e-3);
            moved.weights[entry] = start;
            worst.add(std::fabs(slope - gradient[entry]) / std::fabs(gradient[entry]), tensor.name);
        }
    }
    // Step 1e-3 to the fourth power and 1e-16 / 1e-3 of rounding leave about 1e-10.
    require_below(worst.value, 1e-7, "worst relative error, in " + worst.where);
    return format("worst relative error %.1e in %s", worst.value, worst.where.c_str());
}

FEDLLM_TEST("gradients: the core agrees with central differences of its own loss in A and B of all seven modules") {
    const fixture_options options;
    const model_pair      models = make_models("finite-differences.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {12, 9}, 0.7, 21);
    adapter_pair          adapter = random_adapter(models, ALL_MODULES, 3, 6);
    const core_gradient   gradient = core_loss_and_gradient(models, adapter, samples);
    random_source         random(12);
    worst_value           worst;
    int                   n_entries = 0;
    require_close(core_evaluate(models, &adapter, samples).loss_sum, gradient.loss_sum, 1e-6, "loss of evaluate");
    for (const reference_tensor & tensor : models.reference.layout(adapter.reference())) {
        for (const size_t entry : choose_entries(to_double(gradient.values), tensor, random)) {
            const float  start = adapter.weights[entry];
            const double slope = central_difference(
                [&](double h) {
                    adapter.weights[entry] = start + float(h);
                    return core_evaluate(models, &adapter, samples).loss_sum;
                },
                0.03125);  // a power of two: start + h rounds least
            adapter.weights[entry] = start;
            worst.add(std::fabs(slope - double(gradient.values[entry])) / std::fabs(double(gradient.values[entry])), tensor.name);
            n_entries++;
        }
    }
    require_below(worst.value, 1e-3, "worst relative error, in " + worst.where);
    return format("%d entries, worst relative error %.1e in %s", n_entries, worst.value, worst.where.c_str());
}

FEDLLM_TEST("gradients: the core's loss changes along random directions as its gradient says") {
    const fixture_options options;
    const model_pair      models = make_models("directions.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {14, 5, 8}, 0.7, 22);
    adapter_pair          adapter = random_adapter(models, ALL_MODULES, 4, 7);
    const core_gradient   gradient = core_loss_and_gradient(models, adapter, samples);
    const auto            start = adapter.weights;
    random_source         random(13);
    worst_value           worst;
    double                norm = 0.0;
    for (const float value : gradient.values) {
        norm += double(value) * double(value);
    }
    norm = std::sqrt(norm);
    for (int trial = 0; trial < 6; trial++) {
        // Half random, half along the gradient, of length about one: the slope is then never near zero.
        std::vector<double> direction;
        double              expected = 0.0;
        for (const float value : gradient.values) {
            direction.push_back(double(value) / norm + (random.uniform() < 0.5 ? -1.0 : 1.0) / std::sqrt(double(start.size())));
            expected += direction.back() * double(value);
        }
        const double slope = central_difference(
            [&](double h) {
                for (size_t i = 0; i < start.size(); i++) {
                    adapter.weights[i] = start[i] + float(h * direction[i]);
                }
                return core_evaluate(models, &adapter, samples).loss_sum;
            },
            1.0 / 64);
        worst.add(std::fabs(slope - expected) / std::fabs(expected), format("direction %d", trial));
    }
    require_below(worst.value, 1e-3, "worst relative error, in " + worst.where);
    return format("worst relative error %.1e", worst.value);
}

FEDLLM_TEST("gradients: every tensor agrees with the reference for F32 bases of every architecture variant") {
    worst_value worst, worst_loss;
    int         variant = 0;
    for (const auto & [name, options] : architecture_variants()) {
        const model_pair   models = make_models(format("variant-%d.gguf", variant++), options);
        const sample_list  samples = random_samples(options.n_vocab, {33, 17, 2, 26}, 0.5, 23);
        const adapter_pair adapter = random_adapter(models, ALL_MODULES, 5, 8);
        worst_value        here;
        worst_loss.add(worst_relative_l2(models, adapter, samples, here), name);
        worst.add(here.value, name + ": " + here.where);
    }
    // F32 rounding of sums of some hundred terms, through three layers forward and back.
    require_below(worst_loss.value, 1e-6, "relative error of the loss, " + worst_loss.where);
    require_below(worst.value, 1e-4, "relative L2 error, " + worst.where);
    return format("worst relative L2 %.1e (%s), loss %.1e", worst.value, worst.where.c_str(), worst_loss.value);
}

FEDLLM_TEST("gradients: long samples with hundreds of supervised tokens agree with the reference") {
    // More rows and longer sequences than the core takes at once anywhere.
    fixture_options options;
    options.n_layers = 1;
    const model_pair   models = make_models("long.gguf", options);
    const sample_list  samples = random_samples(options.n_vocab, {300, 70, 290, 60}, 0.95, 27);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, 3, 12);
    worst_value        worst;
    const double       loss = worst_relative_l2(models, adapter, samples, worst);
    const auto         weights = adapter.reference();
    const double       expected = models.reference.loss(samples.reference(), &weights).loss_sum;
    require_below(loss, 1e-6, "relative error of the loss");
    require_below(worst.value, 1e-4, "relative L2 error, " + worst.where);
    require_close(core_evaluate(models, &adapter, samples).loss_sum, expected, 1e-6, "evaluated loss");
    return format("worst relative L2 %.1e, loss %.1e", worst.value, loss);
}

FEDLLM_TEST("gradients: every subset of target modules gives the reference's gradient in the documented order") {
    const fixture_options                       options;
    const model_pair                            models = make_models("subsets.gguf", options);
    const sample_list                           samples = random_samples(options.n_vocab, {13, 22}, 0.5, 25);
    std::vector<std::vector<std::string>>       subsets = {
        {"attn_v", "attn_q"}, {"ffn_up", "attn_output"}, {"ffn_gate", "ffn_down", "attn_k"}};
    worst_value                                 worst;
    for (const std::string & module : ALL_MODULES) {
        subsets.push_back({module});
    }
    for (const auto & subset : subsets) {
        const adapter_pair adapter = random_adapter(models, subset, 2, 10);
        const auto         expected = models.reference.layout(adapter.reference());
        const auto         layout = fedllm::adapter_make_layout(*models.core, adapter.options);
        require(layout.tensors.size() == expected.size(), "the layout has another number of tensors");
        require(layout.n_parameters == adapter.weights.size(), "the layout has another number of parameters");
        for (size_t i = 0; i < expected.size(); i++) {
            const fedllm::adapter_tensor & tensor = layout.tensors[i];
            require(tensor.name == expected[i].name, "tensor " + tensor.name + " stands where " + expected[i].name + " belongs");
            require(tensor.offset == expected[i].offset && tensor.shape[0] == expected[i].n_columns &&
                        tensor.shape[1] == expected[i].n_rows && tensor.layer == expected[i].layer &&
                        int(tensor.module) == expected[i].module && tensor.is_b == expected[i].is_b,
                    tensor.name + " has another offset, shape or place");
        }
        worst_relative_l2(models, adapter, samples, worst);
    }
    require_below(worst.value, 1e-4, "relative L2 error, " + worst.where);
    return format("%zu subsets, worst relative L2 %.1e", subsets.size(), worst.value);
}

FEDLLM_TEST("gradients: with B at zero the gradient of A is exactly zero and that of B is not") {
    const fixture_options options;
    const model_pair      models = make_models("zero-b.gguf", options);
    const sample_list     samples = random_samples(options.n_vocab, {20}, 0.5, 26);
    const adapter_pair    adapter = fresh_adapter(models, ALL_MODULES, 4, 11);
    const core_gradient   gradient = core_loss_and_gradient(models, adapter, samples);
    for (const reference_tensor & tensor : models.reference.layout(adapter.reference())) {
        double square = 0.0;
        for (size_t i = 0; i < size_t(tensor.n_columns * tensor.n_rows); i++) {
            square += double(gradient.values[tensor.offset + i]) * double(gradient.values[tensor.offset + i]);
        }
        require(tensor.is_b ? square > 0.0 : square == 0.0, tensor.name + format(" has a squared gradient norm of %g", square));
    }
    return "";
}
