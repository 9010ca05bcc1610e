#!/usr/bin/env bash
# Checks the core on an NVIDIA GPU: builds ggml with CUDA and llama.cpp from the sources that the pinned node-llama-cpp package carries,
# then core_test (the CPU's oracles and the GPU against the CPU) and core_bench, and beside them PEFT in PyTorch where it is installed.
# Needs CMake, a C++ compiler and the CUDA toolkit; no Node. Make the two folders it reads beforehand, on any machine with Node:
#   node scripts/extract-headers.cjs && node scripts/extract-headers.cjs --sources gpu-sources
# usage: gpu-check.sh [SOURCES_DIR] [BUILD_DIR] [OUT_FILE]      CUDA_ARCH=90 chooses the GPU's architecture (default 90: Hopper)
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
sources=$(cd "${1:-$root/gpu-sources}" && pwd)
build=${2:-/tmp/fedllm-gpu-build}
out=${3:-$root/experiments/bench/results/gpu.md}
arch=${CUDA_ARCH:-90}
jobs=$(nproc)
device=${FEDLLM_TEST_DEVICE:-CUDA0}

# One folder with all libraries, backends as modules: the layout of the prebuilt packages.
cmake -S "$sources" -B "$build/llama" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_BACKEND_DL=ON -DGGML_NATIVE=OFF \
  -DGGML_CPU_ALL_VARIANTS=ON -DGGML_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$arch" -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF \
  -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF >"$build.llama.log"
cmake --build "$build/llama" -j "$jobs" >>"$build.llama.log"
libs="$build/llama/bin"
cmake -S "$root/native" -B "$build/native" -DCMAKE_BUILD_TYPE=Release -DFEDLLM_LIBS_DIR="$libs" >"$build.native.log"
cmake --build "$build/native" -j "$jobs" --target core_test core_bench >>"$build.native.log"
programs="$build/native/Release"

bench() { "$programs/core_bench" --libs "$libs" --device "$device" --threads "$jobs" --steps 6 "$@" 2>/dev/null; }
# name, then dim layers heads kv_heads ffn vocabulary
shapes=("TinyLlama 2048 22 32 4 5632 32000" "3B 3072 28 24 8 8192 128256" "8B 4096 32 32 8 14336 128256")
{
  echo "# The core on $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1)"
  echo
  echo "Command: \`experiments/bench/gpu-check.sh\`, architecture $arch, $(date -u +%Y-%m-%d). Random weights, rank 16 on attn_q and attn_v, AdamW."
  echo
  echo '```'
  "$programs/core_test" --libs "$libs" --device "$device" 2>/dev/null | tail -80
  echo '```'
  echo
  echo "| shape | sequence | base | tokens/s | GFLOP/s of 4N | GB on the device |"
  echo "|---|---|---|---|---|---|"
  for shape in "${shapes[@]}"; do
    read -r name dims <<<"$shape"
    for sequence in 512 2048; do
      for type in F16 Q8_0 MIXED; do
        for transposes in none bf16 q8_0; do
          # shellcheck disable=SC2086  # the shape is six words on purpose
          bench --shape $dims --type "$type" --sequence "$sequence" --transposes "$transposes" |
            sed -n 's/.*"tokens_per_second": \([0-9.]*\), "gflops": \([0-9.]*\).*"device_megabytes": \([0-9]*\).*/\1 \2 \3/p' |
            while read -r rate flops megabytes; do
              echo "| $name | $sequence | ${type/MIXED/as Q4_K_M}, transposes $transposes | $rate | $flops | $(awk "BEGIN { print $megabytes / 1000 }") |"
            done
        done
      done
      if python3 -c 'import peft, transformers' 2>/dev/null; then
        # shellcheck disable=SC2086
        python3 "$root/experiments/bench/peft_lora.py" $dims "$sequence" | sed "s/^/| $name | $sequence | bf16, PEFT with gradient checkpointing | /; s/$/ |/"
      fi
    done
  done
} | tee "$out"
