// Emulators: a file with fewer layers is the model without them, in the core, in the reference and in llama.cpp, and holds nothing of
// the others; where leaving a layer out would change what the rest mean it is refused.
#include <algorithm>
#include <cstring>
#include <fstream>

#include "emulator.h"
#include "llama-oracle.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

std::string read_file(const std::string & path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string emulator_of(const std::string & path, const std::vector<int64_t> & kept) {
    const std::string output = temporary_path("emulator.gguf");
    fedllm::emulator_write(path, output, kept);
    return output;
}

// The reference model with the other layers left out.
reference_model thinned(const std::string & path, const std::vector<int64_t> & kept) {
    reference_model model = reference_model::load(path);
    std::vector<reference_layer> layers;
    for (const int64_t layer : kept) layers.push_back(model.layers[size_t(layer)]);
    model.layers = layers;
    model.n_layers = int64_t(layers.size());
    return model;
}

fixture_options per_layer_lists(fixture_options options) {
    options.edit_metadata = [options](gguf_context * file) {
        const std::vector<uint32_t> widths(size_t(options.n_layers), uint32_t(options.n_ff)), heads(size_t(options.n_layers), uint32_t(options.n_kv_heads));
        gguf_set_arr_data(file, "llama.feed_forward_length", GGUF_TYPE_UINT32, widths.data(), widths.size());
        gguf_set_arr_data(file, "llama.attention.head_count_kv", GGUF_TYPE_UINT32, heads.data(), heads.size());
    };
    return options;
}

}  // namespace

FEDLLM_TEST("emulator: equals the model with its layers left out, and llama.cpp's reading of the file") {
    fixture_options llama, quantized = fixture_for_type(GGML_TYPE_Q4_K), smollm3 = fixture_for_architecture("smollm3"), gemma2 = fixture_for_architecture("gemma2");
    llama.n_layers = 5;
    llama.biases = llama.rope_factors = true;
    quantized.n_layers = 4;
    struct emulator_case { fixture_options options; std::vector<int64_t> kept; };
    // The last two have layers that go by their number: a fourth without rotation, every other with a window.
    const std::vector<emulator_case> cases = { {llama, {0, 2, 4}}, {per_layer_lists(llama), {1, 4}}, {quantized, {0, 3}}, {smollm3, {0, 1, 2, 3}}, {gemma2, {2, 3}} };
    double worst_reference = 0.0, worst_llama = 0.0;
    for (const emulator_case & c : cases) {
        const std::string path = temporary_path("emulated.gguf");
        fixture_write(path, c.options);
        const std::string emulator = emulator_of(path, c.kept);
        const auto        core = load_core(emulator);
        require(core->info().n_layers == int64_t(c.kept.size()), "other number of layers");
        const auto tokens = random_tokens(c.options.n_vocab, 50, 5);
        const auto ours = fedllm::compute_logits(*core, nullptr, nullptr, tokens);
        const bool plain = c.options.architecture == "llama" && !c.options.edit_metadata;  // which the reference reads
        if (plain) worst_reference = std::max(worst_reference, normalised_mse(ours, thinned(path, c.kept).logits(tokens, nullptr)));
        // llama.cpp rounds activations to 8 bits before products with quantized weights.
        const double error = normalised_mse(ours, llama_oracle(emulator).logits(tokens));
        require_below(error, c.options.type == GGML_TYPE_F32 ? 1e-6 : 1e-2, c.options.architecture + ": error against llama.cpp");
        if (c.options.type == GGML_TYPE_F32) worst_llama = std::max(worst_llama, error);
    }
    require_below(worst_reference, 1e-9, "error against the reference without the layers");
    return format("errors %.1e, llama.cpp %.1e", worst_reference, worst_llama);
}

