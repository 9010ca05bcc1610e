// Damages a valid GGUF file in a seeded way: bits, lengths, fields of the metadata and of the tensor table, whole ranges.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fedllm_fuzz {

using bytes = std::vector<uint8_t>;

// Where the fields of a file lie; positions in bytes from its start.
struct gguf_map {
    struct key {
        std::string name;
        size_t      begin;       // of the record: u64 length, name, u32 type, value
        size_t      type_at;
        size_t      value_at;
        size_t      value_size;  // of a number; of an array or string its head
    };
    struct tensor {
        size_t begin;        // of the record: u64 length, name, u32 n_dims, u64 ne[n_dims], u32 type, u64 offset
        size_t dims_at;      // u32 n_dims
        size_t n_dims;
        size_t type_at;
        size_t offset_at;
    };
    std::vector<key>    keys;
    std::vector<tensor> tensors;
    size_t              header_end = 0;  // end of the tensor table
};

// Throws std::runtime_error for a file that is not sound.
gguf_map map_gguf(const bytes & file);

struct mutation {
    bytes       file;
    std::string what;  // the changes in words
};

// One to three changes, chosen by the seed alone.
mutation mutate(const bytes & file, const gguf_map & map, uint64_t seed);

}  // namespace fedllm_fuzz
