// Files: adapters survive a round trip bit for bit, and broken models and adapters give errors. Each broken file is
// opened in a child process, so that a crash or an abort inside ggml is a counted failure and not the end of the tests.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>

#include "emulator.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

using bytes = std::vector<char>;

bytes read_file(const std::string & path) {
    std::ifstream file(path, std::ios::binary);
    return bytes(std::istreambuf_iterator<char>(file), {});
}

void write_file(const std::string & path, const bytes & content) {
    std::ofstream(path, std::ios::binary).write(content.data(), std::streamsize(content.size()));
}

// What became of one broken file.
enum class fate : int { untouched, crashed, refused, wrong_code, foreign_exception, loaded };

struct probe {
    std::string                   name;
    std::function<bytes()>        make;
    bool                          may_load = false;  // the damage may be harmless
};

struct shared_results {
    fate fates[4096];
    char messages[4096][160];
};

void set_message(char * target, const std::string & text) {
    std::snprintf(target, 160, "%s", text.c_str());
}

// Runs open(path) on one file after another; called in the child.
void run_probes(const std::vector<probe> & probes, size_t first, const std::string & path, shared_results & results,
                const std::function<void(const std::string &)> & open) {
    for (size_t i = first; i < probes.size(); i++) {
        results.fates[i] = fate::crashed;  // until proven otherwise
        write_file(path, probes[i].make());
        try {
            open(path);
            results.fates[i] = fate::loaded;
        } catch (const fedllm::train_error & error) {
            const bool known = error.code == "MODEL_LOAD_FAILED" || error.code == "MODEL_UNSUPPORTED" || error.code == "ADAPTER_INVALID";
            results.fates[i] = known ? fate::refused : fate::wrong_code;
            set_message(results.messages[i], error.code + ": " + error.what());
        } catch (const std::exception & error) {
            results.fates[i] = fate::foreign_exception;
            set_message(results.messages[i], error.what());
        }
    }
}

