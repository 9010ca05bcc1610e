// See merge.h.
#include "merge.h"

#include <sys/stat.h>

#include <cmath>
#include <map>
#include <vector>

#include "adapter.h"
#include "error.h"
#include "gguf-writer.h"

namespace fedllm {

namespace {

// Of one weight W [d_in, d_out].
struct merge_pair {
    const float * a = nullptr;  // [d_in, rank]
    const float * b = nullptr;  // [rank, d_out]
};

void check_output(const std::string & input, const std::string & output) {
    struct stat from{}, to{};
    if (stat(input.c_str(), &from) == 0 && stat(output.c_str(), &to) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino) {
        throw train_error("CONFIG_INVALID", "outputPath: expected another file than the inputs, received " + output);
    }
}

// By the weight's name.
std::map<std::string, merge_pair> find_pairs(const adapter_layout & layout, const std::vector<float> & weights) {
    std::map<std::string, merge_pair> pairs;
    for (const adapter_tensor & tensor : layout.tensors) {
        merge_pair & pair = pairs[tensor.name.substr(0, tensor.name.size() - std::string(".lora_a").size())];
        (tensor.is_b ? pair.b : pair.a) = weights.data() + tensor.offset;
    }
    return pairs;
}

void read_row(const gguf_tensor & tensor, const uint8_t * row, std::vector<float> & target) {
    if (tensor.type == GGML_TYPE_F32) {
        std::copy_n(reinterpret_cast<const float *>(row), tensor.ne[0], target.data());
    } else {
        ggml_get_type_traits(tensor.type)->to_float(row, target.data(), tensor.ne[0]);
    }
}

// W + scale B A, [d_in, d_out].
std::vector<float> merge_tensor(const gguf_file & file, const gguf_tensor & tensor, const merge_pair & pair, const adapter_options & options) {
    const size_t d_in = size_t(tensor.ne[0]), d_out = size_t(tensor.ne[1]), rank = size_t(options.rank);
    const double scale = double(options.lora_alpha) / double(options.rank);
    const size_t row_size = ggml_row_size(tensor.type, tensor.ne[0]);
    std::vector<float>  merged(d_in * d_out), row(d_in);
    std::vector<double> sum(d_in);
    for (size_t o = 0; o < d_out; ++o) {
        read_row(tensor, file.data() + tensor.offset + o * row_size, row);
        sum.assign(row.begin(), row.end());
        for (size_t r = 0; r < rank; ++r) {
            const double  factor = scale * double(pair.b[o * rank + r]);
            const float * a = pair.a + r * d_in;
            for (size_t i = 0; i < d_in; ++i) sum[i] += factor * double(a[i]);
        }
        for (size_t i = 0; i < d_in; ++i) {
            merged[o * d_in + i] = float(sum[i]);
            if (!std::isfinite(merged[o * d_in + i])) throw train_error("ADAPTER_INVALID", "tensor " + tensor.name + ": expected finite sums of weight and adapter, received infinity");
        }
    }
    return merged;
}

}  // namespace

void merge_write(const std::string & model_path, const std::string & adapter_path, const std::string & output_path) {
    model_options described;
    described.placement = weight_placement::measured;
    const std::shared_ptr<base_model> model = base_model::load(model_path, described);
    const loaded_adapter adapter = adapter_load_gguf(adapter_path, *model);
    for (const std::string & input : { model_path, adapter_path }) check_output(input, output_path);
    const std::map<std::string, merge_pair> pairs = find_pairs(adapter_make_layout(*model, adapter.options), adapter.weights);

    const std::shared_ptr<gguf_file> file = gguf_file::open(model_path);
    gguf_writer writer(file->tensors().size());
    gguf_set_kv(writer.metadata(), file->metadata());
    gguf_remove_key(writer.metadata(), "general.alignment");  // the writer has its own, the default
    for (const gguf_tensor & tensor : file->tensors()) {
        writer.add_tensor(tensor.name, pairs.count(tensor.name) == 0 ? tensor.type : GGML_TYPE_F32, tensor.ne);
    }
    std::vector<float> merged;
    writer.write_streamed(output_path, [&](size_t index) -> const void * {
        const gguf_tensor & tensor = file->tensors()[index];
        const uint8_t *     data = file->data() + tensor.offset;
        if (index > 0) {
            const gguf_tensor & before = file->tensors()[index - 1];
            file->release_pages(file->data() + before.offset, before.size);
        }
        const auto pair = pairs.find(tensor.name);
        if (pair == pairs.end()) return data;
        merged = merge_tensor(*file, tensor, pair->second, adapter.options);
        return merged.data();
    });
}

}  // namespace fedllm
