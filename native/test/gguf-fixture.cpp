// Implements the random models of gguf-fixture.h through gguf.h and ggml_quantize_chunk.
#include "gguf-fixture.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace fedllm_test {

uint64_t random_source::next() {
    state_ += 0x9e3779b97f4a7c15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

double random_source::uniform() {
    return double(next() >> 11) * 0x1.0p-53;
}

double random_source::normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(6.283185307179586476925 * uniform());
}

namespace {

// FNV-1a, so that a tensor's numbers depend on its name and the seed only, not on which other tensors exist.
uint64_t hash_name(const std::string & name, uint64_t seed) {
    uint64_t hash = 0xcbf29ce484222325ull ^ (seed * 0x9e3779b97f4a7c15ull);
    for (const char c : name) {
        hash = (hash ^ uint64_t(uint8_t(c))) * 0x100000001b3ull;
    }
    return hash;
}

// Types whose numbers are looked up in a grid. Their quantizers first search that grid for seconds, so the fixtures hold
// random blocks instead: every index is valid, and one half-precision factor scales a block.
bool is_grid_type(ggml_type type) {
    return type == GGML_TYPE_IQ3_XXS || type == GGML_TYPE_IQ3_S || type == GGML_TYPE_IQ2_XXS || type == GGML_TYPE_IQ2_XS ||
           type == GGML_TYPE_IQ2_S || type == GGML_TYPE_IQ1_S || type == GGML_TYPE_IQ1_M;
}

// The factor stands in a block's first two bytes; in IQ1_M its four nibbles are the highest of each of the last four
// 16-bit words, the lowest nibble first.
void set_block_factor(ggml_type type, uint8_t * block, size_t block_bytes, float factor) {
    const ggml_fp16_t half = ggml_fp32_to_fp16(factor);
    if (type != GGML_TYPE_IQ1_M) {
        std::memcpy(block, &half, sizeof(half));
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        uint8_t & high = block[block_bytes - 8 + 2 * i + 1];
        high = uint8_t((high & 0x0f) | (((half >> (4 * i)) & 0x0f) << 4));
    }
}

// Numbers of mean about zero and this deviation.
void fill_with_random_blocks(ggml_tensor * tensor, double deviation, random_source & random) {
    const size_t block_bytes = ggml_type_size(tensor->type);
    const size_t n_bytes = ggml_nbytes(tensor);
    auto *       data = static_cast<uint8_t *>(tensor->data);
    for (size_t i = 0; i < n_bytes; i++) {
        data[i] = uint8_t(random.next());
    }
    const auto set_factors = [&](const std::function<float()> & next) {
        for (size_t at = 0; at < n_bytes; at += block_bytes) {
            set_block_factor(tensor->type, data + at, block_bytes, next());
        }
    };
    set_factors([] { return 1.0f; });
    std::vector<float> values(size_t(ggml_nelements(tensor)));
    ggml_get_type_traits(tensor->type)->to_float(data, values.data(), ggml_nelements(tensor));
    double square = 0.0;
    for (const float value : values) {
        square += double(value) * double(value);
    }
    const double factor = deviation / std::sqrt(square / double(values.size()));
    set_factors([&] { return float(factor * (0.8 + 0.4 * random.uniform())); });
}

class fixture_writer {
  public:
    explicit fixture_writer(const fixture_options & options) : options_(options), file_(gguf_init_empty()) {
        // Generous: all tensors in F32 twice over, plus their headers.
        const int64_t per_layer = 4 * (options.n_embd * (2 * options.key_length() * (options.n_heads + options.n_kv_heads)) +
                                       3 * options.n_embd * options.n_ff + 16 * options.n_embd + 4096);
        const size_t  n_bytes = size_t(per_layer * options.n_layers + 8 * options.n_embd * options.n_vocab) * 2 + (1u << 20);
        context_ = ggml_init({n_bytes, nullptr, false});
        if (context_ == nullptr) {
            throw std::runtime_error("fixture: ggml_init failed");
        }
    }
    ~fixture_writer() {
        ggml_free(context_);
        gguf_free(file_);
    }
    fixture_writer(const fixture_writer &)             = delete;
    fixture_writer & operator=(const fixture_writer &) = delete;

    void write(const std::string & path) {
        add_metadata();
        add_tensors();
        if (!gguf_write_to_file(file_, path.c_str(), false)) {
            throw std::runtime_error("fixture: cannot write " + path);
        }
    }

  private:
    void set_integer(const std::string & name, int64_t value) {
        gguf_set_val_u32(file_, (options_.architecture + "." + name).c_str(), uint32_t(value));
    }
    void set_float(const std::string & name, float value) {
        gguf_set_val_f32(file_, (options_.architecture + "." + name).c_str(), value);
    }

