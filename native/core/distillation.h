// A student follows a teacher of more layers, of whose states and logits it is to have the like with fewer: the alignment of an
// emulator in FedBiOT (Wu et al. 2024, arXiv 2406.17706). The host's half; the gradient's half is in engine-states.cpp and
// loss.cpp. With h_b a sample's states at a boundary between layers ([T, n_embd], all computed tokens), h*_b the teacher's, and p and q the
// next-token distributions of student and teacher, a sample's loss is
//   hidden_weight * sum over b of ||h_b - h*_b||^2 / ||h*_b||^2  +  divergence_weight * mean over supervised positions of KL(q || p)
// and a step's the mean over its samples. The first term is the mean of ((h - h*) / rms(h*))^2. The teacher is computed for each
// micro-batch as it is needed, so nothing but the micro-batch's states is held, and both go through the head in the same chunks.
#pragma once

#include <vector>

#include "engine.h"
#include "trainer.h"

namespace fedllm {

// Throws CONFIG_INVALID unless the boundaries ascend from at least 0 to at most n_layers. `subject` begins the message.
void check_boundaries(const std::vector<int64_t> & boundaries, int64_t n_layers, const char * subject);

// Throws CONFIG_INVALID for weights and boundaries outside their range, a teacher of another shape or device, and an adapter that the
// loss does not depend on; DATASET_INVALID for samples with weights or groups.
void check_distillation(const objective_options & objective, const base_model & student, const adapter_options & adapter, const sample_set & samples);

// What student and teacher are asked for.
void        request_distillation(const distillation_options & options, run_request & student);
run_request teacher_request(const distillation_options & options);

// Runs the teacher over the batch and fills batch.teacher, and batch.weights with those of the rows' divergences.
void attach_teacher(micro_batch & batch, const distillation_options & options, engine & teacher);

// Sums over the batch's samples, before the weights. rows and errors as engine::run gives them.
distillation_metrics read_distillation(const micro_batch & batch, const distillation_options & options, const std::vector<row_score> & rows,
                                       const std::vector<std::vector<float>> & errors);

double distillation_loss(const distillation_options & options, const distillation_metrics & metrics);

}  // namespace fedllm
