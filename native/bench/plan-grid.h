// The memory planner's predictions beside what processes of their own take.
#pragma once

#include <string>

namespace fedllm_bench {

// Trains two steps of each case of a grid on random models, prints a Markdown table of predicted and measured peaks, and the worst
// ratio. Returns the exit code: 1 when a prediction is off by more than a tenth.
int print_plan_grid(const std::string & libs_dir);

}  // namespace fedllm_bench
