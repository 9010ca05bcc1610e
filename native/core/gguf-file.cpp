// Checks a GGUF in two steps: our own look at the fixed header (ggml would allocate whatever it claims), then ggml's
// parser for the table, then our checks of every tensor against the size of the file.
#include "gguf-file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "error.h"

namespace fedllm {

namespace {

[[noreturn]] void fail(const std::string & path, const std::string & text) {
    throw train_error("MODEL_LOAD_FAILED", path + ": " + text);
}

std::string shape_text(const gguf_tensor & t) {
    return "[" + std::to_string(t.ne[0]) + ", " + std::to_string(t.ne[1]) + ", " + std::to_string(t.ne[2]) + ", " +
           std::to_string(t.ne[3]) + "]";
}

// Magic, version and the two counts, before ggml allocates anything by them.
void check_header(const std::string & path, const uint8_t * data, size_t size) {
    if (size < 24) fail(path, "expected a GGUF file of at least 24 bytes, received " + std::to_string(size));
    if (std::memcmp(data, "GGUF", 4) != 0) fail(path, "expected the magic bytes GGUF at the start, received others. Is this a GGUF file?");
    uint32_t version;
    uint64_t n_tensors, n_keys;
    std::memcpy(&version, data + 4, 4);
    std::memcpy(&n_tensors, data + 8, 8);
    std::memcpy(&n_keys, data + 16, 8);
    if (version != 2 && version != 3) {
        fail(path, "expected GGUF version 2 or 3 in little-endian order, received " + std::to_string(version));
    }
    if (n_tensors > uint64_t(GGUF_MAX_TENSORS)) {
        fail(path, "expected at most " + std::to_string(GGUF_MAX_TENSORS) + " tensors, received " + std::to_string(n_tensors));
    }
    if (n_keys > uint64_t(GGUF_MAX_KEYS)) {
        fail(path, "expected at most " + std::to_string(GGUF_MAX_KEYS) + " metadata keys, received " + std::to_string(n_keys));
    }
    // The smallest key (8 + 1 + 4 + 1 bytes) and tensor (8 + 1 + 4 + 4 + 8) entries must fit into the file.
    if (n_tensors * 25 + n_keys * 14 > size) {
        fail(path, "expected the file to hold " + std::to_string(n_tensors) + " tensor and " + std::to_string(n_keys) +
                       " key entries, received only " + std::to_string(size) + " bytes. The file is cut off or damaged");
    }
}

void check_tensor(const std::string & path, const gguf_tensor & t, size_t file_size) {
    for (int axis = 0; axis < 4; ++axis) {
        if (t.ne[axis] < 1 || uint64_t(t.ne[axis]) > GGUF_MAX_DIMENSION) {
            fail(path, "tensor " + t.name + ": expected axes between 1 and " + std::to_string(GGUF_MAX_DIMENSION) + ", received " + shape_text(t));
        }
    }
    if (t.offset % 32 != 0) {
        fail(path, "tensor " + t.name + ": expected data aligned to 32 bytes, received offset " + std::to_string(t.offset));
    }
    if (t.offset > file_size || t.size > file_size - t.offset) {
        fail(path, "tensor " + t.name + ": expected " + std::to_string(t.size) + " bytes at offset " + std::to_string(t.offset) +
                       ", received a file of " + std::to_string(file_size) + " bytes. The file is cut off; download it again");
    }
}

struct context_guard {  // frees what is not taken over when a check throws
    gguf_context * gguf = nullptr;
    ggml_context * tensors = nullptr;
    ~context_guard() {
        if (gguf) gguf_free(gguf);
        if (tensors) ggml_free(tensors);
    }
};

}  // namespace

std::shared_ptr<gguf_file> gguf_file::open(const std::string & path) {
    std::shared_ptr<gguf_file> file(new gguf_file());
    file->path_ = path;
    file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file->descriptor_ < 0) fail(path, std::string("expected a readable file, received: ") + std::strerror(errno));
    struct stat info{};
    if (fstat(file->descriptor_, &info) != 0 || !S_ISREG(info.st_mode)) fail(path, "expected a regular file, received something else");
    file->size_ = size_t(info.st_size);
    if (file->size_ < 24) fail(path, "expected a GGUF file of at least 24 bytes, received " + std::to_string(file->size_));
    void * mapped = mmap(nullptr, file->size_, PROT_READ, MAP_SHARED, file->descriptor_, 0);
    if (mapped == MAP_FAILED) fail(path, std::string("expected to map the file, received: ") + std::strerror(errno));
    file->data_ = static_cast<uint8_t *>(mapped);
    check_header(path, file->data_, file->size_);

    context_guard guard;
    gguf_init_params params{};
    params.no_alloc = true;
    params.ctx      = &guard.tensors;
    guard.gguf      = gguf_init_from_file(path.c_str(), params);
    if (guard.gguf == nullptr) fail(path, "expected well-formed GGUF metadata and tensor table, received a damaged one");

    const size_t data_offset = gguf_get_data_offset(guard.gguf);
    const int64_t n_tensors  = gguf_get_n_tensors(guard.gguf);
    for (int64_t i = 0; i < n_tensors; ++i) {
        gguf_tensor tensor;
        tensor.name = gguf_get_tensor_name(guard.gguf, i);
        tensor.type = gguf_get_tensor_type(guard.gguf, i);
        tensor.size = gguf_get_tensor_size(guard.gguf, i);
        tensor.offset = data_offset + gguf_get_tensor_offset(guard.gguf, i);
        const ggml_tensor * shape = ggml_get_tensor(guard.tensors, tensor.name.c_str());
        if (shape == nullptr) fail(path, "tensor " + tensor.name + ": expected a shape, received none");
        for (int axis = 0; axis < 4; ++axis) tensor.ne[axis] = shape->ne[axis];
        check_tensor(path, tensor, file->size_);
        if (!file->index_.emplace(tensor.name, file->tensors_.size()).second) {
            fail(path, "tensor " + tensor.name + ": expected one entry, received two");
        }
        file->tensors_.push_back(std::move(tensor));
    }
    file->context_ = guard.gguf;
    guard.gguf = nullptr;
    return file;
}

