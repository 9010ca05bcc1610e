// The memory planner: what it predicts against what a process of its own takes, what it chooses under a limit, and that the
// choices do not change results.
#include "planner.h"

#include "batch.h"

#include "memory-probe.h"
#include "test-support.h"

namespace fedllm_test {

namespace {

fixture_options wide_model(ggml_type type) {
    fixture_options shape;
    shape.n_embd = 512;
    shape.n_heads = 8;
    shape.n_kv_heads = 4;
    shape.n_ff = 1280;
    shape.n_layers = 4;
    shape.n_vocab = 4096;
    shape.context_length = 1024;
    shape.type = type;
    return shape;
}

// Prediction and measurement, also of what came on top of the bare process.
std::string check_reading(const memory_case & what) {
    const memory_reading reading = memory_measure(what, libraries_dir());
    if (reading.measured == 0.0) {
        throw test_skipped("this system does not tell a process's highest memory");
    }
    require_close(reading.predicted, reading.measured, 0.1, what.name + ": bytes of the process");
    require_close(reading.predicted - reading.before, reading.measured - reading.before, 0.1, what.name + ": bytes above the bare process");
    return format("%s %.0f of %.0f MB above %.0f", what.name.c_str(), (reading.predicted - reading.before) / 1e6, (reading.measured - reading.before) / 1e6, reading.before / 1e6);
}

// The plans of this request, in order.
std::vector<fedllm::memory_plan> all_plans(const fedllm::base_model & model, const fedllm::plan_request & request) {
    fedllm::memory_planner           planner(model, request);
    std::vector<fedllm::memory_plan> plans;
    for (auto plan = planner.next(); plan; plan = planner.next()) {
        plans.push_back(*plan);
    }
    return plans;
}

fedllm::plan_request make_request(const adapter_pair & adapter, const sample_list & samples, int64_t micro_batch_tokens) {
    fedllm::plan_request request;
    request.adapter = &adapter.options;
    request.longest_sample = fedllm::batch_longest_sample(samples.view());
    request.batch_size = 4;
    request.micro_batch_tokens = micro_batch_tokens;
    return request;
}

// A model whose activations outweigh everything else, and samples of up to 300 tokens.
struct tight_case {
    fixture_options options;
    model_pair      models;
    adapter_pair    adapter;
    sample_list     samples;
};

tight_case make_tight_case(const std::string & file_name) {
    fixture_options options;
    options.n_vocab = 600;
    options.context_length = 512;
    const model_pair models = make_models(file_name, options);
    return {options, models, random_adapter(models, ALL_MODULES, 4, 21), random_samples(options.n_vocab, {300, 40, 200, 90, 300, 300, 150, 20}, 0.9, 22)};
}

}  // namespace

FEDLLM_TEST("planner: the predicted peak is within a tenth of the measured one") {
#if defined(__SANITIZE_ADDRESS__)
    throw test_skipped("the sanitizer's own memory is measured too");
#endif
    std::string  details;
    const auto   path = [](const char * name, const fixture_options & shape) {
        const std::string file = temporary_path(name);
        fixture_write(file, shape);
        return file;
    };
    const std::string f16 = path("plan-f16.gguf", wide_model(GGML_TYPE_F16)), q4 = path("plan-q4.gguf", wide_model(GGML_TYPE_Q4_K));
    const std::string all = "attn_q,attn_k,attn_v,attn_output,ffn_gate,ffn_up,ffn_down";
    for (const memory_case & what : std::vector<memory_case>{
             {"F16", f16, 8, 128, 2, false, "attn_q,attn_v", 1, ""},
             {"F16 recomputed, all modules", f16, 16, 256, 1, true, all, 1, ""},
             {"Q4_K, rank 64", q4, 64, 96, 3, false, all, 2, ""},
             {"Q4_K recomputed, long", q4, 4, 400, 1, true, "attn_q,attn_v", 1, ""},
             {"F16, pairs", f16, 8, 128, 3, false, "attn_q,attn_v", 1, "", "preference"},
             {"F16, pairs recomputed", f16, 8, 96, 8, true, "attn_q,attn_v", 1, "", "preference"},
             {"F16, noise", f16, 8, 256, 1, false, "attn_q,attn_v", 1, "", "neftune"},
             {"Q4_K, weighted tokens", q4, 8, 256, 1, true, all, 1, "", "weighted"},
             {"F16 streamed", f16, 8, 256, 1, true, "attn_q,attn_v", 1, "", "streamed"},
             {"Q4_K streamed, all modules", q4, 16, 128, 2, true, all, 1, "", "streamed"},
         }) {
        details += (details.empty() ? "" : ", ") + check_reading(what);
    }
    return details;
}

FEDLLM_TEST("planner: a described model is measured like a loaded one, without being loaded") {
    const tight_case            tight = make_tight_case("described.gguf");
    fedllm::model_options       options = {"", TEST_THREADS};
    options.placement = fedllm::weight_placement::measured;
    const auto described = fedllm::base_model::load(tight.models.path, options);
    const auto request = make_request(tight.adapter, tight.samples, 1200);
    // A described model may still be streamed: such plans come last.
    const auto from_file = all_plans(*described, request), from_model = all_plans(*tight.models.core, request);
    require(from_file.size() > from_model.size() && from_model.size() >= 8, "other numbers of plans");
    for (size_t i = 0; i < from_model.size(); i++) {
        require(from_file[i].parts.activations == from_model[i].parts.activations, "activations differ");
        require(from_file[i].needed == from_model[i].needed + described->info().weight_bytes, "only weights that are not loaded yet are needed");
    }
    return "";
}

FEDLLM_TEST("planner: a call like one before lays out no graph, and one that differs in anything that a graph depends on does") {
    const tight_case tight = make_tight_case("remembered.gguf");
    auto             train = make_train_options(tight.adapter, tight.samples, 1);
    train.batch_size = 4;
    train.micro_batch_tokens = 1200;
    const auto & measured = tight.models.core->measurements();
    require(measured.n_measured() == 0, "a loaded model has measured already");
    const auto first = core_train(tight.models, train, tight.adapter.weights);
    require(measured.n_measured() == 1, "the first call measures one plan, since it fits");
    const auto again = core_train(tight.models, train, tight.adapter.weights);
    require(measured.n_measured() == 1, "an equal call measures again");
    require(again.weights == first.weights && again.memory.planned_bytes == first.memory.planned_bytes, "a remembered plan is another one");
    int64_t    expected = 1;
    const auto require_new = [&](const char * what, const fedllm::train_options & changed) {
        core_train(tight.models, changed, tight.adapter.weights);
        require(measured.n_measured() == ++expected, std::string(what) + " did not measure once");
        core_train(tight.models, changed, tight.adapter.weights);
        require(measured.n_measured() == expected, std::string(what) + " measured twice");
    };
    auto changed = train;
    changed.batch_size = 2;
    require_new("another batch", changed);
    changed = train;
    changed.dropout = 0.1;
    require_new("dropout", changed);
    changed = train;
    changed.objective.neftune_alpha = 5.0;
    require_new("noise", changed);
    changed = train;
    changed.trained = fedllm::trained_half::b;
    require_new("one half", changed);
    // Free memory is looked at each time: under a limit the leaner plans are measured, once.
    changed = train;
    changed.memory.limit = first.memory.planned_bytes - 1;
    const auto lean = core_train(tight.models, changed, tight.adapter.weights);
    require(lean.memory.recomputes && lean.weights == first.weights, "the limit is not kept");
    expected = measured.n_measured();
    core_train(tight.models, changed, tight.adapter.weights);
    require(measured.n_measured() == expected, "leaner plans are measured again");
    const std::atomic<bool>  never{false};
    fedllm::evaluate_options scoring = {};
    scoring.samples = tight.samples.view();
    scoring.micro_batch_tokens = 1200;
    for (int i = 0; i < 2; i++) {
        fedllm::evaluate(*tight.models.core, scoring, never);
        require(measured.n_measured() == expected + 1, "scoring does not measure once");
    }
    return format("%d graphs for 14 calls", int(measured.n_measured()));
}

FEDLLM_TEST("planner: stored transposes are kept while they fit and are the first to go when they do not, and the CPU has none") {
    const tight_case      tight = make_tight_case("transposes.gguf");
    fedllm::model_options options = {"", TEST_THREADS};
    options.variants.transposes = fedllm::transpose_cache::f16;
    options.placement = fedllm::weight_placement::measured;
    auto request = make_request(tight.adapter, tight.samples, 1200);
    for (const auto & plan : all_plans(*fedllm::base_model::load(tight.models.path, options), request)) {
        require(plan.transposes == fedllm::transpose_cache::none, "copies on the CPU");
    }
    if (test_device().empty()) {
        return "the CPU only: no --device given";
    }
    options.device = test_device();
    const auto   model = fedllm::base_model::load(tight.models.path, options);
    const auto   plans = all_plans(*model, request);
    const size_t bytes = fedllm::transposes_bytes(model->matrices(), fedllm::transpose_cache::f16);
    require(plans[0].transposes == fedllm::transpose_cache::f16 && plans[1].transposes == fedllm::transpose_cache::none, "copies are not the first thing to go");
    require(plans[0].parts.weights == plans[1].parts.weights + bytes && plans[0].tier == plans[1].tier, "the second plan leaves out more than the copies");
    const auto choose = [&](size_t limit) {
        request.memory_limit = limit;
        return fedllm::memory_planner(*model, request).choose();
    };
    require(choose(plans[0].needed).transposes == fedllm::transpose_cache::f16, "copies that fit are not kept");
    const auto without = choose(plans[0].needed - 1);
    require(without.transposes == fedllm::transpose_cache::none && without.tier == fedllm::checkpoint_tier::keep_all && without.micro_batch_tokens == 1200,
            "something else than the copies went");
    return format("%.1f MB of copies, %.1f MB needed with them", double(bytes) / 1e6, double(plans[0].needed) / 1e6);
}

FEDLLM_TEST("planner: takes the first plan that fits, keeps bits before it splits, and refuses with the numbers of the leanest") {
    const tight_case tight = make_tight_case("choices.gguf");
    auto             request = make_request(tight.adapter, tight.samples, 1200);
    const auto       plans = all_plans(*tight.models.core, request);
    size_t           smallest = plans[0].needed;
    for (size_t i = 0; i < plans.size(); i++) {
        require(i == 0 || plans[i].micro_batch_tokens <= plans[i - 1].micro_batch_tokens, "micro-batches grow");
        smallest = std::min(smallest, plans[i].needed);
        request.memory_limit = plans[i].needed;
        fedllm::memory_planner planner(*tight.models.core, request);
        const auto             chosen = planner.choose();
        size_t                 first = 0;
        while (plans[first].needed > plans[i].needed) {
            first++;
        }
        require(chosen.needed == plans[first].needed && chosen.tier == plans[first].tier, "not the first plan that fits");
    }
    require(plans.back().micro_batch_tokens < 600, "the last plan still has large micro-batches");
    request.memory_limit = smallest - 1;
    fedllm::memory_planner planner(*tight.models.core, request);
    const std::string message = require_error({"OUT_OF_MEMORY"}, "too small a limit", [&] { planner.choose(); });
    require(message.find("expected at most ") != std::string::npos && message.find("activations ") != std::string::npos, "the message has no numbers: " + message);
    return format("%zu plans from %.1f to %.1f MB", plans.size(), double(plans[0].needed) / 1e6, double(smallest) / 1e6);
}

FEDLLM_TEST("planner: training under any limit gives the weights of training without one, to the bit while micro-batches are whole") {
    const tight_case tight = make_tight_case("limits.gguf");
    auto             train = make_train_options(tight.adapter, tight.samples, 4);
    train.batch_size = 4;
    train.micro_batch_tokens = 1200;
    train.dropout = 0.1;
    auto request = make_request(tight.adapter, tight.samples, 1200);
    request.dropout = 0.1;
    const auto plain = core_train(tight.models, train, tight.adapter.weights);
    double     worst = 0.0;
    for (const fedllm::memory_plan & plan : all_plans(*tight.models.core, request)) {
        train.memory.limit = plan.needed;
        const auto limited = core_train(tight.models, train, tight.adapter.weights);
        require(limited.memory.planned_bytes <= plan.needed, "the limit is not kept");
        if (limited.memory.micro_batch_tokens == train.micro_batch_tokens) {
            require(limited.weights == plain.weights && limited.step_losses == plain.step_losses, "checkpoint tier or head chunk change bits");
        } else {
            worst = std::max(worst, relative_l2(limited.weights, plain.weights));
        }
    }
    // Sums of gradients over other micro-batches round differently, and Adam's first steps divide by their size.
    require_below(worst, 1e-4, "smaller micro-batches: relative L2 error of the weights");
    require(worst > 0.0, "no plan split micro-batches");
    return format("smaller micro-batches %.1e", worst);
}

FEDLLM_TEST("out of memory: training falls to a leaner plan once, then fails with the numbers") {
    tight_case tight = make_tight_case("fallback.gguf");
    tight.samples = random_samples(tight.options.n_vocab, {301, 301, 301, 301}, 1.0, 23);  // as large as the plan takes them to be
    auto             train = make_train_options(tight.adapter, tight.samples, 3);
    train.batch_size = 4;
    train.micro_batch_tokens = 1200;
    const auto plain = core_train(tight.models, train, tight.adapter.weights);
    require(!plain.memory.fell_back && !plain.memory.recomputes, "plenty of memory, and yet a lean plan");
    const auto plans = all_plans(*tight.models.core, make_request(tight.adapter, tight.samples, 1200));
    // Between the first plan and the next leaner one.
    size_t next = 1;
    while (plans[next].needed >= plans[0].needed) {
        next++;
    }
    train.memory.allocation_limit = (plans[0].parts.activations + plans[next].parts.activations) / 2;
    const auto leaner = core_train(tight.models, train, tight.adapter.weights);
    require(leaner.memory.fell_back && leaner.memory.recomputes, "no leaner plan took over");
    require(leaner.weights == plain.weights && leaner.step_losses == plain.step_losses && leaner.n_tokens == plain.n_tokens, "falling back changes results");
    train.memory.allocation_limit = 1000;
    const std::string message = require_error({"OUT_OF_MEMORY"}, "hardly any memory", [&] { core_train(tight.models, train, tight.adapter.weights); });
    require(message.find("received too little") != std::string::npos && message.find("planned: ") != std::string::npos, "the message has no numbers: " + message);
    fedllm::evaluate_options scoring = {};
    scoring.samples = tight.samples.view();
    scoring.micro_batch_tokens = 1200;
    scoring.memory.allocation_limit = 1000;
    const std::atomic<bool> never{false};
    require_error({"OUT_OF_MEMORY"}, "scoring with hardly any memory", [&] { fedllm::evaluate(*tight.models.core, scoring, never); });
    return "";
}

}  // namespace fedllm_test
