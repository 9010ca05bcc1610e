// See process.h. Our undefined symbols bind to whatever libraries are first in the process, so initBackends checks that
// ggml and llama come from the chosen folder: with two copies of ggml in one process, ours would see no device.
#include "process.h"

#include <filesystem>
#include <system_error>

#include <dlfcn.h>
#include <sys/resource.h>

#include "backend.h"
#include "errors.h"
#include "ggml.h"
#include "llama.h"
#include "log-router.h"
#include "options.h"
#include "results.h"

namespace fedllm::addon {

namespace {

namespace fs = std::filesystem;

// Folder, without links, of the library that `symbol` is bound to.
fs::path folder_of_symbol(const void * symbol, const char * name) {
    Dl_info info = {};
    if (dladdr(symbol, &info) == 0 || info.dli_fname == nullptr) {
        throw parameter_error("NATIVE_MISMATCH", name, "a symbol of a loaded library", "a symbol of unknown origin");
    }
    std::error_code error;
    const fs::path  file = fs::canonical(info.dli_fname, error);
    return error ? fs::path(info.dli_fname).parent_path() : file.parent_path();
}

void check_origin(const void * symbol, const char * name, const fs::path & bins_dir) {
    const fs::path folder = folder_of_symbol(symbol, name);
    if (folder != bins_dir) {
        throw parameter_error("NATIVE_MISMATCH", name, "the library in " + bins_dir.string(),
                              "the one in " + folder.string() +
                                  ". Use one llama.cpp variant per process, and load this package before others that "
                                  "bring llama.cpp");
    }
}

fs::path canonical_folder(const std::string & path) {
    std::error_code error;
    const fs::path  folder = fs::canonical(path, error);
    if (error || !fs::is_directory(folder, error)) {
        throw parameter_error("NATIVE_MISMATCH", "binsDir", "the folder of the prebuilt llama.cpp libraries", path);
    }
    return folder;
}

}  // namespace

Napi::Value init_backends(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        const fs::path bins_dir = canonical_folder(read_text(info[0], "binsDir"));
        check_origin(reinterpret_cast<const void *>(&ggml_init), "ggml_init", bins_dir);
        check_origin(reinterpret_cast<const void *>(&llama_model_quantize), "llama_model_quantize", bins_dir);
        // Libraries loaded before us print to standard output by default; the addon is silent until a logger is set.
        log_router_install();
        backend_load_all(bins_dir.string());
        return make_devices(info.Env(), backend_list_devices());
    });
}

Napi::Value peak_resident_bytes(const Napi::CallbackInfo & info) {
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    const double bytes = double(usage.ru_maxrss);
#else
    const double bytes = double(usage.ru_maxrss) * 1024.0;  // Linux counts in KiB
#endif
    return Napi::Number::New(info.Env(), bytes);
}

}  // namespace fedllm::addon
