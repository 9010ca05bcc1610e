// The options of what is minimised and of how the two halves of a pair are trained.
#pragma once

#include "options.h"

namespace fedllm::addon {

// Reads labelSmoothing, neftuneAlpha, preference, distillation, loraPlusRatio and lossScale, all optional. Errors as in options.h.
void read_objective(const Napi::Object & options, size_t n_parameters, train_request & request);

}  // namespace fedllm::addon
