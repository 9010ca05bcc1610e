// Scaling of the loss: the same bits as without it, and steps whose scaled gradient overflows are computed again.
#include <limits>

#include "test-support.h"

using namespace fedllm_test;

namespace {

struct setup {
    model_pair   models;
    sample_list  samples;
    adapter_pair adapter;
};

setup make_setup() {
    const fixture_options options;
    setup                 s = {make_models("loss-scale.gguf", options), random_samples(options.n_vocab, {12, 20, 9}, 0.5, 501), {}};
    s.adapter = random_adapter(s.models, ALL_MODULES, 3, 502);
    return s;
}

}  // namespace

FEDLLM_TEST("loss scale: a power of two gives the bits of no scale") {
    const setup           s = make_setup();
    fedllm::train_options train = make_train_options(s.adapter, s.samples, 5);
    train.dropout = 0.1;
    const auto plain = core_train(s.models, train, s.adapter.weights);
    require(plain.loss_scale == 1.0 && plain.n_scale_halvings == 0, "the CPU's own scale is 1");
    for (const double scale : {1024.0, 65536.0, 0.125}) {
        train.loss_scale = scale;
        const auto scaled = core_train(s.models, train, s.adapter.weights);
        require(scaled.weights == plain.weights && scaled.gradient_norms == plain.gradient_norms, format("a scale of %g gives other bits", scale));
        require(scaled.loss_scale == scale && scaled.n_scale_halvings == 0, "the scale must stay");
    }
    return "";
}

FEDLLM_TEST("loss scale: a gradient that overflows is computed again with half the scale, and the training ends as without") {
    const setup           s = make_setup();
    fedllm::train_options train = make_train_options(s.adapter, s.samples, 4);
    const auto            plain = core_train(s.models, train, s.adapter.weights);
    train.loss_scale = std::ldexp(1.0, 126);
    const auto scaled = core_train(s.models, train, s.adapter.weights);
    require(scaled.n_scale_halvings > 0, "a scale of 2^126 must overflow");
    require(scaled.loss_scale == std::ldexp(1.0, int(126 - scaled.n_scale_halvings)), "each repetition halves the scale once");
    require(scaled.weights == plain.weights && scaled.step_losses == plain.step_losses && scaled.gradient_norms == plain.gradient_norms,
            "the training must end with the bits of no scale");
    require(scaled.n_tokens == plain.n_tokens, "repeated steps are counted once");
    return format("%lld halvings", (long long) scaled.n_scale_halvings);
}

FEDLLM_TEST("loss scale: a gradient that stays infinite ends with TRAIN_DIVERGED and the step, a bad scale with CONFIG_INVALID") {
    setup                 s = make_setup();
    fedllm::train_options train = make_train_options(s.adapter, s.samples, 1);
    // A weight of the loss near F32's limit overflows at every scale that 24 halvings reach.
    s.samples.weights.assign(s.samples.tokens.size(), 3e38f);
    train.samples = s.samples.view();
    train.loss_scale = std::ldexp(1.0, 60);
    const std::string message = require_error({"TRAIN_DIVERGED"}, "an endless overflow", [&] { core_train(s.models, train, s.adapter.weights); });
    require(message.find("step 1") != std::string::npos, "the step is not named: " + message);
    train = make_train_options(s.adapter, s.samples, 1);
    for (const double scale : {0.0, -2.0, 3.0, std::ldexp(1.0, 127), std::ldexp(1.0, -25), std::numeric_limits<double>::infinity(), std::nan("")}) {
        train.loss_scale = scale;
        require_error({"CONFIG_INVALID"}, format("a scale of %g", scale), [&] { core_train(s.models, train, s.adapter.weights); });
    }
    return "";
}
