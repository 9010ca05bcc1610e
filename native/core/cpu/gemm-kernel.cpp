// The packed matrix product, compiled once per instruction set. With FEDLLM_SIMD_AVX512BF16 both operands are rounded to BF16
// (to nearest, ties to even) while they are packed; sums stay F32.
// Structure as in Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): panels of B stay in
// the level-1 cache, a block of A in level 2, a register tile of MR x NR outputs is accumulated over KC.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/unpack.h"

namespace fedllm {
namespace {

constexpr int64_t MR = 2 * WIDTH;
// Slots, and terms, of a block. KC is a multiple of 256, the longest ggml block, so that quantized rows can be cut; MC
// likewise, for transposed ones.
constexpr int64_t SLOTS = 256;
constexpr int64_t KC = SLOTS * TERMS;
constexpr int64_t MC = 256;
constexpr int64_t NC = 504;  // a multiple of 12, 6 and 4
#if defined(FEDLLM_SIMD_AVX512BF16)
const float ZEROS[MC] = {};  // the term after the last of an odd number
#endif

// What one thread needs.
struct workspace {
    float * a;      // the packed block of A
    float * panel;  // MR unpacked rows of SLOTS
    float * row;    // unpacked rows: one of KC numbers or two of MC
    workspace() {
        const auto allocate = [](int64_t n) {
            void * memory = std::aligned_alloc(64, size_t(n) * sizeof(float));
            if (memory == nullptr) std::abort();  // below half a megabyte a thread: nothing sensible can go on without it
            return static_cast<float *>(memory);
        };
        a     = allocate(MC * SLOTS);
        panel = allocate(MR * SLOTS);
        row   = allocate(std::max(KC, 2 * MC));
    }
    ~workspace() {
        std::free(a);
        std::free(panel);
        std::free(row);
    }
    workspace(const workspace &)             = delete;
    workspace & operator=(const workspace &) = delete;
};

const float * f32_row(const gemm_matrix & x, int64_t i) { return reinterpret_cast<const float *>(x.data + i * x.row_bytes); }

// Packs A(m0 .. m0+mc, k0 .. k0+kc) into panels of MR rows: out[panel][slot][MR].
void pack_a(const gemm_matrix & a, int64_t m0, int64_t mc, int64_t k0, int64_t kc, workspace & space) {
    const int64_t slots = count_slots(kc);
    float * out = space.a;
    for (int64_t i = 0; i < mc; i += MR, out += MR * slots) {
        const int64_t count = std::min(MR, mc - i);
        if (TERMS == 1 && a.type == GGML_TYPE_F32) {
            transpose_panel(f32_row(a, m0 + i) + k0, a.row_bytes / int64_t(sizeof(float)), count, kc, MR, out);
            continue;
        }
        for (int64_t r = 0; r < count; ++r) {
#if defined(FEDLLM_SIMD_AVX512BF16)
            unpack(a.type, a.data + (m0 + i + r) * a.row_bytes, k0, kc, space.row);
            round_pairs(space.row, kc, space.panel + r * SLOTS);
#else
            unpack(a.type, a.data + (m0 + i + r) * a.row_bytes, k0, kc, space.panel + r * SLOTS);
#endif
        }
        transpose_panel(space.panel, SLOTS, count, slots, MR, out);
    }
}

// The same where a row of A holds consecutive m for one k.
void pack_a_transposed(const gemm_matrix & a, int64_t m0, int64_t mc, int64_t k0, int64_t kc, workspace & space) {
    const int64_t slots = count_slots(kc);
    if (mc % MR != 0) std::memset(space.a + mc / MR * MR * slots, 0, size_t(MR * slots) * sizeof(float));
    const auto values_of = [&](int64_t k, float * scratch) {
        if (a.type == GGML_TYPE_F32) return f32_row(a, k) + m0;
        unpack(a.type, a.data + k * a.row_bytes, m0, mc, scratch);
        return static_cast<const float *>(scratch);
    };
    for (int64_t s = 0; s < slots; ++s) {
        const float * values = values_of(k0 + s * TERMS, space.row);
#if defined(FEDLLM_SIMD_AVX512BF16)
        const float * next = s * TERMS + 1 < kc ? values_of(k0 + s * TERMS + 1, space.row + MC) : ZEROS;
        for (int64_t i = 0; i < mc; i += WIDTH) {
            const __mmask16 taken = __mmask16((1u << std::min<int64_t>(WIDTH, mc - i)) - 1);
            const vec pairs = round_across(_mm512_maskz_loadu_ps(taken, values + i), _mm512_maskz_loadu_ps(taken, next + i));
            vec_store(space.a + i / MR * MR * slots + s * MR + i % MR, pairs);
        }
#else
        for (int64_t i = 0; i < mc; i += MR) {
            std::memcpy(space.a + i * slots + s * MR, values + i, size_t(std::min(MR, mc - i)) * sizeof(float));
        }
#endif
    }
}

// Packs B(n0 .. n0+nc, k0 .. k0+kc) into panels of NR rows: out[panel][slot][NR].
void pack_b(const gemm_matrix & b, int64_t n0, int64_t nc, int64_t k0, int64_t kc, float * out) {
    const int64_t slots = count_slots(kc);
    for (int64_t j = 0; j < nc; j += NR, out += NR * slots) {
        const int64_t count = std::min(NR, nc - j);
#if defined(FEDLLM_SIMD_AVX512BF16)
        alignas(64) float pairs[NR * SLOTS];
        for (int64_t i = 0; i < count; ++i) round_pairs(f32_row(b, n0 + j + i) + k0, kc, pairs + i * SLOTS);
        transpose_panel(pairs, SLOTS, count, slots, NR, out);
#else
        transpose_panel(f32_row(b, n0 + j) + k0, b.row_bytes / int64_t(sizeof(float)), count, kc, NR, out);
#endif
    }
}

// NR numbers of slot `s` of a panel whose first column is j, of a B whose rows hold consecutive n; zero beyond `count`.
inline void pack_b_slot(const gemm_matrix & b, int64_t j, int64_t count, int64_t k0, int64_t kc, int64_t s, float * out) {
    const float * row = f32_row(b, k0 + s * TERMS) + j;
#if defined(FEDLLM_SIMD_AVX512)
    const __mmask16 taken = __mmask16((1u << count) - 1), written = __mmask16((1u << NR) - 1);
    vec values = _mm512_maskz_loadu_ps(taken, row);
#if defined(FEDLLM_SIMD_AVX512BF16)
    values = round_across(values, _mm512_maskz_loadu_ps(taken, s * TERMS + 1 < kc ? f32_row(b, k0 + s * TERMS + 1) + j : ZEROS));
#else
    (void) kc;
#endif
    _mm512_mask_storeu_ps(out, written, values);
#else
    (void) kc;
    if (count == NR) std::memcpy(out, row, size_t(NR) * sizeof(float));
    else for (int64_t i = 0; i < NR; ++i) out[i] = i < count ? row[i] : 0.0f;
#endif
}

// The same where a row of B holds consecutive n for one k. Eight panels at a time, so that a piece of a row is read once and only
// as many places are written to as the caches can follow.
void pack_b_transposed(const gemm_matrix & b, int64_t n0, int64_t nc, int64_t k0, int64_t kc, float * out) {
    const int64_t slots = count_slots(kc);
    for (int64_t group = 0; group < nc; group += 8 * NR) {
        for (int64_t s = 0; s < slots; ++s) {
            for (int64_t j = group; j < std::min(nc, group + 8 * NR); j += NR) {
                pack_b_slot(b, n0 + j, std::min(NR, nc - j), k0, kc, s, out + j * slots + s * NR);
            }
        }
    }
}

// One register tile: out[j * stride + i] (+)= alpha * sum_s a[s][i] * b[s][j], i < HALVES * WIDTH, j < N. Each sum is the same
// whatever the size of the tile.
template <int HALVES, int64_t N>
inline void micro_kernel(int64_t slots, const float * a, const float * b, float alpha, bool accumulate, float * out, int64_t stride) {
    vec sum[N][HALVES];
    for (int64_t j = 0; j < N; ++j) {
        for (int half = 0; half < HALVES; ++half) sum[j][half] = vec_zero();
    }
    for (int64_t s = 0; s < slots; ++s, a += MR, b += NR) {
        vec column[HALVES];
#pragma GCC unroll 2
        for (int half = 0; half < HALVES; ++half) column[half] = vec_load(a + half * WIDTH);
#pragma GCC unroll 12
        for (int64_t j = 0; j < N; ++j) {
            const vec bj = vec_set(b[j]);
#pragma GCC unroll 2
            for (int half = 0; half < HALVES; ++half) sum[j][half] = slot_fma(column[half], bj, sum[j][half]);
        }
    }
    const vec factor = vec_set(alpha);
    for (int64_t j = 0; j < N; ++j) {
        for (int half = 0; half < HALVES; ++half) {
            float * target = out + j * stride + half * WIDTH;
            vec_store(target, accumulate ? vec_fma(factor, sum[j][half], vec_load(target)) : vec_mul(factor, sum[j][half]));
        }
    }
}

// Tiles at the edges, and products with a side as short as LoRA's rank, take half the height and thirds of the width, as far as
// they go.
constexpr int64_t THIRD = NR % 3 == 0 ? NR / 3 : NR;
using tile_fn = void (*)(int64_t slots, const float * a, const float * b, float alpha, bool accumulate, float * out, int64_t stride);
constexpr tile_fn TILES[2][3] = { { micro_kernel<1, THIRD>, micro_kernel<1, std::min(NR, 2 * THIRD)>, micro_kernel<1, NR> },
                                  { micro_kernel<2, THIRD>, micro_kernel<2, std::min(NR, 2 * THIRD)>, micro_kernel<2, NR> } };

// A tile of count_m x count_n numbers of C, at `target`.
void multiply_edge(const float * a, const float * b, int64_t slots, float alpha, bool accumulate, int64_t count_m, int64_t count_n, float * target, int64_t stride) {
    const int64_t halves = count_m > WIDTH ? 2 : 1, thirds = (count_n + THIRD - 1) / THIRD;
    const tile_fn tile = TILES[halves - 1][thirds - 1];
    if (count_m == halves * WIDTH && count_n == thirds * THIRD) return tile(slots, a, b, alpha, accumulate, target, stride);
    alignas(64) float sums[MR * NR];
    tile(slots, a, b, 1.0f, false, sums, MR);
    for (int64_t j = 0; j < count_n; ++j) {
        for (int64_t i = 0; i < count_m; ++i) {
            // The same rounding as in a whole tile, so that a column's bits do not depend on its neighbours.
            float & out = target[j * stride + i];
            out = accumulate ? scalar_fma(alpha, sums[j * MR + i], out) : alpha * sums[j * MR + i];
        }
    }
}

// One block: packed A (mc rows) times packed B panels into C at (m0, n0).
void multiply_block(const gemm_problem & p, const float * packed_a, const float * packed_b, int64_t m0, int64_t mc, int64_t n0, int64_t nc,
                    int64_t slots, bool accumulate) {
    const int64_t stride = p.c_row_bytes / int64_t(sizeof(float));
    for (int64_t j = 0; j < nc; j += NR) {
        const int64_t count_n = std::min(NR, nc - j);
        float * column = reinterpret_cast<float *>(reinterpret_cast<uint8_t *>(p.c) + (n0 + j) * p.c_row_bytes) + m0;
        const float * b = packed_b + j * slots;
        for (int64_t i = 0; i < mc; i += MR) {
            const int64_t count_m = std::min(MR, mc - i);
            const float * a = packed_a + i * slots;
            if (count_m == MR && count_n == NR) micro_kernel<2, NR>(slots, a, b, p.alpha, accumulate, column + i, stride);
            else multiply_edge(a, b, slots, p.alpha, accumulate, count_m, count_n, column + i, stride);
        }
    }
}

constexpr int64_t pad_columns(int64_t n) { return (n + NR - 1) / NR * NR; }

int64_t packed_b_size(int64_t n, int64_t k) { return pad_columns(n) * count_slots(k); }

// Packed B: for each block of KC terms, all columns in panels of NR: block at its first slot * padded n, panel at column * slots.
void pack_b_columns(const gemm_problem & p, int64_t n0, int64_t n1, float * packed) {
    for (int64_t k = 0; k < p.k; k += KC) {
        const int64_t kc = std::min(KC, p.k - k);
        (p.b.transposed ? pack_b_transposed : pack_b)(p.b, n0, n1 - n0, k, kc, packed + k / TERMS * pad_columns(p.n) + n0 * count_slots(kc));
    }
}

void multiply(const gemm_problem & p, const float * packed, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
    static thread_local std::unique_ptr<workspace> space;
    if (!space) space = std::make_unique<workspace>();
    for (int64_t m = m0; m < m1; m += MC) {
        const int64_t mc = std::min(MC, m1 - m);
        for (int64_t k = 0; k < p.k; k += KC) {
            const int64_t kc = std::min(KC, p.k - k);
            (p.a.transposed ? pack_a_transposed : pack_a)(p.a, m, mc, k, kc, *space);
            // NC columns at a time, so that the block of C stays in the level-2 cache.
            for (int64_t n = n0; n < n1; n += NC) {
                multiply_block(p, space->a, packed + k / TERMS * pad_columns(p.n) + n * count_slots(kc), m, mc, n, std::min(NC, n1 - n), count_slots(kc), p.accumulate || k > 0);
            }
        }
    }
}

}  // namespace

#if defined(FEDLLM_SIMD_AVX512BF16)
const gemm_kernel GEMM_AVX512BF16 = { packed_b_size, pack_b_columns, multiply, NR };
#elif defined(FEDLLM_SIMD_AVX512)
const gemm_kernel GEMM_AVX512 = { packed_b_size, pack_b_columns, multiply, NR };
#elif defined(FEDLLM_SIMD_AVX2)
const gemm_kernel GEMM_AVX2 = { packed_b_size, pack_b_columns, multiply, NR };
#elif defined(FEDLLM_SIMD_NEON)
const gemm_kernel GEMM_NEON = { packed_b_size, pack_b_columns, multiply, NR };
#else
const gemm_kernel GEMM_GENERIC = { packed_b_size, pack_b_columns, multiply, NR };
#endif

}  // namespace fedllm
