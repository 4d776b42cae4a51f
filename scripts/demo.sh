#!/usr/bin/env bash
# The whole way, on made-up voices: speech -> log-mels -> training on two ranks -> accuracy on sentences it never heard.
#
# usage: scripts/demo.sh
#
# Sets up first (scripts/setup.sh). The demo itself takes some two minutes on two cores and writes only to runs/demo
# (or $DEMO_DIR), which it empties when it starts.
set -euo pipefail
if (($#)); then
  sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  [[ $1 == -h || $1 == --help ]] && exit 0
  echo "error: demo.sh takes no arguments" >&2
  exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
source scripts/mpi_env.sh

demo=${DEMO_DIR:-runs/demo}
speech=$demo/speech
stage() { printf '\n== %s\n' "$*"; }

# 30 speakers: ten languages' accents by three timbres, each with a pitch and a pace of its own.
accents=(en-us en-gb de fr-fr es it pt-br nl pl sv)
timbres=(m1 m3 m5 m7 f1 f2 f3 f4 f5 klatt2 klatt4 m8)
# All of them read the same sentences, so that words give nobody away.
train_sentences=(
  "The harbour wakes before the sun, and the first boats leave without a sound."
  "Every morning she counts the steps from the kitchen door to the old stone well."
  "A narrow road climbs past the orchard and ends at a gate that nobody opens."
  "Please put the blue folder on the second shelf, next to the box of maps."
  "When the train is late, the whole platform begins to talk about the weather."
  "He repaired the radio with a paper clip, two screws and a great deal of patience."
  "Nine lamps hang above the long table, but only seven of them give any light."
  "The bakery sells out of dark bread by eight, and of everything else by noon."
  "My neighbour's dog knows exactly which of us carries something to eat."
  "They measured the depth of the lake with a rope and a stone as big as a loaf."
  "In winter the museum keeps its doors shut on Mondays and on windy afternoons."
  "A good map tells you where you are; a better one tells you where not to go."
  "The violin had been in the attic for forty years and was still almost in tune."
  "Turn left behind the post office, then follow the wall until you hear the river."
  "Her letters were short, but she wrote one for every single day of the voyage."
  "The clock in the tower is wrong by eleven minutes, and everyone here relies on it."
)
valid_sentences=(
  "Two carpenters argued for an hour about the shape of a chair for a child."
  "The soup needs salt, the bread needs butter, and the cook needs a holiday."
  "From the top of the hill one can see three villages and half of a fourth."
  "Nobody remembers who planted the walnut tree in front of the school."
)
test_sentences=(
  "A letter without a stamp arrived yesterday, carried by a boy on a bicycle."
  "We waited under the bridge until the rain had washed the dust off the streets."
  "The last page of the book was missing, so each of us invented another ending."
  "Seven grey geese crossed the frozen field and did not look back once."
)

# speak_all SPLIT SENTENCE...: prints, for xargs -0, espeak-ng's nine arguments for every speaker and sentence, and
# adds the recordings to the list that mels reads. Pitch and pace wander a little from one sentence to the next.
speak_all() {
  local split=$1 speaker number sentence accent timbre name path
  shift
  for ((speaker = 0; speaker < 30; speaker++)); do
    accent=${accents[speaker % 10]}
    timbre=${timbres[(speaker * 5 + speaker / 10) % 12]}
    name=$(printf 'voice-%02d-%s-%s' "$speaker" "$accent" "$timbre")
    mkdir -p "$speech/$name"
    number=0
    for sentence in "$@"; do
      path=$name/$split-$(printf '%02d' "$number").wav
      echo "$path,$name,$split" >>"$speech/speech.csv"
      printf '%s\0' -v "$accent+$timbre" -p $((25 + speaker * 17 % 50 + number * 7 % 9)) \
        -s $((135 + speaker * 11 % 40 + number * 13 % 17)) -w "$speech/$path" "$sentence"
      number=$((number + 1))
    done
  done
}

stage "Making 30 voices that read 24 sentences each (espeak-ng)"
rm -rf "$demo"
mkdir -p "$speech"
echo "path,speaker,split" >"$speech/speech.csv"
{
  speak_all train "${train_sentences[@]}"
  speak_all valid "${valid_sentences[@]}"
  speak_all test "${test_sentences[@]}"
} | xargs -0 -n 9 -P "$(nproc)" espeak-ng

stage "Turning the recordings into log-mel features (mels extract)"
build/bin/mels extract "$speech/speech.csv" "$demo/data"

stage "Training on two ranks (mpirun -np 2 trainer)"
mpirun -np 2 build/bin/trainer --config demo.yaml "data.path=$demo/data" "run.dir=$demo/run"

stage "Evaluating the best model on the four sentences it never heard (trainer evaluate)"
result=$(build/bin/trainer evaluate --checkpoint "$demo/run/checkpoints/best" --data "$demo/data" --split test)
echo "$result"
accuracy=$(sed -n 's/.*"accuracy": *\([0-9.eE+-]*\).*/\1/p' <<<"$result")

stage "A report of the run (trainer report)"
build/bin/trainer report "$demo/run"

printf '\nAccuracy on unheard sentences of 30 speakers: %s\n' "$accuracy"
echo "Results: $demo/run (report.html, checkpoints/best, metrics.jsonl, train.log, summary.json); features: $demo/data"
