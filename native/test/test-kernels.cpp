// The loops of core/cpu alone: matrix kernels against the triple loop, own unpackers against ggml's, bits that must not depend on
// neighbours or threads; and what products in BF16 do to a whole model.
#include <cstring>

#include "cpu/kernels.h"
#include "engine.h"
#include "test-support.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

const std::vector<const char *> KERNEL_NAMES = { "generic", "avx2", "avx512", "avx512bf16", "neon" };

// One kernel and what its operands are rounded to.
struct kernel_under_test {
    std::string         name;
    const gemm_kernel * gemm;
    weight_product      rounding;
};

// All that this processor can run.
std::vector<kernel_under_test> runnable_kernels() {
    std::vector<kernel_under_test> list;
    for (const char * name : KERNEL_NAMES) {
        const cpu_kernels * kernels = cpu_find_kernels(name);
        if (kernels == nullptr) continue;
        if (kernels->gemm_bf16 != nullptr) list.push_back({ std::string(name) + " bf16", kernels->gemm_bf16, weight_product::bf16 });
        else list.push_back({ name, kernels->gemm, weight_product::f32 });
    }
    return list;
}

struct problem_size {
    int64_t m, n, k;
};

// A product with memory of its own. values: of A, F32, before they are stored as `type`.
struct sample_problem {
    std::vector<uint8_t> stored;
    std::vector<float>   b, c;
    gemm_problem         p{};

    sample_problem(ggml_type type, bool a_transposed, bool b_transposed, const problem_size & size) {
        random_source random(uint64_t(size.m * 31 + size.n * 7 + size.k));
        const int64_t rows_a = a_transposed ? size.k : size.m, length_a = a_transposed ? size.m : size.k;
        std::vector<float> a(size_t(rows_a * length_a));
        b.resize(size_t(size.n * size.k));
        c.resize(size_t(size.m * size.n));
        for (float & x : a) x = float(random.normal());
        for (float & x : b) x = float(random.normal());
        for (float & x : c) x = float(random.normal());
        const int64_t row_bytes = int64_t(ggml_row_size(type, length_a));
        stored.resize(size_t(rows_a * row_bytes));
        if (type == GGML_TYPE_F32) std::memcpy(stored.data(), a.data(), stored.size());
        else ggml_quantize_chunk(type, a.data(), stored.data(), 0, rows_a, length_a, nullptr);
        p.a = { stored.data(), type, row_bytes, a_transposed };
        p.b = { reinterpret_cast<const uint8_t *>(b.data()), GGML_TYPE_F32, (b_transposed ? size.n : size.k) * int64_t(sizeof(float)), b_transposed };
        p.c = c.data();
        p.c_row_bytes = size.m * int64_t(sizeof(float));
        p.m = size.m;
        p.n = size.n;
        p.k = size.k;
        p.alpha = 0.7f;
        p.accumulate = true;
    }
    sample_problem(const sample_problem &)             = delete;
    sample_problem & operator=(const sample_problem &) = delete;
};

// Both paths sum k products of the same numbers in F32, in different orders: the error grows as sqrt(k) * 2^-24, about 1.7e-6
// for k = 800. Unpacked numbers may differ by one rounding.
constexpr double KERNEL_TOLERANCE = 1e-5;
// Where an unpacked number that differs by one rounding falls on the other side of a tie, its BF16 value differs by 2^-8; that
// happens to one number in some 2^15, hence sqrt(2^-15) * 2^-8 at worst.
constexpr double KERNEL_TOLERANCE_BF16 = 3e-5;

double compare_with_naive(const kernel_under_test & kernel, ggml_type type, bool a_transposed, bool b_transposed, const problem_size & size, int n_threads) {
    sample_problem     sample(type, a_transposed, b_transposed, size);
    std::vector<float> expected = sample.c;
    thread_pool        pool(n_threads);
    std::vector<float> scratch;
    gemm_run(*kernel.gemm, pool, scratch, sample.p);
    gemm_problem naive = sample.p;
    naive.c = expected.data();
    gemm_naive(naive, kernel.rounding);
    return relative_l2(sample.c, expected);
}

