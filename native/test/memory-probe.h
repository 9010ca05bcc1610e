// Predicted against measured memory. Each case runs in a process of its own, because the highest resident memory of a process
// cannot be taken back: the test program starts itself again with --memory-probe.
#pragma once

#include <string>
#include <vector>

#include "gguf-fixture.h"
#include "engine.h"

namespace fedllm_test {

struct memory_case {
    std::string name;
    std::string path;    // of the model
    int         rank = 8;
    int         sequence = 256;
    int         n_samples = 2;  // of a step, all in one micro-batch
    bool        recompute = false;
    std::string targets = "attn_q,attn_v";
    int         n_threads = 1;
    std::string device;
    std::string kind = "plain";  // or preference (samples are pairs), neftune, weighted, streamed
};

struct memory_reading {
    double predicted = 0.0;  // bytes, of the whole process at its highest
    double measured = 0.0;
    double before = 0.0;     // resident before the model
};

// Runs the case in a child process. Linux only: elsewhere measured is 0.
memory_reading memory_measure(const memory_case & what, const std::string & libs_dir);

// The child: parses argv of memory_measure, trains two steps, prints the reading. Returns the exit code; -1: argv asks for something else.
int memory_probe_main(int argc, char ** argv);

}  // namespace fedllm_test
