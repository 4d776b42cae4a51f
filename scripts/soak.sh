#!/usr/bin/env bash
# Kills or stops a small training run at random moments, again and again, each time starts it once more, and in the end
# compares it with one that nothing happened to. A line for each cycle, and one for all at the end; exit code 0: all
# went well. Takes about three seconds a cycle. Needs the Python of .venv, which setup.sh makes.
#
# usage: scripts/soak.sh [CYCLES [SEED]]     200 cycles by default; a seed gives the same faults again
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
number='^[1-9][0-9]*$'
if (($# > 2)) || ! [[ ${1:-200} =~ $number && ${2:-1} =~ $number ]]; then
  echo "usage: scripts/soak.sh [CYCLES [SEED]], both whole numbers above 0" >&2
  exit 2
fi
if ! [[ -x build/bin/launcher && -x build/bin/trainer && -x build/bin/mels && -x .venv/bin/python ]]; then
  echo "scripts/soak.sh: build/bin/ or .venv is not there yet; run scripts/setup.sh first" >&2
  exit 2
fi
export PYTHONDONTWRITEBYTECODE=1 TRAINER_TEST_KILLS=${1:-200} TRAINER_TEST_SEED=${2:-$((RANDOM * 32768 + RANDOM + 1))}
exec .venv/bin/python tests/trainer/run/kills.py build/bin/launcher build/bin/trainer build/bin/mels