const std::vector<ggml_type> UNPACKED_TYPES = { GGML_TYPE_F16,  GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q4_K,
                                                GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_Q5_0, GGML_TYPE_IQ4_XS };

}  // namespace

FEDLLM_TEST("kernels: every matrix kernel agrees with the triple loop on odd shapes, types, transpositions and thread counts") {
    double      worst = 0.0;
    int         cases = 0;
    std::string names;
    for (const kernel_under_test & kernel : runnable_kernels()) {
        const auto check = [&](ggml_type type, bool ta, bool tb, const problem_size & size, int n_threads) {
            const double error = compare_with_naive(kernel, type, ta, tb, size, n_threads);
            require_below(error, kernel.rounding == weight_product::bf16 ? KERNEL_TOLERANCE_BF16 : KERNEL_TOLERANCE,
                          kernel.name + " " + ggml_type_name(type) + format(" %lld %lld %lld: relative L2 error", (long long) size.m, (long long) size.n, (long long) size.k));
            worst = std::max(worst, error);
            ++cases;
        };
        names += " " + kernel.name;
        for (const bool ta : { false, true }) {
            for (const bool tb : { false, true }) {
                for (const ggml_type type : { GGML_TYPE_F32, GGML_TYPE_F16 }) {
                    for (const problem_size & size : { problem_size{ 1, 1, 1 }, { 37, 13, 21 }, { 33, 7, 300 }, { 300, 1, 5 }, { 64, 530, 64 }, { 48, 20, 64 }, { 16, 28, 64 }, { 65, 25, 1031 } }) {
                        check(type, ta, tb, size, 3);
                    }
                }
                if (tb) continue;  // of no concern to how A is unpacked
                for (const ggml_type type : UNPACKED_TYPES) {
                    for (const int n_threads : { 1, 5 }) check(type, ta, tb, { 256, 7, 768 }, n_threads);
                }
            }
        }
    }
    return format("%d cases, worst %.1e:%s", cases, worst, names.c_str());
}

FEDLLM_TEST("kernels: unpacked weights are ggml's up to one rounding") {
    for (const kernel_under_test & kernel : runnable_kernels()) {
        if (kernel.rounding != weight_product::f32) continue;
        for (const ggml_type type : UNPACKED_TYPES) {
            // A product with the identity gives the unpacked numbers themselves: all other terms are zero.
            const int64_t  k = 512, m = 70;
            sample_problem sample(type, false, false, { m, k, k });
            for (int64_t i = 0; i < k * k; ++i) sample.b[size_t(i)] = i % (k + 1) == 0 ? 1.0f : 0.0f;
            sample.p.alpha = 1.0f;
            sample.p.accumulate = false;
            thread_pool        pool(1);
            std::vector<float> scratch, row(static_cast<size_t>(k));
            gemm_run(*kernel.gemm, pool, scratch, sample.p);
            for (int64_t r = 0; r < m; ++r) {
                gemm_unpack_row(type, sample.p.a.data + r * sample.p.a.row_bytes, 0, k, row.data());
                // Rounding of the larger of two terms, and the numbers of a row span at most a factor of about 8 in deviation.
                float largest = 0.0f;
                for (const float x : row) largest = std::max(largest, std::fabs(x));
                for (int64_t i = 0; i < k; ++i) {
                    require_below(std::fabs(double(sample.c[size_t(i * m + r)]) - double(row[size_t(i)])), 2.4e-7 * double(largest) + 1e-30,
                                  kernel.name + " " + ggml_type_name(type) + ": difference to ggml");
                }
            }
        }
    }
    return format("%zu types", UNPACKED_TYPES.size());
}

