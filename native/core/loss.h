// Final norm, head and cross-entropy on the rows that carry loss, in chunks: the full matrix of logits never exists.
#pragma once

#include <vector>

#include "batch.h"
#include "graph.h"
#include "run-request.h"

namespace fedllm {

// Rows of logits computed at once, unless memory is short: 256 rows of a vocabulary of 128k are 131 MB.
constexpr int64_t HEAD_CHUNK = 256;

struct head_module {
    ggml_tensor * norm = nullptr;    // [n_embd]
    ggml_tensor * output = nullptr;  // [n_embd, n_vocab]
    float         epsilon = 0.0f;
    float         scale = 1.0f;      // of the logits
    float         cap = 0.0f;        // logits -> cap * tanh(logits / cap); 0: none
    int64_t       chunk = HEAD_CHUNK;
};

// Results of one chunk, to be read after the run.
struct head_chunk {
    int64_t begin, count;
    ggml_tensor * stats = nullptr;                            // CPU kernels: [3, count] log-probability, most likely token, mean log-probability
    ggml_tensor * label_logit = nullptr;                      // otherwise: logit of the label,
    ggml_tensor * top_logit = nullptr;                        // of the most likely token,
    ggml_tensor * top_probability = nullptr;                  // its probability
    ggml_tensor * top_token = nullptr;                        // and its id;
    ggml_tensor * mean_logit = nullptr;                       // over the vocabulary, with label smoothing
    // With a teacher, instead of all that: divergence of each row, [1, count], on the CPU;
    ggml_tensor * divergence = nullptr;
    // otherwise sum of q (log q - log p) up to the difference of log sums, which comes from the top logits of both and their probabilities.
    ggml_tensor * cross = nullptr, * teacher_top_logit = nullptr, * teacher_top_probability = nullptr;
};

struct head_result {
    std::vector<head_chunk> chunks;
    ggml_tensor *           d_hidden = nullptr;  // [n_embd, T], gradient of the summed loss; nullptr without gradient
};

// hidden [n_embd, T]. With gradient: d(sum of weight * loss)/d hidden, times the request's gradient_scale. The loss of a row is
// -(1 - e) log p(label) - e * mean of log p over the vocabulary, e the label smoothing (Szegedy et al. 2016, section 7).
// With preferences the gradient is that of the pairs' loss instead, in the same graph: scores, margins, weights of rows.
// With request.divergence the loss of a row is KL(q || p) = sum of q (log q - log p) over the vocabulary, p the softmax of its logits and
// q that of the teacher's row (batch.teacher.rows), which goes through the same norm and head in the same chunk.
head_result head_loss(graph_builder & g, const head_module & head, const micro_batch & batch, ggml_tensor * hidden, const run_request & request);

struct row_score {
    float   log_probability;
    int32_t top_token;
    float   mean_log_probability;  // over the vocabulary; 0 unless labels are smoothed
    float   divergence = 0.0f;     // from the teacher; then it alone is set
};
// A row's loss before its weight.
double row_loss(const row_score & score, double label_smoothing);
// Reads the scores of all loss rows, in order.
std::vector<row_score> head_read_scores(const head_result & result);

// Logits of every row of `hidden`, [n_vocab, T] in chunks; for tests.
std::vector<ggml_tensor *> head_logits(graph_builder & g, const head_module & head, ggml_tensor * hidden);

}  // namespace fedllm
