// The core's ways of computing one thing, for every architecture: samples packed together or alone, values kept or
// computed again, CPU kernels or the operations that every backend has; and files that lack or distort what their
// architecture needs.
#include "architecture-cases.h"
#include "engine.h"

using namespace fedllm_test;
using namespace fedllm;

namespace {

std::vector<float> gradient_of(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, const engine_options & options) {
    engine computation(*models.core, &adapter.options, options);
    computation.set_weights(adapter.weights);
    computation.clear_gradient();
    std::vector<uint32_t> indices;
    for (size_t i = 0; i < samples.size(); i++) {
        indices.push_back(uint32_t(i));
    }
    for (const micro_batch & batch : batch_pack(samples.view(), indices, 4096, 1)) {
        computation.run(batch, { true });
    }
    std::vector<float> gradient;
    computation.get_gradient(gradient);
    return gradient;
}

struct path_setup {
    model_pair   models;
    sample_list  samples;
    adapter_pair adapter;
};

// One sequence longer than an attention chunk, and short ones that share a chunk and yet exceed the sliding window.
path_setup make_setup(const architecture_case & c, const char * kind) {
    path_setup setup;
    setup.models = load_core_only(write_case(c, kind));
    setup.samples = random_samples(c.options.n_vocab, {40, 150, 9, 33}, 0.4, 51);
    setup.adapter = random_adapter_of_core(setup.models, modules_of(c.options), 3, 52);
    return setup;
}

}  // namespace

FEDLLM_TEST("architectures: samples packed together give the sum of their losses and gradients alone") {
    return for_each_supported([](const architecture_case & c) {
        const path_setup    setup = make_setup(c, "packing");
        const core_gradient packed = core_loss_and_gradient(setup.models, setup.adapter, setup.samples);
        std::vector<double> sum(packed.values.size(), 0.0);
        double              loss = 0.0;
        for (size_t i = 0; i < setup.samples.size(); i++) {
            const core_gradient alone = core_loss_and_gradient(setup.models, setup.adapter, setup.samples.only(i));
            loss += alone.loss_sum;
            for (size_t j = 0; j < sum.size(); j++) {
                sum[j] += double(alone.values[j]);
            }
        }
        require_close(packed.loss_sum, loss, 1e-6, "loss");
        const double error = relative_l2(packed.values, sum);
        require_below(error, 1e-4, "relative L2 error of the gradient");  // F32 sums in another order, through all layers
        return format("%.0e", error);
    });
}

FEDLLM_TEST("architectures: computing a layer's values again gives the bits of keeping them") {
    return for_each_supported([](const architecture_case & c) {
        const path_setup setup = make_setup(c, "tiers");
        for (const std::vector<std::string> & modules : {modules_of(c.options), std::vector<std::string>{"attn_output"}}) {
            const adapter_pair adapter = random_adapter_of_core(setup.models, modules, 3, 53);
            engine_options     keep, again;
            keep.dropout = again.dropout = 0.2;
            keep.tier = checkpoint_tier::keep_all;
            again.tier = checkpoint_tier::layer_inputs;
            require(gradient_of(setup.models, adapter, setup.samples, keep) == gradient_of(setup.models, adapter, setup.samples, again),
                    "other bits");
        }
        return std::string("same");
    });
}

FEDLLM_TEST("architectures: the operations that every backend has give the gradient of the CPU kernels") {
    return for_each_supported([](const architecture_case & c) {
        const path_setup setup = make_setup(c, "portable");
        engine_options   kernels, portable;
        portable.portable = true;
        const double error = relative_l2(gradient_of(setup.models, setup.adapter, setup.samples, portable),
                                         gradient_of(setup.models, setup.adapter, setup.samples, kernels));
        require_below(error, 1e-4, "relative L2 error of the gradient");  // F32 sums in another order, through all layers
        return format("%.0e", error);
    });
}

