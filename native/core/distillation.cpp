// See distillation.h. A sample is a sequence of the batch: there are no groups here.
#include "distillation.h"

#include <algorithm>
#include <cmath>

#include "error.h"
#include "objective.h"

namespace fedllm {

namespace {

// Squared norms of a teacher that is all zeros would divide by zero.
constexpr double SMALLEST_SQUARE = 1e-30;

void check_teacher(const base_model & teacher, const base_model & student) {
    const model_info & t = teacher.info(), & s = student.info();
    const auto refuse = [](const char * what, const std::string & expected, const std::string & received) {
        throw train_error("CONFIG_INVALID", std::string("teacher: expected ") + what + " of the student, " + expected + ", received " + received);
    };
    if (t.architecture != s.architecture) refuse("the architecture", s.architecture, t.architecture);
    if (t.n_embd != s.n_embd) refuse("the width", std::to_string(s.n_embd), std::to_string(t.n_embd));
    if (t.n_vocab != s.n_vocab) refuse("the vocabulary", std::to_string(s.n_vocab), std::to_string(t.n_vocab));
    if (teacher.options().device != student.options().device) refuse("the device", student.options().device, teacher.options().device);
}

// Without the divergence nothing depends on what lies above the highest boundary.
void check_reach(const distillation_options & o, const base_model & student, const adapter_options & adapter) {
    if (o.divergence_weight > 0.0) return;
    if (o.boundaries.empty()) throw train_error("CONFIG_INVALID", "boundaries: expected at least one where hiddenWeight alone is set, received none");
    const int64_t highest = adapter.layers.empty() ? student.info().n_layers - 1 : adapter.layers.back();
    if (highest < o.boundaries.back()) return;
    throw train_error("CONFIG_INVALID", "adapter.layers: expected layers below the highest boundary, " + std::to_string(o.boundaries.back()) +
                                            ", since divergenceWeight is 0, received layer " + std::to_string(highest));
}

// Sum of the values of one sequence.
double sum_of(const std::vector<float> & values, const sequence_span & sequence) {
    double sum = 0.0;
    for (int64_t t = sequence.start; t < sequence.start + sequence.length; ++t) sum += double(values[size_t(t)]);
    return sum;
}

// Calls visit(sequence, its loss rows [first, last)).
template <typename Visit>
void for_each_sample(const micro_batch & batch, const Visit & visit) {
    size_t first = 0;
    for (const sequence_span & sequence : batch.sequences) {
        size_t last = first;
        while (last < batch.loss_rows.size() && batch.loss_rows[last] < sequence.start + sequence.length) ++last;
        visit(sequence, first, last);
        first = last;
    }
}

// weight / ||target||^2 of its sample for each token, [T].
std::vector<float> token_factors(const micro_batch & batch, const std::vector<float> & target, double weight) {
    const size_t n_embd = target.size() / size_t(batch.n_tokens());
    std::vector<float> factors(size_t(batch.n_tokens()));
    for (const sequence_span & sequence : batch.sequences) {
        double square = 0.0;
        const size_t begin = size_t(sequence.start), end = size_t(sequence.start + sequence.length);
        for (size_t i = begin * n_embd; i < end * n_embd; ++i) square += double(target[i]) * double(target[i]);
        std::fill(factors.begin() + int64_t(begin), factors.begin() + int64_t(end), float(weight / std::max(square, SMALLEST_SQUARE)));
    }
    return factors;
}

}  // namespace

void check_boundaries(const std::vector<int64_t> & boundaries, int64_t n_layers, const char * subject) {
    int64_t last = -1;
    for (const int64_t boundary : boundaries) {
        if (boundary > last && boundary <= n_layers) {
            last = boundary;
            continue;
        }
        throw train_error("CONFIG_INVALID", std::string(subject) + ": expected ascending numbers from 0 to " + std::to_string(n_layers) + ", received " + std::to_string(boundary));
    }
}

void check_distillation(const objective_options & objective, const base_model & student, const adapter_options & adapter, const sample_set & samples) {
    if (!objective.distillation) return;
    const distillation_options & o = *objective.distillation;
    if (objective.preference) throw train_error("CONFIG_INVALID", "distillation: expected no preferences beside it, received both");
    require_option(objective.label_smoothing == 0.0, "labelSmoothing", "0 where a teacher is followed", objective.label_smoothing);
    require_option(std::isfinite(o.hidden_weight) && o.hidden_weight >= 0.0, "hiddenWeight", "a finite number of at least 0", o.hidden_weight);
    require_option(std::isfinite(o.divergence_weight) && o.divergence_weight >= 0.0, "divergenceWeight", "a finite number of at least 0", o.divergence_weight);
    require_option(o.hidden_weight > 0.0 || o.divergence_weight > 0.0, "hiddenWeight", "above 0 where divergenceWeight is 0", o.hidden_weight);
    if (o.teacher == nullptr) throw train_error("CONFIG_INVALID", "teacher: expected a model, received none");
    check_teacher(*o.teacher, student);
    check_boundaries(o.boundaries, student.info().n_layers, "boundaries");
    check_boundaries(o.teacher_boundaries, o.teacher->info().n_layers, "teacherBoundaries");
    require_option(o.boundaries.size() == o.teacher_boundaries.size(), "teacherBoundaries", "one for each boundary", double(o.teacher_boundaries.size()));
    check_reach(o, student, adapter);
    if (samples.weights != nullptr) throw train_error("DATASET_INVALID", "samples: expected none with weights of tokens where a teacher is followed, received weights");
    if (samples.group_offsets != nullptr) throw train_error("DATASET_INVALID", "samples: expected none in groups where a teacher is followed, received groups");
}

void request_distillation(const distillation_options & options, run_request & student) {
    student.boundaries = options.boundaries;
    student.divergence = student.head = options.divergence_weight > 0.0;
}

run_request teacher_request(const distillation_options & options) {
    run_request request;
    request.head = false;
    request.boundaries = options.teacher_boundaries;
    const int64_t last = options.teacher->info().n_layers;
    if (options.divergence_weight > 0.0 && (request.boundaries.empty() || request.boundaries.back() != last)) request.boundaries.push_back(last);
    return request;
}

void attach_teacher(micro_batch & batch, const distillation_options & options, engine & teacher) {
    std::vector<std::vector<float>> states = teacher.hidden_states(batch, teacher_request(options));
    batch.teacher = {};
    if (options.divergence_weight > 0.0) {
        const std::vector<float> & last = states.back();
        const size_t n_embd = last.size() / size_t(batch.n_tokens());
        for (const int32_t row : batch.loss_rows) batch.teacher.rows.insert(batch.teacher.rows.end(), last.begin() + int64_t(size_t(row) * n_embd), last.begin() + int64_t((size_t(row) + 1) * n_embd));
        batch.weights.assign(batch.loss_rows.size(), 0.0f);
        for_each_sample(batch, [&](const sequence_span &, size_t first, size_t end) {
            std::fill(batch.weights.begin() + int64_t(first), batch.weights.begin() + int64_t(end), float(options.divergence_weight / double(end - first)));
        });
    }
    states.resize(options.teacher_boundaries.size());
    batch.teacher.targets = std::move(states);
    for (const std::vector<float> & target : batch.teacher.targets) batch.teacher.factors.push_back(token_factors(batch, target, options.hidden_weight));
}

distillation_metrics read_distillation(const micro_batch & batch, const distillation_options & options, const std::vector<row_score> & rows,
                                       const std::vector<std::vector<float>> & errors) {
    distillation_metrics sums;
    for (size_t b = 0; b < errors.size(); ++b) {
        const std::vector<float> factors = token_factors(batch, batch.teacher.targets[b], 1.0);
        for (const sequence_span & sequence : batch.sequences) sums.hidden += double(factors[size_t(sequence.start)]) * sum_of(errors[b], sequence);
    }
    if (options.divergence_weight == 0.0) return sums;
    for_each_sample(batch, [&](const sequence_span &, size_t first, size_t last) {
        double sum = 0.0;
        for (size_t i = first; i < last; ++i) sum += double(rows[i].divergence);
        sums.divergence += sum / double(last - first);
    });
    return sums;
}

double distillation_loss(const distillation_options & options, const distillation_metrics & metrics) {
    return options.hidden_weight * metrics.hidden + options.divergence_weight * metrics.divergence;
}

}  // namespace fedllm
