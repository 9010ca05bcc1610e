// What graphs take, remembered beside the model whose graphs they are: a graph is a function of model, adapter and request alone, so a
// call like one before need not lay it out again. What is free is looked at anew by each plan. Safe for several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "graph.h"

namespace fedllm {

class graph_measurements {
  public:
    struct entry {
        graph_memory graph;
        size_t       n_parameters = 0;  // of the adapter
        size_t       frozen_bytes = 0;
    };

    // The remembered entry, or the one that `measure` makes now. key: everything the graph depends on beside the model.
    entry get(const std::string & key, const std::function<entry()> & measure);
    // How often something had to be measured.
    int64_t n_measured() const;

  private:
    mutable std::mutex           mutex_;
    std::map<std::string, entry> entries_;
    int64_t                      n_measured_ = 0;
};

}  // namespace fedllm