    void add_metadata() {
        const fixture_options & o = options_;
        gguf_set_val_str(file_, "general.architecture", o.architecture.c_str());
        gguf_set_val_str(file_, "general.name", "random fixture");
        set_integer("context_length", o.context_length);
        set_integer("embedding_length", o.n_embd);
        set_integer("block_count", o.n_layers);
        set_integer("feed_forward_length", o.n_ff);
        set_integer("attention.head_count", o.n_heads);
        set_integer("attention.head_count_kv", o.n_kv_heads);
        set_float("attention.layer_norm_rms_epsilon", o.norm_epsilon);
        set_integer("rope.dimension_count", o.rotated_length());
        set_float("rope.freq_base", o.rope_base);
        set_integer("vocab_size", o.n_vocab);
        if (o.head_length != 0) {
            set_integer("attention.key_length", o.head_length);
            set_integer("attention.value_length", o.head_length);
        }
        if (o.rope_linear_factor != 1.0f) {
            gguf_set_val_str(file_, (o.architecture + ".rope.scaling.type").c_str(), "linear");
            set_float("rope.scaling.factor", o.rope_linear_factor);
        }
        for (const auto & [name, value] : o.float_keys) {
            set_float(name, value);
        }
        for (const auto & [name, value] : o.integer_keys) {
            set_integer(name, value);
        }
        gguf_set_val_str(file_, "tokenizer.ggml.model", "no_vocab");
        if (o.edit_metadata) {
            o.edit_metadata(file_);
        }
    }

    ggml_type matrix_type(const std::string & name) const {
        if (!options_.mixed) {
            return options_.type;
        }
        const auto contains = [&](const char * part) { return name.find(part) != std::string::npos; };
        const bool is_fine = contains("attn_v") || contains("ffn_down") || name == "output.weight";
        return is_fine ? GGML_TYPE_Q6_K : GGML_TYPE_Q4_K;
    }

    // Values are mean + deviation * N(0, 1).
    void add_tensor(const std::string & name, std::vector<int64_t> shape, ggml_type type, double mean, double deviation) {
        if (options_.dropped_tensors.count(name) != 0) {
            return;
        }
        const auto other = options_.other_shapes.find(name);
        if (other != options_.other_shapes.end()) {
            shape = other->second;
        }
        const auto other_type = options_.other_types.find(name);
        if (other_type != options_.other_types.end()) {
            type = other_type->second;
        }
        ggml_tensor *      tensor = ggml_new_tensor(context_, type, int(shape.size()), shape.data());
        std::vector<float> values(size_t(ggml_nelements(tensor)));
        random_source      random(hash_name(name, options_.seed));
        for (float & value : values) {
            value = float(mean + deviation * random.normal());
        }
        ggml_set_name(tensor, name.c_str());
        const int64_t n_rows = ggml_nrows(tensor);
        if (ggml_get_type_traits(type)->to_float == nullptr && type != GGML_TYPE_F32) {
            std::memset(tensor->data, 0, ggml_nbytes(tensor));  // integers: no weights at all
        } else if (n_rows > 0 && tensor->ne[0] > 0) {
            if (is_grid_type(type)) {
                fill_with_random_blocks(tensor, deviation, random);
            } else {
                ggml_quantize_chunk(type, values.data(), tensor->data, 0, n_rows, tensor->ne[0], nullptr);
            }
        }
        gguf_add_tensor(file_, tensor);
    }

    // Deviation 1/sqrt(d_in) keeps activations of order one through the layers.
    void add_matrix(const std::string & name, int64_t d_in, int64_t d_out, double gain = 1.0) {
        add_tensor(name, {d_in, d_out}, matrix_type(name), 0.0, gain / std::sqrt(double(d_in)));
    }

    void add_norm(const std::string & name, int64_t width) { add_tensor(name, {width}, GGML_TYPE_F32, 1.0, 0.2); }

    void add_bias(const std::string & name, int64_t width) { add_tensor(name, {width}, GGML_TYPE_F32, 0.0, 0.3); }

    void add_tensors() {
        const fixture_options & o = options_;
        // A tied matrix is both input and head: small enough that logits stay of order one.
        add_tensor("token_embd.weight", {o.n_embd, o.n_vocab}, matrix_type("token_embd.weight"), 0.0,
                   o.tied_head ? 0.2 : 1.0);
        if (o.rope_factors) {
            add_rope_factors("rope_freqs.weight");
        }
        if (o.longrope) {
            add_rope_factors("rope_factors_long.weight");
            add_rope_factors("rope_factors_short.weight");
        }
        for (int64_t i = 0; i < o.n_layers; i++) {
            const std::string layer = "blk." + std::to_string(i) + ".";
            add_attention(layer);
            add_feed_forward(layer);
        }
        add_norm("output_norm.weight", o.n_embd);
        if (!o.tied_head) {
            add_matrix("output.weight", o.n_embd, o.n_vocab, 2.0);
        }
    }

