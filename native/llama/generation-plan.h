// What a generator will take before anything of it is allocated, and how many sequences fit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base-model.h"
#include "generator.h"

namespace fedllm {

// Most tokens of a prompt in one llama_decode; also how long a cancel may wait on devices that cannot stop inside one.
constexpr int32_t GENERATION_BATCH_TOKENS = 256;

// llama.cpp rounds the cells of a stream up to it.
constexpr int64_t GENERATION_CELLS_MULTIPLE = 256;

// Tokens that a stream has place for.
int64_t generation_cells(int64_t context_length);

// Multiples in which products have their columns so that bits do not depend on company, see generation-run.h; 1: they may.
int32_t generation_columns(const generator_options & options, bool on_cpu);

// Streams of the cache: sequences, rounded up to whole columns.
int64_t generation_streams(const generator_options & options, bool on_cpu);

// Bytes on the device.
struct generation_memory {
    size_t cache   = 0;  // keys and values in F16, exactly
    size_t compute = 0;  // activations of a decode and logits; an upper bound
    size_t weights = 0;  // copies of weights; 0 where they stay in the mapped file

    size_t total() const { return cache + compute + weights; }
};

generation_memory generation_memory_of(const model_info & model, const generator_options & options, bool on_cpu);

struct generation_plan {
    int64_t           max_sequences = 0;
    generation_memory parts;
    size_t            limit = 0;
};

// The largest number of sequences up to options.max_sequences that fits into `limit` (absent: nine tenths of what is free on the device).
// Throws OUT_OF_MEMORY when not even one does, and as generator::open for the model and the options.
generation_plan plan_generation(const std::string & model_path, const generator_options & options, std::optional<size_t> limit);

// The described model of a generator, its options checked. Throws as generator::open.
std::shared_ptr<base_model> check_generator(const std::string & model_path, const generator_options & options);

}  // namespace fedllm
