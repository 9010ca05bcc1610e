// Each fast path against the plain one kept beside it: matrix kernels against the triple loop, custom operations against the
// operations that every backend has, keeping values against computing them again, attention chunks against whole sequences.
#include <cstring>

#include "cpu/kernels.h"
#include "engine.h"
#include "random.h"
#include "test-support.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

struct kernel_case {
    int64_t m, n, k;
};

// Both paths sum k products in F32, in different orders: the error grows as sqrt(k) * 2^-24, about 1.7e-6 for k = 800.
constexpr double KERNEL_TOLERANCE = 1e-5;

double compare_with_naive(const cpu_kernels & kernels, ggml_type type, bool a_transposed, bool b_transposed, const kernel_case & size, int n_threads) {
    random_source random(uint64_t(size.m * 31 + size.n * 7 + size.k));
    const int64_t rows_a = a_transposed ? size.k : size.m, length_a = a_transposed ? size.m : size.k;
    std::vector<float> a(size_t(rows_a * length_a)), b(size_t(size.n * size.k)), c(size_t(size.m * size.n)), expected;
    for (float & x : a) x = float(random.normal());
    for (float & x : b) x = float(random.normal());
    for (float & x : c) x = float(random.normal());
    expected = c;
    const int64_t row_bytes = int64_t(ggml_row_size(type, length_a));
    std::vector<uint8_t> stored(size_t(rows_a * row_bytes));
    if (type == GGML_TYPE_F32) std::memcpy(stored.data(), a.data(), stored.size());
    else ggml_quantize_chunk(type, a.data(), stored.data(), 0, rows_a, length_a, nullptr);
    gemm_problem p;
    p.a = { stored.data(), type, row_bytes, a_transposed };
    p.b = { reinterpret_cast<const uint8_t *>(b.data()), GGML_TYPE_F32, (b_transposed ? size.n : size.k) * int64_t(sizeof(float)), b_transposed };
    p.c = c.data();
    p.c_row_bytes = size.m * int64_t(sizeof(float));
    p.m = size.m;
    p.n = size.n;
    p.k = size.k;
    p.alpha = 0.7f;
    p.accumulate = true;
    thread_pool        pool(n_threads);
    std::vector<float> scratch;
    gemm_run(*kernels.gemm, pool, scratch, p);
    p.c = expected.data();
    gemm_naive(p);
    return relative_l2(c, expected);
}

std::vector<float> engine_gradient(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, const engine_options & options) {
    engine runner(*models.core, &adapter.options, options);
    runner.set_weights(adapter.weights);
    runner.clear_gradient();
    std::vector<uint32_t> indices;
    for (uint32_t i = 0; i < samples.size(); ++i) indices.push_back(i);
    double loss = 0.0;
    for (const micro_batch & batch : batch_pack(samples.view(), indices, 4096, random_combine(options.seed, 0))) {
        for (const row_score & score : runner.run(batch, { true })) loss -= double(score.log_probability);
    }
    std::vector<float> gradient;
    runner.get_gradient(gradient);
    gradient.push_back(float(loss));
    return gradient;
}

}  // namespace

FEDLLM_TEST("lowering: every matrix kernel agrees with the triple loop on odd shapes, types, transpositions and thread counts") {
    double worst = 0.0;
    int    cases = 0;
    for (const char * name : { "generic", "avx2", "avx512" }) {
        const cpu_kernels * kernels = cpu_find_kernels(name);
        if (kernels == nullptr) continue;
        for (const bool ta : { false, true }) {
            for (const bool tb : { false, true }) {
                for (const kernel_case & size : { kernel_case{ 1, 1, 1 }, { 37, 13, 21 }, { 33, 7, 300 }, { 300, 1, 5 }, { 64, 530, 64 } }) {
                    worst = std::max(worst, compare_with_naive(*kernels, GGML_TYPE_F32, ta, tb, size, 3));
                    ++cases;
                }
                for (const ggml_type type : { GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K }) {
                    for (const int n_threads : { 1, 5 }) worst = std::max(worst, compare_with_naive(*kernels, type, ta, tb, { 512, 13, 512 }, n_threads));
                    cases += 2;
                }
            }
        }
    }
    require_below(worst, KERNEL_TOLERANCE, "relative L2 error");
    return format("%d cases, worst %.1e", cases, worst);
}

