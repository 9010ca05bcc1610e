// See emulator.h.
#include "emulator.h"

#include <sys/stat.h>

#include <cstdlib>

#include "base-model.h"
#include "error.h"
#include "gguf-writer.h"

namespace fedllm {

namespace {

[[noreturn]] void refuse(const std::string & path, const std::string & text) { throw train_error("MODEL_UNSUPPORTED", path + ": " + text); }

// Keys that may hold a list with a number for each layer, without the architecture's name.
constexpr const char * LAYER_KEYS[] = { "feed_forward_length", "attention.head_count", "attention.head_count_kv", "attention.key_length",
                                        "attention.value_length" };

void check_layers(const std::vector<int64_t> & kept, int64_t n_layers) {
    if (kept.empty()) throw train_error("CONFIG_INVALID", "layers: expected at least one layer to keep, received none");
    int64_t before = -1;
    for (const int64_t layer : kept) {
        if (layer <= before || layer >= n_layers) {
            throw train_error("CONFIG_INVALID", "layers: expected ascending numbers from 0 to " + std::to_string(n_layers - 1) + ", received " +
                                                    std::to_string(layer) + (before < 0 ? "" : " after " + std::to_string(before)));
        }
        before = layer;
    }
}

void check_paths(const std::string & input, const std::string & output) {
    struct stat from{}, to{};
    if (stat(input.c_str(), &from) == 0 && stat(output.c_str(), &to) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino) {
        throw train_error("CONFIG_INVALID", "outputPath: expected another file than the input, received " + output);
    }
}

// What depends on a layer's number, or on how many there are, must come out the same.
void check_meaning(const gguf_file & file, const model_info & info, const std::vector<int64_t> & kept) {
    const architecture_shape shape = { int64_t(kept.size()), info.n_embd, info.n_heads, info.head_length, info.rope_base, info.rope_scale };
    const architecture_traits traits = architecture_read(file, info.architecture, shape);
    if (traits.attention_scale != info.traits.attention_scale) {
        refuse(file.path(), "expected a number of layers that " + info.architecture + " does not read a model's size off, received " +
                                std::to_string(info.n_layers) + ", of which " + std::to_string(kept.size()) + " are to be kept");
    }
    for (size_t place = 0; place < kept.size(); ++place) {
        const int64_t layer = kept[place];
        const bool windowed = traits.windowed(layer) != traits.windowed(int64_t(place));
        if (!windowed && traits.rotates(layer) == traits.rotates(int64_t(place))) continue;
        refuse(file.path(), "layer " + std::to_string(layer) + ": expected a place where it keeps its " +
                                (windowed ? "sliding window or lack of one" : "rotation or lack of one") + ", received place " + std::to_string(place) +
                                ". Architecture " + info.architecture + " goes by the layer's number: drop whole periods of its pattern");
    }
}

void copy_metadata(const gguf_file & file, const model_info & info, const std::vector<int64_t> & kept, gguf_context * target) {
    gguf_set_kv(target, file.metadata());
    gguf_remove_key(target, "general.alignment");  // the writer has its own, the default
    const std::string prefix = info.architecture + ".";
    const auto is_layer_key = [&](const std::string & name) {
        for (const char * key : LAYER_KEYS) {
            if (name == prefix + key) return true;
        }
        return false;
    };
    for (int64_t id = 0; id < gguf_get_n_kv(file.metadata()); ++id) {
        const std::string name = gguf_get_key(file.metadata(), id);
        if (name.compare(0, prefix.size(), prefix) != 0 || gguf_get_kv_type(file.metadata(), id) != GGUF_TYPE_ARRAY) continue;
        const std::vector<uint64_t> values = is_layer_key(name) ? file.get_unsigned_array(name) : std::vector<uint64_t>();
        if (values.size() != size_t(info.n_layers)) refuse(file.path(), "key " + name + ": expected a number, or a list of a known meaning for each layer, received another list");
        std::vector<uint32_t> selected;
        for (const int64_t layer : kept) selected.push_back(uint32_t(values[size_t(layer)]));
        gguf_set_arr_data(target, name.c_str(), GGUF_TYPE_UINT32, selected.data(), selected.size());
    }
    gguf_set_val_u32(target, (prefix + "block_count").c_str(), uint32_t(kept.size()));
    const std::vector<uint32_t> sources(kept.begin(), kept.end());
    gguf_set_arr_data(target, "fedllm.emulator.layers", GGUF_TYPE_UINT32, sources.data(), sources.size());
    gguf_set_val_u32(target, "fedllm.emulator.layer_count", uint32_t(info.n_layers));
}

// The name of a layer's tensor without its number; nullptr: not of a layer. Names were checked when the model was read.
const char * split_name(const std::string & name, int64_t & layer) {
    if (name.compare(0, 4, "blk.") != 0) return nullptr;
    char * end = nullptr;
    layer = std::strtoll(name.c_str() + 4, &end, 10);
    return end;
}

}  // namespace

void emulator_write(const std::string & input_path, const std::string & output_path, const std::vector<int64_t> & kept) {
    model_options options;
    options.placement = weight_placement::measured;
    const model_info info = base_model::load(input_path, options)->info();
    const std::shared_ptr<gguf_file> file = gguf_file::open(input_path);
    check_layers(kept, info.n_layers);
    check_paths(input_path, output_path);
    check_meaning(*file, info, kept);

    std::vector<int64_t> places(size_t(info.n_layers), -1);
    for (size_t place = 0; place < kept.size(); ++place) places[size_t(kept[place])] = int64_t(place);
    gguf_writer writer(file->tensors().size());
    copy_metadata(*file, info, kept, writer.metadata());
    for (const gguf_tensor & tensor : file->tensors()) {
        int64_t layer = 0;
        const char * rest = split_name(tensor.name, layer);
        if (rest != nullptr && places[size_t(layer)] < 0) continue;
        const std::string name = rest == nullptr ? tensor.name : "blk." + std::to_string(places[size_t(layer)]) + rest;
        writer.add_tensor(name, tensor.type, tensor.ne, file->data() + tensor.offset);
    }
    writer.write(output_path);
}

}  // namespace fedllm
