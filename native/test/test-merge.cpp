// Merged models: weights with the adapter in them give the logits of base and adapter, in the core and in llama.cpp, and adapters in smaller
// types give nearly those of F32.
#include <cmath>
#include <cstring>
#include <fstream>

#include "architecture-cases.h"
#include "llama-oracle.h"
#include "merge.h"
#include "test-support.h"

using namespace fedllm_test;

namespace {

// The merged model's logits against those of base and adapter, and llama.cpp's of the merged file.
std::string compare_merged(const architecture_case & c, ggml_type type) {
    const model_pair   models = load_core_only(write_case(c, "merge", type));
    const adapter_pair adapter = random_adapter_of_core(models, modules_of(c.options), 5, 17);
    const std::string  file = temporary_path("merge-adapter.gguf"), merged = temporary_path("merged.gguf");
    fedllm::adapter_save_gguf(file, *models.core, adapter.options, adapter.weights);
    fedllm::merge_write(models.path, file, merged);
    const auto   tokens = random_tokens(c.options.n_vocab, 40, 3);
    const auto   expected = fedllm::compute_logits(*models.core, &adapter.options, &adapter.weights, tokens);
    const double error = normalised_mse(fedllm::compute_logits(*load_core(merged), nullptr, nullptr, tokens), expected);
    // Both sides compute in F32; rounding W + scale B A once more is like rounding a product once more.
    require_below(error, 1e-9, "error in the core");
    // GELU by a table of F16; activations in 8 bits before products with tensors that stayed quantized (the head).
    require_below(normalised_mse(llama_oracle(merged).logits(tokens), expected), type == GGML_TYPE_F32 ? 1e-5 : 1e-2, "error in llama.cpp");
    require(normalised_mse(fedllm::compute_logits(*models.core, nullptr, nullptr, tokens), expected) > 1e-4, "the adapter changes nothing");
    return format("%.0e", error);
}

}  // namespace

FEDLLM_TEST("merge: a model with the adapter in its weights computes what base and adapter do") {
    return for_each_supported([](const architecture_case & c) { return compare_merged(c, GGML_TYPE_F32); }) + "; Q8_0 " +
           compare_merged({"llama", {}}, GGML_TYPE_Q8_0);
}

FEDLLM_TEST("merge: everything without a pair is the base's, bit for bit, and numbers are W + scale B A") {
    fixture_options   options;
    const model_pair  models = make_models("merge-base.gguf", options);
    const adapter_pair adapter = random_adapter(models, {"attn_q"}, 3, 18);
    const std::string file = temporary_path("merge-adapter.gguf"), merged = temporary_path("merged.gguf");
    fedllm::adapter_save_gguf(file, *models.core, adapter.options, adapter.weights);
    fedllm::merge_write(models.path, file, merged);
    const auto before = fedllm::gguf_file::open(models.path), after = fedllm::gguf_file::open(merged);
    require(before->tensors().size() == after->tensors().size(), "another number of tensors");
    require(gguf_get_n_kv(before->metadata()) == gguf_get_n_kv(after->metadata()), "another number of keys");
    const fedllm::adapter_layout layout = fedllm::adapter_make_layout(*models.core, adapter.options);
    const double scale = double(adapter.options.lora_alpha) / 3.0;
    for (const fedllm::gguf_tensor & tensor : before->tensors()) {
        const auto * other = after->find_tensor(tensor.name);
        require(other != nullptr, tensor.name + ": absent");
        if (tensor.name.find("attn_q.weight") == std::string::npos) {
            require(other->type == tensor.type && std::memcmp(before->data() + tensor.offset, after->data() + other->offset, tensor.size) == 0, tensor.name + ": other bytes");
            continue;
        }
        const auto   at = [&](const char * half) {
            for (const auto & entry : layout.tensors) if (entry.name == tensor.name + half) return adapter.weights.data() + entry.offset;
            throw std::runtime_error("no pair for " + tensor.name);
        };
        const float *a = at(".lora_a"), *b = at(".lora_b");
        const float *w = reinterpret_cast<const float *>(before->data() + tensor.offset), *m = reinterpret_cast<const float *>(after->data() + other->offset);
        for (int64_t o = 0; o < tensor.ne[1]; ++o) {
            for (int64_t i = 0; i < tensor.ne[0]; ++i) {
                double expected = double(w[o * tensor.ne[0] + i]);
                for (int64_t r = 0; r < 3; ++r) expected += scale * double(b[o * 3 + r]) * double(a[r * tensor.ne[0] + i]);
                // The sums are in double, so only the last rounding to F32 is left.
                require(std::fabs(double(m[o * tensor.ne[0] + i]) - expected) <= 1e-7 * std::fabs(expected) + 1e-12, tensor.name + ": another sum");
            }
        }
    }
    require_error({"CONFIG_INVALID"}, "the model as output", [&] { fedllm::merge_write(models.path, file, models.path); });
    require_error({"CONFIG_INVALID"}, "the adapter as output", [&] { fedllm::merge_write(models.path, file, file); });
    require_error({"ADAPTER_INVALID"}, "a model as adapter", [&] { fedllm::merge_write(models.path, models.path, merged); });
    require_error({"IO_FAILED"}, "no folder", [&] { fedllm::merge_write(models.path, file, temporary_path("absent/merged.gguf")); });
    return "";
}

