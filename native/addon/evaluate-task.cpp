// Binds the evaluator and the reader of hidden states to async-task.h.
#include "async-task.h"
#include "results.h"
#include "tasks.h"

namespace fedllm::addon {

Napi::Object start_evaluate(Napi::Env env, task_model model, evaluate_request request) {
    const auto owned = std::make_shared<const evaluate_request>(std::move(request));
    return async_task<evaluation>::start_cancellable(
        env, {"fedllm:evaluate",
              [model = std::move(model), owned](task_control & control) {
                  evaluate_options options = owned->view();
                  options.cache            = model.cache.get();
                  return evaluate(*model.base, options, control.cancelled());
              },
              [](Napi::Env result_env, evaluation && result) -> Napi::Value {
                  return make_evaluate_result(result_env, result);
              },
              Napi::Function()});
}

Napi::Object start_hidden_states(Napi::Env env, std::shared_ptr<base_model> model, states_request request) {
    const auto owned = std::make_shared<const states_request>(std::move(request));
    return async_task<hidden_states_result>::start_cancellable(
        env, {"fedllm:hiddenStates",
              [model = std::move(model), owned](task_control & control) {
                  return hidden_states(*model, owned->view(), control.cancelled());
              },
              [](Napi::Env result_env, hidden_states_result && result) -> Napi::Value {
                  return make_hidden_states(result_env, result);
              },
              Napi::Function()});
}

}  // namespace fedllm::addon
