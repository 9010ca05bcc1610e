// See plan-grid.h.
#include "plan-grid.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "../test/memory-probe.h"

namespace fedllm_bench {

namespace {

using fedllm_test::memory_case;
using fedllm_test::memory_reading;

struct grid_model {
    const char * name;
    ggml_type    type;
    int          n_embd, n_layers, n_ff, n_vocab;
    std::string  path = {};
};

void write_model(grid_model & model, const std::filesystem::path & folder) {
    fedllm_test::fixture_options shape;
    shape.n_embd = model.n_embd;
    shape.n_heads = model.n_embd / 64;
    shape.n_kv_heads = shape.n_heads / 2;
    shape.n_ff = model.n_ff;
    shape.n_layers = model.n_layers;
    shape.n_vocab = model.n_vocab;
    shape.context_length = 1024;
    shape.type = model.type;
    model.path = (folder / (std::string(model.name) + ".gguf")).string();
    fedllm_test::fixture_write(model.path, shape);
}

std::vector<memory_case> list_cases(const grid_model & model) {
    std::vector<memory_case> cases;
    const std::string few = "attn_q,attn_v", all = "attn_q,attn_k,attn_v,attn_output,ffn_gate,ffn_up,ffn_down";
    for (const int sequence : { 64, 256, 768 }) {
        for (const int n_samples : { 1, 4 }) {
            if (sequence * n_samples > 1024) continue;
            for (const bool recompute : { false, true }) {
                for (const int rank : { 4, 32 }) {
                    cases.push_back({ "", model.path, rank, sequence, n_samples, recompute, rank == 4 ? few : all, 1, "", "plain" });
                }
            }
        }
    }
    for (const char * kind : { "preference", "neftune", "weighted", "streamed" }) {
        for (const int n_samples : { 1, 4 }) cases.push_back({ "", model.path, 8, 192, n_samples, std::string(kind) == "streamed", few, 1, "", kind });
    }
    return cases;
}

}  // namespace

int print_plan_grid(const std::string & libs_dir) {
    std::vector<grid_model> models = {
        { "F16-512", GGML_TYPE_F16, 512, 4, 1280, 4096 },
        { "Q4_K-512", GGML_TYPE_Q4_K, 512, 8, 1536, 8192 },
        { "Q8_0-768", GGML_TYPE_Q8_0, 768, 6, 2048, 32000 },
    };
    const std::filesystem::path folder = std::filesystem::temp_directory_path() / "fedllm-plan-grid";
    std::filesystem::create_directories(folder);
    double worst = 0.0;
    std::printf("| model | objective | tokens of a sample | samples | rank | layers | predicted, MB | measured, MB | ratio | above the bare process |\n|---|---|---|---|---|---|---|---|---|---|\n");
    for (grid_model & model : models) {
        write_model(model, folder);
        for (const memory_case & what : list_cases(model)) {
            const memory_reading r = fedllm_test::memory_measure(what, libs_dir);
            const double ratio = r.predicted / r.measured, above = (r.predicted - r.before) / (r.measured - r.before);
            for (const double value : { ratio, above }) worst = std::max(worst, std::fabs(value - 1.0));
            const char * layers = what.kind == "streamed" ? "streamed" : what.recompute ? "computed again" : "kept";
            std::printf("| %s | %s | %d | %d | %d | %s | %.1f | %.1f | %.3f | %.3f |\n", model.name, what.kind.c_str(), what.sequence, what.n_samples, what.rank,
                        layers, r.predicted / 1e6, r.measured / 1e6, ratio, above);
            std::fflush(stdout);
        }
        std::filesystem::remove(model.path);
    }
    std::printf("\nworst: %.1f %% from 1\n", 100.0 * worst);
    return worst < 0.1 ? 0 : 1;
}

}  // namespace fedllm_bench
