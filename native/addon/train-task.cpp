// Binds the trainer to async-task.h.
#include "async-task.h"
#include "results.h"
#include "tasks.h"

namespace fedllm::addon {

Napi::Object start_train(Napi::Env env, task_model model, train_request request,
                         const Napi::Function & on_progress) {
    const auto owned = std::make_shared<const train_request>(std::move(request));
    const bool wants_progress = !on_progress.IsEmpty();
    return async_task<train_result>::start_cancellable(
        env, {"fedllm:train",
              [model = std::move(model), owned, wants_progress](task_control & control) {
                  progress_callback report = [&control, wants_progress](const train_progress & progress) {
                      if (wants_progress) {
                          control.report({double(progress.step), progress.loss, double(progress.n_tokens)});
                      }
                  };
                  train_options options = owned->view();
                  options.cache         = model.cache.get();
                  return train(*model.base, options, owned->weights, report, control.cancelled());
              },
              [](Napi::Env result_env, train_result && result) -> Napi::Value {
                  return make_train_result(result_env, result);
              },
              on_progress});
}

}  // namespace fedllm::addon
