// Wrong arguments of every call: each gives a train_error with the right code, never a crash or a silent result.
#include <cmath>
#include <limits>

#include "test-support.h"

using namespace fedllm_test;

namespace {

struct error_setup {
    model_pair   models;
    sample_list  samples;
    adapter_pair adapter;
};

error_setup make_setup(const std::string & file_name) {
    const fixture_options options;
    error_setup           setup;
    setup.models = make_models(file_name, options);
    setup.samples = random_samples(options.n_vocab, {10, 14, 6}, 0.5, 81);
    setup.adapter = random_adapter(setup.models, {"attn_q", "attn_v"}, 2, 82);
    return setup;
}

constexpr float NOT_A_NUMBER = std::numeric_limits<float>::quiet_NaN();

}  // namespace

FEDLLM_TEST("errors: broken samples give DATASET_INVALID and name the sample") {
    const error_setup setup = make_setup("errors-samples.gguf");
    struct broken {
        const char *                       name;
        std::function<void(sample_list &)> damage;
        const char *                       named;  // must stand in the message; nullptr: nothing
    };
    const std::vector<broken> cases = {
        {"token id equal to the vocabulary's size", [](sample_list & s) { s.tokens[12] = 97; }, "1"},
        {"negative token id", [](sample_list & s) { s.tokens[25] = -1; }, "2"},
        {"huge token id", [](sample_list & s) { s.tokens[3] = std::numeric_limits<int32_t>::max(); }, "0"},
        {"no samples", [](sample_list & s) { s = sample_list(); }, nullptr},
        {"an empty sample", [](sample_list & s) { s.offsets = {0, 10, 10, 30}; }, "1"},
        {"descending offsets", [](sample_list & s) { s.offsets = {0, 20, 10, 30}; }, nullptr},
        {"a sample without supervised tokens", [](sample_list & s) {
             std::fill(s.supervised.begin() + 10, s.supervised.begin() + 24, uint8_t(0));
         }, "1"},
        {"a sample whose first token only is supervised", [](sample_list & s) {
             std::fill(s.supervised.begin() + 10, s.supervised.begin() + 24, uint8_t(0));
             s.supervised[10] = 1;
         }, "1"},
    };
    for (const broken & c : cases) {
        sample_list samples = setup.samples;
        c.damage(samples);
        std::vector<std::string> messages;
        messages.push_back(require_error({"DATASET_INVALID"}, std::string("train: ") + c.name, [&] {
            core_train(setup.models, make_train_options(setup.adapter, samples, 3), setup.adapter.weights);
        }));
        messages.push_back(require_error({"DATASET_INVALID"}, std::string("loss_and_gradient: ") + c.name,
                                         [&] { core_loss_and_gradient(setup.models, setup.adapter, samples); }));
        for (const std::string & message : messages) {
            require(c.named == nullptr || message.find(c.named) != std::string::npos,
                    std::string(c.name) + ": the message does not name sample " + (c.named ? c.named : "") + ": " + message);
        }
    }
    sample_list samples = setup.samples;
    samples.tokens[12] = 97;
    require_error({"DATASET_INVALID"}, "evaluate: token id too large", [&] { core_evaluate(setup.models, nullptr, samples); });
    require_error({"DATASET_INVALID"}, "compute_logits: token id too large",
                  [&] { fedllm::compute_logits(*setup.models.core, nullptr, nullptr, {1, 97}); });
    return "";
}

FEDLLM_TEST("errors: impossible adapters give ADAPTER_INVALID") {
    const error_setup setup = make_setup("errors-adapter.gguf");
    struct broken {
        const char *            name;
        fedllm::adapter_options options;
    };
    const std::vector<broken> cases = {
        {"rank 0", {0, 8.0f, {"attn_q"}}},
        {"negative rank", {-3, 8.0f, {"attn_q"}}},
        {"rank above the smaller side", {65, 8.0f, {"attn_q"}}},
        {"rank above attn_v's output", {33, 8.0f, {"attn_q", "attn_v"}}},
        {"unknown module", {2, 8.0f, {"attn_q", "attn_w"}}},
        {"part of a module's name", {2, 8.0f, {"output"}}},
        {"repeated module", {2, 8.0f, {"attn_q", "attn_q"}}},
        {"no module", {2, 8.0f, {}}},
        {"lora_alpha not a number", {2, NOT_A_NUMBER, {"attn_q"}}},
        {"infinite lora_alpha", {2, std::numeric_limits<float>::infinity(), {"attn_q"}}},
    };
    for (const broken & c : cases) {
        require_error({"ADAPTER_INVALID"}, std::string("layout: ") + c.name,
                      [&] { fedllm::adapter_make_layout(*setup.models.core, c.options); });
        adapter_pair adapter = setup.adapter;
        adapter.options = c.options;
        require_error({"ADAPTER_INVALID"}, std::string("train: ") + c.name, [&] {
            core_train(setup.models, make_train_options(adapter, setup.samples, 1), adapter.weights);
        });
    }
    return "";
}

