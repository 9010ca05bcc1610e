// See logger.h. The last environment that sets a logger receives the lines of the whole process, because ggml has one
// callback per process.
#include "logger.h"

#include <memory>
#include <mutex>
#include <string>

#include "environment.h"
#include "errors.h"
#include "log-router.h"

namespace fedllm::addon {

namespace {

// Lines waiting for the JS thread; further lines are dropped while it is blocked, so that memory stays bounded.
constexpr size_t MAX_WAITING_LINES = 10000;

const char * level_name(ggml_log_level level) {
    switch (level) {
        case GGML_LOG_LEVEL_DEBUG:
            return "debug";
        case GGML_LOG_LEVEL_WARN:
            return "warn";
        case GGML_LOG_LEVEL_ERROR:
            return "error";
        default:
            return "info";
    }
}

struct waiting_line {
    ggml_log_level level;
    std::string    text;
};

void call_logger(Napi::Env env, Napi::Function callback, void *, waiting_line * line) {
    const std::unique_ptr<waiting_line> owned(line);
    if (static_cast<napi_env>(env) != nullptr && !callback.IsEmpty()) {
        guard_callback(env, [&] {
            callback.Call({Napi::String::New(env, level_name(owned->level)), Napi::String::New(env, owned->text)});
        });
    }
}

using channel_function = Napi::TypedThreadSafeFunction<void, waiting_line, call_logger>;

}  // namespace

// Shared by the environment, by the router's sink and by the thread-safe function's finalizer; whoever is last frees it.
class log_channel {
  public:
    static std::shared_ptr<log_channel> open(Napi::Env env, const Napi::Function & callback) {
        auto   channel = std::make_shared<log_channel>();
        auto * keeper  = new std::shared_ptr<log_channel>(channel);
        channel->function_ = channel_function::New(
            env, callback, "fedllm:logger", MAX_WAITING_LINES, /*initialThreadCount=*/1, static_cast<void *>(nullptr),
            [](Napi::Env, std::shared_ptr<log_channel> * owned, void *) {
                (*owned)->forget();
                delete owned;
            },
            keeper);
        channel->function_.Unref(env);
        channel->is_open_ = true;
        channel->sink_    = std::make_shared<const log_sink>(
            [weak = std::weak_ptr<log_channel>(channel)](ggml_log_level level, const std::string & line) {
                if (const std::shared_ptr<log_channel> target = weak.lock()) {
                    target->write(level, line);
                }
            });
        return channel;
    }

    const std::shared_ptr<const log_sink> & sink() const { return sink_; }

    // No line reaches the callback any more, except those already waiting.
    void close() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (is_open_) {
            is_open_ = false;
            function_.Release();
        }
    }

  private:
    void write(ggml_log_level level, const std::string & line) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!is_open_) {
            return;
        }
        auto              waiting = std::make_unique<waiting_line>(waiting_line{level, line});
        const napi_status status  = function_.NonBlockingCall(waiting.get());
        if (status == napi_ok) {
            waiting.release();  // call_logger deletes it
        } else if (status != napi_queue_full) {
            is_open_ = false;  // the environment is ending, and the refusal has counted as our release
        }
    }

    // The thread-safe function is gone; called on the JS thread.
    void forget() {
        log_router_remove_sink(sink_);
        const std::lock_guard<std::mutex> lock(mutex_);
        is_open_ = false;
    }

    std::shared_ptr<const log_sink> sink_;
    std::mutex                      mutex_;  // guards the two below
    channel_function                function_;
    bool                            is_open_ = false;
};

Napi::Value set_logger(const Napi::CallbackInfo & info) {
    const Napi::Env env = info.Env();
    return guard_sync(env, [&]() -> Napi::Value {
        const Napi::Value callback = info[0];
        if (!callback.IsFunction() && !callback.IsNull()) {
            throw parameter_error("CONFIG_INVALID", "callback", "a function or null", "another value");
        }
        std::shared_ptr<log_channel> & current = environment_of(env).log;
        const std::shared_ptr<log_channel> former = std::move(current);
        current = callback.IsNull() ? nullptr : log_channel::open(env, callback.As<Napi::Function>());
        log_router_set_sink(current == nullptr ? nullptr : current->sink());
        if (former != nullptr) {
            former->close();
        }
        return env.Undefined();
    });
}

}  // namespace fedllm::addon