// Every probe must be refused with a known code (or, where allowed, load); returns the counts.
std::string check_probes(const std::vector<probe> & probes, const std::function<void(const std::string &)> & open) {
    require(probes.size() <= 4096, "too many probes");
    void * memory = mmap(nullptr, sizeof(shared_results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "mmap failed");
    auto &            results = *new (memory) shared_results();
    const std::string path = temporary_path("broken.gguf");
    std::string       problems;
    int               n_problems = 0;
    const auto        add_problem = [&](size_t i, const std::string & what) {
        if (++n_problems <= 8) {
            problems += "\n    " + probes[i].name + ": " + what;
        }
    };
    for (size_t first = 0; first < probes.size();) {
        std::fflush(nullptr);
        const pid_t child = fork();
        require(child >= 0, "fork failed");
        if (child == 0) {
            std::signal(SIGABRT, SIG_DFL);
            alarm(60);  // an endless loop is a failure too
            if (std::freopen("/dev/null", "w", stderr) != nullptr) {
                run_probes(probes, first, path, results, open);
            }
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            break;
        }
        size_t at = first;
        while (at < probes.size() && results.fates[at] != fate::crashed) {
            at++;
        }
        require(at < probes.size(), "the child died outside of a probe");
        add_problem(at, WIFSIGNALED(status) ? format("ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)))
                                            : format("left with exit code %d", WEXITSTATUS(status)));
        first = at + 1;
    }
    int n_refused = 0, n_loaded = 0;
    for (size_t i = 0; i < probes.size(); i++) {
        n_refused += results.fates[i] == fate::refused ? 1 : 0;
        n_loaded += results.fates[i] == fate::loaded ? 1 : 0;
        if (results.fates[i] == fate::loaded && !probes[i].may_load) {
            add_problem(i, "was loaded");
        } else if (results.fates[i] == fate::wrong_code || results.fates[i] == fate::foreign_exception) {
            add_problem(i, std::string("unexpected ") + results.messages[i]);
        } else if (results.fates[i] == fate::refused && std::strlen(results.messages[i]) < 30) {
            add_problem(i, std::string("says too little: ") + results.messages[i]);
        }
    }
    munmap(memory, sizeof(shared_results));
    require(n_problems == 0, format("%d of %zu files:", n_problems, probes.size()) + problems);
    return format("%d refused, %d loaded", n_refused, n_loaded);
}

bytes fixture_bytes(const fixture_options & options) {
    const std::string path = temporary_path("broken-source.gguf");
    fixture_write(path, options);
    return read_file(path);
}

// Position of a tensor's record behind its name: u32 n_dims, u64 ne[n_dims], u32 type, u64 offset.
size_t find_tensor_record(const bytes & file, const std::string & name) {
    std::string    key(8, '\0');
    const uint64_t length = name.size();
    std::memcpy(key.data(), &length, 8);
    key += name;
    const auto at = std::search(file.begin(), file.end(), key.begin(), key.end());
    require(at != file.end(), "no tensor " + name);
    return size_t(at - file.begin()) + key.size();
}

template <typename T>
void put(bytes & file, size_t at, T value) {
    std::memcpy(&file[at], &value, sizeof(value));
}

size_t header_size(const std::string & path) {
    gguf_init_params params = {true, nullptr};
    gguf_context *   context = gguf_init_from_file(path.c_str(), params);
    require(context != nullptr, "the undamaged file cannot be read");
    const size_t size = gguf_get_data_offset(context);
    gguf_free(context);
    return size;
}

// Opens a model and, when that works, computes with it: what loads must not crash later.
void open_and_compute(const std::string & path) {
    fedllm::model_options options;
    options.n_threads = 1;
    const auto model = fedllm::base_model::load(path, options);
    if (model->info().n_vocab > 3) {
        fedllm::compute_logits(*model, nullptr, nullptr, {1, 2, 3});
    }
}

probe with_options(const std::string & name, const std::function<void(fixture_options &)> & damage) {
    return {name, [damage] {
                fixture_options options;
                damage(options);
                return fixture_bytes(options);
            }};
}

// A model file with bytes changed after writing.
probe with_bytes(const std::string & name, const std::function<void(bytes &)> & damage, bool may_load = false) {
    return {name, [damage] {
                bytes file = fixture_bytes({});
                damage(file);
                return file;
            }, may_load};
}

// Records are laid out as in find_tensor_record for two-dimensional tensors.
probe with_shape(const std::string & name, const std::string & tensor, uint64_t ne0, uint64_t ne1) {
    return with_bytes(name, [=](bytes & file) {
        const size_t at = find_tensor_record(file, tensor);
        put(file, at + 4, ne0);
        put(file, at + 12, ne1);
    });
}

void set_u32(fixture_options & options, const char * key, uint32_t value) {
    options.edit_metadata = [=](gguf_context * file) { gguf_set_val_u32(file, key, value); };
}

std::vector<probe> mutations(const bytes & file, size_t n_header, int count, uint64_t seed) {
    std::vector<probe> probes;
    for (int i = 0; i < count; i++) {
        probes.push_back({format("mutation %d", i), [=, &file] {
                              random_source random(seed + uint64_t(i));
                              bytes         changed = file;
                              for (int64_t n = 1 + random.below(3); n > 0; n--) {
                                  const size_t at = size_t(random.below(int64_t(n_header)));
                                  // Single bits, boundary values and random bytes.
                                  const char values[] = {0, char(0xff), char(0x7f), char(0x80), char(random.next()),
                                                         char(changed[at] ^ (1 << random.below(8)))};
                                  changed[at] = values[random.below(6)];
                              }
                              return changed;
                          }, true});
    }
    return probes;
}

std::vector<probe> truncations(const bytes & file, size_t n_header) {
    std::vector<probe>  probes;
    std::vector<size_t> lengths = {0, 1, 3, 4, 7, 8, 15, 16, 23, 24, 25, file.size() - 33, file.size() - 1};
    for (size_t length = 0; length < n_header; length += 29) {
        lengths.push_back(length);
    }
    for (size_t length = n_header; length < file.size(); length += file.size() / 23) {
        lengths.push_back(length);
    }
    for (const size_t length : lengths) {
        probes.push_back({format("cut to %zu bytes", length), [=, &file] { return bytes(file.begin(), file.begin() + long(length)); }});
    }
    return probes;
}

}  // namespace

FEDLLM_TEST("files: an adapter comes back bit for bit") {
    const fixture_options options;
    const model_pair      models = make_models("round-trip.gguf", options);
    const std::string     path = temporary_path("round-trip-adapter.gguf");
    for (const auto & modules : {ALL_MODULES, std::vector<std::string>{"attn_v", "attn_q"}, std::vector<std::string>{"ffn_down"}}) {
        adapter_pair adapter = random_adapter(models, modules, 7, 91);
        adapter.options.lora_alpha = 12.345f;
        adapter.weights[0] = -0.0f;
        adapter.weights[1] = 1e-42f;  // denormal
        fedllm::adapter_save_gguf(path, *models.core, adapter.options, adapter.weights);
        const fedllm::loaded_adapter loaded = fedllm::adapter_load_gguf(path, *models.core);
        require(loaded.options.rank == 7 && loaded.options.lora_alpha == 12.345f, "rank or lora_alpha differs");
        auto expected = modules, came = loaded.options.target_modules;
        std::sort(expected.begin(), expected.end());
        std::sort(came.begin(), came.end());
        require(came == expected, "the target modules differ");
        require(loaded.weights.size() == adapter.weights.size() &&
                    std::memcmp(loaded.weights.data(), adapter.weights.data(), 4 * adapter.weights.size()) == 0,
                "the weights differ");
    }
    adapter_pair adapter = random_adapter(models, {"attn_q"}, 2, 92);
    require_error({"IO_FAILED"}, "saving into a folder that does not exist", [&] {
        fedllm::adapter_save_gguf(temporary_path("no-such-folder/adapter.gguf"), *models.core, adapter.options, adapter.weights);
    });
    return "";
}

FEDLLM_TEST("files: structurally wrong models are refused") {
    std::vector<probe> probes = {
        with_options("missing attn_k", [](auto & o) { o.dropped_tensors = {"blk.1.attn_k.weight"}; }),
        with_options("missing token_embd", [](auto & o) { o.dropped_tensors = {"token_embd.weight"}; }),
        with_options("missing norm", [](auto & o) { o.dropped_tensors = {"output_norm.weight"}; }),
        with_options("attn_q of another shape", [](auto & o) { o.other_shapes["blk.0.attn_q.weight"] = {64, 60}; }),
        with_options("transposed ffn_down", [](auto & o) { o.other_shapes["blk.0.ffn_down.weight"] = {64, 96}; }),
        with_options("three axes", [](auto & o) { o.other_shapes["blk.0.ffn_up.weight"] = {64, 96, 2}; }),
        with_options("norm too short", [](auto & o) { o.other_shapes["blk.1.ffn_norm.weight"] = {63}; }),
        with_options("head of another vocabulary", [](auto & o) { o.other_shapes["output.weight"] = {64, 96}; }),
        with_options("integer weights", [](auto & o) { o.other_types["blk.0.attn_q.weight"] = GGML_TYPE_I32; }),
        with_options("byte weights", [](auto & o) { o.other_types["output.weight"] = GGML_TYPE_I8; }),
        with_options("norm in F16", [](auto & o) { o.other_types["blk.0.ffn_norm.weight"] = GGML_TYPE_F16; }),
        with_options("mixture of experts", [](auto & o) { set_u32(o, "llama.expert_count", 8); }),
        with_options("no layers", [](auto & o) { set_u32(o, "llama.block_count", 0); }),
        with_options("one layer too many", [](auto & o) { set_u32(o, "llama.block_count", 3); }),
        with_options("four billion layers", [](auto & o) { set_u32(o, "llama.block_count", 0xffffffffu); }),
        with_options("no heads", [](auto & o) { set_u32(o, "llama.attention.head_count", 0); }),
        with_options("no kv heads", [](auto & o) { set_u32(o, "llama.attention.head_count_kv", 0); }),
        with_options("heads no multiple of kv heads", [](auto & o) { set_u32(o, "llama.attention.head_count_kv", 3); }),
        with_options("other embedding length", [](auto & o) { set_u32(o, "llama.embedding_length", 128); }),
        with_options("embedding length zero", [](auto & o) { set_u32(o, "llama.embedding_length", 0); }),
        with_options("other feed-forward length", [](auto & o) { set_u32(o, "llama.feed_forward_length", 64); }),
        with_options("another architecture", [](auto & o) {
            o.edit_metadata = [](gguf_context * file) { gguf_set_val_str(file, "general.architecture", "gpt2"); };
        }),
        with_options("no architecture", [](auto & o) {
            o.edit_metadata = [](gguf_context * file) { gguf_remove_key(file, "general.architecture"); };
        }),
        with_options("architecture is a number", [](auto & o) { set_u32(o, "general.architecture", 5); }),
        with_options("head count is text", [](auto & o) {
            o.edit_metadata = [](gguf_context * file) { gguf_set_val_str(file, "llama.attention.head_count", "4"); };
        }),
        with_options("norm epsilon not a number", [](auto & o) { o.norm_epsilon = std::nanf(""); }),
        with_options("norm epsilon missing", [](auto & o) {
            o.edit_metadata = [](gguf_context * file) { gguf_remove_key(file, "llama.attention.layer_norm_rms_epsilon"); };
        }),
        with_options("rope base not a number", [](auto & o) { o.rope_base = std::nanf(""); }),
        with_options("unsupported rope scaling", [](auto & o) {
            o.edit_metadata = [](gguf_context * file) {
                gguf_set_val_str(file, "llama.rope.scaling.type", "yarn");
                gguf_set_val_f32(file, "llama.rope.scaling.factor", 4.0f);
            };
        }),
        with_bytes("duplicate tensor", [](bytes & f) { f[find_tensor_record(f, "blk.0.attn_k.weight") - 8] = 'v'; }),
        with_shape("zero rows", "blk.0.attn_q.weight", 64, 0),
        with_shape("zero columns", "blk.0.attn_q.weight", 0, 64),
        with_shape("negative rows", "blk.0.attn_q.weight", 64, ~uint64_t(0)),
        with_shape("element count wraps to zero", "output.weight", uint64_t(1) << 32, uint64_t(1) << 32),
        with_shape("byte count wraps to zero", "output.weight", uint64_t(1) << 31, uint64_t(1) << 31),
        with_shape("rows beyond the file", "output.weight", 64, uint64_t(1) << 30),
        with_bytes("unknown type", [](bytes & f) { put(f, find_tensor_record(f, "output.weight") + 20, uint32_t(250)); }),
        with_bytes("removed type", [](bytes & f) { put(f, find_tensor_record(f, "output.weight") + 20, uint32_t(4)); }),
        with_bytes("five axes", [](bytes & f) { put(f, find_tensor_record(f, "output.weight"), uint32_t(5)); }),
        with_bytes("offset beyond the file", [](bytes & f) { put(f, find_tensor_record(f, "output.weight") + 24, uint64_t(1) << 40); }),
        with_bytes("offset of another tensor", [](bytes & f) { put(f, find_tensor_record(f, "output.weight") + 24, uint64_t(0)); }),
        with_bytes("unaligned offset", [](bytes & f) { put(f, find_tensor_record(f, "blk.0.attn_q.weight") + 24, uint64_t(7)); }),
        with_bytes("2^62 tensors", [](bytes & f) { put(f, 8, uint64_t(1) << 62); }),
        with_bytes("2^40 tensors", [](bytes & f) { put(f, 8, uint64_t(1) << 40); }),
        with_bytes("2^62 keys", [](bytes & f) { put(f, 16, uint64_t(1) << 62); }),
        with_bytes("2^40 keys", [](bytes & f) { put(f, 16, uint64_t(1) << 40); }),
        with_bytes("no tensors", [](bytes & f) { put(f, 8, uint64_t(0)); }),
        with_bytes("first key of 2^60 bytes", [](bytes & f) { put(f, 24, uint64_t(1) << 60); }),
        with_bytes("version 1", [](bytes & f) { put(f, 4, uint32_t(1)); }),
        with_bytes("version 99", [](bytes & f) { put(f, 4, uint32_t(99)); }),
        with_bytes("other magic", [](bytes & f) { f[0] = 'X'; }),
        {"random bytes", [] {
             random_source random(3);
             bytes         file(4096);
             std::generate(file.begin(), file.end(), [&] { return char(random.next()); });
             return file;
         }},
    };
    const std::string detail = check_probes(probes, open_and_compute);
    require_error({"MODEL_LOAD_FAILED"}, "a path without a file", [] { load_core(temporary_path("absent.gguf")); });
    require_error({"MODEL_LOAD_FAILED"}, "a folder", [] { load_core(temporary_path("")); });
    return detail;
}

FEDLLM_TEST("files: truncated models are refused at every length") {
    const bytes        file = fixture_bytes({});
    const size_t       n_header = header_size(temporary_path("broken-source.gguf"));
    return check_probes(truncations(file, n_header), open_and_compute);
}

FEDLLM_TEST("files: models with damaged headers are refused or load, and never crash") {
    fixture_options options;
    options.biases = options.rope_factors = true;
    const bytes  file = fixture_bytes(options);
    const size_t n_header = header_size(temporary_path("broken-source.gguf"));
    return check_probes(mutations(file, n_header, 600, 1000), open_and_compute);
}

FEDLLM_TEST("files: no emulator of a model with a damaged header crashes") {
    fixture_options options;
    options.biases = options.rope_factors = true;
    const bytes       file = fixture_bytes(options);
    const size_t      n_header = header_size(temporary_path("broken-source.gguf"));
    const std::string output = temporary_path("broken-emulator.gguf");
    return check_probes(mutations(file, n_header, 600, 9000), [&](const std::string & broken) { fedllm::emulator_write(broken, output, {0}); });
}

FEDLLM_TEST("files: broken adapters are refused") {
    const model_pair   models = make_models("adapter-base.gguf", {});
    const adapter_pair adapter = random_adapter(models, {"attn_q", "attn_v"}, 4, 93);
    const std::string  path = temporary_path("broken-adapter-source.gguf");
    fedllm::adapter_save_gguf(path, *models.core, adapter.options, adapter.weights);
    const bytes        file = read_file(path);
    const size_t       n_header = header_size(path);
    std::vector<probe> probes = truncations(file, n_header);
    for (probe & mutation : mutations(file, n_header, 300, 5000)) {
        probes.push_back(std::move(mutation));
    }
    probes.push_back({"a model instead of an adapter", [] { return fixture_bytes({}); }});
    const auto reshaped = [&](const char * name, const char * tensor, uint64_t ne0, uint64_t ne1) {
        probes.push_back({name, [=, &file] {
                              bytes        changed = file;
                              const size_t at = find_tensor_record(changed, tensor);
                              put(changed, at + 4, ne0);
                              put(changed, at + 12, ne1);
                              return changed;
                          }});
    };
    reshaped("A transposed", "blk.0.attn_q.weight.lora_a", 4, 64);
    reshaped("A of another rank", "blk.0.attn_q.weight.lora_a", 64, 3);
    reshaped("B of another width", "blk.1.attn_v.weight.lora_b", 4, 31);
    return check_probes(probes, [&](const std::string & broken) { fedllm::adapter_load_gguf(broken, *models.core); });
}