FEDLLM_TEST("architectures: a file that lacks or distorts what its architecture needs is refused") {
    struct broken {
        const char * architecture;
        const char * what;
        void (*damage)(fixture_options &);
    };
    const std::vector<broken> cases = {
        {"qwen3", "no attn_q_norm", [](fixture_options & o) { o.dropped_tensors = {"blk.1.attn_q_norm.weight"}; }},
        {"qwen3", "attn_k_norm as wide as all heads", [](fixture_options & o) { o.other_shapes["blk.0.attn_k_norm.weight"] = {64}; }},
        {"qwen3", "attn_k_norm in F16", [](fixture_options & o) { o.other_types["blk.0.attn_k_norm.weight"] = GGML_TYPE_F16; }},
        {"qwen2", "norms of q and k that are not its own", [](fixture_options & o) { o.qk_norms = true; }},
        {"smollm3", "norms after attention that are not its own", [](fixture_options & o) { o.post_norms = true; }},
        {"gemma", "a head of its own", [](fixture_options & o) { o.tied_head = false; }},
        {"gemma2", "no post_ffw_norm", [](fixture_options & o) { o.dropped_tensors = {"blk.0.post_ffw_norm.weight"}; }},
        {"gemma2", "no post_attention_norm", [](fixture_options & o) { o.dropped_tensors = {"blk.3.post_attention_norm.weight"}; }},
        {"gemma2", "a cap of zero", [](fixture_options & o) { o.float_keys["final_logit_softcapping"] = 0.0f; }},
        {"gemma2", "a cap that is no number", [](fixture_options & o) { o.float_keys["attn_logit_softcapping"] = NAN; }},
        {"gemma3", "no attn_k_norm", [](fixture_options & o) { o.dropped_tensors = {"blk.6.attn_k_norm.weight"}; }},
        {"gemma3", "an endless window", [](fixture_options & o) { o.integer_keys["attention.sliding_window"] = 0xffffffffu; }},
        {"gemma3", "rotation with factors", [](fixture_options & o) { o.rope_factors = true; }},
        {"granite", "no logit_scale", [](fixture_options & o) { o.float_keys.erase("logit_scale"); }},
        {"granite", "a logit_scale of zero", [](fixture_options & o) { o.float_keys["logit_scale"] = 0.0f; }},
        {"granite", "an infinite embedding_scale", [](fixture_options & o) { o.float_keys["embedding_scale"] = INFINITY; }},
        {"granite", "experts", [](fixture_options & o) { o.integer_keys = {{"expert_count", 4}, {"expert_used_count", 2}}; }},
        {"phi3", "attn_qkv too narrow", [](fixture_options & o) { o.other_shapes["blk.0.attn_qkv.weight"] = {64, 128}; }},
        {"phi3", "ffn_up without its gate", [](fixture_options & o) { o.other_shapes["blk.1.ffn_up.weight"] = {64, 96}; }},
        {"phi3", "no attn_qkv", [](fixture_options & o) { o.dropped_tensors = {"blk.1.attn_qkv.weight"}; }},
        {"phi3", "rotation over more than the head", [](fixture_options & o) { o.n_rot = 32; }},
        {"phi3", "rotation over an odd number", [](fixture_options & o) { o.n_rot = 7; }},
        {"phi3", "long factors alone", [](fixture_options & o) {
             o.longrope = true;
             o.dropped_tensors = {"rope_factors_short.weight"};
         }},
    };
    int n_refused = 0;
    for (const broken & c : cases) {
        fixture_options options = fixture_for_architecture(c.architecture);
        c.damage(options);
        const std::string path = temporary_path("broken-architecture.gguf");
        fixture_write(path, options);
        require_error({"MODEL_LOAD_FAILED", "MODEL_UNSUPPORTED"}, std::string(c.architecture) + ", " + c.what, [&] { load_core(path); });
        n_refused++;
    }
    return format("%d refused", n_refused);
}
