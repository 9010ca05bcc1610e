// Another device against the CPU: losses and gradients of the same samples, for every weight type and architecture. Runs only
// when a device is named (--device), because most machines have one only.
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

device_result run_on(const std::string & device, const std::string & path, const adapter_pair & adapter, const sample_list & samples, double dropout) {
    const auto model = base_model::load(path, { device, TEST_THREADS });
    engine_options options;
    options.dropout = dropout;
    options.seed = 3;
    engine runner(*model, &adapter.options, options);
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

const std::string & require_device() {
    if (test_device().empty()) throw test_skipped("no --device given");
    return test_device();
}

// Squared relative L2. Bounds: matrix units of GPUs round F32 operands to TF32 or F16 (10 bits: 5e-4 a value), and quantized
// products round activations to 8 bits in blocks (about 0.4 % a value, once per linear map on the way down and up).
constexpr double BOUND_EXACT     = 5e-4;
constexpr double BOUND_QUANTIZED = 5e-3;

void compare(const std::string & name, const std::string & path, double bound, double dropout, double & worst) {
    const model_pair   models = load_models(path);
    const sample_list  samples = random_samples(models.core->info().n_vocab, { 20, 150, 9, 33 }, 0.4, 91);
    const adapter_pair adapter = random_adapter(models, ALL_MODULES, 4, 92);
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
    compare("q4_K", path, BOUND_QUANTIZED, 0.0, worst);
    return format("%s, %.1e", test_device().c_str(), worst);
}

// Minutes on a driver that compiles its shaders for the CPU.
FEDLLM_TEST("backends: the device gives the CPU's loss and gradient for the other weight types") {
    require_device();
    double worst = 0.0;
    for (const ggml_type type : { GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K }) {
        const std::string path = temporary_path("backend-type.gguf");
        fixture_write(path, fixture_for_type(type));
        const bool exact = type == GGML_TYPE_F32 || type == GGML_TYPE_F16;
        compare(ggml_type_name(type), path, exact ? BOUND_EXACT : BOUND_QUANTIZED, 0.0, worst);
    }
    return format("%s, worst %.1e", test_device().c_str(), worst);
}

FEDLLM_TEST("backends: the device gives the CPU's loss and gradient under dropout") {
    require_device();
    double worst = 0.0;
    const std::string path = temporary_path("backend-dropout.gguf");
    fixture_write(path, fixture_options{});
    compare("dropout", path, BOUND_EXACT, 0.2, worst);
    return format("%s, %.1e", test_device().c_str(), worst);
}