FEDLLM_TEST("lowering: a column's bits depend neither on its neighbours nor on the number of threads") {
    const gemm_kernel & kernel = *cpu_select_kernels().gemm;
    thread_pool         three(3), one_thread(1);
    std::vector<float>  scratch;
    const int64_t m = 77, n = 40, k = 300;
    random_source random(5);
    std::vector<float> a(size_t(m * k)), b(size_t(n * k)), all(size_t(m * n)), one(size_t(m * n));
    for (float & x : a) x = float(random.normal());
    for (float & x : b) x = float(random.normal());
    gemm_problem p;
    p.a = { reinterpret_cast<const uint8_t *>(a.data()), GGML_TYPE_F32, k * 4, false };
    p.b = { reinterpret_cast<const uint8_t *>(b.data()), GGML_TYPE_F32, k * 4, false };
    p.c = all.data();
    p.c_row_bytes = m * 4;
    p.m = m;
    p.n = n;
    p.k = k;
    p.alpha = 1.0f;
    p.accumulate = false;
    gemm_run(kernel, three, scratch, p);
    for (int64_t j = 0; j < n; ++j) {
        gemm_problem column = p;
        column.b.data += j * k * 4;
        column.c = one.data() + j * m;
        column.n = 1;
        gemm_run(kernel, one_thread, scratch, column);
    }
    require(std::memcmp(all.data(), one.data(), all.size() * sizeof(float)) == 0, "a column computed alone has other bits");
    return format("%lld columns", (long long) n);
}

FEDLLM_TEST("lowering: the operations that every backend has give the gradient of the CPU kernels") {
    double worst = 0.0;
    for (const bool biases : { false, true }) {
        fixture_options options;
        options.biases = biases;
        options.rope_factors = biases;
        const model_pair   models = make_models("lowering.gguf", options);
        // One sequence longer than an attention chunk, several short ones that share a chunk.
        const sample_list  samples = random_samples(options.n_vocab, { 20, 150, 9, 33 }, 0.4, 71);
        const adapter_pair adapter = random_adapter(models, ALL_MODULES, 4, 72);
        for (const double dropout : { 0.0, 0.3 }) {
            engine_options kernels, portable;
            kernels.dropout = portable.dropout = dropout;
            kernels.seed = portable.seed = 9;
            portable.portable = true;
            const std::vector<float> expected = engine_gradient(models, adapter, samples, kernels);
            const std::vector<float> received = engine_gradient(models, adapter, samples, portable);
            worst = std::max(worst, relative_l2(received, expected));
        }
    }
    require_below(worst, 1e-5, "relative L2 error");  // F32 sums in another order, as above
    return format("worst relative L2 %.1e", worst);
}

FEDLLM_TEST("lowering: quantized bases agree between the portable operations and the CPU kernels") {
    const model_pair   models = make_models("lowering-q.gguf", fixture_for_type(GGML_TYPE_Q4_K));
    const sample_list  samples = random_samples(models.core->info().n_vocab, { 40, 21 }, 0.4, 73);
    const adapter_pair adapter = random_adapter(models, { "attn_q", "ffn_down" }, 4, 74);
    engine_options portable;
    portable.portable = true;
    const double error = relative_l2(engine_gradient(models, adapter, samples, portable), engine_gradient(models, adapter, samples, {}));
    // llama.cpp's forward product rounds activations to 8 bits (relative step 1/254 per block of 256, about 0.3 % of the
    // values' deviation), once per linear map on the way.
    require_below(error, 3e-2, "relative L2 error");
    return format("relative L2 %.1e", error);
}

FEDLLM_TEST("lowering: computing a layer's values again gives the bits of keeping them") {
    fixture_options options;
    options.n_layers = 3;
    const model_pair  models = make_models("tiers.gguf", options);
    const sample_list samples = random_samples(options.n_vocab, { 20, 140, 9 }, 0.4, 75);
    for (const std::vector<std::string> & modules : { ALL_MODULES, std::vector<std::string>{ "attn_q", "attn_v" } }) {
        const adapter_pair adapter = random_adapter(models, modules, 4, 76);
        engine_options keep, again;
        keep.dropout = again.dropout = 0.2;
        keep.tier = checkpoint_tier::keep_all;
        again.tier = checkpoint_tier::layer_inputs;
        require(engine_gradient(models, adapter, samples, keep) == engine_gradient(models, adapter, samples, again), "other bits");
    }
    return "two adapters";
}

FEDLLM_TEST("lowering: a sequence cut into attention chunks agrees with the reference") {
    const fixture_options options;
    const model_pair  models = make_models("chunks.gguf", options);
    double            worst = 0.0;
    for (const int length : { 128, 129, 257 }) {
        const sample_list  samples = random_samples(options.n_vocab, { 5, length, 7 }, 0.3, uint64_t(length));
        const adapter_pair adapter = random_adapter(models, ALL_MODULES, 2, 77);
        const core_gradient core = core_loss_and_gradient(models, adapter, samples);
        std::vector<double> expected;
        const reference_adapter reference = adapter.reference();
        const reference_loss    loss = models.reference.loss(samples.reference(), &reference, &expected);
        require_close(core.loss_sum, loss.loss_sum, 1e-6, "loss");
        worst = std::max(worst, relative_l2(core.values, expected));
    }
    require_below(worst, 1e-4, "relative L2 error");
    return format("worst relative L2 %.1e", worst);
}
