// Layout and initial values of an adapter.
#include "adapter.h"

#include <algorithm>
#include <cmath>

#include "error.h"
#include "random.h"

namespace fedllm {

namespace {

std::vector<module_kind> resolve_modules(const adapter_options & options) {
    std::vector<module_kind> modules;
    for (const std::string & name : options.target_modules) {
        const auto it = std::find_if(MODULE_NAMES.begin(), MODULE_NAMES.end(), [&](const char * known) { return name == known; });
        if (it == MODULE_NAMES.end()) {
            std::string known;
            for (const char * module : MODULE_NAMES) known += (known.empty() ? "" : ", ") + std::string(module);
            throw train_error("ADAPTER_INVALID", "targetModules: expected names out of " + known + ", received " + name);
        }
        const module_kind kind = module_kind(it - MODULE_NAMES.begin());
        if (std::find(modules.begin(), modules.end(), kind) != modules.end()) {
            throw train_error("ADAPTER_INVALID", "targetModules: expected each name once, received " + name + " twice");
        }
        modules.push_back(kind);
    }
    if (modules.empty()) throw train_error("ADAPTER_INVALID", "targetModules: expected at least one module, received none");
    std::sort(modules.begin(), modules.end());
    return modules;
}

// All layers when none are named.
std::vector<int64_t> resolve_layers(const adapter_options & options, int64_t n_layers) {
    std::vector<int64_t> layers = options.layers;
    for (size_t i = 0; i < layers.size(); ++i) {
        if (layers[i] < 0 || layers[i] >= n_layers || (i > 0 && layers[i] <= layers[i - 1])) {
            throw train_error("ADAPTER_INVALID", "layers: expected ascending numbers from 0 to " + std::to_string(n_layers - 1) + ", received " +
                                                     std::to_string(layers[i]) + (i > 0 ? " after " + std::to_string(layers[i - 1]) : ""));
        }
    }
    for (int64_t l = 0; options.layers.empty() && l < n_layers; ++l) layers.push_back(l);
    return layers;
}

[[noreturn]] void refuse_module(const base_model & model, module_kind module) {
    std::string there;
    for (size_t m = 0; m < MODULE_COUNT; ++m) {
        if (model.layers()[0].linear[m] != nullptr) there += (there.empty() ? "" : ", ") + std::string(MODULE_NAMES[m]);
    }
    throw train_error("ADAPTER_INVALID", "targetModules: expected modules of architecture " + model.info().architecture + " (" + there + "), received " +
                                             MODULE_NAMES[size_t(module)]);
}

}  // namespace

adapter_layout adapter_make_layout(const base_model & model, const adapter_options & options) {
    if (options.rank < 1) throw train_error("ADAPTER_INVALID", "rank: expected at least 1, received " + std::to_string(options.rank));
    if (!std::isfinite(options.lora_alpha) || options.lora_alpha <= 0.0f) {
        throw train_error("ADAPTER_INVALID", "loraAlpha: expected a finite number above 0, received " + std::to_string(options.lora_alpha));
    }
    adapter_layout layout;
    const std::vector<module_kind> modules = resolve_modules(options);
    for (const int64_t l : resolve_layers(options, model.info().n_layers)) {
        for (module_kind module : modules) {
            const ggml_tensor * weight = model.layers()[size_t(l)].linear[size_t(module)];
            if (weight == nullptr) refuse_module(model, module);
            const int64_t d_in = weight->ne[0], d_out = weight->ne[1];
            if (options.rank > std::min(d_in, d_out)) {
                throw train_error("ADAPTER_INVALID", "rank: expected at most " + std::to_string(std::min(d_in, d_out)) + " for " + weight->name +
                                                         ", received " + std::to_string(options.rank));
            }
            for (const bool is_b : { false, true }) {
                adapter_tensor tensor;
                tensor.name     = std::string(weight->name) + (is_b ? ".lora_b" : ".lora_a");
                tensor.shape[0] = is_b ? options.rank : d_in;
                tensor.shape[1] = is_b ? d_out : options.rank;
                tensor.offset   = layout.n_parameters;
                tensor.layer    = int32_t(l);
                tensor.module   = module;
                tensor.is_b     = is_b;
                layout.n_parameters += size_t(tensor.shape[0] * tensor.shape[1]);
                layout.tensors.push_back(std::move(tensor));
            }
        }
    }
    return layout;
}

std::vector<float> adapter_init_weights(const adapter_layout & layout, uint64_t seed) {
    // B starts at zero, so the first forward pass equals the base model (LoRA paper, section 4.1).
    std::vector<float> weights(layout.n_parameters, 0.0f);
    for (const adapter_tensor & tensor : layout.tensors) {
        if (tensor.is_b) continue;
        const uint64_t key   = random_combine(seed, random_hash_name(tensor.name));
        const float    bound = 1.0f / std::sqrt(float(tensor.shape[0]));
        const size_t   count = size_t(tensor.shape[0] * tensor.shape[1]);
        for (size_t i = 0; i < count; ++i) weights[tensor.offset + i] = (2.0f * random_uniform(key, i) - 1.0f) * bound;
    }
    return weights;
}

}  // namespace fedllm
