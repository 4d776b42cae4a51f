#!/usr/bin/env bash
# clang-tidy on the sources that do without LibTorch's headers; with them it takes half a minute a file. Sources of one target
# go in groups, whose headers are parsed once; build/ must have been built (generated headers).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Configured as if each source were compiled alone: only then CMake tells which do without the precompiled header.
tidy=build/tidy
rm -rf "$tidy"
mkdir -p "$tidy/groups"
cmake --preset release -B "$tidy" -DCMAKE_UNITY_BUILD=OFF >"$tidy/configure.log" 2>&1 ||
  { cat "$tidy/configure.log" >&2; exit 1; }
# In compile_commands.json each file has one line with its command; those that use the precompiled header name it. half.cpp
# asks GCC whether this processor has f16c, which clang 14 does not know to ask. launcher/cuda is compiled without it, being a
# library, but includes LibTorch's headers.
mapfile -t commands < <(sed -n '/"command":/{/cmake_pch/!s/.*"command": "\(.*\)",$/\1/p}' "$tidy/compile_commands.json" |
  grep -E " -c $PWD/(data|launcher|trainer)/" | grep -vE '/data/half\.cpp$|/launcher/cuda/' | sort -u)
count=0
declare -A group_of members flags_of
for command in "${commands[@]}"; do
  file=${command##* -c }
  target=${command% -o *}
  target=${command#"$target -o "}
  target=${target%%.dir/*}
  flags=$(grep -oE ' -(D[^ ]+|I[^ ]+|W[^ ]+|isystem [^ ]+|std=[^ ]+)' <<<"$command" | tr -d '\n')
  group=${group_of[$target]:-}
  if [[ -z $group || ${members[$group]} == 12 ]]; then
    group=$tidy/groups/$((++count)).cpp
    group_of[$target]=$group
    members[$group]=0
  fi
  printf '#include "%s"\n' "$file" >>"$group"
  members[$group]=$((members[$group] + 1))
  flags_of[$group]=${flags//"$tidy/generated"/build/generated}
done
((count)) || { echo "error: no sources found in $tidy/compile_commands.json" >&2; exit 1; }
echo "${#commands[@]} files in $count groups"
# GCC has warnings, named in our options, that clang lacks. It counts the warnings of others' headers aloud.
# shellcheck disable=SC2016  # $0 and words are the inner shell's
for group in "${!flags_of[@]}"; do printf '%s%s\0' "$group --" "${flags_of[$group]}"; done |
  xargs -0 -n 1 -P "$(nproc)" bash -c 'read -ra words <<<"$0"
    clang-tidy --quiet --checks=-bugprone-suspicious-include "${words[@]}" -Wno-unknown-warning-option' \
    2> >(grep -v 'warnings generated' >&2)
