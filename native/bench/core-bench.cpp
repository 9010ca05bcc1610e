// Times training steps of the core on a random model of a given shape, beside the machine's own single-precision product
// in the same run, so that the result is a ratio and not only a number. Needs no Node.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../test/gguf-fixture.h"
#include "../test/memory-probe.h"
#include "cpu/kernels.h"
#include "engine.h"
#include "error.h"
#include "optimizer.h"
#include "plan-grid.h"
#include "profile.h"
#include "prompt-rate.h"

using namespace fedllm;

namespace {

struct bench_options {
    std::string libs_dir;
    std::string model;  // empty: a random one of the shape below
    std::string write;  // not empty: write that random model there and stop
    std::string type = "F16";
    std::string targets = "attn_q,attn_v";
    std::string device;
    transpose_cache transposes = transpose_cache::none;
    fedllm_test::fixture_options shape;
    int64_t sequence = 512, batch = 1, rank = 16, steps = 4;
    int64_t adapted_layers = 0;  // the adapter is on so many of the last layers; 0: on all
    int     threads = 2;
    bool    portable = false;
    bool    forward_only = false;
    bool    recompute = false;
    bool    profile = false;
    bool    prompt_rate = false;
    bool    plan_grid = false;
    bool    processor_time = false;
    weight_product product = weight_product::f32;
};

const char * USAGE =
    "usage: core_bench [--libs DIR] [--model FILE | --shape DIM LAYERS HEADS KV_HEADS FFN VOCAB] [--type F32|F16|BF16|Q8_0|Q4_0|Q4_K|Q5_K|Q6_K|MIXED]\n"
    "                  [--sequence N] [--batch N] [--rank N] [--targets a,b] [--steps N] [--threads N] [--device NAME] [--portable] [--recompute] [--forward] [--product f32|bf16]\n"
    "                  [--transposes none|bf16|f16|q8_0]   stored copies of W^T; not on the CPU\n"
    "                  [--adapted-layers N]  the adapter on the last N layers only; the step is timed with and without cached hidden states below them\n"
    "                  [--profile]      where the time goes, operation by operation\n"
    "                  [--processor-time]  the profile in processor seconds of all threads, for busy machines\n"
    "                  [--prompt-rate]  llama.cpp's own prompt rate on the same file, batches of 512, and the ratio\n"
    "                  [--plan-grid]    predicted and measured memory over a grid of models and steps, and nothing else\n"
    "                  [--write FILE]   write the random model and stop\n";

double now() { return fedllm_bench::clock_seconds(false); }
double processor_now() { return fedllm_bench::clock_seconds(true); }

transpose_cache transposes_by_name(const std::string & name) {
    if (name == "none") return transpose_cache::none;
    if (name == "bf16") return transpose_cache::bf16;
    if (name == "f16") return transpose_cache::f16;
    if (name == "q8_0") return transpose_cache::q8_0;
    std::fputs(USAGE, stderr);
    std::exit(2);
}

// Free bytes of the named device; 0: the CPU, whose memory is counted as the process's.
size_t free_device_bytes(const std::string & name) {
    for (const device_info & info : backend_list_devices()) {
        if (!name.empty() && info.name == name) return info.free_bytes;
    }
    return 0;
}

bench_options parse(int argc, char ** argv) {
    bench_options o;
#ifdef FEDLLM_LIBS_DIR
    o.libs_dir = FEDLLM_LIBS_DIR;
#endif
    o.shape.n_embd = 768; o.shape.n_layers = 12; o.shape.n_heads = 12; o.shape.n_kv_heads = 12; o.shape.n_ff = 2048; o.shape.n_vocab = 32000;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        const auto text = [&] {
            if (i + 1 >= argc) { std::fputs(USAGE, stderr); std::exit(2); }
            return std::string(argv[++i]);
        };
        const auto number = [&] { return int64_t(std::atoll(text().c_str())); };
        if (name == "--libs") o.libs_dir = text();
        else if (name == "--model") o.model = text();
        else if (name == "--shape") {
            o.shape.n_embd = number(); o.shape.n_layers = number(); o.shape.n_heads = number();
            o.shape.n_kv_heads = number(); o.shape.n_ff = number(); o.shape.n_vocab = number();
        }
        else if (name == "--write") o.write = text();
        else if (name == "--type") o.type = text();
        else if (name == "--targets") o.targets = text();
        else if (name == "--device") o.device = text();
        else if (name == "--transposes") o.transposes = transposes_by_name(text());
        else if (name == "--sequence") o.sequence = number();
        else if (name == "--batch") o.batch = number();
        else if (name == "--rank") o.rank = number();
        else if (name == "--steps") o.steps = number();
        else if (name == "--adapted-layers") o.adapted_layers = number();
        else if (name == "--threads") o.threads = int(number());
        else if (name == "--portable") o.portable = true;
        else if (name == "--recompute") o.recompute = true;
        else if (name == "--profile") o.profile = true;
        else if (name == "--processor-time") o.processor_time = true;
        else if (name == "--prompt-rate") o.prompt_rate = true;
        else if (name == "--plan-grid") o.plan_grid = true;
        else if (name == "--product") o.product = text() == "bf16" ? weight_product::bf16 : weight_product::f32;
        else if (name == "--forward") o.forward_only = true;
        else { std::fputs(USAGE, stderr); std::exit(name == "--help" ? 0 : 2); }
    }
    return o;
}

