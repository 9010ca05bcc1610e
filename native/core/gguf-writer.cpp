// See gguf-writer.h.
#include "gguf-writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

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

// Lets `write` make a file beside `path`, which then takes its place; nothing is left behind by a failure.
void replace_file(const std::string & path, const std::function<bool(const std::string & temporary)> & write) {
    const std::string temporary = temporary_name(path);
    try {
        if (!write(temporary)) io_fail(path, "write the file beside it");
        sync_path(temporary, O_RDONLY);
        if (rename(temporary.c_str(), path.c_str()) != 0) io_fail(path, "rename the finished file to it");
    } catch (...) {
        unlink(temporary.c_str());
        throw;
    }
    const size_t slash = path.find_last_of('/');
    sync_path(slash == std::string::npos ? "." : path.substr(0, slash + 1), O_RDONLY | O_DIRECTORY);
}

}  // namespace

gguf_writer::gguf_writer(size_t n_tensors)
    : gguf_(gguf_init_empty()), tensors_(ggml_init({ ggml_tensor_overhead() * (n_tensors + 1), nullptr, true })) {}

gguf_writer::~gguf_writer() {
    gguf_free(gguf_);
    ggml_free(tensors_);
}

void gguf_writer::add_tensor(const std::string & name, ggml_type type, const int64_t ne[4], const void * data) {
    add_tensor(name, type, ne);
    gguf_set_tensor_data(gguf_, name.c_str(), data);
}

void gguf_writer::add_tensor(const std::string & name, ggml_type type, const int64_t ne[4]) {
    ggml_tensor * tensor = ggml_new_tensor(tensors_, type, 4, ne);
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(gguf_, tensor);
}

void gguf_writer::write(const std::string & path) {
    replace_file(path, [&](const std::string & temporary) { return gguf_write_to_file(gguf_, temporary.c_str(), false); });
}

void gguf_writer::write_streamed(const std::string & path, const std::function<const void *(size_t)> & source) {
    replace_file(path, [&](const std::string & temporary) {
        FILE * file = std::fopen(temporary.c_str(), "wb");
        if (file == nullptr) return false;
        struct closer { FILE * file; ~closer() { if (file != nullptr) std::fclose(file); } } guard{ file };
        std::vector<char> head(gguf_get_meta_size(gguf_));
        gguf_get_meta_data(gguf_, head.data());
        if (std::fwrite(head.data(), 1, head.size(), file) != head.size()) return false;
        const size_t alignment = gguf_get_alignment(gguf_);
        const std::vector<char> padding(alignment, 0);
        for (int64_t i = 0; i < gguf_get_n_tensors(gguf_); ++i) {
            const size_t size = gguf_get_tensor_size(gguf_, i), rest = (alignment - size % alignment) % alignment;
            if (std::fwrite(source(size_t(i)), 1, size, file) != size) return false;
            if (std::fwrite(padding.data(), 1, rest, file) != rest) return false;
        }
        guard.file = nullptr;
        return std::fclose(file) == 0;
    });
}

}  // namespace fedllm
