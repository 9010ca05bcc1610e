// Cached hidden states below the lowest adapted layer: the bits of a run that computes them anew, within the bytes that are allowed, and
// left alone where something below that layer may differ.
#include <algorithm>
#include <thread>

#include "architecture-cases.h"
#include "batch.h"
#include "engine.h"
#include "hidden-cache.h"
#include "planner.h"

using namespace fedllm_test;

namespace {

// Longer than a chunk of attention, shorter than a vector, and some between.
const std::vector<int> LENGTHS = {150, 33, 7, 61, 20, 44};

// Random numbers in the pairs of some layers only.
adapter_pair adapter_on(const model_pair & models, const std::vector<std::string> & modules, const std::vector<int64_t> & layers, uint64_t seed, int rank = 3) {
    adapter_pair adapter = random_adapter_of_core(models, modules, rank, seed);
    adapter.options.layers = layers;
    adapter.weights.resize(fedllm::adapter_make_layout(*models.core, adapter.options).n_parameters);
    return adapter;
}

adapter_pair adapter_on_last(const model_pair & models, const std::vector<std::string> & modules, uint64_t seed) {
    return adapter_on(models, modules, {models.core->info().n_layers - 1}, seed);
}

size_t sequence_bytes(const model_pair & models, int n_tokens) { return size_t(n_tokens) * size_t(models.core->info().n_embd) * sizeof(float); }

fedllm::train_result train_with(const model_pair & models, fedllm::train_options options, const adapter_pair & adapter, fedllm::hidden_cache * cache) {
    options.cache = cache;
    return core_train(models, options, adapter.weights);
}

std::vector<double> evaluate_with(const model_pair & models, const adapter_pair & adapter, const sample_list & samples, fedllm::hidden_cache * cache,
                                  int64_t micro_batch_tokens = 100) {
    fedllm::evaluate_options options;
    options.adapter = &adapter.options;
    options.weights = &adapter.weights;
    options.samples = samples.view();
    options.micro_batch_tokens = micro_batch_tokens;
    options.cache = cache;
    const std::atomic<bool> never(false);
    std::vector<double>     scores;
    for (const fedllm::sample_score & score : fedllm::evaluate(*models.core, options, never).scores) {
        scores.push_back(score.log_probability);
    }
    return scores;
}

void require_same(const fedllm::train_result & found, const fedllm::train_result & expected, const std::string & what) {
    require(found.step_losses == expected.step_losses, what + ": losses differ");
    require(found.gradient_norms == expected.gradient_norms, what + ": gradients differ");
    require(found.weights == expected.weights, what + ": weights differ");
}

fixture_options layers_of_type(ggml_type type, int64_t n_layers) {
    fixture_options options = fixture_for_type(type);
    options.n_layers = n_layers;
    return options;
}

// Samples two by two, with gradients.
void run_epochs(fedllm::engine & runner, const std::vector<float> & weights, const sample_list & samples, int n_epochs) {
    fedllm::run_request request;
    request.gradient = true;
    runner.set_weights(weights);
    runner.clear_gradient();
    for (int epoch = 0; epoch < n_epochs; epoch++) {
        for (uint32_t first = 0; first < uint32_t(samples.size()); first += 2) {
            for (const fedllm::micro_batch & batch : fedllm::batch_pack(samples.view(), {first, first + 1}, 4096, 0)) runner.run(batch, request);
        }
    }
}

}  // namespace

FEDLLM_TEST("hidden cache: a token's bits do not depend on the samples that its own is packed with, in any architecture") {
    return for_each_supported([](const architecture_case & c) {
        const model_pair   models = load_core_only(write_case(c, "packed-bits"));
        const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), 3, 80);
        const sample_list  samples = random_samples(c.options.n_vocab, LENGTHS, 0.5, 81);
        require(evaluate_with(models, adapter, samples, nullptr, 4096) == evaluate_with(models, adapter, samples, nullptr, 1), "packed and alone differ");
        return std::string("same");
    });
}