FEDLLM_TEST("kernels: a column's bits depend neither on its neighbours nor on the number of threads") {
    thread_pool        three(3), one_thread(1);
    std::vector<float> scratch;
    for (const kernel_under_test & kernel : runnable_kernels()) {
        for (const ggml_type type : { GGML_TYPE_F32, GGML_TYPE_F16 }) {
            const int64_t  m = 77, n = 40, k = 1033;
            sample_problem sample(type, false, false, { m, n, k });
            sample.p.accumulate = false;
            gemm_run(*kernel.gemm, three, scratch, sample.p);
            std::vector<float> one(sample.c.size());
            for (int64_t j = 0; j < n; ++j) {
                gemm_problem column = sample.p;
                column.b.data += j * k * int64_t(sizeof(float));
                column.c = one.data() + j * m;
                column.n = 1;
                gemm_run(*kernel.gemm, one_thread, scratch, column);
            }
            require(std::memcmp(sample.c.data(), one.data(), one.size() * sizeof(float)) == 0, kernel.name + ": a column computed alone has other bits");
        }
    }
    return format("%zu kernels", runnable_kernels().size());
}

FEDLLM_TEST("kernels: infinities and NaN survive products in BF16") {
    const cpu_kernels & kernels = cpu_select_kernels();
    if (kernels.gemm_bf16 == nullptr) throw test_skipped("the processor has no BF16 products");
    thread_pool        pool(1);
    std::vector<float> scratch;
    sample_problem     sample(GGML_TYPE_F16, false, false, { 40, 3, 70 });
    sample.b[5] = INFINITY;
    sample.b[70 + 69] = NAN;
    gemm_run(*kernels.gemm_bf16, pool, scratch, sample.p);
    for (size_t i = 0; i < 120; ++i) {
        require(i < 40 ? !std::isfinite(sample.c[i]) : i < 80 ? std::isnan(sample.c[i]) : std::isfinite(sample.c[i]), format("number %zu is %g", i, double(sample.c[i])));
    }
    return "";
}

namespace {

double cosine(const std::vector<float> & a, const std::vector<float> & b) {
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (size_t i = 0; i < a.size(); ++i) {
        ab += double(a[i]) * double(b[i]);
        aa += double(a[i]) * double(a[i]);
        bb += double(b[i]) * double(b[i]);
    }
    return ab / std::sqrt(aa * bb);
}

model_pair with_product(const model_pair & models, weight_product product, int n_threads) {
    model_pair other = models;
    other.core = base_model::load(models.path, { "", n_threads, { product } });
    return other;
}

}  // namespace

FEDLLM_TEST("kernels: a model with products in BF16 stays near F32 in logits, loss and gradient, and repeats its bits") {
    if (cpu_select_kernels().gemm_bf16 == nullptr) throw test_skipped("the processor has no BF16 products");
    std::string details;
    for (const ggml_type type : { GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_XS }) {
        const model_pair   exact = make_models("bf16.gguf", fixture_for_type(type));
        const model_pair   rounded = with_product(exact, weight_product::bf16, 1);
        const sample_list  samples = random_samples(exact.core->info().n_vocab, { 40, 21, 150 }, 0.5, 81);
        const adapter_pair adapter = random_adapter(exact, ALL_MODULES, 4, 82);
        const auto tokens = random_tokens(exact.core->info().n_vocab, 32, 83);
        // Rounding to BF16 errs by at most 2^-9 relative, 2^-9 / sqrt(3) in the mean, for each of two operands: a product's
        // normalised error is 2 / 3 * 2^-18 = 2.5e-6, and it passes some twenty products, forward and backward. The general bound
        // for BF16 is 1e-3.
        const double logit_error = normalised_mse(compute_logits(*rounded.core, &adapter.options, &adapter.weights, tokens),
                                                  compute_logits(*exact.core, &adapter.options, &adapter.weights, tokens));
        require_below(logit_error, 1e-3, std::string(ggml_type_name(type)) + ": normalised error of the logits");
        const core_gradient a = core_loss_and_gradient(rounded, adapter, samples), b = core_loss_and_gradient(exact, adapter, samples);
        // The loss is a mean over tokens of errors of either sign: far below a logit's own relative error of 3e-2.
        require_close(a.loss_sum, b.loss_sum, 1e-3, std::string(ggml_type_name(type)) + ": loss");
        require(type == GGML_TYPE_F32 || a.values != b.values, "BF16 was not used");
        const double gradient_error = normalised_mse(a.values, b.values), angle = cosine(a.values, b.values);
        require_below(gradient_error, 1e-3, std::string(ggml_type_name(type)) + ": normalised error of the gradient");
        require_below(1.0 - angle, 1e-3, std::string(ggml_type_name(type)) + ": 1 - cosine of the gradient");
        require(core_loss_and_gradient(with_product(exact, weight_product::bf16, 3), adapter, samples).values == a.values, "three threads give other bits");
        details += format("%s%s %.0e/%.0e", details.empty() ? "" : ", ", ggml_type_name(type), logit_error, gradient_error);
    }
    return "normalised errors of logits/gradient: " + details;
}