    void add_attention(const std::string & layer) {
        const fixture_options & o = options_;
        const int64_t           d_q = o.n_heads * o.key_length();
        const int64_t           d_kv = o.n_kv_heads * o.key_length();
        add_norm(layer + "attn_norm.weight", o.n_embd);
        if (o.fused) {
            add_matrix(layer + "attn_qkv.weight", o.n_embd, d_q + 2 * d_kv, 1.5);
        } else {
            add_matrix(layer + "attn_q.weight", o.n_embd, d_q, 1.5);
            add_matrix(layer + "attn_k.weight", o.n_embd, d_kv, 1.5);
            add_matrix(layer + "attn_v.weight", o.n_embd, d_kv);
        }
        if (o.qk_norms) {
            add_norm(layer + "attn_q_norm.weight", o.key_length());
            add_norm(layer + "attn_k_norm.weight", o.key_length());
        }
        add_matrix(layer + "attn_output.weight", d_q, o.n_embd);
        if (o.biases) {
            add_bias(layer + "attn_q.bias", d_q);
            add_bias(layer + "attn_k.bias", d_kv);
            add_bias(layer + "attn_v.bias", d_kv);
        }
        if (o.biases && o.output_bias) {
            add_bias(layer + "attn_output.bias", o.n_embd);
        }
        if (o.post_norms) {
            add_norm(layer + "post_attention_norm.weight", o.n_embd);
        }
    }

    void add_feed_forward(const std::string & layer) {
        const fixture_options & o = options_;
        add_norm(layer + "ffn_norm.weight", o.n_embd);
        if (!o.fused) {
            add_matrix(layer + "ffn_gate.weight", o.n_embd, o.n_ff);
        }
        add_matrix(layer + "ffn_up.weight", o.n_embd, o.fused ? 2 * o.n_ff : o.n_ff);
        add_matrix(layer + "ffn_down.weight", o.n_ff, o.n_embd);
        if (o.post_norms) {
            add_norm(layer + "post_ffw_norm.weight", o.n_embd);
        }
    }

    // Divisors between 1 and 8, as those of Llama 3.1 are.
    void add_rope_factors(const std::string & name) {
        if (options_.dropped_tensors.count(name) != 0) {
            return;
        }
        ggml_tensor * tensor = ggml_new_tensor_1d(context_, GGML_TYPE_F32, options_.rotated_length() / 2);
        ggml_set_name(tensor, name.c_str());
        random_source random(hash_name(name, options_.seed));
        for (int64_t i = 0; i < tensor->ne[0]; i++) {
            static_cast<float *>(tensor->data)[i] = float(1.0 + 7.0 * random.uniform());
        }
        gguf_add_tensor(file_, tensor);
    }

    const fixture_options & options_;
    gguf_context *          file_;
    ggml_context *          context_ = nullptr;
};

}  // namespace

void fixture_write(const std::string & path, const fixture_options & options) {
    fixture_writer(options).write(path);
}

fixture_options fixture_for_type(ggml_type type) {
    fixture_options options;
    options.n_embd = 256;
    options.n_ff = 512;
    options.n_heads = 4;
    options.n_kv_heads = 2;
    options.n_vocab = 160;
    options.type = type;
    options.seed = 7;
    return options;
}

const std::vector<weight_type_case> & fixture_weight_types() {
    static const std::vector<weight_type_case> cases = [] {
        std::vector<weight_type_case> list;
        for (const ggml_type type :
             {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0,
              GGML_TYPE_Q5_1, GGML_TYPE_Q2_K, GGML_TYPE_Q3_K, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL,
              GGML_TYPE_IQ4_XS, GGML_TYPE_TQ1_0, GGML_TYPE_TQ2_0, GGML_TYPE_MXFP4, GGML_TYPE_NVFP4, GGML_TYPE_Q1_0, GGML_TYPE_Q2_0,
              GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ3_S, GGML_TYPE_IQ2_XXS, GGML_TYPE_IQ2_XS, GGML_TYPE_IQ2_S, GGML_TYPE_IQ1_S,
              GGML_TYPE_IQ1_M}) {
            list.push_back({ggml_type_name(type), fixture_for_type(type)});
        }
        list.push_back({"Q4_K_M", fixture_for_type(GGML_TYPE_Q4_K)});
        list.back().options.mixed = true;
        return list;
    }();
    return cases;
}

}  // namespace fedllm_test
