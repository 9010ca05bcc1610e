// See memory-probe.h.
#include "memory-probe.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "backend.h"
#include "error.h"
#include "ggml.h"
#include "planned-engine.h"
#include "trainer.h"

namespace fedllm_test {

namespace {

size_t status_bytes(const std::string & key) {
    std::ifstream file("/proc/self/status");
    std::string   line;
    while (std::getline(file, line)) {
        if (line.rfind(key, 0) == 0) {
            return size_t(std::atoll(line.c_str() + key.size())) * 1024;
        }
    }
    return 0;
}

std::vector<std::string> split(const std::string & text) {
    std::vector<std::string> parts;
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

// Samples of a step and the options over them, which point into the vectors.
struct probe_step {
    std::vector<int32_t>  tokens;
    std::vector<uint8_t>  supervised;
    std::vector<uint32_t> offsets = {0}, group_offsets = {0};
    std::vector<float>    weights;
    fedllm::train_options options;
};

void append_sample(probe_step & step, const std::vector<int32_t> & tokens, size_t first_supervised) {
    step.tokens.insert(step.tokens.end(), tokens.begin(), tokens.end());
    for (size_t i = 0; i < tokens.size(); i++) {
        step.supervised.push_back(i >= first_supervised);
    }
    step.offsets.push_back(uint32_t(step.tokens.size()));
}

// Tokens computed for one sample of a step; of a pair, its prompt once and both answers.
int64_t sample_tokens(const memory_case & what) { return what.kind == "preference" ? what.sequence / 2 * 3 : what.sequence; }

void fill_samples(const memory_case & what, int64_t n_vocab, probe_step & step) {
    random_source random(1);
    const auto    draw = [&](size_t n) {
        std::vector<int32_t> tokens(n);
        for (int32_t & token : tokens) {
            token = int32_t(random.below(n_vocab));
        }
        return tokens;
    };
    const size_t length = size_t(what.sequence), prompt = length / 2;
    for (int s = 0; s < what.n_samples; s++) {
        if (what.kind != "preference") {
            append_sample(step, draw(length + 1), 1);  // one more: the last is only a label
            continue;
        }
        const std::vector<int32_t> start = draw(prompt);
        for (int32_t answer = 0; answer < 2; answer++) {
            std::vector<int32_t> tokens = start, rest = draw(length - prompt + 1);
            rest[0] = answer;  // so that the two have nothing more in common
            tokens.insert(tokens.end(), rest.begin(), rest.end());
            append_sample(step, tokens, prompt);
        }
        step.group_offsets.push_back(uint32_t(step.offsets.size() - 1));
    }
    if (what.kind == "weighted") {
        step.weights.assign(step.tokens.size(), 0.5f);
    }
}

probe_step make_step(const memory_case & what, const fedllm::adapter_options & adapter, int64_t n_vocab) {
    probe_step step;
    fill_samples(what, n_vocab, step);
    fedllm::train_options & train = step.options;
    train.adapter = adapter;
    train.local_steps = 2;
    train.batch_size = what.n_samples;
    train.micro_batch_tokens = sample_tokens(what) * what.n_samples;
    train.learning_rate = 1e-4;
    train.objective.neftune_alpha = what.kind == "neftune" ? 5.0 : 0.0;
    if (what.kind == "preference") {
        train.objective.preference = fedllm::preference_options{};
    }
    return step;
}

// After the step has come to its place.
void point_at_samples(probe_step & step) {
    fedllm::sample_set & samples = step.options.samples;
    samples.tokens = step.tokens.data();
    samples.supervised = step.supervised.data();
    samples.offsets = step.offsets.data();
    samples.n_samples = step.offsets.size() - 1;
    samples.weights = step.weights.empty() ? nullptr : step.weights.data();
    if (step.group_offsets.size() > 1) {
        samples.group_offsets = step.group_offsets.data();
        samples.n_groups = step.group_offsets.size() - 1;
    }
}

bool is_wanted(const memory_case & what, const fedllm::memory_plan & plan) {
    return plan.streams == (what.kind == "streamed") && (plan.streams || what.recompute == (plan.tier == fedllm::checkpoint_tier::layer_inputs));
}

// The first plan of the wanted form, by a description of the file alone.
fedllm::memory_plan plan_of(const memory_case & what, const fedllm::adapter_options & adapter) {
    fedllm::model_options options = {what.device, what.n_threads};
    options.placement = fedllm::weight_placement::measured;
    const auto model = fedllm::base_model::load(what.path, options);
    probe_step step = make_step(what, adapter, model->info().n_vocab);
    point_at_samples(step);
    fedllm::memory_planner planner(*model, fedllm::plan_training(step.options));
    for (auto plan = planner.next(); plan; plan = planner.next()) {
        if (is_wanted(what, *plan)) {
            return *plan;
        }
    }
    throw std::runtime_error("no plan of the wanted form");
}

void train_two_steps(const memory_case & what, const fedllm::adapter_options & adapter, const fedllm::memory_plan & plan) {
    fedllm::model_options options = {what.device, what.n_threads};
    if (plan.streams) {
        options.weight_limit_bytes = plan.parts.weights;
    }
    const auto model = fedllm::base_model::load(what.path, options);
    probe_step step = make_step(what, adapter, model->info().n_vocab);
    point_at_samples(step);
    step.options.memory.limit = plan.streams ? plan.needed : plan.needed - plan.parts.weights;
    const auto              weights = fedllm::adapter_init_weights(fedllm::adapter_make_layout(*model, adapter), 1);
    const std::atomic<bool> never{false};
    const auto              result = fedllm::train(*model, step.options, weights, nullptr, never);
    if (result.memory.recomputes != (plan.tier == fedllm::checkpoint_tier::layer_inputs) || result.memory.streams != plan.streams || result.memory.fell_back) {
        throw std::runtime_error("training took another plan than the one that was measured");
    }
}

}  // namespace

int memory_probe_main(int argc, char ** argv) {
    if (argc != 12 || std::strcmp(argv[1], "--memory-probe") != 0) {
        return -1;
    }
    memory_case what;
    what.path = argv[3];
    what.rank = std::atoi(argv[4]);
    what.sequence = std::atoi(argv[5]);
    what.n_samples = std::atoi(argv[6]);
    what.recompute = std::atoi(argv[7]) != 0;
    what.targets = argv[8];
    what.n_threads = std::atoi(argv[9]);
    what.device = argv[10];
    what.kind = argv[11];
    try {
        ggml_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
        fedllm::backend_load_all(argv[2]);
        const fedllm::adapter_options adapter = {what.rank, 2.0f * float(what.rank), split(what.targets)};
        const fedllm::memory_plan     plan = plan_of(what, adapter);
        const fedllm::memory_parts &  p = plan.parts;
        train_two_steps(what, adapter, plan);
        std::printf("%zu %zu %zu\n", plan.host_bytes(), status_bytes("VmHWM:"), p.process);
        return 0;
    } catch (const std::exception & error) {
        std::fprintf(stderr, "memory probe: %s\n", error.what());
        return 1;
    }
}

// posix_spawn and not fork: a child that begins as a copy of this process would begin with its memory too.
memory_reading memory_measure(const memory_case & what, const std::string & libs_dir) {
    std::vector<std::string> words = {"/proc/self/exe", "--memory-probe", libs_dir, what.path, std::to_string(what.rank), std::to_string(what.sequence),
                                      std::to_string(what.n_samples), what.recompute ? "1" : "0", what.targets, std::to_string(what.n_threads), what.device, what.kind};
    std::vector<char *>      argv;
    for (std::string & word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    int ends[2];
    if (pipe(ends) != 0) {
        throw std::runtime_error("no pipe");
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    pid_t     child = 0;
    const int failure = posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char   text[256] = {};
    size_t length = 0;
    for (ssize_t n = 1; failure == 0 && n > 0 && length + 1 < sizeof text; length += size_t(n)) {
        n = std::max<ssize_t>(0, read(ends[0], text + length, sizeof text - 1 - length));
    }
    close(ends[0]);
    int status = 1;
    if (failure != 0 || waitpid(child, &status, 0) != child || status != 0) {
        throw std::runtime_error(what.name + ": the child process failed");
    }
    memory_reading reading;
    if (std::sscanf(text, "%lf %lf %lf", &reading.predicted, &reading.measured, &reading.before) != 3) {
        throw std::runtime_error(what.name + ": the child process printed no reading");
    }
    return reading;
}

}  // namespace fedllm_test
