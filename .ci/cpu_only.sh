#!/usr/bin/env bash
# Configures and builds for a LibTorch without CUDA, given by CMAKE_PREFIX_PATH. PyPI has no such wheel, so this makes
# one: a folder with the headers and the CPU libraries of the wheel in .venv. Its folder nvidia is what the CPU library
# of a CUDA wheel itself loads; nothing of ours may name it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/mpi_env.sh
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
libtorch=$PWD/build-cpu/libtorch/torch
rm -rf build-cpu/libtorch
mkdir -p "$libtorch/lib"
ln -s "$site/torch/include" "$libtorch/include"
ln -s "$site"/torch/lib/{libtorch,libtorch_cpu,libc10,libgomp}.so* "$libtorch/lib/"
ln -s "$site/nvidia" build-cpu/libtorch/nvidia
log=build-cpu/configure.log
# It must compile, link and start; how fast it is does not matter here, and how long this takes does.
cmake --preset release -B build-cpu -DWITH_CUDA=OFF -DCMAKE_CXX_FLAGS_RELEASE=-O0 -DCMAKE_PREFIX_PATH="$libtorch" \
  >"$log" 2>&1 ||
  { cat "$log" >&2; exit 1; }
cmake --build build-cpu --target trainer
build-cpu/bin/trainer --version
if readelf -d build-cpu/bin/trainer | grep -E 'cuda|nccl' || ls build-cpu/bin/*cuda* 2>/dev/null; then
  echo "error: a build with -DWITH_CUDA=OFF must not link these" >&2
  exit 1
fi
