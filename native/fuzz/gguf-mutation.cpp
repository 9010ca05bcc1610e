// See gguf-mutation.h. Each kind of change is a function; what it can choose from comes from the map of the undamaged file.
#include "gguf-mutation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "../test/gguf-fixture.h"
#include "gguf.h"

namespace fedllm_fuzz {

using fedllm_test::random_source;

namespace {

template <typename T>
T get(const bytes & file, size_t at) {
    if (at + sizeof(T) > file.size()) throw std::runtime_error("the source file ends early");
    T value;
    std::memcpy(&value, &file[at], sizeof(T));
    return value;
}

// Past the end after another change cut the file: nothing to write.
template <typename T>
void put(bytes & file, size_t at, T value) {
    if (at + sizeof(T) <= file.size()) std::memcpy(&file[at], &value, sizeof(T));
}

size_t size_of_number(uint32_t type) {
    switch (type) {
        case GGUF_TYPE_UINT8: case GGUF_TYPE_INT8: case GGUF_TYPE_BOOL: return 1;
        case GGUF_TYPE_UINT16: case GGUF_TYPE_INT16: return 2;
        case GGUF_TYPE_UINT32: case GGUF_TYPE_INT32: case GGUF_TYPE_FLOAT32: return 4;
        case GGUF_TYPE_UINT64: case GGUF_TYPE_INT64: case GGUF_TYPE_FLOAT64: return 8;
        default: return 0;
    }
}

// Bytes of a value of this type at `at`.
size_t size_of_value(const bytes & file, uint32_t type, size_t at) {
    if (type == GGUF_TYPE_STRING) return 8 + size_t(get<uint64_t>(file, at));
    if (type != GGUF_TYPE_ARRAY) return size_of_number(type);
    const uint32_t item = get<uint32_t>(file, at);
    const uint64_t count = get<uint64_t>(file, at + 4);
    size_t size = 12;
    for (uint64_t i = 0; i < count; ++i) size += size_of_value(file, item, at + size);
    return size;
}

struct context {
    bytes &          file;
    const gguf_map & map;
    random_source &  random;

    size_t below(size_t bound) { return size_t(random.below(int64_t(std::max<size_t>(1, bound)))); }
    const gguf_map::key &    any_key() { return map.keys[below(map.keys.size())]; }
    const gguf_map::tensor & any_tensor() { return map.tensors[below(map.tensors.size())]; }

