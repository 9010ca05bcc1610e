// Writes a GGUF file so that its name never holds half of one: temporary file, fsync, rename, fsync of the folder.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "ggml.h"
#include "gguf.h"

namespace fedllm {

class gguf_writer {
  public:
    // n_tensors: how many will be added at most.
    explicit gguf_writer(size_t n_tensors);
    ~gguf_writer();
    gguf_writer(const gguf_writer &)             = delete;
    gguf_writer & operator=(const gguf_writer &) = delete;

    gguf_context * metadata() { return gguf_; }
    // ne: ggml order, unused axes 1. The data is read by write().
    void add_tensor(const std::string & name, ggml_type type, const int64_t ne[4], const void * data);
    // For files larger than memory: the data comes from write_streamed's source.
    void add_tensor(const std::string & name, ggml_type type, const int64_t ne[4]);
    // Replaces an existing file. Throws IO_FAILED.
    void write(const std::string & path);
    // The same with tensors one after another: `source` gives the bytes of the tensor that was added at this place, which need to
    // be there until its next call.
    void write_streamed(const std::string & path, const std::function<const void *(size_t index)> & source);

  private:
    gguf_context * gguf_;
    ggml_context * tensors_;
};

}  // namespace fedllm
