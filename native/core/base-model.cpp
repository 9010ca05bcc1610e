// Reads a dense model of a supported architecture (architecture.h) out of a checked GGUF and puts its weights
// into backend buffers: on the CPU the mapped file itself, elsewhere a copy.
#include "base-model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "device-types.h"
#include "error.h"

namespace fedllm {

const std::array<const char *, MODULE_COUNT> MODULE_NAMES = {
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_qkv",
};

namespace {

// Named limits for what a file may claim; several times the largest published model.
constexpr int64_t MAX_LAYERS = 1000;
constexpr int64_t MAX_EMBD   = 1 << 17;
constexpr int64_t MAX_FF     = 1 << 20;
constexpr int64_t MAX_HEADS  = 4096;
constexpr int64_t MAX_VOCAB  = 1 << 23;

std::string shape_text(const int64_t * ne) { return "[" + std::to_string(ne[0]) + ", " + std::to_string(ne[1]) + "]"; }

}  // namespace

// Fills a base_model step by step; a member per step so that every check can name the file.
struct base_model_loader {
    base_model & model;
    gguf_file &  file;
    std::set<std::string> used;

    [[noreturn]] void fail(const std::string & text) const { throw train_error("MODEL_LOAD_FAILED", file.path() + ": " + text); }
    [[noreturn]] void refuse(const std::string & text) const { throw train_error("MODEL_UNSUPPORTED", file.path() + ": " + text); }

    std::string key(const char * name) const { return model.info_.architecture + "." + name; }

    int64_t require_count(const char * name, int64_t limit) const {
        const std::optional<uint64_t> value = file.get_unsigned(key(name));
        if (!value) fail("key " + key(name) + ": expected a number, received nothing");
        if (*value < 1 || *value > uint64_t(limit)) {
            fail("key " + key(name) + ": expected 1 to " + std::to_string(limit) + ", received " + std::to_string(*value));
        }
        return int64_t(*value);
    }

    // A count that may be stored per layer; all layers must agree.
    int64_t require_uniform_count(const char * name, int64_t limit, std::optional<int64_t> fallback) const {
        const std::vector<uint64_t> values = file.get_unsigned_array(key(name));
        if (values.empty()) {
            if (!fallback) fail("key " + key(name) + ": expected a number, received nothing");
            return *fallback;
        }
        for (uint64_t value : values) {
            if (value != values[0]) refuse("key " + key(name) + ": expected the same number in all layers, received different ones");
            if (value < 1 || value > uint64_t(limit)) {
                fail("key " + key(name) + ": expected 1 to " + std::to_string(limit) + ", received " + std::to_string(value));
            }
        }
        return int64_t(values[0]);
    }

    float finite_float(const char * name, double fallback, double low, double high) const {
        const double value = file.get_float(key(name)).value_or(fallback);
        if (!(value >= low && value <= high)) {
            fail("key " + key(name) + ": expected " + std::to_string(low) + " to " + std::to_string(high) + ", received " + std::to_string(value));
        }
        return float(value);
    }

    void read_architecture() {
        model_info & info = model.info_;
        info.architecture = architecture_check_name(file);
        if (file.get_unsigned(key("expert_count")).value_or(0) > 0) {
            refuse("expected a dense model, received a mixture of " + std::to_string(*file.get_unsigned(key("expert_count"))) + " experts");
        }
        info.name           = file.get_string("general.name").value_or("");
        info.n_layers       = require_count("block_count", MAX_LAYERS);
        info.n_embd         = require_count("embedding_length", MAX_EMBD);
        info.context_length = require_count("context_length", std::numeric_limits<int32_t>::max());
        info.n_ff           = require_uniform_count("feed_forward_length", MAX_FF, std::nullopt);
        info.n_heads        = require_uniform_count("attention.head_count", MAX_HEADS, std::nullopt);
        info.n_kv_heads     = require_uniform_count("attention.head_count_kv", MAX_HEADS, info.n_heads);
        if (info.n_heads % info.n_kv_heads != 0) {
            fail("expected attention.head_count to be a multiple of head_count_kv, received " + std::to_string(info.n_heads) + " and " +
                 std::to_string(info.n_kv_heads));
        }
        if (!file.get_unsigned(key("attention.key_length")) && info.n_embd % info.n_heads != 0) {
            fail("expected embedding_length to be a multiple of head_count, received " + std::to_string(info.n_embd) + " and " + std::to_string(info.n_heads));
        }
        info.head_length = require_uniform_count("attention.key_length", MAX_EMBD, info.n_embd / info.n_heads);
        const int64_t value_length = require_uniform_count("attention.value_length", MAX_EMBD, info.n_embd / info.n_heads);
        if (value_length != info.head_length) {
            refuse("expected attention.value_length equal to key_length, received " + std::to_string(value_length) + " and " + std::to_string(info.head_length));
        }
        info.norm_epsilon = finite_float("attention.layer_norm_rms_epsilon", -1.0, 0.0, 1.0);
        info.rope_base = finite_float("rope.freq_base", 10000.0, 1e-3, 1e12);
        read_rope_scale();
        info.traits = architecture_read(file, info.architecture, { info.n_layers, info.n_embd, info.n_heads, info.head_length, info.rope_base, info.rope_scale });
        read_rotated_length();
    }

