// Binds the memory planner to async-task.h.
#include <optional>

#include "async-task.h"
#include "option-readers.h"
#include "planner.h"
#include "tasks.h"

namespace fedllm::addon {

namespace {

constexpr double MAX_TOKENS = 1 << 24;
constexpr double MAX_BYTES  = 9007199254740991.0;  // 2^53 - 1

// Owned copy of NativePlanRequest.
struct plan_copy {
    std::optional<adapter_options> adapter;
    plan_request                   request;
};

plan_copy read_plan_request(const Napi::Value & value) {
    const Napi::Object object = read_object(value, "request");
    plan_copy          copy;
    const Napi::Value  adapter = object.Get("adapter");
    if (!adapter.IsUndefined()) {
        copy.adapter = read_adapter_options(adapter);
    }
    copy.request.gradient           = copy.adapter.has_value();
    copy.request.longest_sample     = read_integer(object.Get("longestSample"), "longestSample", 1, MAX_TOKENS);
    copy.request.batch_size         = read_integer(object.Get("batchSize"), "batchSize", 1, MAX_TOKENS);
    copy.request.micro_batch_tokens = read_integer(object.Get("microBatchTokens"), "microBatchTokens", 1, MAX_TOKENS);
    copy.request.dropout            = read_number(object.Get("dropout"), "dropout", PROBABILITY);
    copy.request.n_vectors          = 2;  // the caller's array and the result
    const Napi::Value limit         = object.Get("memoryLimitBytes");
    if (!limit.IsUndefined()) {
        copy.request.memory_limit = size_t(read_integer(limit, "memoryLimitBytes", 0, MAX_BYTES));
    }
    return copy;
}

Napi::Value make_plan(Napi::Env env, memory_plan && plan) {
    const auto count = [env](size_t bytes) { return Napi::Number::New(env, double(bytes)); };
    Napi::Object parts = Napi::Object::New(env);
    parts.Set("weights", count(plan.parts.weights));
    parts.Set("adapter", count(plan.parts.adapter));
    parts.Set("activations", count(plan.parts.activations));
    parts.Set("checkpoints", count(plan.parts.checkpoints));
    parts.Set("scratch", count(plan.parts.scratch));
    parts.Set("vectors", count(plan.parts.vectors));
    parts.Set("descriptions", count(plan.parts.descriptions));
    parts.Set("mapped", count(plan.parts.mapped));
    parts.Set("process", count(plan.parts.process));
    Napi::Object object = Napi::Object::New(env);
    object.Set("microBatchTokens", double(plan.micro_batch_tokens));
    object.Set("headChunk", double(plan.head_chunk));
    object.Set("recomputes", Napi::Boolean::New(env, plan.tier == checkpoint_tier::layer_inputs));
    object.Set("streams", Napi::Boolean::New(env, plan.streams));
    object.Set("transposes", TRANSPOSE_CACHE_NAMES[size_t(plan.transposes)]);
    object.Set("parts", parts);
    object.Set("deviceBytes", count(plan.device_bytes()));
    object.Set("processBytes", count(plan.host_bytes()));
    object.Set("neededBytes", count(plan.needed));
    object.Set("limitBytes", count(plan.limit));
    return object;
}

memory_plan plan_file(const std::string & path, model_options options, plan_copy copy, const std::shared_ptr<hidden_cache> & cache) {
    options.placement = weight_placement::measured;
    const std::shared_ptr<base_model> model = base_model::load(path, options);
    copy.request.adapter = copy.adapter ? &*copy.adapter : nullptr;
    copy.request.cache = cache.get();
    return memory_planner(*model, copy.request).choose();
}

}  // namespace

Napi::Value plan_memory(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        std::string         path    = read_text(info[0], "path");
        const model_options options = read_model_options(info[1]);
        const plan_copy     copy    = read_plan_request(info[2]);
        const auto          cache   = read_hidden_cache(info[1]);
        return async_task<memory_plan>::start_promise(
            info.Env(), {"fedllm:planMemory", [path = std::move(path), options, copy, cache](task_control &) { return plan_file(path, options, copy, cache); }, make_plan,
                         Napi::Function()});
    });
}

}  // namespace fedllm::addon