gguf_file::~gguf_file() {
    if (context_) gguf_free(context_);
    if (data_) munmap(data_, size_);
    if (descriptor_ >= 0) ::close(descriptor_);
}

const gguf_tensor * gguf_file::find_tensor(const std::string & name) const {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : &tensors_[it->second];
}

std::optional<std::string> gguf_file::get_string(const std::string & key) const {
    const int64_t id = gguf_find_key(context_, key.c_str());
    if (id < 0) return std::nullopt;
    if (gguf_get_kv_type(context_, id) != GGUF_TYPE_STRING) {
        fail(path_, "key " + key + ": expected a string, received " + gguf_type_name(gguf_get_kv_type(context_, id)));
    }
    return std::string(gguf_get_val_str(context_, id));
}

std::optional<uint64_t> gguf_file::get_unsigned(const std::string & key) const {
    const int64_t id = gguf_find_key(context_, key.c_str());
    if (id < 0) return std::nullopt;
    const auto checked = [&](int64_t value) {
        if (value < 0) fail(path_, "key " + key + ": expected a number of at least 0, received " + std::to_string(value));
        return uint64_t(value);
    };
    switch (gguf_get_kv_type(context_, id)) {
        case GGUF_TYPE_UINT8:  return gguf_get_val_u8(context_, id);
        case GGUF_TYPE_UINT16: return gguf_get_val_u16(context_, id);
        case GGUF_TYPE_UINT32: return gguf_get_val_u32(context_, id);
        case GGUF_TYPE_UINT64: return gguf_get_val_u64(context_, id);
        case GGUF_TYPE_INT8:   return checked(gguf_get_val_i8(context_, id));
        case GGUF_TYPE_INT16:  return checked(gguf_get_val_i16(context_, id));
        case GGUF_TYPE_INT32:  return checked(gguf_get_val_i32(context_, id));
        case GGUF_TYPE_INT64:  return checked(gguf_get_val_i64(context_, id));
        default: fail(path_, "key " + key + ": expected a whole number, received " + gguf_type_name(gguf_get_kv_type(context_, id)));
    }
}

void gguf_file::release_pages(const uint8_t * begin, size_t size) const {
    const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
    const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page, last = (reinterpret_cast<uintptr_t>(begin) + size) / page * page;
    if (last > first) madvise(reinterpret_cast<void *>(first), last - first, MADV_DONTNEED);
}

std::optional<double> gguf_file::get_float(const std::string & key) const {
    const int64_t id = gguf_find_key(context_, key.c_str());
    if (id < 0) return std::nullopt;
    switch (gguf_get_kv_type(context_, id)) {
        case GGUF_TYPE_FLOAT32: return double(gguf_get_val_f32(context_, id));
        case GGUF_TYPE_FLOAT64: return gguf_get_val_f64(context_, id);
        default: fail(path_, "key " + key + ": expected a number with a fraction, received " + gguf_type_name(gguf_get_kv_type(context_, id)));
    }
}

std::optional<bool> gguf_file::get_bool(const std::string & key) const {
    const int64_t id = gguf_find_key(context_, key.c_str());
    if (id < 0) return std::nullopt;
    if (gguf_get_kv_type(context_, id) != GGUF_TYPE_BOOL) {
        fail(path_, "key " + key + ": expected true or false, received " + gguf_type_name(gguf_get_kv_type(context_, id)));
    }
    return gguf_get_val_bool(context_, id);
}

std::vector<uint64_t> gguf_file::get_unsigned_array(const std::string & key) const {
    const int64_t id = gguf_find_key(context_, key.c_str());
    if (id < 0) return {};
    if (gguf_get_kv_type(context_, id) != GGUF_TYPE_ARRAY) return { *get_unsigned(key) };
    const size_t n = gguf_get_arr_n(context_, id);
    const gguf_type type = gguf_get_arr_type(context_, id);
    if (type != GGUF_TYPE_UINT32 && type != GGUF_TYPE_INT32) {
        fail(path_, "key " + key + ": expected an array of 32-bit whole numbers, received " + gguf_type_name(type));
    }
    std::vector<uint64_t> values;
    const void * data = gguf_get_arr_data(context_, id);
    for (size_t i = 0; i < n; ++i) {
        if (type == GGUF_TYPE_UINT32) {
            values.push_back(static_cast<const uint32_t *>(data)[i]);
        } else {
            const int32_t value = static_cast<const int32_t *>(data)[i];
            if (value < 0) fail(path_, "key " + key + ": expected numbers of at least 0, received " + std::to_string(value));
            values.push_back(uint64_t(value));
        }
    }
    return values;
}

std::optional<size_t> gguf_file::get_array_length(const std::string & key) const {
    const int64_t id = gguf_find_key(context_, key.c_str());
    if (id < 0) return std::nullopt;
    if (gguf_get_kv_type(context_, id) != GGUF_TYPE_ARRAY) {
        fail(path_, "key " + key + ": expected an array, received " + gguf_type_name(gguf_get_kv_type(context_, id)));
    }
    return gguf_get_arr_n(context_, id);
}

}  // namespace fedllm
