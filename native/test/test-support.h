// What the test files share: temporary files, models loaded into core and reference at once, random samples and
// adapters, and the distances between number rows.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "gguf-fixture.h"
#include "harness.h"
#include "reference-model.h"
#include "trainer.h"

namespace fedllm_test {

// The core multiplies dequantized weights by F32 activations, so a quantized base is as exact as an F32 one.
constexpr double QUANTIZED_LOSS_TOLERANCE = 1e-6;
constexpr double QUANTIZED_GRADIENT_TOLERANCE = 1e-4;

// Folder of shared data; empty: not given.
std::string & shared_data_dir();

// Folder of the prebuilt libraries.
std::string & libraries_dir();

// Device that the tests of other backends use; empty: not given, they are skipped.
std::string & test_device();

// Path inside a folder that is removed when the program ends.
std::string temporary_path(const std::string & file_name);

// Rank and lengths of what is compared on another device, by default. Vulkan has several shaders for each kind of product: one for every number
// of columns (as rank, tokens or loss rows make them) up to eight, and three for more, by up to 32, 64 and more rows or columns. Its software
// driver compiles those for many columns in 15 seconds each, the one for eight in minutes.
constexpr int DEVICE_RANK = 16;
const std::vector<int> DEVICE_LENGTHS = {20, 9};

// One thread: models this small spend their time at ggml's barriers otherwise, the more so on a busy machine. The tests
// named after threads use two.
constexpr int TEST_THREADS = 1;

// One GGUF, in the core and in the reference.
struct model_pair {
    std::string                         path;
    std::shared_ptr<fedllm::base_model> core;
    reference_model                     reference;
};

// Writes the fixture as `file_name` and loads it twice.
model_pair make_models(const std::string & file_name, const fixture_options & options);
model_pair load_models(const std::string & path, int n_threads = TEST_THREADS);
std::shared_ptr<fedllm::base_model> load_core(const std::string & path, int n_threads = TEST_THREADS);

// The same adapter for core and reference.
struct adapter_pair {
    fedllm::adapter_options options;
    std::vector<float>      weights;
    reference_adapter       reference() const;
};

extern const std::vector<std::string> ALL_MODULES;

// A and B both random and nonzero, sized so that the adapter changes the logits clearly.
adapter_pair random_adapter(const model_pair & models, const std::vector<std::string> & modules, int rank, uint64_t seed);
// A random and B zero, as training starts.
adapter_pair fresh_adapter(const model_pair & models, const std::vector<std::string> & modules, int rank, uint64_t seed);

// Samples in the core's concatenated form.
struct sample_list {
    std::vector<int32_t>  tokens;
    std::vector<uint8_t>  supervised;
    std::vector<uint32_t> offsets = {0};
    std::vector<float>    weights;  // empty: all 1
    std::vector<uint32_t> group_offsets;  // empty: none

    void               add(const std::vector<int32_t> & more, const std::vector<uint8_t> & mask);
    size_t             size() const { return offsets.size() - 1; }
    fedllm::sample_set view() const;
    sample_list        only(size_t index) const;

    std::vector<reference_sample> reference() const;
};

// Random tokens; each later position supervised with this probability, at least one per sample, never the first.
sample_list random_samples(int64_t n_vocab, const std::vector<int> & lengths, double supervised_share, uint64_t seed);
std::vector<int32_t> random_tokens(int64_t n_vocab, int length, uint64_t seed);

// Calls of the core with the arguments that tests rarely change.
struct core_gradient {
    double             loss_sum;
    int64_t            n_supervised;
    std::vector<float> values;
    double             weight_sum = 0.0;
    fedllm::preference_metrics preference = {};  // sums over pairs
};
core_gradient core_loss_and_gradient(const model_pair & models, const adapter_pair & adapter, const sample_list & samples,
                                     int64_t micro_batch_tokens = 4096, double dropout = 0.0, uint64_t seed = 0);
core_gradient core_loss_and_gradient(const model_pair & models, const adapter_pair & adapter, const sample_list & samples,
                                     const fedllm::gradient_options & options);
// How far the slope of the core's loss along its own gradient, by differences, is from the gradient's norm, relatively.
double error_along_gradient(const model_pair & models, adapter_pair adapter, const sample_list & samples, const fedllm::gradient_options & options);
// Summed over samples; adapter nullptr: the base.
reference_loss core_evaluate(const model_pair & models, const adapter_pair * adapter, const sample_list & samples,
                             int64_t micro_batch_tokens = 4096);
fedllm::train_result core_train(const model_pair & models, const fedllm::train_options & options,
                                const std::vector<float> & start_weights);
// AdamW settings of the tests: two samples a step, large micro-batches, all modules' options from the adapter.
fedllm::train_options make_train_options(const adapter_pair & adapter, const sample_list & samples, int64_t local_steps);

std::vector<double> to_double(const std::vector<float> & values);

// ||a - b|| / ||b||; infinite when a is not finite or lengths differ, 0 when both are zero.
double relative_l2(const double * a, const double * b, size_t n);
double relative_l2(const std::vector<float> & a, const std::vector<double> & b);
double relative_l2(const std::vector<float> & a, const std::vector<float> & b);
// Mean squared difference over the variance of b.
double normalised_mse(const std::vector<float> & a, const std::vector<double> & b);
double normalised_mse(const std::vector<float> & a, const std::vector<float> & b);

}  // namespace fedllm_test
