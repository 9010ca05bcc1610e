// See device-memory.h. Linux: proc(5) and the kernel's cgroup-v2 documentation; elsewhere ggml's own numbers.
#include "device-memory.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

namespace fedllm {

namespace {

// The number after `key` at the start of a line ("MemAvailable: 123 kB"); nullopt: no such file or line.
std::optional<size_t> read_field(const std::string & path, const std::string & key) {
    std::ifstream file(path);
    std::string line;
    while (std::getline(file, line)) {
        if (line.rfind(key, 0) != 0) continue;
        size_t value = 0;
        if (std::istringstream(line.substr(key.size())) >> value) return value;
    }
    return std::nullopt;
}

// nullopt: no such file, or "max".
std::optional<size_t> read_number(const std::string & path) {
    std::ifstream file(path);
    size_t value = 0;
    if (file >> value) return value;
    return std::nullopt;
}

// What the control group at this path still allows; pages of files that are not in use can be given up.
size_t group_free_bytes(const std::string & path) {
    const std::optional<size_t> most = read_number(path + "/memory.max"), used = read_number(path + "/memory.current");
    if (!most || !used) return std::numeric_limits<size_t>::max();
    const size_t reclaimable = std::min(*used, read_field(path + "/memory.stat", "inactive_file ").value_or(0));
    return *most + reclaimable > *used ? *most + reclaimable - *used : 0;
}

size_t host_free_bytes(size_t otherwise) {
    const std::optional<size_t> kilobytes = read_field("/proc/meminfo", "MemAvailable:");
    if (!kilobytes) return otherwise;
    size_t free_bytes = *kilobytes * 1024;
    std::ifstream groups("/proc/self/cgroup");
    std::string line;
    while (std::getline(groups, line)) {
        if (line.rfind("0::", 0) != 0) continue;  // version 2
        // A group is also held to the limits of those above it.
        for (std::string group = line.substr(3); ; group = group.substr(0, group.rfind('/'))) {
            free_bytes = std::min(free_bytes, group_free_bytes("/sys/fs/cgroup" + group));
            if (group.empty()) break;
        }
    }
    return free_bytes;
}

}  // namespace

size_t device_free_bytes(const backend & device) {
    ggml_backend_dev_props props{};
    ggml_backend_dev_get_props(device.device, &props);
    return device.is_cpu ? host_free_bytes(props.memory_free) : props.memory_free;
}

size_t host_free_bytes() { return host_free_bytes(0); }

size_t process_resident_bytes() {
    std::ifstream file("/proc/self/statm");
    size_t all = 0, resident = 0;
    return file >> all >> resident ? resident * size_t(sysconf(_SC_PAGESIZE)) : 0;
}

std::string bytes_text(size_t bytes) {
    const char * units[] = { "bytes", "kB", "MB", "GB", "TB" };
    double value = double(bytes);
    size_t unit = 0;
    for (; value >= 1000.0 && unit + 1 < sizeof units / sizeof *units; ++unit) value /= 1000.0;
    char text[32];
    std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, units[unit]);
    return text;
}

}  // namespace fedllm
