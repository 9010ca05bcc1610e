// Looks at every node of graphs that are about to run, for tests of what a device can take.
#pragma once

#include <set>
#include <string>

#include "backend.h"
#include "ggml.h"

namespace fedllm_test {

struct walk_result {
    size_t                n_nodes = 0;
    std::set<std::string> problems;

    // Fails with the problems, and when fewer nodes were seen.
    void check(size_t least_nodes) const;
};

// Does the device take each node, does it lie there, and with `forbid`: do all backends, Metal too, have its operation?
void walk_graph(ggml_cgraph * graph, ggml_backend_dev_t device, bool forbid, walk_result & result);

}  // namespace fedllm_test
