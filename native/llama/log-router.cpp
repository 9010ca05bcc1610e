// See log-router.h. llama.cpp writes one line in several calls and marks the later ones as continuations, so lines are
// put together per thread before they reach the sink.
#include "log-router.h"

#include <algorithm>
#include <mutex>

#include "llama.h"

namespace fedllm {

namespace {

struct router_state {
    std::mutex                      mutex;
    std::shared_ptr<const log_sink> sink;  // nullptr: lines are dropped
};

// Never destroyed: threads of ggml may still log while the process ends.
router_state & state() {
    static router_state * instance = new router_state();
    return *instance;
}

struct thread_log {
    std::string       line;                              // not finished yet
    ggml_log_level    line_level = GGML_LOG_LEVEL_NONE;  // highest of its parts
    ggml_log_level    last_level = GGML_LOG_LEVEL_INFO;  // what a continuation belongs to
    std::string *     last_error = nullptr;              // of the active log_error_scope
    ggml_log_callback other      = nullptr;              // receives this thread's text too
    void *            other_data = nullptr;
};

thread_local thread_log current_thread;

void finish_line(thread_log & log) {
    if (!log.line.empty()) {
        if (log.line_level == GGML_LOG_LEVEL_ERROR && log.last_error != nullptr) {
            *log.last_error = log.line;
        }
        std::shared_ptr<const log_sink> sink;
        {
            const std::lock_guard<std::mutex> lock(state().mutex);
            sink = state().sink;
        }
        if (sink != nullptr) {
            (*sink)(log.line_level, log.line);
        }
    }
    log.line.clear();
    log.line_level = GGML_LOG_LEVEL_NONE;
}

void on_log(ggml_log_level level, const char * text, void * /*user_data*/) {
    if (text == nullptr) {
        return;
    }
    thread_log & log = current_thread;
    if (log.other != nullptr) {
        log.other(level, text, log.other_data);
    }
    if (level != GGML_LOG_LEVEL_CONT) {
        if (level == GGML_LOG_LEVEL_ERROR && log.line_level != GGML_LOG_LEVEL_ERROR) {
            finish_line(log);  // an error in the middle of a progress line is a line of its own
        }
        log.last_level = level;
    }
    for (const char * at = text; *at != '\0'; ++at) {
        if (*at == '\n') {
            finish_line(log);
        } else {
            log.line_level = std::max(log.line_level, log.last_level);
            log.line.push_back(*at);
        }
    }
}

}  // namespace

void log_router_install() {
    llama_log_set(on_log, nullptr);  // sets ggml's callback too
}

void log_router_set_sink(std::shared_ptr<const log_sink> sink) {
    {
        const std::lock_guard<std::mutex> lock(state().mutex);
        state().sink = std::move(sink);
    }
    log_router_install();
}

void log_router_remove_sink(const std::shared_ptr<const log_sink> & sink) {
    const std::lock_guard<std::mutex> lock(state().mutex);
    if (state().sink == sink) {
        state().sink = nullptr;
    }
}

log_error_scope::log_error_scope() {
    llama_log_get(&other_, &other_data_);
    if (other_ == on_log) {
        other_ = nullptr;
    } else {
        log_router_install();
    }
    current_thread.last_error = &last_line_;
    current_thread.other      = other_;
    current_thread.other_data = other_data_;
}

log_error_scope::~log_error_scope() {
    current_thread.last_error = nullptr;
    current_thread.other      = nullptr;
    if (other_ != nullptr) {
        llama_log_set(other_, other_data_);
    }
}

std::string log_error_scope::reason(const std::string & otherwise) const {
    return last_line_.empty() ? otherwise : last_line_;
}

}  // namespace fedllm
