// Times a graph node by node, and sums by what a node is for.
#pragma once

#include <map>
#include <string>

#include "ggml-backend.h"
#include "ggml.h"

namespace fedllm_bench {

struct profile_entry {
    double  seconds = 0.0;
    double  operations = 0.0;  // floating-point operations of matrix products
    int64_t calls = 0;
};

// Seconds by the wall, or of all threads' processors: the latter are less disturbed by other programs.
double clock_seconds(bool processor);

class graph_profile {
  public:
    explicit graph_profile(bool processor_time) : processor_time_(processor_time) {}
    // Computes the graph, one node at a time, and adds the times up.
    ggml_status compute(ggml_backend_t backend, ggml_cgraph * graph);
    void        add(const std::string & label, double seconds) { entries_[label].seconds += seconds; }
    double      total_seconds() const;
    // A table, largest first: milliseconds per step, share, GFLOP/s and the fraction of `limit` (GFLOP/s) where there are products.
    void        print(double n_steps, double limit) const;

  private:
    bool                                 processor_time_;
    std::map<std::string, profile_entry> entries_;
};

}  // namespace fedllm_bench
