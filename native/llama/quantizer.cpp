// See quantizer.h. llama.cpp asserts some metadata of the input instead of reporting it; that is checked here first.
#include "quantizer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "error.h"
#include "gguf-file.h"
#include "llama.h"
#include "log-router.h"

namespace fedllm {

namespace {

namespace fs = std::filesystem;

struct quantize_type {
    const char * name;
    llama_ftype  ftype;
};

constexpr std::array<quantize_type, 25> TYPES = {{
    {"F32", LLAMA_FTYPE_ALL_F32},
    {"F16", LLAMA_FTYPE_MOSTLY_F16},
    {"BF16", LLAMA_FTYPE_MOSTLY_BF16},
    {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
    {"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K},
    {"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M},
    {"Q5_K_S", LLAMA_FTYPE_MOSTLY_Q5_K_S},
    {"Q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},
    {"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
    {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M},
    {"Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S},
    {"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
    {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
    {"IQ4_NL", LLAMA_FTYPE_MOSTLY_IQ4_NL},
    {"IQ4_XS", LLAMA_FTYPE_MOSTLY_IQ4_XS},
    {"Q3_K_L", LLAMA_FTYPE_MOSTLY_Q3_K_L},
    {"Q3_K_M", LLAMA_FTYPE_MOSTLY_Q3_K_M},
    {"Q3_K_S", LLAMA_FTYPE_MOSTLY_Q3_K_S},
    {"IQ3_M", LLAMA_FTYPE_MOSTLY_IQ3_M},
    {"IQ3_S", LLAMA_FTYPE_MOSTLY_IQ3_S},
    {"Q2_K", LLAMA_FTYPE_MOSTLY_Q2_K},
    {"Q2_0", LLAMA_FTYPE_MOSTLY_Q2_0},
    {"TQ2_0", LLAMA_FTYPE_MOSTLY_TQ2_0},
    {"TQ1_0", LLAMA_FTYPE_MOSTLY_TQ1_0},
    {"Q1_0", LLAMA_FTYPE_MOSTLY_Q1_0},
}};

llama_ftype find_type(const std::string & name) {
    std::string upper = name;
    std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return char(std::toupper(c)); });
    std::string known;
    for (const quantize_type & type : TYPES) {
        if (upper == type.name) {
            return type.ftype;
        }
        known += (known.empty() ? "" : ", ") + std::string(type.name);
    }
    throw train_error("CONFIG_INVALID", "type: expected one of " + known + ", received \"" + name + "\"");
}

[[noreturn]] void bad_key(const gguf_file & file, const std::string & key, const std::string & problem) {
    throw train_error("MODEL_LOAD_FAILED", file.path() + ": " + key + ": " + problem);
}

uint64_t largest(const std::vector<uint64_t> & values) {
    return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

// The conditions that llama.cpp asserts while it reads hyperparameters.
void check_hyperparameters(const gguf_file & file) {
    constexpr uint64_t MAX_LAYERS  = 512;  // LLAMA_MAX_LAYERS
    constexpr uint64_t MAX_EXPERTS = 1024;  // LLAMA_MAX_EXPERTS
    const std::optional<std::string> architecture = file.get_string("general.architecture");
    if (!architecture.has_value()) {
        bad_key(file, "general.architecture", "expected an architecture, received none");
    }
    const std::string prefix   = *architecture + ".";
    const uint64_t    n_layers = file.get_unsigned(prefix + "block_count").value_or(0);
    if (n_layers < 1 || n_layers > MAX_LAYERS) {
        bad_key(file, prefix + "block_count", "expected 1 to 512, received " + std::to_string(n_layers));
    }
    const uint64_t n_next = file.get_unsigned(prefix + "nextn_predict_layers").value_or(0);
    if (n_next > n_layers) {
        bad_key(file, prefix + "nextn_predict_layers",
                "expected at most " + std::to_string(n_layers) + ", received " + std::to_string(n_next));
    }
    const uint64_t n_experts     = file.get_unsigned(prefix + "expert_count").value_or(0);
    const uint64_t n_used        = largest(file.get_unsigned_array(prefix + "expert_used_count"));
    const uint64_t n_groups      = file.get_unsigned(prefix + "expert_group_count").value_or(0);
    const uint64_t n_groups_used = file.get_unsigned(prefix + "expert_group_used_count").value_or(0);
    const bool     dense         = n_experts == 0 && n_used == 0 && n_groups == 0;
    const bool     groups_fit    = n_groups <= 1 || (n_groups < n_experts && n_experts % n_groups == 0 &&
                                                     n_groups_used > 0 && n_groups_used < n_groups);
    const bool     mixture       = n_experts > 0 && n_experts <= MAX_EXPERTS && n_used > 0 && n_used <= n_experts &&
                         n_groups < n_experts && groups_fit;
    if (!dense && !mixture) {
        bad_key(file, prefix + "expert_count",
                "expected counts of experts that fit each other, received " + std::to_string(n_experts) + " experts, " +
                    std::to_string(n_used) + " used, " + std::to_string(n_groups) + " groups, " +
                    std::to_string(n_groups_used) + " used");
    }
    const std::string scaling = file.get_string(prefix + "rope.scaling.type").value_or("linear");
    if (scaling != "none" && scaling != "linear" && scaling != "yarn" && scaling != "longrope") {
        bad_key(file, prefix + "rope.scaling.type",
                "expected none, linear, yarn or longrope, received \"" + scaling + "\"");
    }
}

void check_input(const gguf_file & file, bool allow_requantize) {
    check_hyperparameters(file);
    for (const gguf_tensor & tensor : file.tensors()) {
        if (ggml_is_quantized(tensor.type) && !allow_requantize) {
            throw train_error("CONFIG_INVALID", file.path() + ": tensor " + tensor.name +
                                                    ": expected F32, F16 or BF16, received " + ggml_type_name(tensor.type) +
                                                    ". Quantize from the unquantized file");
        }
    }
}

void check_paths(const fs::path & input, const fs::path & output) {
    std::error_code error;
    const fs::path  folder = output.has_parent_path() ? output.parent_path() : fs::path(".");
    if (!output.has_filename() || fs::is_directory(output, error)) {
        throw train_error("CONFIG_INVALID", "outputPath: expected the path of a file, received " + output.string());
    }
    if (!fs::is_directory(folder, error)) {
        throw train_error("IO_FAILED", folder.string() + ": expected an existing folder, received none");
    }
    if (fs::exists(output, error) && fs::equivalent(input, output, error)) {
        throw train_error("CONFIG_INVALID", "outputPath: expected another file than the input, received " + output.string());
    }
}

[[noreturn]] void io_failed(const fs::path & path, const char * action) {
    throw train_error("IO_FAILED", path.string() + ": cannot " + action + ": " + std::strerror(errno));
}

void sync_path(const fs::path & path, int flags) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
    if (descriptor < 0) {
        io_failed(path, "open");
    }
    const int status = ::fsync(descriptor);
    ::close(descriptor);
    if (status != 0) {
        io_failed(path, "sync");
    }
}

// Removes the temporary file unless it has been renamed.
struct temporary_file {
    fs::path path;
    bool     keep = false;
    ~temporary_file() {
        if (!keep) {
            std::error_code error;
            fs::remove(path, error);
        }
    }
};

fs::path temporary_path(const fs::path & output) {
    static std::atomic<unsigned> counter{0};
    fs::path                     path = output;
    path += ".partial-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
    return path;
}

void run_quantizer(const std::string & input, const fs::path & output, llama_ftype ftype,
                   const quantize_options & options) {
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.nthread                     = std::max(1, options.n_threads);
    params.ftype                       = ftype;
    params.allow_requantize            = options.allow_requantize;
    log_error_scope log;
    try {
        if (llama_model_quantize(input.c_str(), output.string().c_str(), &params) == 0) {
            return;
        }
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const std::exception & error) {
        throw train_error("MODEL_LOAD_FAILED", input + ": llama.cpp cannot quantize the file: " + error.what());
    }
    const std::string reason = log.reason("it gave no reason");
    // llama.cpp reports a failed write as a failed stream.
    const bool write_failed = reason.find("iostream error") != std::string::npos;
    throw train_error(write_failed ? "IO_FAILED" : "MODEL_LOAD_FAILED",
                      (write_failed ? output.string() : input) + ": llama.cpp cannot quantize the file: " + reason);
}

}  // namespace

void quantize_model(const std::string & input_path, const std::string & output_path, const quantize_options & options) {
    const llama_ftype ftype  = find_type(options.type);
    const fs::path    output = fs::u8path(output_path);
    {
        const std::shared_ptr<gguf_file> file = gguf_file::open(input_path);
        check_paths(fs::u8path(input_path), output);
        check_input(*file, options.allow_requantize);
    }
    temporary_file temporary{temporary_path(output)};
    run_quantizer(input_path, temporary.path, ftype, options);
    try {
        gguf_file::open(temporary.path.string());
    } catch (const train_error & error) {
        throw train_error("IO_FAILED", std::string("the quantized file is incomplete: ") + error.what());
    }
    sync_path(temporary.path, O_RDONLY);
    std::error_code error;
    fs::rename(temporary.path, output, error);
    if (error) {
        throw train_error("IO_FAILED", output.string() + ": cannot rename the finished file to this name: " + error.message());
    }
    temporary.keep = true;
    sync_path(output.has_parent_path() ? output.parent_path() : fs::path("."), O_RDONLY | O_DIRECTORY);
}

}  // namespace fedllm