    void read_rotated_length() {
        model_info & info = model.info_;
        info.n_rot = int64_t(file.get_unsigned(key("rope.dimension_count")).value_or(uint64_t(info.head_length)));
        const bool fits = info.traits.partial_rotation ? info.n_rot >= 2 && info.n_rot <= info.head_length : info.n_rot == info.head_length;
        if (!fits || info.n_rot % 2 != 0) {
            refuse("rope.dimension_count: expected " + std::string(info.traits.partial_rotation ? "an even number up to" : "the (even)") + " head length " +
                   std::to_string(info.head_length) + ", received " + std::to_string(info.n_rot));
        }
    }

    void read_rope_scale() {
        model_info & info = model.info_;
        double factor = 1.0;
        const std::optional<std::string> scaling = file.get_string(key("rope.scaling.type"));
        const bool longrope = scaling && *scaling == "longrope" && info.architecture == "phi3";
        if (scaling && *scaling != "none" && *scaling != "linear" && !longrope) {
            refuse("rope.scaling.type: expected none or linear, received " + *scaling);
        }
        if (!scaling || *scaling == "linear") {  // llama.cpp takes "linear" when the type is absent
            factor = file.get_float(key("rope.scaling.factor")).value_or(file.get_float(key("rope.scale_linear")).value_or(0.0));
            if (factor == 0.0) factor = 1.0;
        }
        if (!(factor > 0.0 && factor < 1e6)) fail("rope.scaling.factor: expected above 0 and below 1000000, received " + std::to_string(factor));
        info.rope_scale = float(1.0 / factor);
    }

    // Adds a tensor of the expected shape to the model's context. Absent: nullptr, or an error when required.
    ggml_tensor * take(const std::string & name, int64_t ne0, int64_t ne1, bool required, bool is_weight) {
        const gguf_tensor * source = file.find_tensor(name);
        if (source == nullptr) {
            if (required) fail("tensor " + name + ": expected " + std::to_string(ne0) + " x " + std::to_string(ne1) + " numbers, received no such tensor");
            return nullptr;
        }
        if (source->ne[0] != ne0 || source->ne[1] != ne1 || source->ne[2] != 1 || source->ne[3] != 1) {
            const int64_t expected[2] = { ne0, ne1 };
            fail("tensor " + name + ": expected shape " + shape_text(expected) + ", received " + shape_text(source->ne));
        }
        const ggml_type_traits * traits = ggml_get_type_traits(source->type);
        const bool readable = source->type == GGML_TYPE_F32 || (traits->to_float != nullptr && source->type != GGML_TYPE_F64);
        if (is_weight ? !readable : source->type != GGML_TYPE_F32) {
            refuse("tensor " + name + ": expected " + (is_weight ? "F32, F16, BF16 or a quantized type" : "F32") + ", received " + ggml_type_name(source->type));
        }
        ggml_tensor * tensor = ggml_new_tensor_2d(model.context_, source->type, ne0, ne1);
        ggml_set_name(tensor, name.c_str());
        used.insert(name);
        model.info_.n_parameters += ne0 * ne1;
        model.info_.weight_bytes += source->size;
        model.info_.tensor_types[ggml_type_name(source->type)] += 1;
        return tensor;
    }

