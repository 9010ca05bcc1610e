// What one run of a micro-batch is to compute. A plain value: runs with equal requests over batches of equal shape need equal graphs.
#pragma once

#include <cstdint>
#include <vector>

namespace fedllm {

struct run_request {
    bool  gradient = false;        // also add the gradient of the batch's loss to the flat buffer
    bool  adapter_off = false;     // leave the side paths out: the base alone
    float label_smoothing = 0.0f;  // see objective_options
    float neftune_alpha = 0.0f;
    // Of a batch with pairs, whose gradient is that of the preference loss (preference.h).
    float preference_beta = 0.0f;
    float preference_smoothing = 0.0f;
    // Multiplies the gradient where it leaves the head. A power of two, so that it costs no bits in F32; it keeps small numbers
    // from vanishing where a device works in F16 (Micikevicius et al. 2018, section 3.2).
    float gradient_scale = 1.0f;
    // Boundaries between layers, ascending: 0 is the input of the first layer, l the output of layer l - 1, whose states
    // hidden_states() reads and which a run with a gradient pulls to the teacher's (batch.teacher, distillation.h).
    std::vector<int64_t> boundaries = {};
    bool  head = true;             // false: nothing above the highest boundary is computed, and there are no scores
    bool  divergence = false;      // the loss of a row is its distance from the teacher's row instead of its label's

    bool operator==(const run_request & other) const {
        return gradient == other.gradient && adapter_off == other.adapter_off && label_smoothing == other.label_smoothing &&
               neftune_alpha == other.neftune_alpha && preference_beta == other.preference_beta &&
               preference_smoothing == other.preference_smoothing && gradient_scale == other.gradient_scale &&
               boundaries == other.boundaries && head == other.head && divergence == other.divergence;
    }
};

}  // namespace fedllm