FEDLLM_TEST("hidden cache: training and evaluation have the bits of a run without it, in every architecture") {
    return for_each_supported([](const architecture_case & c) {
        const model_pair      models = load_core_only(write_case(c, "hidden-cache"));
        const adapter_pair    adapter = adapter_on_last(models, modules_of(c.options), 82);
        const sample_list     samples = random_samples(c.options.n_vocab, LENGTHS, 0.5, 83), held_out = random_samples(c.options.n_vocab, {30, 9}, 0.5, 84);
        fedllm::train_options train = make_train_options(adapter, samples, 7);
        train.dropout = 0.1;
        train.micro_batch_tokens = 120;
        fedllm::hidden_cache cache(size_t(1) << 30);
        // Filled in another packing than it is used in.
        require(evaluate_with(models, adapter, samples, &cache, 4096) == evaluate_with(models, adapter, samples, nullptr), "evaluation of the training samples differs");
        const auto expected = train_with(models, train, adapter, nullptr), found = train_with(models, train, adapter, &cache);
        require_same(found, expected, "training");
        require(found.cache.n_misses == 0 && found.cache.n_hits == 14 && found.cache.n_tokens_reused == found.n_tokens, "training did not take all rows from the cache");
        require(expected.cache.n_misses + expected.cache.n_hits == 0, "counts without a cache");
        const std::vector<double> scores = evaluate_with(models, adapter, held_out, nullptr);
        require(evaluate_with(models, adapter, held_out, &cache) == scores, "the first evaluation differs");
        require(evaluate_with(models, adapter, held_out, &cache) == scores, "the second evaluation differs");
        const fedllm::hidden_cache_state state = cache.state();
        require(state.counts.n_hits == 16 && state.counts.n_misses == 8 && state.n_sequences == 8 && state.n_evicted == 0, "evaluations do not share the cache");
        return std::string("same");
    });
}

FEDLLM_TEST("hidden cache: quantized weights, products in BF16, and two threads keep the bits") {
    for (const ggml_type type : {GGML_TYPE_Q4_K, GGML_TYPE_F16}) {
        model_pair         models = make_models(format("hidden-cache-%s.gguf", ggml_type_name(type)), layers_of_type(type, 4));
        const adapter_pair adapter = adapter_on(models, {"attn_q", "ffn_down"}, {2, 3}, 85);
        const sample_list  samples = random_samples(models.core->info().n_vocab, LENGTHS, 0.5, 86);
        for (const auto product : {fedllm::weight_product::f32, fedllm::weight_product::bf16}) {
            for (const int threads : {1, 2}) {
                fedllm::model_options open = {"", threads};
                open.variants.product = product;
                models.core = fedllm::base_model::load(models.path, open);
                fedllm::hidden_cache cache(size_t(1) << 30);
                const auto           train = make_train_options(adapter, samples, 5);
                require_same(train_with(models, train, adapter, &cache), train_with(models, train, adapter, nullptr), format("product %d, %d threads", int(product), threads));
                require(cache.state().counts.n_hits == 4, "nothing was reused");
            }
        }
    }
    return "";
}

FEDLLM_TEST("hidden cache: a bound that holds two samples is kept, the longest unused goes first, and no bit changes") {
    const model_pair   models = make_models("hidden-bound.gguf", layers_of_type(GGML_TYPE_Q8_0, 3));
    const adapter_pair adapter = adapter_on_last(models, ALL_MODULES, 87);
    const sample_list  samples = random_samples(models.core->info().n_vocab, {40, 40, 40, 40, 40, 40}, 1.0, 88);
    const auto         train = make_train_options(adapter, samples, 9);
    const auto         expected = train_with(models, train, adapter, nullptr);
    const size_t       one = sequence_bytes(models, 39) + 39 * sizeof(int32_t) + 1024, two = 2 * one;
    for (const size_t bytes : {size_t(0), size_t(100), one, two}) {
        fedllm::hidden_cache cache(bytes);
        require_same(train_with(models, train, adapter, &cache), expected, format("%zu bytes", bytes));
        const fedllm::hidden_cache_state state = cache.state();
        require(state.bytes <= bytes && state.n_sequences == (bytes == two ? 2u : bytes == one ? 1u : 0u), format("%zu bytes: holds %zu in %zu sequences", bytes, state.bytes, state.n_sequences));
        require(state.counts.n_misses == 18 && state.n_evicted == (bytes < one ? 0 : 18 - int64_t(state.n_sequences)), format("%zu bytes: other evictions than expected", bytes));
    }

    fedllm::hidden_cache cache(two);
    cache.set_capacity(two);
    const auto rows = std::make_shared<const std::vector<float>>(sequence_bytes(models, 39) / sizeof(float), 1.0f);
    const std::vector<int32_t> a(39, 1), b(39, 2), c(39, 3);
    const auto holds = [&](const std::vector<int32_t> & tokens, int64_t layer) { return cache.find({layer, {}}, tokens.data(), tokens.size()) != nullptr; };
    cache.insert({2, {}}, a.data(), a.size(), rows);
    cache.insert({2, {}}, b.data(), b.size(), rows);
    require(holds(a, 2) && !holds(a, 1), "another layer's rows came");
    cache.insert({2, {}}, c.data(), c.size(), rows);
    require(holds(a, 2) && holds(c, 2) && !holds(b, 2), "another sample than the longest unused one went");
    require(cache.find({2, {}}, a.data(), a.size() - 1) == nullptr, "a shorter sample is another one");
    cache.set_capacity(one);
    require(holds(c, 2) && !holds(a, 2) && cache.state().bytes <= one, "a lower capacity keeps too much");
    cache.set_capacity(10 * two);
    require(cache.state().capacity_bytes == two, "the capacity rose above the limit");
    return "";
}

