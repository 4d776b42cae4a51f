#!/usr/bin/env bash
# Sets up, then runs the tests in build/. Arguments go to ctest.
#
# usage: scripts/test.sh [ctest's options], e.g. -L unit, -LE slow, -R schedule
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
source scripts/packages.sh
source scripts/mpi_env.sh
mapfile -t packages < <(listed_packages scripts/test_packages.txt)
install_packages build/setup/apt-test.log "${packages[@]}"
echo "Building the tests"
cmake --build --preset release
cd build
exec ctest --output-on-failure --no-tests=error -j "$(nproc)" "$@"
