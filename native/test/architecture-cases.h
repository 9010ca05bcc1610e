// The architectures as tests see them: each fixture with the variants that files of its kind may have, which of them the
// core still refuses, and a core with a random adapter for any of them (reference-model.h is for llama alone).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "test-support.h"

namespace fedllm_test {

struct architecture_case {
    std::string     name;
    fixture_options options;
};

// llama, the fixture of each architecture and what else its files may say.
const std::vector<architecture_case> & architecture_cases();

// Writes the case's model; `kind` keeps the files of different tests apart.
std::string write_case(const architecture_case & c, const char * kind, ggml_type type = GGML_TYPE_F32);

// A pair whose reference stays empty.
model_pair load_core_only(const std::string & path);

// All modules that an adapter of this model may target.
std::vector<std::string> modules_of(const fixture_options & options);

// As random_adapter, but from the core's layout.
adapter_pair random_adapter_of_core(const model_pair & models, const std::vector<std::string> & modules, int rank, uint64_t seed);

// Runs `check` for every case that the core takes and joins what it returns; a case that fails does not hide the next.
std::string for_each_supported(const std::function<std::string(const architecture_case &)> & check);

}  // namespace fedllm_test
