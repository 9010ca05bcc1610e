// See gguf-writer.h.
#include "gguf-writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "error.h"

namespace fedllm {

namespace {

[[noreturn]] void io_fail(const std::string & path, const std::string & action) {
    throw train_error("IO_FAILED", path + ": expected to " + action + ", received: " + std::strerror(errno));
}

void sync_path(const std::string & path, int flags) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
    if (descriptor < 0) io_fail(path, "open it for flushing");
    const int result = fsync(descriptor);
    const int saved  = errno;
    ::close(descriptor);
    errno = saved;
    if (result != 0) io_fail(path, "flush it to disk");
}

// A name no other thread or process uses at the same time.
std::string temporary_name(const std::string & path) {
    static std::atomic<uint64_t> counter{ 0 };
    return path + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
}

}  // namespace

gguf_writer::gguf_writer(size_t n_tensors)
    : gguf_(gguf_init_empty()), tensors_(ggml_init({ ggml_tensor_overhead() * (n_tensors + 1), nullptr, true })) {}

gguf_writer::~gguf_writer() {
    gguf_free(gguf_);
    ggml_free(tensors_);
}

void gguf_writer::add_tensor(const std::string & name, ggml_type type, const int64_t ne[4], const void * data) {
    ggml_tensor * tensor = ggml_new_tensor(tensors_, type, 4, ne);
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(gguf_, tensor);
    gguf_set_tensor_data(gguf_, name.c_str(), data);
}

void gguf_writer::write(const std::string & path) {
    const std::string temporary = temporary_name(path);
    if (!gguf_write_to_file(gguf_, temporary.c_str(), false)) {
        const int saved = errno;
        unlink(temporary.c_str());
        errno = saved;
        io_fail(path, "write the file beside it");
    }
    try {
        sync_path(temporary, O_RDONLY);
        if (rename(temporary.c_str(), path.c_str()) != 0) io_fail(path, "rename the finished file to it");
    } catch (...) {
        unlink(temporary.c_str());
        throw;
    }
    const size_t slash = path.find_last_of('/');
    sync_path(slash == std::string::npos ? "." : path.substr(0, slash + 1), O_RDONLY | O_DIRECTORY);
}

}  // namespace fedllm
