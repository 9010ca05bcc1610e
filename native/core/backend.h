// Loads ggml's backends and lists devices. The libraries are the prebuilt ones of the @node-llama-cpp platform package.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "ggml-backend.h"

namespace fedllm {

enum class device_type { cpu, gpu, igpu, accel };

struct device_info {
    std::string name;
    std::string description;
    device_type type;
    size_t      free_bytes;
    size_t      total_bytes;
};

// Loads every backend module in `bins_dir` once per process; a second call with the same folder does nothing.
// Throws NATIVE_MISMATCH for another folder than the first one, or when no device comes out of it.
void backend_load_all(const std::string & bins_dir);

// Devices in ggml's order.
std::vector<device_info> backend_list_devices();

// A device by its name; empty: the CPU. Throws NATIVE_MISMATCH when there is none (the message lists those that are).
ggml_backend_dev_t backend_find_device(const std::string & name);

// An initialised device: a ggml backend plus what its operations need. Not thread-safe: one per computation.
struct backend {
    ggml_backend_t     handle = nullptr;
    ggml_backend_dev_t device = nullptr;
    bool               is_cpu = false;
    int                n_threads = 1;

    // Throws NATIVE_MISMATCH as backend_find_device does, OUT_OF_MEMORY when the device does not initialise.
    backend(const std::string & device_name, int n_threads);
    ~backend();
    void set_threads(int n);
    backend(const backend &)             = delete;
    backend & operator=(const backend &) = delete;
};

}  // namespace fedllm
