#!/usr/bin/env bash
# The tests of code that takes bytes from outside, files or the network, under AddressSanitizer and UndefinedBehaviorSanitizer.
# LibTorch and Debian's libraries are not instrumented, so the rest would gain little for its time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/mpi_env.sh
log=build-asan/configure.log
mkdir -p build-asan
cmake --preset asan >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
folders=(tests/data tests/launcher/tool tests/trainer/config tests/trainer/checkpoint tests/trainer/report tests/trainer/telemetry)
cmake --build --preset asan --target "${folders[@]/%//all}"
mapfile -t tests < <(for folder in "${folders[@]}"; do
  ctest --test-dir "build-asan/$folder" -N -L 'unit|server' | sed -n 's/^ *Test *#[0-9]*: //p'
done)
ctest --preset asan -j "$(nproc)" -R "^($(IFS='|'; echo "${tests[*]}"))$"
