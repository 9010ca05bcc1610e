// Implements the reference's reader, forward pass, and exact backward pass written out by hand.
// Rows are tokens everywhere: X is [T][width]. The optimizer is in reference-train.cpp.
#include "reference-model.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>

#include "ggml.h"
#include "gguf.h"
#include "reference-cache.h"

namespace fedllm_test {

const char * const REFERENCE_MODULE_NAMES[REFERENCE_MODULES] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                                "ffn_gate", "ffn_up", "ffn_down"};

namespace {

enum module_index { Q, K, V, O, GATE, UP, DOWN };

// GGUF with its data in memory, tensors dequantized one by one to double.
class gguf_reader {
  public:
    explicit gguf_reader(const std::string & path) {
        gguf_init_params params = {false, &context_};
        file_ = gguf_init_from_file(path.c_str(), params);
        if (file_ == nullptr) {
            throw std::runtime_error("reference: cannot read " + path);
        }
    }
    ~gguf_reader() {
        gguf_free(file_);
        ggml_free(context_);
    }
    gguf_reader(const gguf_reader &)             = delete;
    gguf_reader & operator=(const gguf_reader &) = delete;

    double number(const std::string & key, double fallback) const {
        const int64_t id = gguf_find_key(file_, key.c_str());
        if (id < 0) {
            return fallback;
        }
        return gguf_get_kv_type(file_, id) == GGUF_TYPE_FLOAT32 ? double(gguf_get_val_f32(file_, id))
                                                                : double(gguf_get_val_u32(file_, id));
    }

    const ggml_tensor * find(const std::string & name) const { return ggml_get_tensor(context_, name.c_str()); }

    vec values(const std::string & name) const {
        const ggml_tensor * tensor = find(name);
        if (tensor == nullptr) {
            return {};
        }
        std::vector<float> floats(size_t(ggml_nelements(tensor)));
        if (tensor->type == GGML_TYPE_F32) {
            std::copy_n(static_cast<const float *>(tensor->data), floats.size(), floats.begin());
        } else {
            ggml_get_type_traits(tensor->type)->to_float(tensor->data, floats.data(), int64_t(floats.size()));
        }
        return vec(floats.begin(), floats.end());
    }

    reference_matrix matrix(const std::string & name) const {
        const ggml_tensor * tensor = find(name);
        if (tensor == nullptr) {
            throw std::runtime_error("reference: no tensor " + name);
        }
        return {tensor->ne[0], tensor->ne[1], values(name)};
    }

  private:
    gguf_context * file_ = nullptr;
    ggml_context * context_ = nullptr;
};

}  // namespace

reference_model reference_model::load(const std::string & path) {
    const gguf_reader file(path);
    reference_model   model;
    model.n_layers = int64_t(file.number("llama.block_count", 0));
    model.n_embd = int64_t(file.number("llama.embedding_length", 0));
    model.n_ff = int64_t(file.number("llama.feed_forward_length", 0));
    model.n_heads = int64_t(file.number("llama.attention.head_count", 0));
    model.n_kv_heads = int64_t(file.number("llama.attention.head_count_kv", double(model.n_heads)));
    model.head_length = int64_t(file.number("llama.attention.key_length", double(model.n_embd / model.n_heads)));
    model.norm_epsilon = file.number("llama.attention.layer_norm_rms_epsilon", 0);
    model.rope_base = file.number("llama.rope.freq_base", 10000.0);
    model.rope_scale = 1.0 / file.number("llama.rope.scaling.factor", 1.0);
    model.token_embd = file.matrix("token_embd.weight");
    model.n_vocab = model.token_embd.d_out;
    model.output = file.find("output.weight") == nullptr ? model.token_embd : file.matrix("output.weight");
    model.output_norm = file.values("output_norm.weight");
    model.rope_factors = file.values("rope_freqs.weight");
    for (int64_t i = 0; i < model.n_layers; i++) {
        const std::string prefix = "blk." + std::to_string(i) + ".";
        reference_layer   layer;
        layer.attn_norm = file.values(prefix + "attn_norm.weight");
        layer.ffn_norm = file.values(prefix + "ffn_norm.weight");
        for (int m = 0; m < REFERENCE_MODULES; m++) {
            layer.linear[size_t(m)] = file.matrix(prefix + REFERENCE_MODULE_NAMES[m] + ".weight");
            layer.bias[size_t(m)] = file.values(prefix + REFERENCE_MODULE_NAMES[m] + ".bias");
        }
        model.layers.push_back(std::move(layer));
    }
    return model;
}

