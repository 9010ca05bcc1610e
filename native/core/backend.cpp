// Backend modules are loaded once per process, because ggml's registry is process-global.
#include "backend.h"

#include <mutex>

#include "error.h"

namespace fedllm {

namespace {
std::mutex  load_mutex;
std::string loaded_from;

device_type convert_type(enum ggml_backend_dev_type type) {
    switch (type) {
        case GGML_BACKEND_DEVICE_TYPE_GPU:   return device_type::gpu;
        case GGML_BACKEND_DEVICE_TYPE_IGPU:  return device_type::igpu;
        case GGML_BACKEND_DEVICE_TYPE_CPU:   return device_type::cpu;
        default:                             return device_type::accel;
    }
}
}  // namespace

void backend_load_all(const std::string & bins_dir) {
    std::lock_guard<std::mutex> guard(load_mutex);
    if (loaded_from == bins_dir) return;
    if (!loaded_from.empty()) {
        throw train_error("NATIVE_MISMATCH", "ggml backends: expected the folder loaded first, " + loaded_from + ", received " +
                                                 bins_dir + ". Use one backend variant per process");
    }
    if (ggml_backend_dev_count() == 0) {  // another module of this process may have loaded them already
        ggml_backend_load_all_from_path(bins_dir.c_str());
    }
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) {
        throw train_error("NATIVE_MISMATCH", "ggml backends: expected a CPU device in " + bins_dir +
                                                 ", received none. Reinstall the @node-llama-cpp platform package");
    }
    loaded_from = bins_dir;
}

std::vector<device_info> backend_list_devices() {
    std::vector<device_info> devices;
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        ggml_backend_dev_props props{};
        ggml_backend_dev_get_props(device, &props);
        devices.push_back({ props.name ? props.name : "", props.description ? props.description : "", convert_type(props.type),
                            props.memory_free, props.memory_total });
    }
    return devices;
}

ggml_backend_dev_t backend_find_device(const std::string & name) {
    ggml_backend_dev_t device = name.empty() ? ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) : ggml_backend_dev_by_name(name.c_str());
    if (device == nullptr) {
        std::string known;
        for (const device_info & info : backend_list_devices()) known += (known.empty() ? "" : ", ") + info.name;
        throw train_error("NATIVE_MISMATCH", "device: expected one of " + (known.empty() ? "(no backend is loaded)" : known) +
                                                 ", received " + (name.empty() ? "CPU" : name));
    }
    return device;
}

backend::backend(const std::string & device_name, int threads) : device(backend_find_device(device_name)), n_threads(threads) {
    is_cpu = ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
    handle = ggml_backend_dev_init(device, nullptr);
    if (handle == nullptr) {
        throw train_error("OUT_OF_MEMORY", std::string("device ") + ggml_backend_dev_name(device) +
                                               ": expected it to initialise, received nothing. Close programs that use it");
    }
    set_threads(threads);
}

void backend::set_threads(int n) {
    n_threads = n;
    auto set = reinterpret_cast<ggml_backend_set_n_threads_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads"));
    if (set != nullptr) set(handle, n);
}

backend::~backend() {
    if (handle != nullptr) ggml_backend_free(handle);
}

}  // namespace fedllm
