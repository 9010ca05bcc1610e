// Reads and checks a GGUF file under named limits and maps its data. A bad file gives train_error MODEL_LOAD_FAILED
// with what was expected, what came and which tensor or key it concerns; it never crashes the process.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ggml.h"
#include "gguf.h"

namespace fedllm {

// Upper bounds for anything a file may claim, far above real models, so that a hostile file cannot exhaust memory.
constexpr int64_t  GGUF_MAX_TENSORS    = 100000;
constexpr int64_t  GGUF_MAX_KEYS       = 100000;
constexpr uint64_t GGUF_MAX_DIMENSION  = uint64_t(1) << 31;  // numbers along one axis

struct gguf_tensor {
    std::string name;
    ggml_type   type;
    int64_t     ne[4];   // ggml order, unused axes are 1
    size_t      offset;  // bytes from the start of the mapped file
    size_t      size;    // bytes
};

class gguf_file {
  public:
    // Opens, checks and maps `path`.
    static std::shared_ptr<gguf_file> open(const std::string & path);
    ~gguf_file();

    const std::string &              path() const { return path_; }
    const std::vector<gguf_tensor> & tensors() const { return tensors_; }
    const gguf_tensor *              find_tensor(const std::string & name) const;  // nullptr: absent
    const uint8_t *                  data() const { return data_; }                // start of the mapped file
    size_t                           size() const { return size_; }
    const gguf_context *             metadata() const { return context_; }             // for copying keys as they are
    // Takes whole pages of [begin, begin + size) out of this process's memory; they stay in the system's cache while there is room.
    void                             release_pages(const uint8_t * begin, size_t size) const;

    // Typed metadata; nullopt: the key is absent. A key of another type throws MODEL_LOAD_FAILED.
    std::optional<std::string>              get_string(const std::string & key) const;
    std::optional<uint64_t>                 get_unsigned(const std::string & key) const;
    std::optional<double>                   get_float(const std::string & key) const;
    std::optional<bool>                     get_bool(const std::string & key) const;
    // For keys that are a number or an array of numbers (one per layer).
    std::vector<uint64_t>                   get_unsigned_array(const std::string & key) const;
    std::optional<size_t>                   get_array_length(const std::string & key) const;

  private:
    gguf_file() = default;
    std::string                          path_;
    gguf_context *                       context_ = nullptr;
    std::vector<gguf_tensor>             tensors_;
    std::map<std::string, size_t>        index_;
    uint8_t *                            data_ = nullptr;
    size_t                               size_ = 0;
    int                                  descriptor_ = -1;
};

}  // namespace fedllm
