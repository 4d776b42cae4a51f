#!/usr/bin/env bash
# Installs the tree, moves it, and runs the programs and mpirun from there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for component in runtime openmpi tests; do
  cmake --install build --prefix "$work/first" --strip --component "$component" >"$work/$component.log" 2>&1 ||
    { cat "$work/$component.log" >&2; exit 1; }
done
mkdir "$work/elsewhere"
mv "$work/first" "$work/elsewhere/tree"
tree=$work/elsewhere/tree
# In place of the component libtorch, which has gigabytes: links to the wheel's folders.
ln -s "$site/torch" "$site/nvidia" "$tree/lib/"

# What is loaded must come from the tree or be glibc's or GCC's.
system='^(linux-vdso|ld-linux-x86-64|lib(c|m|dl|pthread|rt|resolv|util|gcc_s|stdc\+\+))\.so'
for program in "$tree"/bin/{trainer,mels,launcher,orterun}; do
  if ldd "$program" | awk '{ print $1, $3 }' | grep -vE "^(/lib64/ld-)|$system" | grep -v " $tree/"; then
    echo "error: $program loads the above from outside its tree" >&2
    exit 1
  fi
done
if [[ -n $(find "$tree" -type f -size +20M) ]]; then
  echo "error: the tree holds what belongs to LibTorch: $(find "$tree" -type f -size +20M)" >&2
  exit 1
fi
if grep -rl --include='*.so*' -e "$work/first" "$tree"; then
  echo "error: the above name the folder they were installed to" >&2
  exit 1
fi

clean=(env -i HOME="$work" TMPDIR="$work" PATH="$tree/bin:/usr/bin:/bin"
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
cd "$work"
"${clean[@]}" trainer --version
"${clean[@]}" mels --help >mels.txt
grep -q extract mels.txt
"${clean[@]}" trainer --config simple.yaml --print-config >config.yaml
grep -q d_model config.yaml
"${clean[@]}" mels synth "$work/data" --speakers 4 --utterances 80 --split train:valid=80:20 --seed 1 >synth.txt
"${clean[@]}" mpirun --oversubscribe -n 2 "$tree/bin/trainer" --config simple.yaml data.path="$work/data" \
  run.dir="$work/run" schedule.total_steps=4 schedule.warmup_steps=1 train.validate_every=4 checkpoint.every=4 \
  train.global_batch=8 >train.txt 2>&1 || { cat train.txt >&2; exit 1; }
[[ -e run/checkpoints/last/model.safetensors ]]
"${clean[@]}" launcher -np 2 --oversubscribe trainer --config simple.yaml data.path="$work/data" run.dir="$work/again" \
  schedule.total_steps=4 schedule.warmup_steps=1 train.validate_every=4 checkpoint.every=4 train.global_batch=8 \
  >again.txt 2>&1 || { cat again.txt >&2; exit 1; }
[[ -e again/checkpoints/last/model.safetensors ]]
# The part for GPUs is found and fits, whether there is a GPU or not.
"${clean[@]}" trainer --config simple.yaml data.path="$work/data" run.dir="$work/gpu" train.device=cuda \
  schedule.total_steps=2 schedule.warmup_steps=1 train.validate_every=2 train.global_batch=8 >gpu.txt 2>&1 ||
  grep -qE 'no GPU|finished 2 steps' gpu.txt || { cat gpu.txt >&2; exit 1; }
size=$(tar -C "$tree" -cz --exclude=lib/torch --exclude=lib/nvidia . | wc -c)
echo "installed, moved and trained; $((size / 1048576)) MiB compressed"
((size < 50 * 1048576)) || { echo "error: more than 50 MiB" >&2; exit 1; }