ggml_type type_by_name(const std::string & name) {
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
        std::string known = ggml_type_name(ggml_type(i)) ? ggml_type_name(ggml_type(i)) : "";
        std::transform(known.begin(), known.end(), known.begin(), [](char c) { return char(std::toupper(c)); });
        if (known == name) return ggml_type(i);
    }
    std::fprintf(stderr, "type: expected a ggml type name or MIXED, received %s\n", name.c_str());
    std::exit(2);
}

// GFLOP/s of the CPU kernel on a 2048 cube, the best of several.
double measure_gemm(int threads, bool processor_time) {
    const int64_t n = 2048;
    std::vector<float> a(size_t(n * n), 0.5f), b(size_t(n * n), 0.25f), c(size_t(n * n));
    gemm_problem p;
    p.a = { reinterpret_cast<const uint8_t *>(a.data()), GGML_TYPE_F32, n * 4, false };
    p.b = { reinterpret_cast<const uint8_t *>(b.data()), GGML_TYPE_F32, n * 4, false };
    p.c = c.data();
    p.c_row_bytes = n * 4;
    p.m = p.n = p.k = n;
    p.alpha = 1.0f;
    p.accumulate = false;
    thread_pool pool(threads);
    std::vector<float> scratch;
    double best = 1e30;
    for (int repeat = 0; repeat < 4; ++repeat) {
        const double begin = fedllm_bench::clock_seconds(processor_time);
        gemm_run(*cpu_select_kernels().gemm, pool, scratch, p);
        best = std::min(best, fedllm_bench::clock_seconds(processor_time) - begin);
    }
    return 2.0 * double(n) * double(n) * double(n) / best / 1e9;
}

adapter_options make_adapter(const bench_options & o, int64_t n_layers) {
    adapter_options adapter;
    adapter.rank = int32_t(o.rank);
    adapter.lora_alpha = float(2 * o.rank);
    for (size_t begin = 0; begin <= o.targets.size();) {
        const size_t end = std::min(o.targets.find(',', begin), o.targets.size());
        adapter.target_modules.push_back(o.targets.substr(begin, end - begin));
        begin = end + 1;
    }
    for (int64_t l = std::max<int64_t>(0, n_layers - o.adapted_layers); o.adapted_layers > 0 && l < n_layers; ++l) adapter.layers.push_back(l);
    return adapter;
}