    uint64_t absurd() {
        const uint64_t values[] = { 0, 1, 2, 3, 7, 31, 33, 64, 255, 256, 65535, 65536, uint64_t(1) << 20, uint64_t(1) << 31, (uint64_t(1) << 31) - 1, (uint64_t(1) << 32) - 1,
                                    uint64_t(1) << 32, uint64_t(1) << 40, uint64_t(1) << 62, uint64_t(1) << 63, ~uint64_t(0), random.next(), random.next() % 1000 };
        return values[below(std::size(values))];
    }
};

void flip_bits(context & c) {
    // Most of a file is weights, so the header gets half of the flips.
    const size_t range = c.below(2) == 0 ? c.map.header_end : c.file.size();
    for (size_t n = 1 + c.below(8); n > 0 && !c.file.empty(); --n) c.file[std::min(c.below(range), c.file.size() - 1)] ^= uint8_t(1u << c.below(8));
}

void set_bytes(context & c) {
    const size_t at = c.below(c.file.size());
    const uint8_t values[] = { 0, 0xff, 0x7f, 0x80 };
    const uint8_t value = values[c.below(4)];
    for (size_t i = at; i < std::min(c.file.size(), at + 1 + c.below(64)); ++i) c.file[i] = value;
}

void cut_end(context & c) { c.file.resize(c.below(2) == 0 ? c.below(c.map.header_end) : c.below(c.file.size())); }

void cut_out(context & c) {
    const size_t begin = c.below(std::min(c.map.header_end, c.file.size())), count = std::min(c.file.size() - std::min(begin, c.file.size()), 1 + c.below(40));
    c.file.erase(c.file.begin() + long(begin), c.file.begin() + long(begin + count));
}

void repeat_range(context & c) {
    if (c.file.size() < 64) return;
    const size_t from = c.below(c.file.size() - 32), to = c.below(c.file.size() - 32), count = 1 + c.below(32);
    const bytes  piece(c.file.begin() + long(from), c.file.begin() + long(from + count));
    std::copy(piece.begin(), piece.end(), c.file.begin() + long(to));
}

void set_count(context & c) { put(c.file, c.below(2) == 0 ? 8 : 16, c.absurd()); }

void set_key_number(context & c) {
    const gguf_map::key & key = c.any_key();
    const uint32_t type = get<uint32_t>(c.file.size() >= key.value_at ? c.file : bytes(key.value_at + 8), key.type_at);
    if (type == GGUF_TYPE_FLOAT32) {
        const float values[] = { 0.0f, -0.0f, -1.0f, NAN, INFINITY, -INFINITY, 1e-40f, 1e30f, std::numeric_limits<float>::max(), 0.5f, float(c.random.normal()) };
        return put(c.file, key.value_at, values[c.below(std::size(values))]);
    }
    const uint64_t number = c.absurd();
    for (size_t i = 0; i < key.value_size && key.value_at + i < c.file.size(); ++i) c.file[key.value_at + i] = uint8_t(number >> (8 * i));
}

void nudge_key_number(context & c) {
    const gguf_map::key & key = c.any_key();
    if (key.value_size == 4 && key.value_at + 4 <= c.file.size()) put(c.file, key.value_at, uint32_t(get<uint32_t>(c.file, key.value_at) + uint32_t(c.below(5)) - 2u));
}

void set_key_type(context & c) { put(c.file, c.any_key().type_at, uint32_t(c.below(15))); }

void set_key_name(context & c) {
    const gguf_map::key & key = c.any_key();
    if (c.below(3) == 0) return put(c.file, key.begin, c.absurd());  // the name's length
    if (!key.name.empty()) put(c.file, key.begin + 8 + c.below(key.name.size()), uint8_t(c.random.next()));
}

void swap_offsets(context & c) {
    const gguf_map::tensor &a = c.any_tensor(), &b = c.any_tensor();
    if (std::max(a.offset_at, b.offset_at) + 8 > c.file.size()) return;
    const uint64_t first = get<uint64_t>(c.file, a.offset_at), second = get<uint64_t>(c.file, b.offset_at);
    put(c.file, a.offset_at, second);
    put(c.file, b.offset_at, first);
}

void set_offset(context & c) {
    const uint64_t values[] = { c.absurd(), 32 * c.absurd(), c.file.size(), c.file.size() / 32 * 32 };
    put(c.file, c.any_tensor().offset_at, values[c.below(4)]);
}

void set_tensor_type(context & c) { put(c.file, c.any_tensor().type_at, uint32_t(c.below(46))); }

// All matrices of the commonest type get another: the file may then be sound again but for its sizes.
void set_all_types(context & c) {
    const uint32_t from = uint32_t(c.below(4)), to = uint32_t(c.below(46));
    for (const gguf_map::tensor & t : c.map.tensors) {
        if (t.type_at + 4 <= c.file.size() && get<uint32_t>(c.file, t.type_at) == from) put(c.file, t.type_at, to);
    }
}

void set_axis(context & c) {
    const gguf_map::tensor & t = c.any_tensor();
    put(c.file, t.dims_at + 4 + 8 * c.below(t.n_dims), c.absurd());
}

void swap_axes(context & c) {
    const gguf_map::tensor & t = c.any_tensor();
    if (t.n_dims < 2 || t.offset_at + 8 > c.file.size()) return;
    const uint64_t first = get<uint64_t>(c.file, t.dims_at + 4), second = get<uint64_t>(c.file, t.dims_at + 12);
    put(c.file, t.dims_at + 4, second);
    put(c.file, t.dims_at + 12, first);
}

void set_n_dims(context & c) { put(c.file, c.any_tensor().dims_at, uint32_t(c.below(8))); }

// A number of one tensor's table entry copied to another's.
void copy_record(context & c) {
    const gguf_map::tensor &a = c.any_tensor(), &b = c.any_tensor();
    const size_t size = std::min(a.offset_at - a.dims_at, b.offset_at - b.dims_at) + 8;
    if (std::max(a.dims_at, b.dims_at) + size > c.file.size()) return;
    const bytes record(c.file.begin() + long(a.dims_at), c.file.begin() + long(a.dims_at + size));
    std::copy(record.begin(), record.end(), c.file.begin() + long(b.dims_at));
}

// Weights that are not numbers, or huge ones.
void set_weights(context & c) {
    if (c.file.size() <= c.map.header_end + 8) return;
    const float values[] = { NAN, INFINITY, -INFINITY, 1e38f, 1e-40f };
    for (size_t n = 1 + c.below(100); n > 0; --n) {
        put(c.file, c.map.header_end + c.below((c.file.size() - c.map.header_end) / 4) * 4, values[c.below(std::size(values))]);
    }
}

struct change {
    const char * name;
    void (*apply)(context & c);
};
const change CHANGES[] = {
    { "bits", flip_bits }, { "bytes", set_bytes }, { "cut", cut_end }, { "hole", cut_out }, { "repeat", repeat_range }, { "count", set_count },
    { "number", set_key_number }, { "number", set_key_number }, { "nudge", nudge_key_number }, { "key type", set_key_type }, { "key name", set_key_name },
    { "swap offsets", swap_offsets }, { "offset", set_offset }, { "type", set_tensor_type }, { "all types", set_all_types }, { "axis", set_axis },
    { "swap axes", swap_axes }, { "n_dims", set_n_dims }, { "record", copy_record }, { "weights", set_weights },
};

}  // namespace

gguf_map map_gguf(const bytes & file) {
    gguf_map map;
    const uint64_t n_tensors = get<uint64_t>(file, 8), n_keys = get<uint64_t>(file, 16);
    size_t at = 24;
    const auto read_name = [&] {
        const size_t length = size_t(get<uint64_t>(file, at));
        const std::string name(reinterpret_cast<const char *>(&file.at(at + 8)), length);
        at += 8 + length;
        return name;
    };
    for (uint64_t i = 0; i < n_keys; ++i) {
        gguf_map::key key;
        key.begin = at;
        key.name = read_name();
        key.type_at = at;
        key.value_at = at + 4;
        const uint32_t type = get<uint32_t>(file, at);
        key.value_size = type == GGUF_TYPE_STRING ? 8 : type == GGUF_TYPE_ARRAY ? 12 : size_of_number(type);
        at += 4 + size_of_value(file, type, at + 4);
        map.keys.push_back(key);
    }
    for (uint64_t i = 0; i < n_tensors; ++i) {
        gguf_map::tensor tensor;
        tensor.begin = at;
        read_name();
        tensor.dims_at = at;
        tensor.n_dims = get<uint32_t>(file, at);
        tensor.type_at = at + 4 + 8 * tensor.n_dims;
        tensor.offset_at = tensor.type_at + 4;
        at = tensor.offset_at + 8;
        map.tensors.push_back(tensor);
    }
    map.header_end = at;
    return map;
}

mutation mutate(const bytes & file, const gguf_map & map, uint64_t seed) {
    random_source random(seed);
    mutation result{ file, "" };
    context c{ result.file, map, random };
    for (size_t n = 1 + c.below(2) * (1 + c.below(2)); n > 0; --n) {
        const change & chosen = CHANGES[c.below(std::size(CHANGES))];
        if (c.file.size() < 32) break;
        chosen.apply(c);
        result.what += (result.what.empty() ? "" : ", ") + std::string(chosen.name);
    }
    return result;
}

}  // namespace fedllm_fuzz