FEDLLM_TEST("emulator: holds nothing of the layers that it leaves out, and the others bit for bit") {
    fixture_options options = fixture_for_type(GGML_TYPE_Q8_0);
    options.n_layers = 4;
    const std::string path = temporary_path("emulated.gguf");
    fixture_write(path, options);
    const std::vector<int64_t> kept = {0, 3};
    const std::string          emulator = emulator_of(path, kept), content = read_file(emulator);
    const auto                 full = fedllm::gguf_file::open(path), thin = fedllm::gguf_file::open(emulator);
    size_t                     n_dropped = 0;
    for (const fedllm::gguf_tensor & tensor : full->tensors()) {
        const int64_t     layer = tensor.name.compare(0, 4, "blk.") == 0 ? std::stoll(tensor.name.substr(4)) : -1;
        const auto        place = std::find(kept.begin(), kept.end(), layer);
        const std::string data(reinterpret_cast<const char *>(full->data() + tensor.offset), tensor.size);
        if (layer >= 0 && place == kept.end()) {
            require(content.find(data.substr(0, 64)) == std::string::npos, tensor.name + ": its numbers are in the file");
            n_dropped++;
            continue;
        }
        const std::string name = layer < 0 ? tensor.name : "blk." + std::to_string(place - kept.begin()) + tensor.name.substr(tensor.name.find('.', 4));
        const auto *      copy = thin->find_tensor(name);
        require(copy != nullptr && copy->type == tensor.type && copy->size == tensor.size, name + ": not in the file as it was");
        require(std::memcmp(thin->data() + copy->offset, data.data(), data.size()) == 0, name + ": other bytes");
    }
    require(thin->get_unsigned_array("fedllm.emulator.layers") == std::vector<uint64_t>({0, 3}), "the file does not say where its layers came from");
    require(*thin->get_unsigned("fedllm.emulator.layer_count") == 4, "the file does not say how many layers there were");
    return format("%zu tensors left out, %zu kept", n_dropped, thin->tensors().size());
}

FEDLLM_TEST("emulator: refuses lists of layers, paths and patterns that it cannot serve") {
    const std::string path = temporary_path("emulated.gguf"), output = temporary_path("refused.gguf");
    fixture_options   options;
    options.n_layers = 3;
    fixture_write(path, options);
    for (const std::vector<int64_t> & kept : std::vector<std::vector<int64_t>>{{}, {-1}, {3}, {1, 1}, {2, 0}}) {
        require_error({"CONFIG_INVALID"}, "a bad list of layers", [&] { fedllm::emulator_write(path, output, kept); });
    }
    require_error({"CONFIG_INVALID"}, "the input as output", [&] { fedllm::emulator_write(path, path, {0}); });
    require_error({"MODEL_LOAD_FAILED"}, "no input", [&] { fedllm::emulator_write(temporary_path("absent.gguf"), output, {0}); });
    require_error({"IO_FAILED"}, "no folder for the output", [&] { fedllm::emulator_write(path, temporary_path("absent/emulator.gguf"), {0}); });
    options.edit_metadata = [](gguf_context * file) {
        const uint32_t unknown[3] = {1, 2, 3};
        gguf_set_arr_data(file, "llama.per_layer_secret", GGUF_TYPE_UINT32, unknown, 3);
    };
    fixture_write(path, options);
    require_error({"MODEL_UNSUPPORTED"}, "a list of unknown meaning", [&] { fedllm::emulator_write(path, output, {0, 2}); });
    std::string last;
    // Layers that have no window or no rotation, at places of layers that have.
    const std::vector<std::pair<const char *, std::vector<int64_t>>> patterns = {{"smollm3", {0, 3}}, {"gemma2", {0, 2}}, {"gemma3", {0, 5}}};
    for (const auto & [architecture, kept] : patterns) {
        fixture_write(path, fixture_for_architecture(architecture));
        last = require_error({"MODEL_UNSUPPORTED"}, architecture, [&] { fedllm::emulator_write(path, output, kept); });
    }
    require(!std::ifstream(output).good(), "a refused emulator left a file behind");
    return last;
}