// The model file to time: the given one, or a random one written now.
std::string model_path(const bench_options & o) {
    if (!o.model.empty()) return o.model;
    fedllm_test::fixture_options shape = o.shape;
    shape.context_length = std::max<int64_t>(o.sequence, 512);
    if (o.type == "MIXED") shape.mixed = true;
    else shape.type = type_by_name(o.type);
    const std::string path = o.write.empty() ? "/tmp/core-bench-" + std::to_string(getpid()) + ".gguf" : o.write;
    fedllm_test::fixture_write(path, shape);
    return path;
}

// All positions of random sequences supervised, in one micro-batch.
std::vector<micro_batch> make_batches(const bench_options & o, int64_t n_vocab) {
    std::vector<int32_t> tokens;
    std::vector<uint8_t> supervised;
    std::vector<uint32_t> offsets = { 0 }, indices;
    fedllm_test::random_source random(1);
    for (int64_t b = 0; b < o.batch; ++b) {
        for (int64_t i = 0; i <= o.sequence; ++i) {  // one more: the last is only a label
            tokens.push_back(int32_t(random.below(n_vocab)));
            supervised.push_back(i > 0);
        }
        offsets.push_back(uint32_t(tokens.size()));
        indices.push_back(uint32_t(b));
    }
    const sample_set samples = { tokens.data(), supervised.data(), offsets.data(), size_t(o.batch) };
    return batch_pack(samples, indices, o.sequence * o.batch, 0);
}

struct step_times {
    double seconds = 1e30, processor_seconds = 1e30, loss = 0.0;  // the best of the steps
};

struct bench {
    const bench_options &             options;
    std::shared_ptr<base_model>       model;
    std::vector<micro_batch>          batches;
    bool                              profiling = false;
    size_t                            free_after = 0;
    fedllm_bench::graph_profile       profile{ options.processor_time };

    // Runs the steps; while profiling, what is outside the graphs goes into the profile too. A cache is filled
    // before the first step.
    step_times time_steps(hidden_cache * cache = nullptr) {
        const adapter_options adapter = make_adapter(options, model->info().n_layers);
        engine_options settings;
        settings.portable = options.portable;
        settings.cache = cache;
        if (options.recompute) settings.tier = checkpoint_tier::layer_inputs;
        settings.compute = [this](ggml_backend_t backend, ggml_cgraph * graph) { return profiling ? profile.compute(backend, graph) : ggml_backend_graph_compute(backend, graph); };
        engine runner(*model, &adapter, settings);
        std::vector<float> weights = adapter_init_weights(adapter_make_layout(*model, adapter), 1);
        adamw optimizer({}, weights.size());
        step_times times;
        if (cache != nullptr) {
            runner.set_weights(weights);
            for (const micro_batch & batch : batches) runner.run(batch, {});
        }
        for (int64_t step = 0; step < options.steps; ++step) {
            const double begin = now(), processor_begin = processor_now(), graph_begin = profile.total_seconds();
            times.loss = one_step(runner, optimizer, weights);
            times.seconds = std::min(times.seconds, now() - begin);
            times.processor_seconds = std::min(times.processor_seconds, processor_now() - processor_begin);
            if (profiling) profile.add("building graphs, inputs, results", (options.processor_time ? processor_now() - processor_begin : now() - begin) - (profile.total_seconds() - graph_begin));
        }
        free_after = free_device_bytes(options.device);  // while the graphs still have their memory
        return times;
    }

    double one_step(engine & runner, adamw & optimizer, std::vector<float> & weights) {
        double loss = 0.0;
        runner.set_weights(weights);
        runner.clear_gradient();
        for (const micro_batch & batch : batches) {
            for (const row_score & score : runner.run(batch, { !options.forward_only })) loss -= double(score.log_probability);
        }
        if (options.forward_only) return loss;
        std::vector<float> gradient;
        runner.get_gradient(gradient);
        const double begin = fedllm_bench::clock_seconds(options.processor_time);
        for (float & g : gradient) g /= float(options.sequence * options.batch);
        optimizer.step(weights, gradient, 1e-4);
        if (profiling) profile.add("optimizer", fedllm_bench::clock_seconds(options.processor_time) - begin);
        return loss;
    }
};