    void read_tensors() {
        model_info & info = model.info_;
        const ggml_init_params params = { ggml_tensor_overhead() * (file.tensors().size() + 8), nullptr, true };
        model.context_ = ggml_init(params);
        const gguf_tensor * embedding = file.find_tensor("token_embd.weight");
        if (embedding == nullptr) fail("tensor token_embd.weight: expected it in the file, received no such tensor");
        info.n_vocab = embedding->ne[1];
        if (info.n_vocab > MAX_VOCAB) fail("token_embd.weight: expected at most " + std::to_string(MAX_VOCAB) + " tokens, received " + std::to_string(info.n_vocab));
        model.token_embd_  = take("token_embd.weight", info.n_embd, info.n_vocab, true, true);
        model.output_norm_ = take("output_norm.weight", info.n_embd, 1, true, false);
        model.output_      = info.traits.always_tied ? nullptr : take("output.weight", info.n_embd, info.n_vocab, false, true);
        info.tied_head     = model.output_ == nullptr;
        if (info.tied_head) model.output_ = model.token_embd_;

        const int64_t d_q = info.n_heads * info.head_length, d_kv = info.n_kv_heads * info.head_length;
        const bool fused_qkv = info.traits.fused_qkv, fused_ffn = info.traits.fused_gate_up;
        const int64_t d_up = fused_ffn ? 2 * info.n_ff : info.n_ff;
        const std::array<std::array<int64_t, 2>, MODULE_COUNT> shapes = { {
            { info.n_embd, d_q }, { info.n_embd, d_kv }, { info.n_embd, d_kv }, { d_q, info.n_embd },
            { info.n_embd, info.n_ff }, { info.n_embd, d_up }, { info.n_ff, info.n_embd }, { info.n_embd, d_q + 2 * d_kv },
        } };
        const std::array<bool, MODULE_COUNT> exists = { !fused_qkv, !fused_qkv, !fused_qkv, true, !fused_ffn, true, true, fused_qkv };
        if (info.traits.short_factors) read_longrope_factors();
        if (info.traits.rope_factors) model.rope_factors_ = take("rope_freqs.weight", info.n_rot / 2, 1, false, false);
        for (int64_t l = 0; l < info.n_layers; ++l) {
            const std::string prefix = "blk." + std::to_string(l) + ".";
            layer_weights layer;
            layer.attn_norm = take(prefix + "attn_norm.weight", info.n_embd, 1, true, false);
            layer.ffn_norm  = take(prefix + "ffn_norm.weight", info.n_embd, 1, true, false);
            if (info.traits.qk_norm) {
                layer.attn_q_norm = take(prefix + "attn_q_norm.weight", info.head_length, 1, true, false);
                layer.attn_k_norm = take(prefix + "attn_k_norm.weight", info.head_length, 1, true, false);
            }
            if (info.traits.post_norms) {
                layer.attn_post_norm = take(prefix + "post_attention_norm.weight", info.n_embd, 1, true, false);
                layer.ffn_post_norm  = take(prefix + "post_ffw_norm.weight", info.n_embd, 1, true, false);
            }
            for (size_t m = 0; m < MODULE_COUNT; ++m) {
                if (!exists[m]) continue;
                layer.linear[m] = take(prefix + MODULE_NAMES[m] + ".weight", shapes[m][0], shapes[m][1], true, true);
                layer.bias[m]   = take(prefix + MODULE_NAMES[m] + ".bias", shapes[m][1], 1, false, false);
            }
            model.layers_.push_back(layer);
        }
        for (const gguf_tensor & tensor : file.tensors()) {
            // A tensor that no formula here uses would silently change the model's meaning.
            if (used.count(tensor.name) == 0) refuse("tensor " + tensor.name + ": expected only tensors of a dense " + info.architecture + " model, received this one");
        }
    }

    void read_longrope_factors() {
        model.rope_factors_ = take("rope_factors_short.weight", model.info_.n_rot / 2, 1, false, false);
        // Not used, but the file is whole only with both.
        const ggml_tensor * unused = take("rope_factors_long.weight", model.info_.n_rot / 2, 1, false, false);
        if ((unused == nullptr) != (model.rope_factors_ == nullptr)) {
            fail("expected both rope_factors_short.weight and rope_factors_long.weight or neither, received one");
        }
    }

    // A type that the device cannot take, before anything is copied to it.
    void check_device_takes_weights() {
        const backend device(model.options_.device, model.options_.n_threads);
        std::vector<ggml_tensor *> weights = model.matrices();
        weights.push_back(model.token_embd_);
        for (const ggml_tensor * weight : weights) {
            if (device_takes_weight(device, weight->type, weight->ne[0], weight->ne[1])) continue;
            std::string types;
            for (const ggml_type type : device_weight_types(device, weight->ne[0], weight->ne[1])) types += (types.empty() ? "" : ", ") + std::string(ggml_type_name(type));
            refuse("tensor " + std::string(weight->name) + ": device " + ggml_backend_dev_name(device.device) + ": expected one of " + types + ", received " +
                   ggml_type_name(weight->type) + ". Quantize the model to another type or use another device");
        }
    }