FEDLLM_TEST("hidden cache: gradients agree with differences when every loss is computed from cached rows") {
    const model_pair     models = make_models("hidden-slope.gguf", layers_of_type(GGML_TYPE_F32, 4));
    const adapter_pair   adapter = adapter_on(models, ALL_MODULES, {2, 3}, 89);
    const sample_list    samples = random_samples(models.core->info().n_vocab, {12, 20, 7}, 0.5, 90);
    fedllm::hidden_cache cache(size_t(1) << 30);
    fedllm::gradient_options options;
    options.cache = &cache;
    const double error = error_along_gradient(models, adapter, samples, options);
    require_below(error, 5e-4, "error of the slope along the gradient");  // differences of F32 losses
    require(cache.state().counts.n_misses == 3 && cache.state().counts.n_hits == 12, "the losses were not computed from cached rows");
    return format("%.1e", error);
}

FEDLLM_TEST("hidden cache: left alone where something below differs: noise, groups, an adapter on all layers") {
    const model_pair     models = make_models("hidden-off.gguf", layers_of_type(GGML_TYPE_Q8_0, 4));
    const adapter_pair   adapter = adapter_on(models, ALL_MODULES, {2, 3}, 91), everywhere = adapter_on(models, ALL_MODULES, {0, 1, 2, 3}, 92);
    const sample_list    samples = random_samples(models.core->info().n_vocab, {30, 12, 25, 18}, 0.5, 93);
    fedllm::hidden_cache cache(size_t(1) << 30);
    const auto untouched = [&](const char * what, const adapter_pair & trained, const fedllm::train_options & options) {
        require_same(train_with(models, options, trained, &cache), train_with(models, options, trained, nullptr), what);
        const fedllm::hidden_cache_state state = cache.state();
        require(state.counts.n_misses + state.counts.n_hits == 0, std::string(what) + ": the cache was used");
    };
    untouched("an adapter on all layers", everywhere, make_train_options(everywhere, samples, 4));
    fedllm::train_options options = make_train_options(adapter, samples, 4);
    options.objective.neftune_alpha = 5.0;
    untouched("noise", adapter, options);
    sample_list grouped = samples;
    grouped.group_offsets = {0, 2, 4};
    untouched("groups", adapter, make_train_options(adapter, grouped, 4));
    return "";
}

FEDLLM_TEST("hidden cache: frozen adapters below the trained one have rows of their own, which other weights, scales or places do not take") {
    const model_pair     models = make_models("hidden-frozen.gguf", layers_of_type(GGML_TYPE_Q8_0, 4));
    const adapter_pair   adapter = adapter_on(models, ALL_MODULES, {2, 3}, 91);
    const sample_list    samples = random_samples(models.core->info().n_vocab, {30, 12, 25, 18}, 0.5, 93);
    const adapter_pair   everywhere = adapter_on(models, ALL_MODULES, {0, 1, 2, 3}, 92), below = adapter_on(models, {"attn_v"}, {1}, 94);
    adapter_pair         other = below, scaled = below, moved = below;
    other.weights.back() += 0.5f;
    scaled.options.lora_alpha *= 2.0f;
    moved.options.layers = {0};
    fedllm::hidden_cache cache(size_t(1) << 30);
    int64_t              n_misses = 0;
    // Twice: in the second round all rows are there.
    for (const bool is_new : {true, false}) {
        for (const auto & beside : std::vector<std::vector<adapter_pair>>{{}, {everywhere}, {below}, {other}, {scaled}, {moved}, {below, moved}}) {
            fedllm::train_options options = make_train_options(adapter, samples, 4);
            for (const adapter_pair & pair : beside) options.frozen.push_back({pair.options, pair.weights.data()});
            const std::string what = format("%zu frozen adapters", beside.size());
            require_same(train_with(models, options, adapter, &cache), train_with(models, options, adapter, nullptr), what);
            n_misses += is_new ? 4 : 0;
            require(cache.state().counts.n_misses == n_misses, what + ": rows of other adapters were taken, or its own were not");
        }
    }
    // A frozen adapter on the trained layers alone changes nothing below.
    const adapter_pair above = adapter_on(models, {"attn_q"}, {2}, 95);
    fedllm::train_options options = make_train_options(adapter, samples, 4);
    options.frozen = {{above.options, above.weights.data()}};
    require_same(train_with(models, options, adapter, &cache), train_with(models, options, adapter, nullptr), "a frozen adapter on layer 2");
    require(cache.state().counts.n_misses == n_misses, "an adapter above the place counts");
    return format("%lld misses, %lld hits", (long long) n_misses, (long long) cache.state().counts.n_hits);
}

