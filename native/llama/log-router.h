// Takes the log lines of ggml and llama.cpp: to one sink, or to nowhere until a sink is set. Also keeps the error lines of
// one thread, because llama.cpp tells its reasons only through the log.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "ggml.h"

namespace fedllm {

// Receives whole lines without the line end. Called from any thread, several at once.
using log_sink = std::function<void(ggml_log_level level, const std::string & line)>;

// Makes the router the process's log callback, for good or until another module of the process sets its own.
void log_router_install();

// Installs the router and sends every line to `sink`; nullptr drops all lines.
void log_router_set_sink(std::shared_ptr<const log_sink> sink);

// Drops all lines from now on if `sink` is still the current one.
void log_router_remove_sink(const std::shared_ptr<const log_sink> & sink);

// While alive, keeps the last error line that the creating thread logs. Scopes of one thread may not overlap. A callback
// that another module has set still receives this thread's lines, and is the process's callback again afterwards.
class log_error_scope {
  public:
    log_error_scope();
    ~log_error_scope();
    log_error_scope(const log_error_scope &)             = delete;
    log_error_scope & operator=(const log_error_scope &) = delete;

    // The last error line, or `otherwise` when llama.cpp gave none.
    std::string reason(const std::string & otherwise) const;

  private:
    std::string       last_line_;
    ggml_log_callback other_      = nullptr;  // another module's callback, nullptr: none
    void *            other_data_ = nullptr;
};

}  // namespace fedllm