std::vector<reference_tensor> reference_model::layout(const reference_adapter & adapter) const {
    std::vector<reference_tensor> tensors;
    size_t                        offset = 0;
    for (int64_t i = 0; i < n_layers; i++) {
        for (int m = 0; m < REFERENCE_MODULES; m++) {
            if (!adapter.targets[size_t(m)]) {
                continue;
            }
            const reference_matrix & w = layers[size_t(i)].linear[size_t(m)];
            const std::string        name = "blk." + std::to_string(i) + "." + REFERENCE_MODULE_NAMES[m] + ".weight";
            tensors.push_back({name + ".lora_a", int(i), m, false, w.d_in, adapter.rank, offset});
            offset += size_t(w.d_in * adapter.rank);
            tensors.push_back({name + ".lora_b", int(i), m, true, adapter.rank, w.d_out, offset});
            offset += size_t(w.d_out * adapter.rank);
        }
    }
    return tensors;
}

size_t reference_model::count_weights(const reference_adapter & adapter) const {
    size_t count = 0;
    for (const reference_tensor & tensor : layout(adapter)) {
        count += size_t(tensor.n_columns * tensor.n_rows);
    }
    return count;
}

// RoPE over neighbouring pairs (2i, 2i+1) of each head: angle = sign * position * scale * base^(-2i/n) / factor_i.
void reference_model::rotate(vec & rows, int64_t n_row_heads, int64_t n_tokens, double sign) const {
    for (int64_t t = 0; t < n_tokens; t++) {
        for (int64_t head = 0; head < n_row_heads; head++) {
            for (int64_t i = 0; i < head_length / 2; i++) {
                const double factor = rope_factors.empty() ? 1.0 : rope_factors[size_t(i)];
                const double frequency = std::pow(rope_base, -2.0 * double(i) / double(head_length)) / factor;
                const double angle = sign * double(t) * rope_scale * frequency;
                double *     pair = &rows[size_t((t * n_row_heads + head) * head_length + 2 * i)];
                const double first = pair[0], second = pair[1];
                pair[0] = first * std::cos(angle) - second * std::sin(angle);
                pair[1] = first * std::sin(angle) + second * std::cos(angle);
            }
        }
    }
}