    // Tensors point into the mapped file, which no device knows: enough to build graphs and measure them.
    void describe_weights() {
        for (ggml_tensor * t = ggml_get_first_tensor(model.context_); t != nullptr; t = ggml_get_next_tensor(model.context_, t)) {
            t->data = const_cast<uint8_t *>(file.data()) + file.find_tensor(t->name)->offset;
        }
    }

    void place_weights() {
        const backend device(model.options_.device, model.options_.n_threads);
        ggml_backend_dev_props props{};
        ggml_backend_dev_get_props(device.device, &props);
        if (device.is_cpu && props.caps.buffer_from_host_ptr) {
            size_t largest = 0;
            for (const gguf_tensor & tensor : file.tensors()) largest = std::max(largest, tensor.size);
            ggml_backend_buffer_t buffer = ggml_backend_dev_buffer_from_host_ptr(
                device.device, const_cast<uint8_t *>(file.data()), file.size(), largest);
            if (buffer == nullptr) throw train_error("OUT_OF_MEMORY", file.path() + ": expected to map the weights for the CPU, received no buffer");
            ggml_backend_buffer_set_usage(buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
            model.buffers_.push_back(buffer);
            for (ggml_tensor * t = ggml_get_first_tensor(model.context_); t != nullptr; t = ggml_get_next_tensor(model.context_, t)) {
                ggml_backend_tensor_alloc(buffer, t, const_cast<uint8_t *>(file.data()) + file.find_tensor(t->name)->offset);
            }
            return;
        }
        ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(model.context_, device.handle);
        if (buffer == nullptr) {
            throw train_error("OUT_OF_MEMORY", file.path() + ": expected " + std::to_string(model.info_.weight_bytes) + " bytes free on " +
                                                   props.name + ", received too little. Use a smaller model or another device");
        }
        ggml_backend_buffer_set_usage(buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        model.buffers_.push_back(buffer);
        for (ggml_tensor * t = ggml_get_first_tensor(model.context_); t != nullptr; t = ggml_get_next_tensor(model.context_, t)) {
            const gguf_tensor * source = file.find_tensor(t->name);
            ggml_backend_tensor_set(t, file.data() + source->offset, 0, source->size);
            file.release_pages(file.data() + source->offset, source->size);
        }
    }
};

std::shared_ptr<base_model> base_model::load(const std::string & path, const model_options & options) {
    if (options.n_threads < 1 || options.n_threads > 512) {
        throw train_error("CONFIG_INVALID", "numThreads: expected 1 to 512, received " + std::to_string(options.n_threads));
    }
    std::shared_ptr<base_model> model(new base_model());
    model->options_ = options;
    model->file_    = gguf_file::open(path);
    base_model_loader loader{ *model, *model->file_, {} };
    loader.read_architecture();
    loader.read_tensors();
    loader.check_device_takes_weights();
    if (model->options_.placement == weight_placement::resident && options.weight_limit_bytes && model->info_.weight_bytes > *options.weight_limit_bytes) {
        model->options_.placement = weight_placement::streamed;
    }
    if (model->options_.placement != weight_placement::resident) {
        loader.describe_weights();
        return model;
    }
    loader.place_weights();
    const backend device(options.device, options.n_threads);
    if (!device.is_cpu && transposes_are_supported(device, model->matrices(), options.variants.transposes)) model->make_transposes(options.variants.transposes);
    return model;
}

std::vector<ggml_tensor *> base_model::matrices() const {
    std::vector<ggml_tensor *> list = { output_ };
    for (const layer_weights & layer : layers_) {
        for (ggml_tensor * matrix : layer.linear) {
            if (matrix != nullptr) list.push_back(matrix);
        }
    }
    return list;
}

void base_model::release_pages(const ggml_tensor * tensor) const { file_->release_pages(static_cast<const uint8_t *>(tensor->data), ggml_nbytes(tensor)); }

void base_model::make_transposes(transpose_cache type) {
    transposes_.reset();
    if (type == transpose_cache::none) return;
    transposes_ = std::make_unique<transposed_weights>(backend(options_.device, options_.n_threads), matrices(), type);
}

base_model::~base_model() {
    for (ggml_backend_buffer_t buffer : buffers_) ggml_backend_buffer_free(buffer);
    if (context_) ggml_free(context_);
}

}  // namespace fedllm
