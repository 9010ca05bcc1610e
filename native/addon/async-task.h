// The one worker for long computations: a thread of its own per task (libuv's pool stays free), progress through a
// thread-safe function, a cancel flag, and a promise that settles on the JS thread. A task that still runs when the
// process exits or its environment ends is cancelled and joined.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <napi.h>

#include "errors.h"

namespace fedllm::addon {

// What the running body sees. Called from the task's thread.
class task_control {
  public:
    virtual const std::atomic<bool> & cancelled() const = 0;
    // Calls the task's JS progress callback with these numbers, later and on the JS thread.
    virtual void report(std::vector<double> numbers) = 0;

  protected:
    ~task_control() = default;
};

class async_task_base;

// The unfinished tasks of one environment. process.exit ends the process without ending the environment first, and a
// thread that still computes then would use what the libraries' destructors have freed. Used on the JS thread only.
class task_registry {
  public:
    void add(async_task_base * task) { tasks_.insert(task); }
    void remove(async_task_base * task) { tasks_.erase(task); }
    // Cancels all tasks and waits for the ends of their threads. Their promises stay unsettled.
    void stop_all();

  private:
    std::set<async_task_base *> tasks_;
};

struct task_message;

// Everything of a task that does not depend on its result type. Owned by its thread-safe function: the function's
// finalizer joins the thread and deletes the task.
class async_task_base : public task_control {
  public:
    const std::atomic<bool> & cancelled() const override { return *cancel_; }
    void                      report(std::vector<double> numbers) override;

  protected:
    async_task_base(Napi::Env env, const Napi::Function & on_progress);
    virtual ~async_task_base() = default;

    virtual void        execute()                    = 0;  // task's thread; may throw
    virtual Napi::Value convert_result(Napi::Env env) = 0;  // JS thread; may throw

    // Starts the thread; the promise rejects if that fails.
    void          start(Napi::Env env, const char * name);
    Napi::Promise promise() const { return deferred_.Promise(); }

    std::shared_ptr<std::atomic<bool>> cancel_;

  private:
    friend class task_registry;
    static void on_message(Napi::Env env, Napi::Function, async_task_base * task, task_message * message);
    static void on_finalize(Napi::Env env, void *, async_task_base * task);
    using channel = Napi::TypedThreadSafeFunction<async_task_base, task_message, on_message>;

    void run();
    void send(std::unique_ptr<task_message> message);
    void finish();
    void call_progress(Napi::Env env, const std::vector<double> & numbers);
    void settle(Napi::Env env);
    void join();

    Napi::Promise::Deferred        deferred_;
    std::shared_ptr<task_registry> registry_;  // of the task's environment
    Napi::FunctionReference        on_progress_;
    std::string                    caller_stack_;
    std::optional<Napi::Error>     progress_error_;  // first exception of the progress callback
    std::optional<task_failure>    failure_;
    std::thread                    thread_;
    std::mutex                     channel_mutex_;  // guards the two below
    channel                        channel_;
    bool                           channel_open_ = false;
};

// A computation: `run` on the task's thread, then `convert` on the JS thread. Both own copies of all inputs, so the caller
// may change its objects as soon as the call returns.
template <typename Result>
class async_task final : public async_task_base {
  public:
    struct work {
        const char *                                       name;  // shown in diagnostics of async resources
        std::function<Result(task_control &)>              run;
        std::function<Napi::Value(Napi::Env, Result &&)>   convert;
        Napi::Function                                     on_progress;  // empty: none
    };

    static Napi::Promise start_promise(Napi::Env env, work task_work) {
        return launch(env, std::move(task_work))->promise();
    }

    // A NativeTask of src/native/binding.ts: { promise, cancel() }.
    static Napi::Object start_cancellable(Napi::Env env, work task_work) {
        async_task *                             task   = launch(env, std::move(task_work));
        const std::shared_ptr<std::atomic<bool>> cancel = task->cancel_;
        Napi::Object                             handle = Napi::Object::New(env);
        handle.Set("promise", task->promise());
        handle.Set("cancel", Napi::Function::New(env, [cancel](const Napi::CallbackInfo &) { cancel->store(true); },
                                                 "cancel"));
        return handle;
    }

  private:
    async_task(Napi::Env env, work && task_work)
        : async_task_base(env, task_work.on_progress), run_(std::move(task_work.run)),
          convert_(std::move(task_work.convert)) {}

    static async_task * launch(Napi::Env env, work && task_work) {
        const char * name = task_work.name;
        auto         task = std::unique_ptr<async_task>(new async_task(env, std::move(task_work)));
        task->start(env, name);
        return task.release();  // from here on owned by its thread-safe function
    }

    void execute() override {
        // Moved to a local, so that inputs (and a disposed model) are freed before the promise settles.
        const std::function<Result(task_control &)> run = std::exchange(run_, nullptr);
        result_.emplace(run(*this));
    }

    Napi::Value convert_result(Napi::Env env) override { return convert_(env, std::move(*result_)); }

    std::function<Result(task_control &)>            run_;
    std::function<Napi::Value(Napi::Env, Result &&)> convert_;
    std::optional<Result>                            result_;
};

}  // namespace fedllm::addon
