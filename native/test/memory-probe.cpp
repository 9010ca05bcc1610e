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
#include "planner.h"
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

// The first plan of the wanted tier, by a description of the file alone.
fedllm::memory_plan plan_of(const memory_case & what, const fedllm::adapter_options & adapter) {
    fedllm::model_options options = {what.device, what.n_threads};
    options.placement = fedllm::weight_placement::measured;
    const auto           model = fedllm::base_model::load(what.path, options);
    fedllm::plan_request request;
    request.adapter = &adapter;
    request.longest_sample = what.sequence;
    request.batch_size = what.n_samples;
    request.micro_batch_tokens = int64_t(what.sequence) * what.n_samples;
    fedllm::memory_planner planner(*model, request);
    for (auto plan = planner.next(); plan; plan = planner.next()) {
        if (what.recompute == (plan->tier == fedllm::checkpoint_tier::layer_inputs)) {
            return *plan;
        }
    }
    throw std::runtime_error("no plan of the wanted tier");
}

void train_two_steps(const memory_case & what, const fedllm::adapter_options & adapter, size_t limit) {
    const auto            model = fedllm::base_model::load(what.path, {what.device, what.n_threads});
    std::vector<int32_t>  tokens;
    std::vector<uint8_t>  supervised;
    std::vector<uint32_t> offsets = {0};
    random_source         random(1);
    for (int s = 0; s < what.n_samples; s++) {
        for (int i = 0; i <= what.sequence; i++) {  // one more: the last is only a label
            tokens.push_back(int32_t(random.below(model->info().n_vocab)));
            supervised.push_back(i > 0);
        }
        offsets.push_back(uint32_t(tokens.size()));
    }
    fedllm::train_options train;
    train.adapter = adapter;
    train.samples.tokens = tokens.data();
    train.samples.supervised = supervised.data();
    train.samples.offsets = offsets.data();
    train.samples.n_samples = size_t(what.n_samples);
    train.local_steps = 2;
    train.batch_size = what.n_samples;
    train.micro_batch_tokens = int64_t(what.sequence) * what.n_samples;
    train.learning_rate = 1e-4;
    train.memory.limit = limit;
    const auto              weights = fedllm::adapter_init_weights(fedllm::adapter_make_layout(*model, adapter), 1);
    const std::atomic<bool> never{false};
    const auto              result = fedllm::train(*model, train, weights, nullptr, never);
    if (result.memory.recomputes != what.recompute || result.memory.fell_back) {
        throw std::runtime_error("training took another plan than the one that was measured");
    }
}

}  // namespace

int memory_probe_main(int argc, char ** argv) {
    if (argc != 11 || std::strcmp(argv[1], "--memory-probe") != 0) {
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
    try {
        ggml_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
        fedllm::backend_load_all(argv[2]);
        const fedllm::adapter_options adapter = {what.rank, 2.0f * float(what.rank), split(what.targets)};
        const fedllm::memory_plan     plan = plan_of(what, adapter);
        const fedllm::memory_parts &  p = plan.parts;
        train_two_steps(what, adapter, plan.needed - p.weights);
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
                                      std::to_string(what.n_samples), what.recompute ? "1" : "0", what.targets, std::to_string(what.n_threads), what.device};
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