FEDLLM_TEST("hidden cache: a steady loop builds no graph after the first epoch, whether layers are kept or computed again") {
    const model_pair     models = make_models("hidden-steady.gguf", layers_of_type(GGML_TYPE_Q8_0, 3));
    const adapter_pair   adapter = adapter_on_last(models, ALL_MODULES, 95);
    const sample_list    samples = random_samples(models.core->info().n_vocab, {40, 40, 40, 40}, 1.0, 96);
    std::vector<float>   expected;
    for (const auto tier : {fedllm::checkpoint_tier::keep_all, fedllm::checkpoint_tier::layer_inputs}) {
        fedllm::hidden_cache cache(size_t(1) << 30);
        for (fedllm::hidden_cache * used : {static_cast<fedllm::hidden_cache *>(nullptr), &cache}) {
            fedllm::engine_options settings;
            settings.tier = tier;
            settings.cache = used;
            fedllm::engine     runner(*models.core, &adapter.options, settings);
            std::vector<float> gradient;
            run_epochs(runner, adapter.weights, samples, 4);
            runner.get_gradient(gradient);
            if (expected.empty()) expected = gradient;
            require(gradient == expected, "gradients differ");
            const fedllm::engine_counters & counters = runner.counters();
            const int64_t below = used == nullptr ? 0 : 1;
            require(counters.n_runs == 8 && counters.n_graphs_built == 1 && counters.n_fill_graphs_built == below && counters.n_allocations == 1 + below,
                    format("%lld graphs, %lld below, %lld allocations", (long long) counters.n_graphs_built, (long long) counters.n_fill_graphs_built, (long long) counters.n_allocations));
        }
    }
    return "";
}

FEDLLM_TEST("hidden cache: calls at the same time share it and keep their bits") {
    const model_pair     models = make_models("hidden-threads.gguf", layers_of_type(GGML_TYPE_Q8_0, 4));
    const sample_list    samples = random_samples(models.core->info().n_vocab, LENGTHS, 0.5, 97);
    fedllm::hidden_cache cache(sequence_bytes(models, 120));  // too small for all: rows are dropped while others use them
    std::vector<adapter_pair>         adapters;
    std::vector<fedllm::train_result> found(4);
    std::vector<std::thread>          threads;
    for (uint64_t i = 0; i < found.size(); i++) {
        adapters.push_back(adapter_on(models, {"attn_q", "ffn_up"}, {int64_t(1 + i % 2), 3}, 98 + i));
    }
    for (size_t i = 0; i < found.size(); i++) {
        threads.emplace_back([&, i] { found[i] = train_with(models, make_train_options(adapters[i], samples, 12), adapters[i], &cache); });
    }
    for (std::thread & thread : threads) thread.join();
    for (size_t i = 0; i < found.size(); i++) {
        require_same(found[i], train_with(models, make_train_options(adapters[i], samples, 12), adapters[i], nullptr), format("call %zu", i));
    }
    require(cache.state().bytes <= sequence_bytes(models, 120), "more bytes than allowed");
    return "";
}

