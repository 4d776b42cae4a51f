#!/usr/bin/env bash
# Sets up, then runs the tests in build/. Arguments go to ctest.
#
# usage: scripts/test.sh [ctest's options], e.g. -L unit, -LE slow, -R schedule
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
source scripts/mpi_env.sh
echo "Building the tests"
cmake --build --preset release
cd build
exec ctest --output-on-failure --no-tests=error -j "$(nproc)" "$@"
