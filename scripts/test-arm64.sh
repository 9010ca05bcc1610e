#!/usr/bin/env bash
# Compiles the core for 64-bit ARM Linux and runs its kernel tests in an emulator, to check the NEON kernels on another machine.
# usage: test-arm64.sh [FILTER...]     parts of test names; without any: kernels, lowering, gradients, dropout, invariance
# Debian: apt-get install g++-aarch64-linux-gnu qemu-user. The prebuilt libraries come from the package registry; nothing is written into
# the repository: ARM64_DIR (default: a folder beside the system's temporary files) keeps libraries and objects for the next run.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=${ARM64_DIR:-${TMPDIR:-/tmp}/fedllm-arm64}
version=$(node -p "require('$root/package.json').dependencies['node-llama-cpp'] ?? require('$root/node_modules/node-llama-cpp/package.json').version" | tr -d '^~')
for tool in aarch64-linux-gnu-g++ qemu-aarch64 cmake; do
  command -v "$tool" >/dev/null || { echo "test-arm64: expected $tool, received nothing. Install g++-aarch64-linux-gnu, qemu-user and cmake" >&2; exit 1; }
done
mkdir -p "$work"
if [[ ! -d $work/libraries-$version ]]; then
  (cd "$work" && npm pack --silent "@node-llama-cpp/linux-arm64@$version" >/dev/null && tar xzf "node-llama-cpp-linux-arm64-$version.tgz" && mv package "libraries-$version")
fi
libs="$work/libraries-$version/bins/linux-arm64"
cmake -S "$root/native" -B "$work/build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
  -DCMAKE_BUILD_TYPE=Release -DFEDLLM_LIBS_DIR="$libs" >/dev/null
cmake --build "$work/build" --target core_test --parallel "$(nproc)"
filters=("$@")
[[ ${#filters[@]} -gt 0 ]] || filters=("kernels:" "lowering:" "gradients:" "dropout:" "invariance:")
# max: a processor with all extensions that the emulator knows; the libraries choose theirs at run time
for filter in "${filters[@]}"; do
  LD_LIBRARY_PATH="$libs" qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu "$work/build/Release/core_test" "$filter"
done