FEDLLM_TEST("errors: impossible options give CONFIG_INVALID") {
    const error_setup setup = make_setup("errors-options.gguf");
    struct broken {
        const char *                                  name;
        std::function<void(fedllm::train_options &)> damage;
    };
    using options = fedllm::train_options &;
    const std::vector<broken> cases = {
        {"no steps", [](options o) { o.local_steps = 0; }},
        {"negative steps", [](options o) { o.local_steps = -1; }},
        {"batch of nothing", [](options o) { o.batch_size = 0; }},
        {"micro-batch of nothing", [](options o) { o.micro_batch_tokens = 0; }},
        {"learning rate not a number", [](options o) { o.learning_rate = std::nan(""); }},
        {"negative learning rate", [](options o) { o.learning_rate = -1.0; }},
        {"dropout of one", [](options o) { o.dropout = 1.0; }},
        {"negative dropout", [](options o) { o.dropout = -0.1; }},
        {"dropout not a number", [](options o) { o.dropout = std::nan(""); }},
        {"beta1 of one", [](options o) { o.optimizer.beta1 = 1.0; }},
        {"negative beta2", [](options o) { o.optimizer.beta2 = -0.1; }},
        {"negative epsilon", [](options o) { o.optimizer.epsilon = -1e-8; }},
        {"negative weight decay", [](options o) { o.optimizer.weight_decay = -0.1; }},
        {"clip at zero", [](options o) { o.optimizer.max_gradient_norm = 0.0; }},
        {"clip not a number", [](options o) { o.optimizer.max_gradient_norm = std::nan(""); }},
        {"negative proximal weight", [](options o) { o.proximal_mu = -1.0; }},
        {"proximal weight without an anchor", [](options o) { o.proximal_mu = 1.0; }},
    };
    for (const broken & c : cases) {
        fedllm::train_options train = make_train_options(setup.adapter, setup.samples, 1);
        c.damage(train);
        require_error({"CONFIG_INVALID"}, c.name, [&] { core_train(setup.models, train, setup.adapter.weights); });
    }
    std::vector<float> weights = setup.adapter.weights;
    weights.pop_back();
    require_error({"CONFIG_INVALID", "ADAPTER_INVALID"}, "one weight too few",
                  [&] { core_train(setup.models, make_train_options(setup.adapter, setup.samples, 1), weights); });
    adapter_pair shorter = setup.adapter;
    shorter.weights.resize(3);
    require_error({"CONFIG_INVALID", "ADAPTER_INVALID"}, "evaluate with too few weights",
                  [&] { core_evaluate(setup.models, &shorter, setup.samples); });
    return "";
}

FEDLLM_TEST("errors: a training that leaves the finite numbers stops with TRAIN_DIVERGED and names the step") {
    const error_setup     setup = make_setup("errors-diverged.gguf");
    fedllm::train_options train = make_train_options(setup.adapter, setup.samples, 50);
    train.learning_rate = 1e30;
    const std::string message = require_error({"TRAIN_DIVERGED"}, "a learning rate of 1e30",
                                              [&] { core_train(setup.models, train, setup.adapter.weights); });
    require(message.find_first_of("123456789") != std::string::npos, "the message names no step: " + message);
    train.learning_rate = 1e-3;
    std::vector<float> weights = setup.adapter.weights;
    weights[5] = NOT_A_NUMBER;
    require_error({"TRAIN_DIVERGED", "ADAPTER_INVALID", "CONFIG_INVALID"}, "start weights that are not numbers",
                  [&] { core_train(setup.models, train, weights); });
    return message;
}

FEDLLM_TEST("errors: a sample longer than a micro-batch is computed or refused, never cut in silence") {
    const error_setup   setup = make_setup("errors-long.gguf");
    const core_gradient whole = core_loss_and_gradient(setup.models, setup.adapter, setup.samples);
    try {
        const core_gradient small = core_loss_and_gradient(setup.models, setup.adapter, setup.samples, 8);
        require(small.n_supervised == whole.n_supervised, "supervised tokens were lost");
        require_close(small.loss_sum, whole.loss_sum, 1e-6, "loss");
        return "computed";
    } catch (const fedllm::train_error & error) {
        require(error.code == "CONFIG_INVALID" || error.code == "DATASET_INVALID", "the error is " + error.code);
        return "refused: " + std::string(error.what());
    }
}