FEDLLM_TEST("adapter types: llama.cpp loads F32, F16 and Q8_0, whose logits are within their rounding") {
    fixture_options options;
    const model_pair models = make_models("adapter-types.gguf", options);
    const auto tokens = random_tokens(options.n_vocab, 40, 5);
    std::string report;
    for (const int rank : {32, 5}) {  // rows of B are a block of Q8_0, or not
        const adapter_pair adapter = random_adapter(models, ALL_MODULES, rank, 19);
        const auto         expected = fedllm::compute_logits(*models.core, &adapter.options, &adapter.weights, tokens);
        const double       effect = normalised_mse(fedllm::compute_logits(*models.core, nullptr, nullptr, tokens), expected);
        // F16 keeps 11 bits, 5e-4 of each number and 2.4e-7 of the square. Q8_0 keeps 1/254 of a block's largest number, of a normal block
        // 2e-5 of the mean square, in both factors and in llama.cpp's activations. Errors are of the adapter's part of the logits.
        for (const auto & [type, bound] : std::vector<std::pair<ggml_type, double>>{{GGML_TYPE_F32, 1e-6}, {GGML_TYPE_F16, 1e-5}, {GGML_TYPE_Q8_0, 1e-3}}) {
            const std::string path = temporary_path("typed-adapter.gguf");
            fedllm::adapter_save_gguf(path, *models.core, adapter.options, adapter.weights, type);
            const auto file = fedllm::gguf_file::open(path);
            require(file->find_tensor("blk.0.attn_q.weight.lora_a")->type == type, "A has another type");
            const ggml_type of_b = type == GGML_TYPE_Q8_0 && rank % 32 != 0 ? GGML_TYPE_F16 : type;
            require(file->find_tensor("blk.0.attn_q.weight.lora_b")->type == of_b, "B has another type");
            const double error = normalised_mse(llama_oracle(models.path).logits(tokens, path), expected);
            require_below(error, bound * std::max(effect, 0.01), format("rank %d, %s: error in llama.cpp", rank, ggml_type_name(type)));
            const fedllm::loaded_adapter loaded = fedllm::adapter_load_gguf(path, *models.core);
            if (type == GGML_TYPE_F32) require(loaded.weights == adapter.weights, "F32 came back changed");
            report += format(" %s %.0e", ggml_type_name(type), error);
        }
    }
    adapter_pair large = random_adapter(models, {"attn_q"}, 2, 20);
    large.weights[0] = 1e6f;
    require_error({"ADAPTER_INVALID"}, "a number beyond F16", [&] { fedllm::adapter_save_gguf(temporary_path("large.gguf"), *models.core, large.options, large.weights, GGML_TYPE_F16); });
    require_error({"CONFIG_INVALID"}, "another type", [&] { fedllm::adapter_save_gguf(temporary_path("large.gguf"), *models.core, large.options, large.weights, GGML_TYPE_Q4_0); });
    return report;
}