FEDLLM_TEST("kernels: an F32 base has the same bits whether or not products in BF16 are asked for") {
    const model_pair   exact = make_models("bf16-not.gguf", fixture_options());
    const sample_list  samples = random_samples(exact.core->info().n_vocab, { 20, 9 }, 0.5, 84);
    const adapter_pair adapter = random_adapter(exact, ALL_MODULES, 4, 85);
    require(core_loss_and_gradient(with_product(exact, weight_product::bf16, 1), adapter, samples).values == core_loss_and_gradient(exact, adapter, samples).values, "other bits");
    return "";
}

FEDLLM_TEST("kernels: the divergence of two rows and its gradient are the definition's, in every table, and zero for equal rows") {
    double      worst = 0.0;
    std::string names;
    for (const char * name : { "generic", "avx2", "avx512", "neon" }) {
        const cpu_kernels * kernels = cpu_find_kernels(name);
        if (kernels == nullptr) continue;
        names += std::string(names.empty() ? "" : ", ") + name;
        for (const int64_t n : { 2, 97, 1024, 5001 }) {
            random_source      random(uint64_t(91 + n));
            std::vector<float> z, t;
            for (int64_t i = 0; i < n; ++i) {
                z.push_back(float(6.0 * random.normal()));
                t.push_back(float(6.0 * random.normal()));
            }
            t[0] -= 200.0f;  // a probability of zero takes no part
            double sum_z = 0.0, sum_t = 0.0, expected = 0.0;
            for (int64_t i = 0; i < n; ++i) {
                sum_z += std::exp(double(z[size_t(i)]));
                sum_t += std::exp(double(t[size_t(i)]));
            }
            std::vector<double> gradient;
            for (int64_t i = 0; i < n; ++i) {
                const double log_p = double(z[size_t(i)]) - std::log(sum_z), log_q = double(t[size_t(i)]) - std::log(sum_t);
                expected += std::exp(log_q) * (log_q - log_p);
                gradient.push_back(std::exp(log_p) - std::exp(log_q));
            }
            std::vector<float> row = z;
            float              stats = 0.0f;
            kernels->rows->divergence(row.data(), t.data(), n, false, &stats);
            require(row == z, "the logits changed without a gradient");
            kernels->rows->divergence(row.data(), t.data(), n, true, &stats);
            require_close(double(stats), expected, 1e-5, format("%s, %lld numbers: divergence", name, static_cast<long long>(n)));  // F32
            for (int64_t i = 0; i < n; ++i) worst = std::max(worst, std::fabs(double(row[size_t(i)]) - gradient[size_t(i)]));
            kernels->rows->divergence(t.data(), std::vector<float>(t).data(), n, true, &stats);
            require(stats == 0.0f && std::all_of(t.begin(), t.end(), [](float d) { return d == 0.0f; }), "equal rows diverge");
        }
    }
    require_below(worst, 1e-6, "error of the gradient");  // of a difference of probabilities, so not relative to it
    return format("%s: %.1e", names.c_str(), worst);
}
