#!/usr/bin/env bash
# Makes a Debian 12 machine able to build and run the project, and builds it: build/bin/{trainer,mels,launcher}.
#
# usage: scripts/setup.sh [--no-build]
#
# Run it again whenever you like: what is there already is left alone, and that takes seconds. It installs Debian
# packages (scripts/packages.txt; with sudo where it is not run by root), a Python environment in .venv with the torch
# wheel (scripts/requirements.txt), and PyPI's CUDA toolkit into .venv where the machine has none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/packages.sh

build=1
for argument in "$@"; do
  case $argument in
    --no-build) build=0 ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "error: unknown option '$argument'; usage: scripts/setup.sh [--no-build]" >&2; exit 2 ;;
  esac
done

logs=build/setup
mkdir -p "$logs"

# run_logged WHAT LOG COMMAND... runs it with its output in the file LOG, and shows the end of that if it fails.
run_logged() {
  local what=$1 log=$2
  shift 2
  "$@" >"$log" 2>&1 && return 0
  tail -n 20 "$log" >&2
  echo "error: $what failed; all it said is in $log" >&2
  return 1
}

# The machine's own CUDA toolkit, if it is one of torch's major version, with headers and compiler.
has_cuda_toolkit() {
  local nvcc
  for nvcc in "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [[ -x $nvcc ]] && "$nvcc" --version | grep -q 'release 13\.'; then
      local root
      root=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
      [[ -e $root/include/crt/host_config.h || -e $root/targets/x86_64-linux/include/crt/host_config.h ]] && return 0
    fi
  done
  return 1
}

# Debian's python3 can always make environments once python3-venv is there; another one in PATH may not.
find_python() {
  local python
  for python in /usr/bin/python3 python3; do
    if command -v "$python" >/dev/null &&
      "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$python"
      return 0
    fi
  done
  echo "error: no python3 (3.11 or newer, with venv) found" >&2
  return 1
}

setup_python() {
  if ! .venv/bin/python -c '' 2>/dev/null; then
    local python
    python=$(find_python)
    echo "Making a Python environment in .venv with $python"
    rm -rf .venv
    run_logged "making .venv" "$logs/venv.log" "$python" -m venv .venv
  fi
  local lists=(scripts/requirements.txt)
  has_cuda_toolkit || lists+=(scripts/requirements-cuda.txt)
  local stamp=.venv/installed.sha256 wanted
  wanted=$(cat "${lists[@]}" | sha256sum)
  [[ -e $stamp && $(<"$stamp") == "$wanted" ]] && return 0
  local free_kib
  free_kib=$(df --output=avail -k .venv | tail -n 1)
  if ((free_kib < 8 * 1024 * 1024)) && [[ ! -e $stamp ]]; then
    echo "error: $PWD has $((free_kib / 1024 / 1024)) GiB free; the Python environment and the build need 8" >&2
    return 1
  fi
  echo "Installing into .venv: $(for list in "${lists[@]}"; do listed_packages "$list"; done | paste -sd ' ')"
  local arguments=() list
  for list in "${lists[@]}"; do arguments+=(-r "$list"); done
  run_logged "pip" "$logs/pip.log" \
    .venv/bin/python -m pip install --disable-pip-version-check --no-input "${arguments[@]}"
  echo "$wanted" >"$stamp"
}

mapfile -t packages < <(listed_packages scripts/packages.txt)
install_packages "$logs/apt.log" "${packages[@]}"
setup_python

if ((build)); then
  if [[ ! -e build/build.ninja ]]; then
    echo "Configuring build/ (preset release)"
    run_logged "configuring" "$logs/configure.log" cmake --preset release
  fi
  echo "Building in build/ (some minutes the first time)"
  cmake --build --preset release --target trainer mels launcher_tool
  for program in trainer mels launcher; do
    [[ -x build/bin/$program ]] || { echo "error: the build left no build/bin/$program" >&2; exit 1; }
  done
  echo "Set up: build/bin/trainer, build/bin/mels, build/bin/launcher"
else
  echo "Set up; build with: cmake --preset release && cmake --build --preset release"
fi
