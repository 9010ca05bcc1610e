// Adapter <-> GGUF file in the form that llama_adapter_lora_init reads: keys general.type = adapter,
// general.architecture = the base's, adapter.type = lora, adapter.lora.alpha; tensors <weight>.lora_a and .lora_b.
#include <cmath>
#include <cstring>
#include <set>

#include "adapter.h"
#include "error.h"
#include "gguf-writer.h"

namespace fedllm {

namespace {

// Rank, modules and layers, as the names and shapes of A tell them; whether every pair is there is checked by the layout.
void read_shape(const gguf_file & file, int64_t n_layers, adapter_options & options) {
    const auto fail = [&](const std::string & text) { throw train_error("ADAPTER_INVALID", file.path() + ": " + text); };
    std::set<int64_t> layers;
    for (const char * module : MODULE_NAMES) {
        bool is_targeted = false;
        for (int64_t l = 0; l < n_layers; ++l) {
            const gguf_tensor * tensor = file.find_tensor("blk." + std::to_string(l) + "." + module + ".weight.lora_a");
            if (tensor == nullptr) continue;
            is_targeted = true;
            layers.insert(l);
            if (options.rank != 0 && tensor->ne[1] != options.rank) {
                fail("tensor " + tensor->name + ": expected rank " + std::to_string(options.rank) + " as in the others, received " + std::to_string(tensor->ne[1]));
            }
            if (tensor->ne[1] > (1 << 20)) fail("tensor " + tensor->name + ": expected a small rank, received " + std::to_string(tensor->ne[1]));
            options.rank = int32_t(tensor->ne[1]);
        }
        if (is_targeted) options.target_modules.push_back(module);
    }
    if (layers.empty()) fail("expected tensors such as blk.0.attn_q.weight.lora_a, received none of a known module and layer");
    if (int64_t(layers.size()) < n_layers) options.layers.assign(layers.begin(), layers.end());
}

// A damaged file is an invalid adapter here, not a model that failed to load.
std::shared_ptr<gguf_file> open_adapter(const std::string & path) {
    try {
        return gguf_file::open(path);
    } catch (const train_error & error) {
        throw train_error("ADAPTER_INVALID", error.what());
    }
}

// The numbers of a tensor in another type, rows of ne[0].
std::vector<uint8_t> convert(const adapter_tensor & tensor, const float * values, ggml_type type) {
    std::vector<uint8_t> bytes(ggml_row_size(type, tensor.shape[0]) * size_t(tensor.shape[1]));
    const int64_t count = tensor.shape[0] * tensor.shape[1];
    // F16 is also the type of Q8_0's scales, of 1/127 of the largest number; beyond it is infinity.
    const float limit = type == GGML_TYPE_Q8_0 ? 127.0f * 65504.0f : 65504.0f;
    for (int64_t i = 0; i < count; ++i) {
        if (!(std::fabs(values[i]) <= limit)) {
            throw train_error("ADAPTER_INVALID", "tensor " + tensor.name + ": expected numbers that " + ggml_type_name(type) + " can hold, received " +
                                                     std::to_string(values[i]) + ". Choose F32");
        }
    }
    ggml_quantize_chunk(type, values, bytes.data(), 0, tensor.shape[1], tensor.shape[0], nullptr);
    return bytes;
}

}  // namespace

void adapter_save_gguf(const std::string & path, const base_model & model, const adapter_options & options,
                       const std::vector<float> & weights, ggml_type type) {
    if (type != GGML_TYPE_F32 && type != GGML_TYPE_F16 && type != GGML_TYPE_Q8_0) {
        throw train_error("CONFIG_INVALID", std::string("type: expected f32, f16 or q8_0, received ") + ggml_type_name(type));
    }
    const adapter_layout layout = adapter_make_layout(model, options);
    if (weights.size() != layout.n_parameters) {
        throw train_error("ADAPTER_INVALID", "weights: expected " + std::to_string(layout.n_parameters) + " numbers, received " + std::to_string(weights.size()));
    }
    gguf_writer writer(layout.tensors.size());
    gguf_set_val_str(writer.metadata(), "general.type", "adapter");
    gguf_set_val_str(writer.metadata(), "general.architecture", model.info().architecture.c_str());
    gguf_set_val_str(writer.metadata(), "adapter.type", "lora");
    gguf_set_val_f32(writer.metadata(), "adapter.lora.alpha", options.lora_alpha);
    std::vector<std::vector<uint8_t>> converted;  // until the file is written
    for (const adapter_tensor & entry : layout.tensors) {
        const int64_t shape[4] = { entry.shape[0], entry.shape[1], 1, 1 };
        const float * values = weights.data() + entry.offset;
        const bool    is_whole = entry.shape[0] % ggml_blck_size(type) == 0;
        const ggml_type stored = is_whole ? type : GGML_TYPE_F16;
        if (stored != GGML_TYPE_F32) converted.push_back(convert(entry, values, stored));
        writer.add_tensor(entry.name, stored, shape, stored == GGML_TYPE_F32 ? static_cast<const void *>(values) : converted.back().data());
    }
    writer.write(path);
}

loaded_adapter adapter_load_gguf(const std::string & path, const base_model & model) {
    const std::shared_ptr<gguf_file> file = open_adapter(path);
    const auto fail = [&](const std::string & text) { throw train_error("ADAPTER_INVALID", path + ": " + text); };
    if (file->get_string("general.type").value_or("") != "adapter" || file->get_string("adapter.type").value_or("") != "lora") {
        fail("expected a GGUF of general.type adapter and adapter.type lora, received another kind of file");
    }
    const std::string architecture = file->get_string("general.architecture").value_or("");
    if (architecture != model.info().architecture) {
        fail("expected an adapter for architecture " + model.info().architecture + ", received " + architecture);
    }
    loaded_adapter adapter;
    adapter.options.lora_alpha = float(file->get_float("adapter.lora.alpha").value_or(0.0));
    read_shape(*file, model.info().n_layers, adapter.options);
    const adapter_layout layout = adapter_make_layout(model, adapter.options);
    if (file->tensors().size() != layout.tensors.size()) {
        fail("expected " + std::to_string(layout.tensors.size()) + " tensors, received " + std::to_string(file->tensors().size()));
    }
    adapter.weights.resize(layout.n_parameters);
    for (const adapter_tensor & entry : layout.tensors) {
        const gguf_tensor * tensor = file->find_tensor(entry.name);
        if (tensor == nullptr) fail("tensor " + entry.name + ": expected it in the file, received no such tensor");
        if (tensor->ne[0] != entry.shape[0] || tensor->ne[1] != entry.shape[1] || tensor->ne[2] != 1 || tensor->ne[3] != 1) {
            fail("tensor " + entry.name + ": expected shape [" + std::to_string(entry.shape[0]) + ", " + std::to_string(entry.shape[1]) +
                 "], received [" + std::to_string(tensor->ne[0]) + ", " + std::to_string(tensor->ne[1]) + "]");
        }
        const int64_t count = entry.shape[0] * entry.shape[1];
        float * target = adapter.weights.data() + entry.offset;
        if (tensor->type == GGML_TYPE_F32) {
            std::memcpy(target, file->data() + tensor->offset, size_t(count) * sizeof(float));
        } else if (ggml_get_type_traits(tensor->type)->to_float != nullptr) {
            ggml_get_type_traits(tensor->type)->to_float(file->data() + tensor->offset, target, count);
        } else {
            fail("tensor " + entry.name + ": expected numbers in F32, F16 or a quantized type, received " + ggml_type_name(tensor->type));
        }
        for (int64_t i = 0; i < count; ++i) {
            if (!std::isfinite(target[i])) fail("tensor " + entry.name + ": expected finite numbers, received " + std::to_string(target[i]) + " at " + std::to_string(i));
        }
    }
    return adapter;
}

}  // namespace fedllm
