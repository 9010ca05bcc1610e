// See frozen.h. Each adapter is one flat tensor, its pairs are views.
#include "frozen.h"

#include "error.h"

namespace fedllm {

frozen_weights::frozen_weights(const base_model & model, const std::vector<frozen_adapter> & adapters, ggml_backend_t device, bool place) {
    pairs_.resize(model.layers().size());
    if (adapters.empty()) return;
    std::vector<adapter_layout> layouts;
    size_t n_tensors = adapters.size();
    for (const frozen_adapter & adapter : adapters) {
        if (place && adapter.weights == nullptr) throw train_error("ADAPTER_INVALID", "frozen adapter: expected weights, received none");
        layouts.push_back(adapter_make_layout(model, adapter.options));
        n_tensors += layouts.back().tensors.size();
    }
    context_ = ggml_init({ ggml_tensor_overhead() * (n_tensors + 8), nullptr, true });
    std::vector<ggml_tensor *> flats;
    for (const adapter_layout & layout : layouts) {
        flats.push_back(ggml_new_tensor_1d(context_, GGML_TYPE_F32, int64_t(layout.n_parameters)));
        bytes_ += layout.n_parameters * sizeof(float);
    }
    if (place) place_weights(adapters, flats, device);
    else for (ggml_tensor * flat : flats) flat->data = this;  // any address: it is placed, and never looked at
    for (size_t i = 0; i < adapters.size(); ++i) add_views(layouts[i], adapters[i].options.scale(), flats[i]);
}

frozen_weights::~frozen_weights() {
    if (buffer_) ggml_backend_buffer_free(buffer_);
    if (context_) ggml_free(context_);
}

void frozen_weights::place_weights(const std::vector<frozen_adapter> & adapters, const std::vector<ggml_tensor *> & flats, ggml_backend_t device) {
    buffer_ = ggml_backend_alloc_ctx_tensors(context_, device);
    if (buffer_ == nullptr) {
        ggml_free(context_);
        throw train_error("OUT_OF_MEMORY", "frozen adapters: expected " + std::to_string(bytes_) + " bytes, received too little. Lower their rank");
    }
    for (size_t i = 0; i < flats.size(); ++i) ggml_backend_tensor_set(flats[i], adapters[i].weights, 0, ggml_nbytes(flats[i]));
}

void frozen_weights::add_views(const adapter_layout & layout, float scale, ggml_tensor * flat) {
    // In layout order B follows its A.
    for (const adapter_tensor & entry : layout.tensors) {
        ggml_tensor * view = ggml_view_2d(context_, flat, entry.shape[0], entry.shape[1], size_t(entry.shape[0]) * sizeof(float), entry.offset * sizeof(float));
        if (buffer_ != nullptr) ggml_backend_view_init(view);
        std::vector<frozen_pair> & pairs = pairs_[size_t(entry.layer)][size_t(entry.module)];
        if (!entry.is_b) pairs.push_back({ view, nullptr, scale });
        else pairs.back().b = view;
    }
}

}  // namespace fedllm
