// See async-task.h. Order of the end: the thread sends its last message and releases the thread-safe function; the JS
// thread settles the promise; the function's finalizer joins the thread and deletes the task.
#include "async-task.h"

#include <system_error>

#include "environment.h"

namespace fedllm::addon {

void task_registry::stop_all() {
    for (async_task_base * task : tasks_) {
        task->cancel_->store(true);
    }
    for (async_task_base * task : tasks_) {
        task->join();
    }
}

// Numbers for the progress callback, or the end of the task.
struct task_message {
    bool                is_end = false;
    std::vector<double> numbers;
};

async_task_base::async_task_base(Napi::Env env, const Napi::Function & on_progress)
    : cancel_(std::make_shared<std::atomic<bool>>(false)), deferred_(Napi::Promise::Deferred::New(env)),
      registry_(environment_of(env).tasks), caller_stack_(capture_caller_stack(env)) {
    if (!on_progress.IsEmpty()) {
        on_progress_ = Napi::Persistent(on_progress);
    }
}

void async_task_base::start(Napi::Env env, const char * name) {
    channel_      = channel::New(env, name, /*maxQueueSize=*/0, /*initialThreadCount=*/1, this, on_finalize);
    channel_open_ = true;
    registry_->add(this);
    try {
        thread_ = std::thread([this] { run(); });
    } catch (const std::system_error &) {
        failure_ = {"OUT_OF_MEMORY", "threads: expected one more thread for a native task, received a refusal of the system"};
        finish();
    }
}

void async_task_base::run() {
    try {
        execute();
    } catch (...) {
        failure_ = describe_current_exception();
    }
    finish();
}

void async_task_base::report(std::vector<double> numbers) {
    auto message     = std::make_unique<task_message>();
    message->numbers = std::move(numbers);
    send(std::move(message));
}

void async_task_base::send(std::unique_ptr<task_message> message) {
    const std::lock_guard<std::mutex> lock(channel_mutex_);
    if (!channel_open_) {
        return;
    }
    const napi_status status = channel_.NonBlockingCall(message.get());
    if (status == napi_ok) {
        message.release();  // on_message deletes it
    } else {
        channel_open_ = false;  // the environment is ending, and the refusal has counted as our release
    }
}

void async_task_base::finish() {
    auto message    = std::make_unique<task_message>();
    message->is_end = true;
    send(std::move(message));
    const std::lock_guard<std::mutex> lock(channel_mutex_);
    if (channel_open_) {
        channel_open_ = false;
        channel_.Release();
    }
}

void async_task_base::on_message(Napi::Env env, Napi::Function, async_task_base * task, task_message * message) {
    const std::unique_ptr<task_message> owned(message);
    if (static_cast<napi_env>(env) == nullptr) {
        return;  // the environment is ending; the task may be gone already
    }
    guard_callback(env, [&] {
        if (owned->is_end) {
            task->settle(env);
        } else {
            task->call_progress(env, owned->numbers);
        }
    });
}

void async_task_base::call_progress(Napi::Env env, const std::vector<double> & numbers) {
    if (on_progress_.IsEmpty() || progress_error_.has_value()) {
        return;
    }
    std::vector<napi_value> arguments;
    arguments.reserve(numbers.size());
    for (const double number : numbers) {
        arguments.push_back(Napi::Number::New(env, number));
    }
    try {
        on_progress_.Call(arguments);
    } catch (const Napi::Error & error) {
        progress_error_ = error;
        cancel_->store(true);
    }
}

void async_task_base::settle(Napi::Env env) {
    if (progress_error_.has_value()) {
        deferred_.Reject(progress_error_->Value());
        return;
    }
    if (failure_.has_value()) {
        deferred_.Reject(make_js_error(env, *failure_, caller_stack_).Value());
        return;
    }
    try {
        deferred_.Resolve(convert_result(env));
    } catch (const Napi::Error & error) {
        deferred_.Reject(error.Value());
    } catch (...) {
        deferred_.Reject(make_js_error(env, describe_current_exception(), caller_stack_).Value());
    }
}

void async_task_base::join() {
    if (thread_.joinable()) {
        thread_.join();
    }
}

void async_task_base::on_finalize(Napi::Env, void *, async_task_base * task) {
    task->cancel_->store(true);
    {
        const std::lock_guard<std::mutex> lock(task->channel_mutex_);
        task->channel_open_ = false;
    }
    task->join();
    task->registry_->remove(task);
    delete task;
}

}  // namespace fedllm::addon
