// The local training loop and the evaluator: the whole of what a caller needs from the core.
// A call keeps no state; the same arguments on the same machine with the same number of threads give the same bits.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "adapter.h"
#include "base-model.h"
#include "hidden-cache.h"

namespace fedllm {

// Samples concatenated. supervised[i] != 0: the token at i is predicted from those before it and learned.
// The first position of a sample is never supervised. Pointers must outlive the call.
struct sample_set {
    const int32_t *  tokens = nullptr;
    const uint8_t *  supervised = nullptr;
    const uint32_t * offsets = nullptr;  // n_samples + 1 entries
    size_t           n_samples = 0;
    // One per token, nullptr: all 1. Those of supervised tokens multiply -log p in the loss and in its gradient; finite, of any
    // sign, and not all zero within a sample.
    const float *    weights = nullptr;
    // Neighbours that form groups, nullptr: every sample is one of its own. The longest prefix that the members of a group have
    // in common is computed once; losses and gradients are those of the members alone. Steps and micro-batches count groups.
    const uint32_t * group_offsets = nullptr;  // n_groups + 1 entries, the first 0, the last n_samples
    size_t           n_groups = 0;

    size_t count_groups() const { return group_offsets == nullptr ? n_samples : n_groups; }
};

// Direct preference optimization (preference.h) over groups of two samples, the chosen answer and the rejected one.
struct preference_options {
    double        beta = 0.1;                    // 1e-6 to 1e6: how strongly the trained policy is held to the reference
    double        label_smoothing = 0.0;         // 0 <= s < 0.5: part of the preferences that is taken to be wrong
    const float * reference_weights = nullptr;   // adapter of the reference, layout order; nullptr: the base without an adapter
};

// A student that follows a teacher of more layers (distillation.h).
struct distillation_options {
    const base_model *          teacher = nullptr;  // on the student's device, with its width, vocabulary, final norm and head
    std::vector<frozen_adapter> teacher_adapters;   // of its layers
    double                      hidden_weight = 1.0;      // of the states' relative squared error
    double                      divergence_weight = 0.0;  // of KL(teacher || student); 0: nothing above the highest boundary is computed
    // Of the student, ascending, and the teacher's boundary that each is to be like, ascending too: 0 is the input of the first
    // layer, l the output of layer l - 1.
    std::vector<int64_t>        boundaries;
    std::vector<int64_t>        teacher_boundaries;
};

// What is minimised beyond the plain supervised loss.
struct objective_options {
    double label_smoothing = 0.0;  // e of the target (1 - e) onehot + e / n_vocab; 0 <= e < 1
    // NEFTune (Jain et al. 2023, algorithm 1): uniform numbers in +-alpha / sqrt(L * n_embd) are added to the rows of the embedding
    // table, before an architecture's scale, L the number of computed tokens of the sample (of the longest that shares a prefix).
    // Training only; 0: none.
    double neftune_alpha = 0.0;
    std::optional<preference_options> preference;  // absent: the supervised loss
    std::optional<distillation_options> distillation;  // instead of the supervised loss; not with preferences
};

// AdamW as in torch.optim.AdamW, moments zero at the start of the call.
struct optimizer_options {
    double                beta1 = 0.9;
    double                beta2 = 0.999;
    double                epsilon = 1e-8;
    double                weight_decay = 0.0;
    std::optional<double> max_gradient_norm;  // global L2; absent: no clipping
};

// Which half of each pair is trained; the other keeps its bits.
enum class trained_half { both, a, b };

// Memory of one call. Both fields are for tests and tools; normally what is free on the device decides.
struct memory_options {
    std::optional<size_t> limit;             // bytes that the call may plan with
    std::optional<size_t> allocation_limit;  // a larger graph is refused as if the device had no more
};

// How a call was computed so as to fit into memory.
struct memory_use {
    int64_t micro_batch_tokens = 0;
    bool    recomputes = false;     // layers are computed again in the backward pass
    bool    streams = false;        // weights come from the file layer by layer
    bool    fell_back = false;      // memory ran out once and a leaner plan took over
    size_t  planned_bytes = 0;      // what the plan took to be needed beside loaded weights
    size_t  planned_peak = 0;       // highest resident memory of the process by the plan; on the CPU with all weights
    size_t  planned_device_bytes = 0;  // of the adapter, activations and checkpoints on the device, by the plan
    size_t  device_bytes = 0;       // what these took
};

struct train_options {
    adapter_options   adapter;
    std::vector<frozen_adapter> frozen;  // beside the trained one
    sample_set        samples;           // groups are consumed in order, batch_size a step, starting over at the end
    objective_options objective;
    int64_t           local_steps = 0;
    int64_t           batch_size = 0;    // groups (samples where there are none) per optimizer step
    int64_t           micro_batch_tokens = 0;
    double            learning_rate = 0.0;
    double            lora_plus_ratio = 1.0;  // the learning rate of B over that of A, which is learning_rate (Hayou et al. 2024, LoRA+)
    trained_half      trained = trained_half::both;
    // A and B in layout order, fixed: then the inner matrices R between them are trained (inner.h), and the start weights, the
    // anchor, the offset and the result are R's. Not with `trained` or lora_plus_ratio. nullptr: A and B are trained.
    const float *     outer = nullptr;
    optimizer_options optimizer;
    double            dropout = 0.0;     // on the input of A, inverted scaling as in PEFT
    uint64_t          seed = 0;          // of dropout and NEFTune's noise
    double            proximal_mu = 0.0; // adds mu/2 * ||w - anchor||^2 to the loss of each step
    const float *     proximal_anchor = nullptr;  // layout order; nullptr: none
    const float *     gradient_offset = nullptr;  // after each step w -= the tensor's learning rate * offset; nullptr: none
    // Multiplies gradients inside the graph and is divided out again; a power of two from 2^-24 to 2^126, so that F32 gives the same
    // bits. Absent: 1 on the CPU, 1024 elsewhere. A step whose gradient overflows is repeated with half of it, at most 24 times.
    std::optional<double> loss_scale;
    memory_options    memory;
    // Of this model: hidden states below the lowest adapted layer. Groups and noise on the embeddings do not use it. On the CPU it
    // changes no bit; elsewhere rounding, because sequences then pass the lower layers one by one. nullptr: none.
    hidden_cache *    cache = nullptr;
};

struct train_progress {
    int64_t step;       // finished optimizer steps
    double  loss;       // sum of weight * loss over the step's supervised tokens / sum of |weight|; of preferences the mean over pairs
    int64_t n_tokens;   // computed tokens of this step
};

// Means over the pairs of a step, before the step. A reward is beta * (log pi - log ref) of an answer.
struct preference_metrics {
    double reward_margin = 0.0;    // reward of the chosen answer minus that of the rejected one
    double reward_accuracy = 0.0;  // part of the pairs with a positive margin; zero counts half
    double chosen_reward = 0.0, rejected_reward = 0.0;
    double chosen_log_probability = 0.0, rejected_log_probability = 0.0;
};

// Means over the samples of a step, before the step and before their weights.
struct distillation_metrics {
    double hidden = 0.0;      // relative squared error, summed over boundaries
    double divergence = 0.0;  // mean KL of supervised positions; 0 where it has no weight
};

struct train_result {
    std::vector<float>  weights;
    std::vector<double> step_losses;
    std::vector<preference_metrics> preference_steps;  // with preferences only
    std::vector<distillation_metrics> distillation_steps;    // with a teacher only
    std::vector<double> gradient_norms;  // global, before clipping, proximal term included
    int64_t             n_tokens = 0;
    int64_t             n_supervised_tokens = 0;
    double              loss_scale = 1.0;       // at the end
    int64_t             n_scale_halvings = 0;   // steps computed again because their gradient overflowed
    double              duration_ms = 0.0;
    memory_use          memory;
    hidden_cache_counts cache;       // zero where none was used
};

using progress_callback = std::function<void(const train_progress &)>;

// Throws CONFIG_INVALID, DATASET_INVALID (names the sample), TRAIN_DIVERGED (names the step), CANCELLED, OUT_OF_MEMORY.
train_result train(const base_model & model, const train_options & options, const std::vector<float> & start_weights,
                   const progress_callback & on_progress, const std::atomic<bool> & cancel);

struct evaluate_options {
    const adapter_options *    adapter = nullptr;  // nullptr: the base alone
    const std::vector<float> * weights = nullptr;
    std::vector<frozen_adapter> frozen;
    sample_set                 samples;
    int64_t                    micro_batch_tokens = 0;
    memory_options             memory;
    hidden_cache *             cache = nullptr;  // as in train_options
};

struct sample_score {
    double   log_probability = 0.0;  // natural log, summed over supervised tokens
    uint32_t n_supervised = 0;
    uint32_t n_correct = 0;          // supervised tokens where the most likely token is the right one
};

struct evaluation {
    std::vector<sample_score> scores;  // in the order of the samples
    double                    duration_ms = 0.0;
    memory_use                memory;
};

evaluation evaluate(const base_model & model, const evaluate_options & options, const std::atomic<bool> & cancel);

// For tests and tools: loss and gradient of one set of samples, weighted and summed over supervised tokens (not divided).
// gradient: layout order, resized and overwritten.
struct gradient_result {
    double  loss_sum = 0.0;
    int64_t n_supervised = 0;
    double  weight_sum = 0.0;  // of |weight| over supervised tokens; of preferences the number of pairs, of distillation that of samples
    preference_metrics preference;  // sums over pairs
    distillation_metrics distillation;  // sums over samples
};
struct gradient_options {
    int64_t           micro_batch_tokens = 4096;
    objective_options objective;
    std::vector<frozen_adapter> frozen;
    double            dropout = 0.0;
    uint64_t          seed = 0;
    double            gradient_scale = 1.0;  // a power of two; the gradient comes out multiplied by it
    bool              portable = false;      // only operations that every backend has
    hidden_cache *    cache = nullptr;       // with a capacity; as in train_options
};
gradient_result loss_and_gradient(const base_model & model, const adapter_options & adapter, const std::vector<float> & weights,
                                  const sample_set & samples, const gradient_options & options, std::vector<float> & gradient);

// States of the residual stream at chosen boundaries, for every computed token of every sample: those before its last supervised one.
struct hidden_states_options {
    const adapter_options *    adapter = nullptr;  // nullptr: the base alone
    const std::vector<float> * weights = nullptr;
    std::vector<frozen_adapter> frozen;
    sample_set                 samples;            // without groups
    std::vector<int64_t>       boundaries;         // ascending, 0 (input of the first layer) to n_layers (before the final norm)
    int64_t                    micro_batch_tokens = 0;
    memory_options             memory;
};
struct hidden_states_result {
    std::vector<uint32_t>           offsets;  // n_samples + 1: where each sample's tokens begin in the states
    std::vector<std::vector<float>> states;   // per boundary: [offsets.back()][n_embd]
};
// Throws CONFIG_INVALID, DATASET_INVALID, CANCELLED, OUT_OF_MEMORY. What it returns is held in memory as a whole.
hidden_states_result hidden_states(const base_model & model, const hidden_states_options & options, const std::atomic<bool> & cancel);

// For tests: logits [n_vocab] of every position of one sequence, row after row.
std::vector<float> compute_logits(const base_model & model, const adapter_options * adapter,
                                  const std::vector<float> * weights, const std::vector<int32_t> & tokens,
                                  const std::vector<frozen_adapter> & frozen = {});

}  // namespace fedllm