void reference_model::forward(const std::vector<int32_t> & tokens, const reference_adapter * adapter,
                              reference_cache & cache) const {
    const int64_t n_tokens = int64_t(tokens.size());
    cache.n_tokens = n_tokens;
    cache.layers.assign(size_t(n_layers), {});
    cache.offsets.assign(size_t(n_layers), {});
    if (adapter != nullptr) {
        for (const reference_tensor & tensor : layout(*adapter)) {
            adapter_offsets & at = cache.offsets[size_t(tensor.layer)][size_t(tensor.module)];
            at.exists = true;
            (tensor.is_b ? at.b : at.a) = tensor.offset;
        }
    }
    vec x;
    for (const int32_t token : tokens) {
        const auto row = token_embd.values.begin() + token * n_embd;
        x.insert(x.end(), row, row + n_embd);
    }
    for (size_t i = 0; i < layers.size(); i++) {
        const auto    linear = [&](int module, const vec & in) { return cache.linear(*this, adapter, i, module, in); };
        layer_cache & c = cache.layers[i];
        c.x = x;
        c.attn_in = rms_norm(x, layers[i].attn_norm, norm_epsilon);
        c.q = linear(Q, c.attn_in);
        c.k = linear(K, c.attn_in);
        c.v = linear(V, c.attn_in);
        rotate(c.q, n_heads, n_tokens, 1.0);
        rotate(c.k, n_kv_heads, n_tokens, 1.0);
        c.p.assign(size_t(n_heads * n_tokens * n_tokens), 0.0);
        c.attn_out.assign(size_t(n_tokens * n_heads * head_length), 0.0);
        for (int64_t head = 0; head < n_heads; head++) {
            const int64_t kv_head = head / (n_heads / n_kv_heads);
            for (int64_t t = 0; t < n_tokens; t++) {
                const double * q = &c.q[size_t((t * n_heads + head) * head_length)];
                double *       p = &c.p[size_t((head * n_tokens + t) * n_tokens)];
                double         largest = -INFINITY, total = 0.0;
                for (int64_t s = 0; s <= t; s++) {
                    const double * k = &c.k[size_t((s * n_kv_heads + kv_head) * head_length)];
                    for (int64_t d = 0; d < head_length; d++) {
                        p[s] += q[d] * k[d];
                    }
                    p[s] /= std::sqrt(double(head_length));
                    largest = std::max(largest, p[s]);
                }
                for (int64_t s = 0; s <= t; s++) {
                    p[s] = std::exp(p[s] - largest);
                    total += p[s];
                }
                double * o = &c.attn_out[size_t((t * n_heads + head) * head_length)];
                for (int64_t s = 0; s <= t; s++) {
                    p[s] /= total;
                    for (int64_t d = 0; d < head_length; d++) {
                        o[d] += p[s] * c.v[size_t((s * n_kv_heads + kv_head) * head_length + d)];
                    }
                }
            }
        }
        add_to(x, linear(O, c.attn_out));
        c.x_mid = x;
        c.ffn_in = rms_norm(x, layers[i].ffn_norm, norm_epsilon);
        c.gate = linear(GATE, c.ffn_in);
        c.up = linear(UP, c.ffn_in);
        c.act.resize(c.gate.size());
        for (size_t j = 0; j < c.act.size(); j++) {
            c.act[j] = c.gate[j] * sigmoid(c.gate[j]) * c.up[j];
        }
        add_to(x, linear(DOWN, c.act));
    }
    cache.x_last = x;
    cache.head_in = rms_norm(x, output_norm, norm_epsilon);
}

