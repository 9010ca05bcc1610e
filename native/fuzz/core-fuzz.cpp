// Opens seeded mutations of valid model and adapter files; what loads is trained one step and evaluated. Each file must end in a
// train_error or in numbers: a signal, an abort inside ggml, a sanitizer's report, a leak, another exception or a minute without an end is a failure,
// printed with its seed. The work is done in child processes, so that a crash costs one file.
// Built with `node scripts/build-native.cjs --sanitize --target core_fuzz` it runs under AddressSanitizer and UBSan.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <new>

#include "../test/gguf-fixture.h"
#include "backend.h"
#include "error.h"
#include "gguf-mutation.h"
#include "trainer.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

using namespace fedllm;
using fedllm_fuzz::bytes;

namespace {

const char * USAGE =
    "usage: core_fuzz [--libs DIR] [--seed FIRST] [--count N] [--verbose]\n"
    "  Mutation number S depends on S alone: --seed S --count 1 repeats it. Exit code 1: something failed.\n";

constexpr unsigned SECONDS_PER_FILE = 60;
// Looking for leaks stops the process for a while, so it is done after this many files.
constexpr uint64_t FILES_PER_LEAK_CHECK = 50;

struct fuzz_options {
    std::string libs_dir;
    uint64_t    seed = 0, count = 10000;
    bool        verbose = false;
};

// A sound model and the bytes to damage: the model's own, or those of an adapter for it.
struct source {
    std::string           name;
    std::string           model_path;
    bool                  is_adapter = false;
    bool                  fused = false;
    int64_t               n_vocab = 0;
    bytes                 content;
    fedllm_fuzz::gguf_map map;
};

bytes read_bytes(const std::string & path) {
    std::ifstream file(path, std::ios::binary);
    return bytes(std::istreambuf_iterator<char>(file), {});
}

adapter_options make_adapter(bool fused) {
    adapter_options adapter;
    adapter.rank = 2;
    adapter.lora_alpha = 4.0f;
    adapter.target_modules = fused ? std::vector<std::string>{ "attn_qkv", "ffn_down" } : std::vector<std::string>{ "attn_q", "attn_v", "ffn_down" };
    return adapter;
}

std::vector<source> make_sources(const std::string & folder) {
    std::vector<source> sources;
    const auto add = [&](const std::string & name, fedllm_test::fixture_options options) {
        source s;
        s.name = name;
        s.model_path = folder + "/" + std::to_string(sources.size()) + ".gguf";
        s.fused = options.fused;
        s.n_vocab = options.n_vocab;
        fedllm_test::fixture_write(s.model_path, options);
        s.content = read_bytes(s.model_path);
        s.map = fedllm_fuzz::map_gguf(s.content);
        sources.push_back(s);
    };
    for (const std::string & architecture : fedllm_test::fixture_architectures()) {
        fedllm_test::fixture_options options = fedllm_test::fixture_for_architecture(architecture);
        options.biases = options.rope_factors = architecture == "llama";
        add(architecture, options);
    }
    for (const ggml_type type : { GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_IQ2_XXS, GGML_TYPE_MXFP4 }) {
        fedllm_test::fixture_options options = fedllm_test::fixture_for_type(type);
        options.n_layers = 1;
        add(std::string("llama ") + ggml_type_name(type), options);
    }
    const size_t n_models = sources.size();
    for (size_t i = 0; i < n_models; i += 4) {
        source s = sources[i];
        const auto model = base_model::load(s.model_path, {});
        const adapter_options adapter = make_adapter(s.fused);
        const std::string path = folder + "/adapter.gguf";
        adapter_save_gguf(path, *model, adapter, adapter_init_weights(adapter_make_layout(*model, adapter), 1));
        s.name += " adapter";
        s.is_adapter = true;
        s.content = read_bytes(path);
        s.map = fedllm_fuzz::map_gguf(s.content);
        sources.push_back(s);
    }
    return sources;
}

// One step on two short samples and their scores afterwards.
void train_and_evaluate(const base_model & model, const adapter_options & adapter, const std::vector<float> & weights) {
    const int64_t n_vocab = model.info().n_vocab;
    std::vector<int32_t> tokens;
    for (int i = 0; i < 30; ++i) tokens.push_back(int32_t((7 * i + 1) % n_vocab));
    std::vector<uint8_t> supervised(tokens.size(), 1);
    supervised[0] = supervised[18] = 0;
    const std::vector<uint32_t> offsets = { 0, 18, 30 };
    train_options options;
    options.adapter = adapter;
    options.samples.tokens = tokens.data();
    options.samples.supervised = supervised.data();
    options.samples.offsets = offsets.data();
    options.samples.n_samples = 2;
    options.local_steps = 1;
    options.batch_size = 2;
    options.micro_batch_tokens = 64;
    options.learning_rate = 1e-3;
    const std::atomic<bool> never{ false };
    const train_result result = train(model, options, weights, {}, never);
    evaluate_options evaluation;
    evaluation.adapter = &adapter;
    evaluation.weights = &result.weights;
    evaluation.samples = options.samples;
    evaluation.micro_batch_tokens = 64;
    evaluate(model, evaluation, never);
}

void open_and_use(const source & s, const std::string & path) {
    if (s.is_adapter) {
        const auto model = base_model::load(s.model_path, {});
        const loaded_adapter adapter = adapter_load_gguf(path, *model);
        return train_and_evaluate(*model, adapter.options, adapter.weights);
    }
    const auto model = base_model::load(path, {});
    const adapter_options adapter = make_adapter(s.fused);
    train_and_evaluate(*model, adapter, adapter_init_weights(adapter_make_layout(*model, adapter), 1));
}

// Written by the child, read by the parent.
struct progress {
    uint64_t current;
    uint64_t n_refused, n_used, n_problems;
    char     what[200];
};

// What a file that is opened may answer with; anything else is not meant for the file's owner.
bool is_expected(const std::string & code) {
    return code == "MODEL_LOAD_FAILED" || code == "MODEL_UNSUPPORTED" || code == "ADAPTER_INVALID" || code == "TRAIN_DIVERGED";
}

void run_child(const fuzz_options & o, const std::vector<source> & sources, const std::string & folder, uint64_t first, progress & p) {
    const std::string path = folder + "/mutation.gguf";
    const auto complain = [&](uint64_t seed, const std::string & text) {
        p.n_problems += 1;
        std::printf("FAIL seed %llu (%s): %s\n", (unsigned long long) seed, p.what, text.c_str());
        std::fflush(stdout);
    };
    for (uint64_t seed = first; seed < o.seed + o.count; ++seed) {
        p.current = seed;
        const source & s = sources[seed % sources.size()];
        const fedllm_fuzz::mutation m = fedllm_fuzz::mutate(s.content, s.map, seed);
        std::snprintf(p.what, sizeof(p.what), "%s: %s", s.name.c_str(), m.what.c_str());
        std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char *>(m.file.data()), std::streamsize(m.file.size()));
        alarm(SECONDS_PER_FILE);
        try {
            open_and_use(s, path);
            p.n_used += 1;
        } catch (const train_error & error) {
            p.n_refused += 1;
            if (!is_expected(error.code)) complain(seed, "unexpected " + error.code + ": " + error.what());
            if (o.verbose) std::printf("seed %llu (%s): %s\n", (unsigned long long) seed, p.what, error.what());
        } catch (const std::exception & error) {
            complain(seed, std::string("another exception: ") + error.what());
        }
#ifdef __SANITIZE_ADDRESS__
        alarm(0);
        if (seed % FILES_PER_LEAK_CHECK == 0 && __lsan_do_recoverable_leak_check() != 0) {
            complain(seed, "memory leaked by this file or one of the " + std::to_string(FILES_PER_LEAK_CHECK) + " before");
        }
#endif
    }
}