// The same steps from cached hidden states, and what that saves.
void print_cached(bench & b, const step_times & times) {
    hidden_cache cache(size_t(1) << 40);
    cache.set_capacity(size_t(1) << 40);
    const step_times cached = b.time_steps(&cache);
    std::printf(", \"adapted_layers\": %lld, \"of_layers\": %lld, \"cached_seconds_per_step\": %.4f, \"cached_processor_seconds_per_step\": %.4f, "
                "\"times_faster\": %.2f, \"times_less_processor\": %.2f, \"cache_megabytes\": %.1f, \"same_loss\": %s",
                (long long) b.options.adapted_layers, (long long) b.model->info().n_layers, cached.seconds, cached.processor_seconds, times.seconds / cached.seconds,
                times.processor_seconds / cached.processor_seconds, double(cache.state().bytes) / 1e6, cached.loss == times.loss ? "true" : "false");
}

void run(const bench_options & o) {
    backend_load_all(o.libs_dir);
    const std::string path = model_path(o);
    if (!o.write.empty()) return;
    const size_t free_before = free_device_bytes(o.device);
    bench b{ o, base_model::load(path, { o.device, o.threads, { o.product, o.transposes } }), {} };
    const model_info & info = b.model->info();
    b.batches = make_batches(o, info.n_vocab);
    const step_times times = b.time_steps();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    // N: numbers that take part in products; the embedding does only as a tied head.
    const double n_matmul = double(info.n_parameters) - (info.tied_head ? 0.0 : double(info.n_embd * info.n_vocab));
    const double n_tokens = double(o.sequence * o.batch), rate = n_tokens / times.seconds;
    const double flops = (o.forward_only ? 2.0 : 4.0) * n_matmul * rate / 1e9;
    const double gemm = measure_gemm(o.threads, false);
    std::printf("{\"type\": \"%s\", \"product\": \"%s\", \"parameters\": %.1f, \"loss\": %.4f, \"seconds_per_step\": %.4f, \"processor_seconds_per_step\": %.4f, "
                "\"tokens_per_second\": %.1f, \"gflops\": %.1f, \"gemm_gflops\": %.1f, \"fraction_of_gemm\": %.3f, \"peak_megabytes\": %.0f, \"kernel\": \"%s\"",
                o.model.empty() ? o.type.c_str() : "file", o.product == weight_product::bf16 ? "bf16" : "f32", double(info.n_parameters), times.loss / n_tokens,
                times.seconds, times.processor_seconds, rate, flops, gemm, flops / gemm, double(usage.ru_maxrss) / 1024.0, cpu_select_kernels().name);
    if (free_before > 0) std::printf(", \"device_megabytes\": %.0f", (double(free_before) - double(b.free_after)) / 1e6);
    if (o.adapted_layers > 0) print_cached(b, times);
    if (o.prompt_rate) {
        const double prompt = fedllm_bench::measure_prompt_rate(path, 512, o.threads, o.steps);
        std::printf(", \"prompt_tokens_per_second\": %.1f, \"of_prompt_rate\": %.3f", prompt, prompt > 0.0 ? rate / prompt : 0.0);
    }
    std::printf("}\n");
    if (o.profile) {
        b.profiling = true;
        b.time_steps();
        b.profile.print(double(o.steps), o.processor_time ? measure_gemm(o.threads, true) : gemm);
    }
    if (o.model.empty()) std::remove(path.c_str());
}

}  // namespace

int main(int argc, char ** argv) {
    if (const int code = fedllm_test::memory_probe_main(argc, argv); code >= 0) return code;
    try {
        const bench_options options = parse(argc, argv);
        if (options.plan_grid) return fedllm_bench::print_plan_grid(options.libs_dir);
        run(options);
        return 0;
    } catch (const train_error & error) {
        std::fprintf(stderr, "error %s: %s\n", error.code.c_str(), error.what());
        return 1;
    }
}
