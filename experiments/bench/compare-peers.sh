#!/usr/bin/env bash
# Times the training core beside its peers on the same shapes in one run, in turn, and prints medians and ratios as Markdown:
# LoRA in plain PyTorch (torch_lora.py), llama.cpp's own finetune path (llama_finetune.cpp) and its prompt rate on the same file.
# The core runs with products in F32 and, where the processor can, in BF16. The last tables say where a step's time goes.
# usage: compare-peers.sh PEERS_DIR [REPEATS] ["110m 21m profile"]     PEERS_DIR holds the two peers; Debian: apt-get install python3-torch python3-numpy libopenblas0-pthread
set -euo pipefail
peers=$(cd "$1" && pwd)
repeats=${2:-5}
shapes=${3:-110m 21m profile}
root=$(cd "$(dirname "$0")/../.." && pwd)
bench="$root/native/build/Release/core_bench"
libs=$(node -e 'const l = require(process.argv[1] + "/scripts/libraries.cjs"); console.log(l.findPlatformPackage(process.argv[1], l.platformPackageName(process.platform, process.arch, "cpu")).binsDir)' "$root")
threads=$(nproc)
export OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

field() { sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p"; }
median() { sort -n | awk '{v[NR]=$1} END {print NR % 2 ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
torch() { /usr/bin/python3 "$peers/torch_lora.py" "$@" | sed -n 's/.* \([0-9.]*\) tok\/s.*/\1/p'; }
ours() { "$bench" --libs "$libs" --threads "$threads" "$@" 2>/dev/null | field tokens_per_second; }
has_bf16() { "$bench" --libs "$libs" --shape 64 1 2 2 96 97 --sequence 32 --steps 1 2>/dev/null | grep -q '"kernel": "avx512bf16"'; }
products=f32
if has_bf16; then products="f32 bf16"; fi

row() { printf '| %s | %.1f | %.1f | %.1f | %.2f |\n' "$1" "$(median <"$2")" "$(sort -n "$2" | head -1)" "$(sort -n "$2" | tail -1)" "$(awk -v a="$(median <"$2")" -v b="$3" 'BEGIN {print a / b}')"; }

shape="--shape 768 12 12 12 2048 32000 --sequence 512 --rank 16"
if [[ " $shapes " == *" 110m "* ]]; then
  echo "## 110M shape: 768 wide, 12 layers, 32000 tokens, sequence 512, rank 16 on attn_q and attn_v; tokens/s"
  for ((i = 0; i < repeats; i++)); do
    torch 768 12 12 12 2048 32000 512 1 16 >>"$work/torch"
    for type in F32 F16 Q8_0 MIXED; do
      for product in $products; do
        [[ $type-$product != F32-bf16 ]] || continue  # a weight in F32 stays F32
        "$bench" --libs "$libs" --threads "$threads" $shape --type "$type" --product "$product" --prompt-rate 2>/dev/null >"$work/run"
        for value in tokens_per_second of_prompt_rate fraction_of_gemm; do field "$value" <"$work/run" >>"$work/$type-$product-$value"; done
        field prompt_tokens_per_second <"$work/run" >>"$work/$type-prompt"
      done
    done
  done
  t=$(median <"$work/torch")
  echo "| program | median | minimum | maximum | of PyTorch | llama.cpp's prompt rate | of that rate | 4N of the F32 product |"
  echo "|---|---|---|---|---|---|---|---|"
  echo "$(row "PyTorch F32" "$work/torch" "$t") | | |"
  for type in F32 F16 Q8_0 MIXED; do
    for product in $products; do
      [[ -f $work/$type-$product-tokens_per_second ]] || continue
      printf '%s %.1f | %.3f | %.2f |\n' "$(row "fedllm-native, base ${type/MIXED/as Q4_K_M}, products in ${product^^}" "$work/$type-$product-tokens_per_second" "$t")" \
        "$(median <"$work/$type-prompt")" "$(median <"$work/$type-$product-of_prompt_rate")" "$(median <"$work/$type-$product-fraction_of_gemm")"
    done
  done
fi

if [[ " $shapes " == *" 21m "* ]]; then
  echo
  echo "## 21M shape: 512 wide, 4 layers, 8000 tokens, 8 sequences of 256; tokens/s"
  g++ -O2 -std=c++17 -I"$root/native/deps/include" "$peers/llama_finetune.cpp" -o "$work/finetune" "$libs"/libllama.* "$libs"/libggml.* "$libs"/libggml-base.* -Wl,-rpath,"$libs"
  "$bench" --libs "$libs" --shape 512 4 8 8 1408 8000 --type F32 --sequence 256 --write "$work/21m.gguf"
  small="--shape 512 4 8 8 1408 8000 --sequence 256 --batch 8 --rank 16 --type F32"
  for ((i = 0; i < repeats; i++)); do
    LD_LIBRARY_PATH=$libs "$work/finetune" "$libs" "$work/21m.gguf" 256 8 2>/dev/null | sed -n 's/.* \([0-9.]*\) tok\/s.*/\1/p' | tail -1 >>"$work/finetune-rate"
    torch 512 4 8 8 1408 8000 256 8 16 >>"$work/small-torch"
    ours $small >>"$work/small"
  done
  f=$(median <"$work/finetune-rate")
  echo "| program | median | minimum | maximum | of llama.cpp's finetune |"
  echo "|---|---|---|---|---|"
  row "llama.cpp finetune (all weights, F32)" "$work/finetune-rate" "$f"
  row "PyTorch LoRA F32" "$work/small-torch" "$f"
  row "fedllm-native LoRA F32" "$work/small" "$f"
fi

if [[ " $shapes " == *" profile "* ]]; then
  for type in F16 MIXED; do
    for product in $products; do
      echo
      echo "## Where the time goes: 110M shape, base ${type/MIXED/as Q4_K_M}, products in ${product^^}"
      "$bench" --libs "$libs" --threads "$threads" $shape --type "$type" --product "$product" --profile 2>/dev/null | grep '^|'
    done
  done
fi