// d_x: gradient of the loss by the last layer's output.
void reference_model::backward(const reference_adapter & adapter, const reference_cache & cache, vec d_x, vec & gradient,
                               const std::vector<vec> & pulls) const {
    const int64_t n_tokens = cache.n_tokens;
    for (size_t i = layers.size(); i-- > 0;) {
        if (!pulls.empty() && !pulls[i + 1].empty()) {
            add_to(d_x, pulls[i + 1]);
        }
        const layer_cache & c = cache.layers[i];
        const auto          linear = [&](int module, const vec & in, const vec & d_out, vec & d_in) {
            cache.linear_backward(*this, adapter, i, module, in, d_out, d_in, gradient);
        };
        vec d_act(c.act.size()), d_gate(c.act.size()), d_up(c.act.size()), d_norm(d_x.size());
        linear(DOWN, c.act, d_x, d_act);
        for (size_t j = 0; j < d_act.size(); j++) {
            const double s = sigmoid(c.gate[j]);
            d_up[j] = d_act[j] * c.gate[j] * s;
            d_gate[j] = d_act[j] * c.up[j] * (s + c.gate[j] * s * (1.0 - s));
        }
        linear(GATE, c.ffn_in, d_gate, d_norm);
        linear(UP, c.ffn_in, d_up, d_norm);
        rms_norm_backward(c.x_mid, layers[i].ffn_norm, norm_epsilon, d_norm, d_x);

        vec d_out(c.attn_out.size()), d_q(c.q.size()), d_k(c.k.size()), d_v(c.v.size());
        linear(O, c.attn_out, d_x, d_out);
        for (int64_t head = 0; head < n_heads; head++) {
            const int64_t kv_head = head / (n_heads / n_kv_heads);
            for (int64_t t = 0; t < n_tokens; t++) {
                const size_t   at_q = size_t((t * n_heads + head) * head_length);
                const double * p = &c.p[size_t((head * n_tokens + t) * n_tokens)];
                vec            d_p(size_t(t) + 1);
                double         mean = 0.0;  // sum of p dp
                for (int64_t s = 0; s <= t; s++) {
                    const size_t at_k = size_t((s * n_kv_heads + kv_head) * head_length);
                    for (size_t d = 0; d < size_t(head_length); d++) {
                        d_p[size_t(s)] += d_out[at_q + d] * c.v[at_k + d];
                        d_v[at_k + d] += p[s] * d_out[at_q + d];
                    }
                    mean += p[s] * d_p[size_t(s)];
                }
                for (int64_t s = 0; s <= t; s++) {
                    const size_t at_k = size_t((s * n_kv_heads + kv_head) * head_length);
                    const double d_score = p[s] * (d_p[size_t(s)] - mean) / std::sqrt(double(head_length));
                    for (size_t d = 0; d < size_t(head_length); d++) {
                        d_q[at_q + d] += d_score * c.k[at_k + d];
                        d_k[at_k + d] += d_score * c.q[at_q + d];
                    }
                }
            }
        }
        rotate(d_q, n_heads, n_tokens, -1.0);
        rotate(d_k, n_kv_heads, n_tokens, -1.0);
        std::fill(d_norm.begin(), d_norm.end(), 0.0);
        linear(Q, c.attn_in, d_q, d_norm);
        linear(K, c.attn_in, d_k, d_norm);
        linear(V, c.attn_in, d_v, d_norm);
        rms_norm_backward(c.x, layers[i].attn_norm, norm_epsilon, d_norm, d_x);
    }
}

vec reference_model::logits(const std::vector<int32_t> & tokens, const reference_adapter * adapter) const {
    reference_cache cache;
    forward(tokens, adapter, cache);
    return multiply_transposed(output.values.data(), n_vocab, n_embd, cache.head_in, cache.n_tokens);
}

reference_loss reference_model::loss(const std::vector<reference_sample> & samples, const reference_adapter * adapter,
                                     vec * gradient) const {
    reference_loss result;
    if (gradient != nullptr) {
        gradient->assign(count_weights(*adapter), 0.0);
    }
    for (const reference_sample & sample : samples) {
        reference_cache cache;
        forward(sample.tokens, adapter, cache);
        vec z = multiply_transposed(output.values.data(), n_vocab, n_embd, cache.head_in, cache.n_tokens);
        // Becomes the gradient by the logits: p - one_hot in rows that predict a supervised token, else zero.
        for (size_t t = 0; t < sample.tokens.size(); t++) {
            const auto row = z.begin() + int64_t(t) * n_vocab;
            if (t + 1 >= sample.tokens.size() || sample.supervised[t + 1] == 0) {
                std::fill(row, row + n_vocab, 0.0);
                continue;
            }
            const auto   best = std::max_element(row, row + n_vocab);
            const double largest = *best;
            const auto   target = row + sample.tokens[t + 1];
            double       total = 0.0;
            result.n_correct += best == target ? 1 : 0;
            for (int64_t i = 0; i < n_vocab; i++) {
                total += std::exp(row[i] - largest);
            }
            result.loss_sum += std::log(total) + largest - *target;
            result.n_supervised++;
            std::transform(row, row + n_vocab, row, [&](double value) { return std::exp(value - largest) / total; });
            *target -= 1.0;
        }
        if (gradient != nullptr) {
            vec d_head_in(cache.head_in.size()), d_x(cache.x_last.size());
            add_product(output.values.data(), n_vocab, n_embd, z, cache.n_tokens, d_head_in);
            rms_norm_backward(cache.x_last, output_norm, norm_epsilon, d_head_in, d_x);
            backward(*adapter, cache, std::move(d_x), *gradient);
        }
    }
    return result;
}

}  // namespace fedllm_test
