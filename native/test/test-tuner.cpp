// The choice among kernel variants: which are timed for a model and a device, that a choice is one of them, and that what it
// changes stays within the stated bound.
#include "cpu/kernels.h"
#include "engine.h"
#include "random.h"
#include "test-support.h"
#include "tuner.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

bool is_same(const kernel_variants & a, const kernel_variants & b) { return a.product == b.product && a.transposes == b.transposes; }

// The first timing is exact, the choice is among the timings, and it is the exact one or saves at least a twentieth.
void check_choice(const tuner_result & result) {
    require(!result.timings.empty() && is_same(result.timings.front().variants, {}), "the first timing is not the exact variant");
    const variant_timing * chosen = nullptr;
    for (const variant_timing & timing : result.timings) {
        require(timing.milliseconds > 0.0, "a timing is not positive");
        if (is_same(timing.variants, result.best)) chosen = &timing;
    }
    require(chosen != nullptr, "the choice was not timed");
    require(chosen == &result.timings.front() || chosen->milliseconds < 0.95 * result.timings.front().milliseconds, "a choice that gains nothing");
}

}  // namespace

FEDLLM_TEST("tuner: on the CPU it times F32 and, where processor and weights allow, BF16") {
    std::string detail;
    for (const ggml_type type : { GGML_TYPE_F32, GGML_TYPE_Q8_0 }) {
        const model_pair   models = make_models("tuner.gguf", fixture_for_type(type));
        const tuner_result result = tune_variants(*models.core, { 32, size_t(1) << 30, 3 });
        const bool has_bf16 = cpu_select_kernels().gemm_bf16 != nullptr && type != GGML_TYPE_F32;
        require(result.timings.size() == (has_bf16 ? 2u : 1u), "another number of timings");
        require(result.best.transposes == transpose_cache::none, "the CPU kernels need no transposes");
        check_choice(result);
        detail += format("%s%s: %zu variants", detail.empty() ? "" : ", ", ggml_type_name(type), result.timings.size());
    }
    const model_pair models = make_models("tuner.gguf", {});
    require_error({ "CONFIG_INVALID" }, "no tokens", [&] { tune_variants(*models.core, { 0, 0, 3 }); });
    return detail;
}

FEDLLM_TEST("tuner: on a device it times the copies that fit, and the chosen one keeps the gradient within its bound") {
    if (test_device().empty()) throw test_skipped("no --device given");
    fixture_options fixture = fixture_for_type(GGML_TYPE_Q8_0);
    fixture.n_layers = 1;
    const std::string path = temporary_path("tuner-device.gguf");
    fixture_write(path, fixture);
    const auto model = base_model::load(path, { test_device(), TEST_THREADS, {} });
    require(tune_variants(*model, { 32, 0, 1 }).timings.size() == 1, "copies that do not fit were timed");
    // Room for Q8_0, not for 16 bits.
    const size_t q8_0 = transposes_bytes(model->matrices(), transpose_cache::q8_0);
    for (const variant_timing & timing : tune_variants(*model, { 32, q8_0, 1 }).timings) require(timing.bytes <= q8_0, "a copy that does not fit was timed");
    const tuner_result result = tune_variants(*model, { 32, size_t(1) << 30, 1 });
    check_choice(result);
    return format("%s, %zu variants", test_device().c_str(), result.timings.size());
}
