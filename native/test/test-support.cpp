// Implements test-support.h.
#include "test-support.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <random>

namespace fedllm_test {

namespace fs = std::filesystem;

std::string & shared_data_dir() {
    static std::string dir;
    return dir;
}

namespace {

struct temporary_folder {
    fs::path path;

    temporary_folder() {
        std::random_device device;
        path = fs::temp_directory_path() / format("fedllm-core-test-%08x%08x", device(), device());
        fs::create_directories(path);
    }
    ~temporary_folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

}  // namespace

std::string temporary_path(const std::string & file_name) {
    static const temporary_folder folder;
    return (folder.path / file_name).string();
}

std::string & libraries_dir() {
    static std::string folder;
    return folder;
}

std::string & test_device() {
    static std::string name;
    return name;
}

std::shared_ptr<fedllm::base_model> load_core(const std::string & path, int n_threads) {
    fedllm::model_options options;
    options.n_threads = n_threads;
    return fedllm::base_model::load(path, options);
}

model_pair load_models(const std::string & path, int n_threads) {
    return {path, load_core(path, n_threads), reference_model::load(path)};
}

model_pair make_models(const std::string & file_name, const fixture_options & options) {
    const std::string path = temporary_path(file_name);
    fixture_write(path, options);
    return load_models(path);
}

const std::vector<std::string> ALL_MODULES(REFERENCE_MODULE_NAMES, REFERENCE_MODULE_NAMES + REFERENCE_MODULES);

reference_adapter adapter_pair::reference() const {
    reference_adapter adapter;
    adapter.rank = options.rank;
    adapter.scale = double(options.lora_alpha) / double(options.rank);
    for (int m = 0; m < REFERENCE_MODULES; m++) {
        const auto & names = options.target_modules;
        adapter.targets[size_t(m)] = std::find(names.begin(), names.end(), REFERENCE_MODULE_NAMES[m]) != names.end();
    }
    adapter.weights = to_double(weights);
    return adapter;
}

static adapter_pair make_adapter(const model_pair & models, const std::vector<std::string> & modules, int rank,
                                 uint64_t seed, double b_deviation) {
    adapter_pair adapter;
    adapter.options.rank = rank;
    adapter.options.lora_alpha = float(2 * rank);
    adapter.options.target_modules = modules;
    reference_adapter shape = adapter.reference();
    random_source     random(seed);
    for (const reference_tensor & tensor : models.reference.layout(shape)) {
        for (int64_t i = 0; i < tensor.n_columns * tensor.n_rows; i++) {
            const double limit = 1.0 / std::sqrt(double(tensor.n_columns));
            adapter.weights.push_back(float(tensor.is_b ? b_deviation * random.normal() : limit * (2.0 * random.uniform() - 1.0)));
        }
    }
    return adapter;
}

adapter_pair random_adapter(const model_pair & models, const std::vector<std::string> & modules, int rank, uint64_t seed) {
    return make_adapter(models, modules, rank, seed, 0.1);
}

adapter_pair fresh_adapter(const model_pair & models, const std::vector<std::string> & modules, int rank, uint64_t seed) {
    return make_adapter(models, modules, rank, seed, 0.0);
}

void sample_list::add(const std::vector<int32_t> & more, const std::vector<uint8_t> & mask) {
    tokens.insert(tokens.end(), more.begin(), more.end());
    supervised.insert(supervised.end(), mask.begin(), mask.end());
    offsets.push_back(uint32_t(tokens.size()));
}

fedllm::sample_set sample_list::view() const {
    fedllm::sample_set set;
    set.tokens = tokens.data();
    set.supervised = supervised.data();
    set.offsets = offsets.data();
    set.n_samples = size();
    set.weights = weights.empty() ? nullptr : weights.data();
    if (!group_offsets.empty()) {
        set.group_offsets = group_offsets.data();
        set.n_groups = group_offsets.size() - 1;
    }
    return set;
}

sample_list sample_list::only(size_t index) const {
    const reference_sample sample = reference()[index];
    sample_list            list;
    list.add(sample.tokens, sample.supervised);
    return list;
}

std::vector<reference_sample> sample_list::reference() const {
    std::vector<reference_sample> samples;
    for (size_t i = 0; i < size(); i++) {
        samples.push_back({{tokens.begin() + offsets[i], tokens.begin() + offsets[i + 1]},
                           {supervised.begin() + offsets[i], supervised.begin() + offsets[i + 1]}});
    }
    return samples;
}

std::vector<int32_t> random_tokens(int64_t n_vocab, int length, uint64_t seed) {
    random_source        random(seed);
    std::vector<int32_t> tokens;
    for (int i = 0; i < length; i++) {
        tokens.push_back(int32_t(random.below(n_vocab)));
    }
    return tokens;
}

sample_list random_samples(int64_t n_vocab, const std::vector<int> & lengths, double supervised_share, uint64_t seed) {
    random_source random(seed ^ 0x5a3c);
    sample_list   list;
    for (size_t i = 0; i < lengths.size(); i++) {
        std::vector<uint8_t> mask(size_t(lengths[i]), 0);
        for (size_t j = 1; j < mask.size(); j++) {
            mask[j] = random.uniform() < supervised_share ? 1 : 0;
        }
        mask.back() = 1;
        list.add(random_tokens(n_vocab, lengths[i], seed + 1000 * (i + 1)), mask);
    }
    return list;
}

core_gradient core_loss_and_gradient(const model_pair & models, const adapter_pair & adapter, const sample_list & samples,
                                     int64_t micro_batch_tokens, double dropout, uint64_t seed) {
    fedllm::gradient_options options;
    options.micro_batch_tokens = micro_batch_tokens;
    options.dropout = dropout;
    options.seed = seed;
    return core_loss_and_gradient(models, adapter, samples, options);
}

core_gradient core_loss_and_gradient(const model_pair & models, const adapter_pair & adapter, const sample_list & samples,
                                     const fedllm::gradient_options & options) {
    core_gradient result = {};
    const auto    loss = fedllm::loss_and_gradient(*models.core, adapter.options, adapter.weights, samples.view(), options, result.values);
    result.loss_sum = loss.loss_sum;
    result.n_supervised = loss.n_supervised;
    result.weight_sum = loss.weight_sum;
    result.preference = loss.preference;
    return result;
}

// How far the slope of the core's loss along its own gradient is from the gradient's norm.
double error_along_gradient(const model_pair & models, adapter_pair adapter, const sample_list & samples, const fedllm::gradient_options & options) {
    const std::vector<float> start = adapter.weights, gradient = core_loss_and_gradient(models, adapter, samples, options).values;
    double                   norm = 0.0;
    for (const float value : gradient) {
        norm += double(value) * double(value);
    }
    norm = std::sqrt(norm);
    const auto loss_at = [&](double h) {
        for (size_t i = 0; i < start.size(); i++) {
            adapter.weights[i] = start[i] + float(h * double(gradient[i]) / norm);
        }
        return core_loss_and_gradient(models, adapter, samples, options).loss_sum;
    };
    const double h = 1.0 / 64;
    const double slope = (8.0 * (loss_at(h) - loss_at(-h)) - (loss_at(2 * h) - loss_at(-2 * h))) / (12.0 * h);
    return std::fabs(slope - norm) / norm;
}

reference_loss core_evaluate(const model_pair & models, const adapter_pair * adapter, const sample_list & samples,
                             int64_t micro_batch_tokens) {
    fedllm::evaluate_options options;
    options.adapter = adapter == nullptr ? nullptr : &adapter->options;
    options.weights = adapter == nullptr ? nullptr : &adapter->weights;
    options.samples = samples.view();
    options.micro_batch_tokens = micro_batch_tokens;
    const std::atomic<bool> cancel(false);
    reference_loss          sum;
    for (const fedllm::sample_score & score : fedllm::evaluate(*models.core, options, cancel).scores) {
        sum.loss_sum -= score.log_probability;
        sum.n_supervised += score.n_supervised;
        sum.n_correct += score.n_correct;
    }
    return sum;
}

fedllm::train_options make_train_options(const adapter_pair & adapter, const sample_list & samples, int64_t local_steps) {
    fedllm::train_options options;
    options.adapter = adapter.options;
    options.samples = samples.view();
    options.local_steps = local_steps;
    options.batch_size = 2;
    options.micro_batch_tokens = 4096;
    options.learning_rate = 3e-3;
    return options;
}

fedllm::train_result core_train(const model_pair & models, const fedllm::train_options & options,
                                const std::vector<float> & start_weights) {
    const std::atomic<bool> cancel(false);
    return fedllm::train(*models.core, options, start_weights, [](const fedllm::train_progress &) {}, cancel);
}

std::vector<double> to_double(const std::vector<float> & values) {
    return std::vector<double>(values.begin(), values.end());
}

double relative_l2(const double * a, const double * b, size_t n) {
    double difference = 0.0, norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    if (!std::isfinite(difference)) {
        return std::numeric_limits<double>::infinity();
    }
    return difference == 0.0 ? 0.0 : std::sqrt(difference / norm);
}

double relative_l2(const std::vector<float> & a, const std::vector<double> & b) {
    if (a.size() != b.size()) {
        return std::numeric_limits<double>::infinity();
    }
    return relative_l2(to_double(a).data(), b.data(), b.size());
}

double relative_l2(const std::vector<float> & a, const std::vector<float> & b) {
    return relative_l2(a, to_double(b));
}

double normalised_mse(const std::vector<float> & a, const std::vector<double> & b) {
    if (a.size() != b.size() || b.empty()) {
        return std::numeric_limits<double>::infinity();
    }
    double mean = 0.0, variance = 0.0, error = 0.0;
    for (const double value : b) {
        mean += value / double(b.size());
    }
    for (size_t i = 0; i < b.size(); i++) {
        variance += (b[i] - mean) * (b[i] - mean);
        error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    }
    return std::isfinite(error) ? error / variance : std::numeric_limits<double>::infinity();
}

double normalised_mse(const std::vector<float> & a, const std::vector<float> & b) {
    return normalised_mse(a, to_double(b));
}

}  // namespace fedllm_test