// The child's last words, as far as they are of use.
void print_report(const std::string & path) {
    const bytes text = read_bytes(path);
    const size_t begin = text.size() > 6000 ? text.size() - 6000 : 0;
    std::fwrite(text.data() + begin, 1, text.size() - begin, stdout);
}

int run(const fuzz_options & o, const std::string & folder) {
    const std::vector<source> sources = make_sources(folder);
    void * memory = mmap(nullptr, sizeof(progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return 2;
    progress & p = *new (memory) progress();
    const std::string report = folder + "/stderr.txt";
    const auto start = std::chrono::steady_clock::now();
    for (uint64_t first = o.seed; first < o.seed + o.count;) {
        std::fflush(nullptr);
        const pid_t child = fork();
        if (child < 0) return 2;
        if (child == 0) {
            const int descriptor = ::open(report.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
            if (descriptor >= 0) dup2(descriptor, STDERR_FILENO);
            run_child(o, sources, folder, first, p);
            std::fflush(nullptr);
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
        p.n_problems += 1;
        std::printf("FAIL seed %llu (%s): ended by %s %d\n", (unsigned long long) p.current, p.what, WIFSIGNALED(status) ? "signal" : "exit code",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        print_report(report);
        first = p.current + 1;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
#ifdef __SANITIZE_ADDRESS__
    const char * sanitizers = "AddressSanitizer and UBSan";
#else
    const char * sanitizers = "no sanitizer";
#endif
    std::printf("core_fuzz: seeds %llu to %llu, %s: %llu refused, %llu trained and evaluated, %llu problems in %.0f s\n", (unsigned long long) o.seed,
                (unsigned long long) (o.seed + o.count - 1), sanitizers, (unsigned long long) p.n_refused, (unsigned long long) p.n_used,
                (unsigned long long) p.n_problems, seconds);
    return p.n_problems == 0 ? 0 : 1;
}

fuzz_options parse(int argc, char ** argv) {
    fuzz_options o;
#ifdef FEDLLM_LIBS_DIR
    o.libs_dir = FEDLLM_LIBS_DIR;
#endif
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--verbose") o.verbose = true;
        else if (name == "--libs" && i + 1 < argc) o.libs_dir = argv[++i];
        else if (name == "--seed" && i + 1 < argc) o.seed = std::strtoull(argv[++i], nullptr, 10);
        else if (name == "--count" && i + 1 < argc) o.count = std::strtoull(argv[++i], nullptr, 10);
        else { std::fputs(USAGE, stderr); std::exit(name == "--help" ? 0 : 2); }
    }
    return o;
}

}  // namespace

int main(int argc, char ** argv) {
    const fuzz_options o = parse(argc, argv);
    ggml_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    std::string folder = "/tmp/core-fuzz-XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) return 2;
    int code = 2;
    try {
        backend_load_all(o.libs_dir);
        code = run(o, folder);
    } catch (const std::exception & error) {
        std::fprintf(stderr, "core_fuzz: %s\n", error.what());
    }
    const std::string remove = "rm -rf " + folder;
    return std::system(remove.c_str()) == 0 ? code : 2;
}