FEDLLM_TEST("hidden cache: it takes what the plan leaves, and a plan counts what it holds as free") {
    const model_pair     models = make_models("hidden-plan.gguf", layers_of_type(GGML_TYPE_Q8_0, 4));
    const adapter_pair   adapter = adapter_on_last(models, {"attn_q"}, 103);
    const sample_list    samples = random_samples(models.core->info().n_vocab, LENGTHS, 0.5, 104);
    fedllm::hidden_cache cache(std::nullopt);
    fedllm::plan_request request;
    request.adapter = &adapter.options;
    request.longest_sample = 149;
    request.batch_size = 2;
    request.micro_batch_tokens = 4096;
    const size_t without = fedllm::memory_planner(*models.core, request).choose().needed;
    request.cache = &cache;
    const fedllm::memory_plan plan = fedllm::memory_planner(*models.core, request).choose();
    require(plan.needed > without, "the plan does not count rows in use and the graph of the lower layers");
    fedllm::train_options train = make_train_options(adapter, samples, 5);
    const auto expected = train_with(models, train, adapter, nullptr);
    const size_t weights = plan.parts.weights, room = sequence_bytes(models, 30);
    train.memory.limit = plan.needed + weights + 2 * room;
    require_same(train_with(models, train, adapter, &cache), expected, "with room for some");
    require(cache.state().capacity_bytes > 0 && cache.state().capacity_bytes <= room + room / 2, format("takes %zu bytes of %zu", cache.state().capacity_bytes, 2 * room));
    require(cache.state().bytes > 0 && cache.state().bytes <= cache.state().capacity_bytes, "holds nothing, or too much");
    train.memory.limit = plan.needed;
    require_same(train_with(models, train, adapter, &cache), expected, "without room");
    require(cache.state().bytes == 0, "keeps rows in memory that the plan needs");
    return format("plan %.2f MB, without %.2f MB", double(plan.needed) / 1e6, double(without) / 1e6);
}

FEDLLM_TEST("hidden cache: with the operations of other devices results do not depend on what the cache holds") {
    double error = 0.0;
    for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_Q8_0}) {
        const model_pair   models = make_models(format("hidden-portable-%s.gguf", ggml_type_name(type)), layers_of_type(type, 3));
        const adapter_pair adapter = adapter_on_last(models, ALL_MODULES, 105);
        const sample_list  samples = random_samples(models.core->info().n_vocab, LENGTHS, 0.5, 106);
        const auto gradient_with = [&](fedllm::hidden_cache * cache) {
            fedllm::gradient_options options;
            options.portable = true;
            options.cache = cache;
            return core_loss_and_gradient(models, adapter, samples, options);
        };
        fedllm::hidden_cache empty(0), full(size_t(1) << 30), partly(sequence_bytes(models, 30));
        const core_gradient  expected = gradient_with(nullptr), first = gradient_with(&empty);
        for (fedllm::hidden_cache * cache : {&full, &full, &partly, &partly, &empty}) {
            const core_gradient found = gradient_with(cache);
            require(found.values == first.values && found.loss_sum == first.loss_sum, "another state of the cache gives other bits");
        }
        if (type == GGML_TYPE_F32) error = relative_l2(first.values, expected.values);
    }
    // Sequences alone in the lower layers instead of packed: another order of F32 sums. Q8_0 products of these operations round activations, too.
    require_below(error, 1e-5, "relative L2 error of the gradient");
    return format("%.1e", error);
}

FEDLLM_TEST("hidden cache: on the device results do not depend on what the cache holds, and are those without one up to rounding") {
    if (test_device().empty()) throw test_skipped("no --device given");
    model_pair         models = make_models("hidden-device.gguf", layers_of_type(GGML_TYPE_Q8_0, 4));
    const adapter_pair adapter = adapter_on(models, {"attn_q", "ffn_down"}, {2, 3}, 107, DEVICE_RANK);
    const sample_list  samples = random_samples(models.core->info().n_vocab, {20, 9, 14, 11, 27, 16}, 0.8, 108);
    models.core = fedllm::base_model::load(models.path, {test_device(), TEST_THREADS});
    const auto           train = make_train_options(adapter, samples, 6);
    const auto           expected = train_with(models, train, adapter, nullptr);
    fedllm::hidden_cache full(size_t(1) << 30), partly(sequence_bytes(models, 30));
    const auto           first = train_with(models, train, adapter, &full);
    require(first.cache.n_misses == 6 && first.cache.n_hits == 6, "other hits than expected");
    for (fedllm::hidden_cache * cache : {&full, &partly, &partly}) require_same(train_with(models, train, adapter, cache), first, "another state of the cache");
    // As a device against the CPU: products of other shapes may be summed in another order or precision.
    const double error = relative_l2(first.step_losses.data(), expected.step_losses.data(), first.step_losses.size());
    require_below(error, 1e-3, "relative L2 error of the losses");
    return format("%.1e", error);
}
