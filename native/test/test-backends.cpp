// Another device against the CPU: losses and gradients of the same samples, for every weight type. Runs only when a device is
// named (--device), because most machines have one only.
#include <tuple>

#include "device-types.h"
#include "engine.h"
#include "random.h"
#include "test-support.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

struct device_result {
    std::vector<float> gradient;
    double             loss = 0.0;
};

device_result run_model(const base_model & model, const adapter_pair & adapter, const sample_list & samples, double dropout) {
    engine_options options;
    options.dropout = dropout;
    options.seed = 3;
    engine runner(model, &adapter.options, options);
    runner.set_weights(adapter.weights);
    runner.clear_gradient();
    std::vector<uint32_t> indices;
    for (uint32_t i = 0; i < samples.size(); ++i) indices.push_back(i);
    device_result result;
    for (const micro_batch & batch : batch_pack(samples.view(), indices, 4096, random_combine(options.seed, 0))) {
        for (const row_score & score : runner.run(batch, { true })) result.loss -= double(score.log_probability);
    }
    runner.get_gradient(result.gradient);
    return result;
}

device_result run_on(const std::string & device, const std::string & path, const adapter_pair & adapter, const sample_list & samples, double dropout) {
    return run_model(*base_model::load(path, { device, TEST_THREADS, {} }), adapter, samples, dropout);
}

const std::string & require_device() {
    if (test_device().empty()) throw test_skipped("no --device given");
    return test_device();
}

// Squared relative L2, by the type of the weights. Matrix units of GPUs round F32 operands to TF32 or F16 (10 bits: 5e-4 a value), for BF16
// weights also what they are multiplied with (8 bits: 4e-3 a value); products with quantized weights round activations to 8-bit integers in blocks
// (about 0.4 % a value). Each rounding happens once per linear map on the way up and down, some ten times, and gradients of early layers see all.
constexpr double BOUND_EXACT     = 5e-4;
constexpr double BOUND_16_BITS   = 1e-3;
constexpr double BOUND_QUANTIZED = 5e-3;

double bound_of(ggml_type type) {
    if (type == GGML_TYPE_F32) return BOUND_EXACT;
    return type == GGML_TYPE_F16 || type == GGML_TYPE_BF16 ? BOUND_16_BITS : BOUND_QUANTIZED;
}

const std::vector<int> MANY_TOKENS = { 20, 150, 9, 33 };

void compare(const std::string & name, const std::string & path, const std::vector<int> & lengths, double bound, double dropout, double & worst,
             int rank = DEVICE_RANK) {
    const model_pair   models = load_models(path);
    const sample_list  samples = random_samples(models.core->info().n_vocab, lengths, 0.8, 91);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, rank, 92);
    const device_result expected = run_on("", path, adapter, samples, dropout);
    const device_result received = run_on(require_device(), path, adapter, samples, dropout);
    const double error = relative_l2(received.gradient, expected.gradient);
    require_below(error * error, bound, name + ": squared relative L2 error of the gradient");
    require_close(received.loss, expected.loss, 1e-2, name + ": loss");
    worst = std::max(worst, error * error);
}

}  // namespace

FEDLLM_TEST("backends: the device gives the CPU's loss and gradient for a quantized base") {
    require_device();
    double worst = 0.0;
    const std::string path = temporary_path("backend-quantized.gguf");
    fixture_write(path, fixture_for_type(GGML_TYPE_Q4_K));
    compare("q4_K", path, DEVICE_LENGTHS, BOUND_QUANTIZED, 0.0, worst);
    return format("%s, %.1e", test_device().c_str(), worst);
}

namespace {

// Every further layer would run the same shaders again.
std::string compare_one_layer(const weight_type_case & c) {
    const backend device(require_device(), TEST_THREADS);
    fixture_options options = c.options;
    options.n_layers = 1;
    const std::string path = temporary_path("backend-type.gguf");
    fixture_write(path, options);
    if (device_takes_weight(device, options.type, options.n_embd, options.n_vocab)) {
        double error = 0.0;
        compare(c.name, path, DEVICE_LENGTHS, bound_of(options.type), 0.0, error);
        return format("%s, %.1e", test_device().c_str(), error);
    }
    const std::string message = require_error({ "MODEL_UNSUPPORTED" }, c.name, [&] { base_model::load(path, { test_device(), TEST_THREADS, {} }); });
    require(message.find("expected one of f32, f16") != std::string::npos, "the message names no types: " + message);
    return test_device() + ": refused";
}

// One test per type, so that they can be shared out over several processes.
const bool types_registered = [] {
    for (const weight_type_case & c : fixture_weight_types()) {
        test_registry().push_back({ "backends: weights of type " + c.name + " give the CPU's loss and gradient on the device, or are refused before it runs",
                                    [&c] { return compare_one_layer(c); } });
    }
    return true;
}();

}  // namespace

FEDLLM_TEST("backends: stored transposes of each type give the CPU's gradient on the device") {
    const backend device(require_device(), TEST_THREADS);
    fixture_options fixture = fixture_for_type(GGML_TYPE_Q8_0);
    fixture.n_layers = 1;
    const std::string path = temporary_path("backend-transposes.gguf");
    fixture_write(path, fixture);
    const model_pair   models = load_models(path);
    const sample_list  samples = random_samples(fixture.n_vocab, DEVICE_LENGTHS, 0.8, 93);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, DEVICE_RANK, 94);
    const device_result expected = run_on("", path, adapter, samples, 0.0);
    std::string detail;
    for (const auto & [type, name, bound] : { std::tuple{ transpose_cache::bf16, "bf16", BOUND_16_BITS }, { transpose_cache::f16, "f16", BOUND_16_BITS },
                                              { transpose_cache::q8_0, "q8_0", BOUND_QUANTIZED } }) {
        const auto model = base_model::load(path, { test_device(), TEST_THREADS, { weight_product::f32, type } });
        const bool offered = transposes_are_supported(device, model->matrices(), type);
        require(offered == (model->transposes() != nullptr), std::string(name) + ": what is offered is not what is made");
        if (offered) {
            const double error = relative_l2(run_model(*model, adapter, samples, 0.0).gradient, expected.gradient);
            require_below(error * error, bound, std::string(name) + ": squared relative L2 error of the gradient");
            detail += format(", %s %.0e", name, error * error);
        } else {
            detail += std::string(", ") + name + " not offered";
        }
    }
    return test_device() + detail;
}

FEDLLM_TEST("backends: the device gives the CPU's loss and gradient for ranks that make narrow products") {
    require_device();
    double worst = 0.0;
    const std::string path = temporary_path("backend-narrow.gguf");
    fixture_write(path, fixture_options{});
    for (const int rank : { 1, 3, 4, 8 }) compare(format("rank %d", rank), path, DEVICE_LENGTHS, BOUND_EXACT, 0.0, worst, rank);
    return format("%s, %.1e", test_device().c_str(), worst);
}

FEDLLM_TEST("backends: the device gives the CPU's loss and gradient under dropout") {
    require_device();
    double worst = 0.0;
    const std::string path = temporary_path("backend-dropout.gguf");
    fixture_write(path, fixture_options{});
    compare("dropout", path, MANY_TOKENS, BOUND_EXACT, 0.2, worst);
    return format("%s, %.1e", test_device().c_str(), worst);
}
