#!/usr/bin/env bash
# clang-tidy on the sources that do without LibTorch's headers; with them it takes half a minute a file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# In compile_commands.json each file has one line with its command; those that use the precompiled header name it.
mapfile -t files < <(sed -n '/"command":/{/cmake_pch/!s/.* -c \([^ ]*\)",$/\1/p}' build/compile_commands.json |
  # half.cpp asks GCC whether this processor has f16c, which clang 14 does not know to ask.
  grep -E "^$PWD/(data|launcher|trainer)/" | grep -v '/data/half\.cpp$' | sort -u)
((${#files[@]})) || { echo "error: no sources found in build/compile_commands.json" >&2; exit 1; }
echo "${#files[@]} files"
# GCC has warnings, named in our options, that clang lacks. It counts the warnings of others' headers aloud.
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" clang-tidy --quiet -p build \
  --extra-arg=-Wno-unknown-warning-option 2> >(grep -v 'warnings generated' >&2)
