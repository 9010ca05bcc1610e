// See kernels.h.
#include "cpu/kernels.h"

#include <cstring>

namespace fedllm {

namespace {

const cpu_kernels GENERIC = { "generic", &GEMM_GENERIC, nullptr, &ROWS_GENERIC, &VECTORS_GENERIC };
#if defined(FEDLLM_HAVE_X86_KERNELS)
const cpu_kernels AVX512 = { "avx512", &GEMM_AVX512, nullptr, &ROWS_AVX512, &VECTORS_AVX512 };
const cpu_kernels AVX2   = { "avx2", &GEMM_AVX2, nullptr, &ROWS_AVX2, &VECTORS_AVX2 };

bool cpu_has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
}

#if defined(FEDLLM_HAVE_BF16_KERNELS)
const cpu_kernels AVX512BF16 = { "avx512bf16", &GEMM_AVX512, &GEMM_AVX512BF16, &ROWS_AVX512, &VECTORS_AVX512 };
#endif

// Every processor with AVX2 and FMA also converts half floats (F16C).
bool cpu_has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#if defined(FEDLLM_HAVE_NEON_KERNELS)
const cpu_kernels NEON = { "neon", &GEMM_NEON, nullptr, &ROWS_NEON, &VECTORS_NEON };
#endif

}  // namespace

const cpu_kernels * cpu_find_kernels(const char * name) {
#if defined(FEDLLM_HAVE_BF16_KERNELS)
    if (std::strcmp(name, "avx512bf16") == 0) return cpu_has_avx512() && __builtin_cpu_supports("avx512bf16") ? &AVX512BF16 : nullptr;
#endif
#if defined(FEDLLM_HAVE_NEON_KERNELS)
    if (std::strcmp(name, "neon") == 0) return &NEON;
#endif
#if defined(FEDLLM_HAVE_X86_KERNELS)
    if (std::strcmp(name, "avx512") == 0) return cpu_has_avx512() ? &AVX512 : nullptr;
    if (std::strcmp(name, "avx2") == 0) return cpu_has_avx2() ? &AVX2 : nullptr;
#endif
    return std::strcmp(name, "generic") == 0 ? &GENERIC : nullptr;
}

const cpu_kernels & cpu_select_kernels() {
    static const cpu_kernels * chosen = [] {
        for (const char * name : { "avx512bf16", "avx512", "avx2", "neon" }) {
            if (const cpu_kernels * found = cpu_find_kernels(name)) return found;
        }
        return &GENERIC;
    }();
    return *chosen;
}

}  // namespace fedllm
