// See objective-options.h. Numbers that must agree with others are left to the core.
#include "objective-options.h"

#include "model-handle.h"
#include "option-readers.h"

namespace fedllm::addon {

namespace {

void read_optional(const Napi::Object & object, const char * name, const number_range & range, double & number) {
    const Napi::Value value = object.Get(name);
    if (!value.IsUndefined()) {
        number = read_number(value, name, range);
    }
}

void read_preference(const Napi::Value & value, size_t n_parameters, train_request & request) {
    const Napi::Object object = read_object(value, "preference");
    preference_options preference;
    preference.beta            = read_number(object.Get("beta"), "preference.beta", POSITIVE);
    preference.label_smoothing = read_number(object.Get("labelSmoothing"), "preference.labelSmoothing", PROBABILITY);
    const Napi::Value weights  = object.Get("referenceWeights");
    if (!weights.IsUndefined()) {
        request.reference_weights = read_weights(weights, "preference.referenceWeights", n_parameters);
    }
    request.options.objective.preference = preference;
}

void read_distillation(const Napi::Value & value, train_request & request) {
    const Napi::Object   object = read_object(value, "distillation");
    distillation_options distillation;
    request.teacher                 = model_handle::read_model(object.Get("teacher"), "distillation.teacher");
    request.teacher_frozen          = read_frozen(object.Get("teacherAdapters"), "distillation.teacherAdapters", *request.teacher);
    distillation.hidden_weight      = read_number(object.Get("hiddenWeight"), "distillation.hiddenWeight", NOT_NEGATIVE);
    distillation.divergence_weight  = read_number(object.Get("divergenceWeight"), "distillation.divergenceWeight", NOT_NEGATIVE);
    distillation.boundaries         = read_layers(object.Get("boundaries"), "distillation.boundaries");
    distillation.teacher_boundaries = read_layers(object.Get("teacherBoundaries"), "distillation.teacherBoundaries");
    request.options.objective.distillation = std::move(distillation);
}

}  // namespace

void read_objective(const Napi::Object & options, size_t n_parameters, train_request & request) {
    read_optional(options, "labelSmoothing", PROBABILITY, request.options.objective.label_smoothing);
    read_optional(options, "neftuneAlpha", NOT_NEGATIVE, request.options.objective.neftune_alpha);
    read_optional(options, "loraPlusRatio", POSITIVE, request.options.lora_plus_ratio);
    const Napi::Value scale = options.Get("lossScale");
    if (!scale.IsUndefined()) {
        request.options.loss_scale = read_number(scale, "lossScale", POSITIVE);
    }
    const Napi::Value preference = options.Get("preference");
    if (!preference.IsUndefined()) {
        read_preference(preference, n_parameters, request);
    }
    const Napi::Value distillation = options.Get("distillation");
    if (!distillation.IsUndefined()) {
        read_distillation(distillation, request);
    }
}

}  // namespace fedllm::addon
