// Times the kernel variants (variants.h) on the device with the model's own weights and says which are fastest. It only chooses: what a
// variant may change in the results is stated there, and the caller keeps the choice, because two timings may differ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base-model.h"
#include "variants.h"

namespace fedllm {

struct tuner_options {
    int64_t n_tokens = 512;    // columns of the timed products
    size_t  cache_bytes = 0;   // memory that transposed copies of the whole model may take
    int     n_repeats = 3;     // the median counts
};

struct variant_timing {
    kernel_variants variants;
    double          milliseconds;  // W x and W^T dy of all matrices of two layers
    size_t          bytes;         // of transposed copies of the whole model
};

struct tuner_result {
    kernel_variants             best;
    std::vector<variant_timing> timings;  // the first one is exact: F32 and no copies
};

// On the CPU: products in F32 and, where processor and weights gain by it, in BF16. Elsewhere: no copies and each type of copy that the device can make
// and that fits. A variant that rounds is chosen only if it saves at least 5 %. Throws CONFIG_INVALID, OUT_OF_MEMORY.
tuner_result tune_variants(const base_model & model, const tuner_options & options);

}  // namespace fedllm
