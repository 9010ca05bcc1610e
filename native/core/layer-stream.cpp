// See layer-stream.h.
#include "layer-stream.h"

#include <algorithm>

#include "device-memory.h"
#include "error.h"

namespace fedllm {

namespace {

size_t placed_bytes(ggml_backend_buffer_type_t type, const ggml_tensor * tensor) {
    if (tensor == nullptr) return 0;
    const size_t unit = ggml_backend_buft_get_alignment(type);
    return (ggml_backend_buft_get_alloc_size(type, tensor) + unit - 1) / unit * unit;
}

template <typename Visit>
void for_each_tensor(const layer_weights & layer, const Visit & visit) {
    for (ggml_tensor * norm : { layer.attn_norm, layer.ffn_norm, layer.attn_q_norm, layer.attn_k_norm, layer.attn_post_norm, layer.ffn_post_norm }) visit(norm);
    for (ggml_tensor * matrix : layer.linear) visit(matrix);
    for (ggml_tensor * bias : layer.bias) visit(bias);
}

size_t largest_layer(const base_model & model, ggml_backend_buffer_type_t type) {
    size_t largest = 0;
    for (const layer_weights & layer : model.layers()) {
        size_t bytes = 0;
        for_each_tensor(layer, [&](const ggml_tensor * tensor) { bytes += placed_bytes(type, tensor); });
        largest = std::max(largest, bytes);
    }
    return largest;
}

// Which of the two slots an item takes; the head takes both.
bool takes_slot(int64_t item, int64_t slot) { return item == layer_stream::HEAD || item % 2 == slot; }

}  // namespace

stream_sizes stream_measure(const base_model & model, const backend & device, std::optional<size_t> limit) {
    const ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(device.handle);
    const size_t head = placed_bytes(type, model.output());
    stream_sizes sizes;
    sizes.slots = 2 * largest_layer(model, type);
    sizes.resident = placed_bytes(type, model.output_norm()) + placed_bytes(type, model.rope_factors());
    sizes.head_stays = limit && sizes.sum() + head <= *limit;
    if (sizes.head_stays) sizes.resident += head;
    else sizes.slots = std::max(sizes.slots, head);
    return sizes;
}

layer_stream::layer_stream(const base_model & model, const backend & device) : model_(model) {
    const std::optional<size_t> limit = model.options().weight_limit_bytes;
    const stream_sizes sizes = stream_measure(model, device, limit);
    const auto refuse = [&](size_t received) {
        return train_error("OUT_OF_MEMORY", "weights: expected " + bytes_text(sizes.sum()) + " on " + ggml_backend_dev_name(device.device) +
                                                " for two layers and the head, received " + bytes_text(received) + ". Use a smaller model or another device");
    };
    if (limit && sizes.sum() > *limit) throw refuse(*limit);
    const ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(device.handle);
    buffer_ = ggml_backend_buft_alloc_buffer(type, sizes.sum());
    if (buffer_ == nullptr) throw refuse(device_free_bytes(device));
    ggml_backend_buffer_set_usage(buffer_, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    context_ = ggml_init({ ggml_tensor_overhead() * (model.layers().size() * (6 + 2 * MODULE_COUNT) + 8), nullptr, true });
    size_t offset = sizes.slots;
    std::vector<copy> resident;
    output_norm_ = place(model.output_norm(), offset, resident);
    rope_factors_ = place(model.rope_factors(), offset, resident);
    size_t start = 0;
    output_ = sizes.head_stays ? place(model.output(), offset, resident) : place(model.output(), start, head_copies_);
    place_layers(sizes.slots / 2 / ggml_backend_buft_get_alignment(type) * ggml_backend_buft_get_alignment(type));
    for (const copy & c : resident) ggml_backend_tensor_set(c.target, c.source->data, 0, ggml_nbytes(c.source));
}

layer_stream::~layer_stream() {
    ggml_backend_buffer_free(buffer_);
    ggml_free(context_);
}

// A tensor like `source` at `offset` of the buffer, which moves on; nullptr for nullptr.
ggml_tensor * layer_stream::place(const ggml_tensor * source, size_t & offset, std::vector<copy> & copies) {
    if (source == nullptr) return nullptr;
    ggml_tensor * target = ggml_new_tensor(context_, source->type, GGML_MAX_DIMS, source->ne);
    ggml_set_name(target, source->name);
    ggml_backend_tensor_alloc(buffer_, target, static_cast<uint8_t *>(ggml_backend_buffer_get_base(buffer_)) + offset);
    offset += placed_bytes(ggml_backend_buffer_get_type(buffer_), source);
    copies.push_back({ source, target });
    return target;
}

void layer_stream::place_layers(size_t slot_bytes) {
    for (const layer_weights & source : model_.layers()) {
        size_t offset = layers_.size() % 2 * slot_bytes;
        layer_weights layer;
        std::vector<copy> copies;
        const auto move = [&](ggml_tensor * tensor) { return place(tensor, offset, copies); };
        layer.attn_norm = move(source.attn_norm);
        layer.ffn_norm = move(source.ffn_norm);
        layer.attn_q_norm = move(source.attn_q_norm);
        layer.attn_k_norm = move(source.attn_k_norm);
        layer.attn_post_norm = move(source.attn_post_norm);
        layer.ffn_post_norm = move(source.ffn_post_norm);
        for (size_t m = 0; m < MODULE_COUNT; ++m) {
            layer.linear[m] = move(source.linear[m]);
            layer.bias[m] = move(source.bias[m]);
        }
        layers_.push_back(layer);
        copies_.push_back(std::move(copies));
    }
}

// Copies the item's weights, unless they are there since an earlier turn.
void layer_stream::fill(int64_t item) {
    if (item == HEAD && head_copies_.empty()) return;
    bool there = true;
    for (int64_t slot = 0; slot < 2; ++slot) there = there && (!takes_slot(item, slot) || content_[slot] == item);
    if (there) return;
    for (int64_t slot = 0; slot < 2; ++slot) {
        if (takes_slot(item, slot)) content_[slot] = NOTHING;  // until the copy is whole
    }
    for (const copy & c : item == HEAD ? head_copies_ : copies_[size_t(item)]) {
        ggml_backend_tensor_set(c.target, c.source->data, 0, ggml_nbytes(c.source));
        model_.release_pages(c.source);
    }
    for (int64_t slot = 0; slot < 2; ++slot) {
        if (takes_slot(item, slot)) content_[slot] = item;
    }
}

layer_stream::pass::pass(layer_stream & stream, std::vector<int64_t> order) : stream_(stream), order_(std::move(order)) {
    if (stream_.head_copies_.empty()) {  // a head of its own memory needs no turn in the slots, but keeps its place in the order
        for (int64_t & item : order_) item = item == HEAD ? NOTHING : item;
    }
    thread_ = std::thread([this] { copy_all(); });
}

layer_stream::pass::~pass() {
    {
        const std::lock_guard<std::mutex> guard(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void layer_stream::pass::copy_all() {
    size_t last_use[2] = { 0, 0 };  // 1 + the last earlier item in each slot; 0: none
    for (size_t i = 0; i < order_.size(); ++i) {
        const int64_t item = order_[i];
        const bool    copies = item >= HEAD;
        size_t        wait_for = 0;
        for (int64_t slot = 0; copies && slot < 2; ++slot) {
            if (!takes_slot(item, slot)) continue;
            wait_for = std::max(wait_for, last_use[slot]);
            last_use[slot] = i + 1;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || n_done_ >= wait_for; });
        if (stop_) return;
        lock.unlock();
        try {
            if (copies) stream_.fill(item);
        } catch (...) {
            lock.lock();
            failure_ = std::current_exception();
            changed_.notify_all();
            return;
        }
        lock.lock();
        n_ready_ = i + 1;
        changed_.notify_all();
    }
}

void layer_stream::pass::acquire() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return failure_ != nullptr || n_ready_ > n_done_; });
    if (failure_ != nullptr) std::rethrow_exception(failure_);
}

void layer_stream::pass::release() {
    {
        const std::lock_guard<std::mutex> guard(mutex_);
        n_done_ += 1;
    }
    changed_.notify_all();
}

}  // namespace fedllm
