"""Data sets of the comparison, made of the recordings by `mels extract`.

full      the training split, and the split that is scored (test, or with --validate a part of train)
eight     eight training utterances a speaker, drawn by seed; the same scored split
heldout-train, heldout
          all utterances of six speakers, drawn by seed, are the split `heldout`; the others' training utterances
          train. Two data sets, for a model has an output for each speaker of its data set and these train none
white-10  and so on: the scored split only, with noise added to the audio at that SNR in dB

The speech in the noisy sets keeps its level, for log-mels tell levels apart; sums are stored as float WAV, which does
not clip.
"""

import collections
import csv
import dataclasses
import hashlib
import io
import json
import shutil
import subprocess

import numpy as np
import soundfile

from recognition.experiment import NOISES, SNRS_DB, read_json

DRAW_SEED = 20240
VALIDATION_SHARE = 0.15
EIGHT = 8
HELDOUT_SPEAKERS = 6
BABBLE_VOICES = 4


@dataclasses.dataclass(frozen=True)
class Utterance:
    path: str  # relative to the audio folder
    speaker: str
    split: str


def generator(*key):
    """A random stream of its own for each purpose: none depends on how much another drew."""
    digest = hashlib.sha256(repr((DRAW_SEED, *key)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def read_manifest(audio):
    manifest = audio / "manifest.csv"
    if not manifest.is_file():
        raise SystemExit(f"{manifest}: not there; --data wants the folder of the arabic_commands recordings")
    with open(manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    return [Utterance(row["path"], row["speaker"], row["split"]) for row in rows]


def by_speaker(utterances):
    groups = collections.defaultdict(list)
    for utterance in utterances:
        groups[utterance.speaker].append(utterance)
    return dict(sorted(groups.items()))


def draw(utterances, count, *key):
    chosen = generator(*key).choice(len(utterances), count, replace=False)
    return [utterances[i] for i in sorted(chosen)]


def scored_and_train(experiment, manifest):
    """(training utterances, scored utterances): with validate, a seeded 15 % of each speaker's training utterances."""
    train = [u for u in manifest if u.split == "train"]
    if not experiment.validate:
        return train, [u for u in manifest if u.split == "test"]
    scored = []
    for speaker, own in by_speaker(train).items():
        scored += draw(own, round(VALIDATION_SHARE * len(own)), "validation", speaker)
    chosen = set(scored)
    return [u for u in train if u not in chosen], scored


def heldout_speakers(experiment, manifest):
    """The six of the test, or with validate six others: those of the test must not choose a recipe."""
    speakers = sorted({u.speaker for u in manifest})
    order = [speakers[i] for i in generator("heldout").permutation(len(speakers))]
    start = HELDOUT_SPEAKERS if experiment.validate else 0
    return set(order[start:start + HELDOUT_SPEAKERS])


def speech_sets(experiment, manifest):
    """Name to list of (utterance, split)."""
    train, scored = scored_and_train(experiment, manifest)
    few = [u for speaker, own in by_speaker(train).items() for u in draw(own, EIGHT, "eight", speaker)]
    held = heldout_speakers(experiment, manifest)
    usable = [u for u in manifest if u.split == "train" or not experiment.validate]
    score = [(u, experiment.scored_split) for u in scored]
    return {
        "full": [(u, "train") for u in train] + score,
        "eight": [(u, "train") for u in few] + score,
        "heldout-train": [(u, "train") for u in manifest if u.split == "train" and u.speaker not in held],
        "heldout": [(u, "heldout") for u in usable if u.speaker in held],
    }


def list_text(rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "speaker", "split"))
    writer.writerows(rows)
    return text.getvalue()


def extract(experiment, name, folder, text):
    """Writes the list into `folder`, beside what it names, and makes the data set."""
    recordings = folder / f"{name}.csv"
    recordings.write_text(text)
    program = experiment.programs / "mels"
    result = subprocess.run([program, "extract", recordings, experiment.data_sets / name, "--force", "--jobs", "1"],
                            capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"mels extract {recordings}: {result.stderr.strip()}")
    # Last: a data set without its stamp is made again.
    (experiment.data_sets / f"{name}.csv").write_text(text)
    print(f"data set {name}: {result.stdout.strip()}", flush=True)


def is_made(experiment, name, text):
    stamp = experiment.data_sets / f"{name}.csv"
    return (experiment.data_sets / name / "dataset.json").is_file() and stamp.is_file() and stamp.read_text() == text


def read_audio(experiment, utterance):
    samples, rate = soundfile.read(experiment.audio / utterance.path, dtype="float32")
    if rate != 16000 or samples.ndim != 1:
        raise SystemExit(f"{experiment.audio / utterance.path}: not 16 kHz mono")
    return samples.astype(np.float64)


def power(samples):
    return float(np.mean(np.square(samples)))


def babble(target, speech):
    """Four other speakers' utterances, equally loud, each repeated from a random point to the target's length."""
    random = generator("babble", target.path)
    others = by_speaker(u for u in speech if u.speaker != target.speaker)
    total = np.zeros(len(speech[target]))
    for speaker in random.choice(sorted(others), BABBLE_VOICES, replace=False):
        voice = speech[others[speaker][random.integers(len(others[speaker]))]]
        start = random.integers(len(voice))
        total += np.resize(np.roll(voice, -start), len(total)) / np.sqrt(power(voice))
    return total


def white(target, speech):
    return generator("white", target.path).standard_normal(len(speech[target]))


def write_noisy_set(experiment, name, snr_db, make_noise, speech):
    folder = experiment.root / "noisy"
    shutil.rmtree(folder, ignore_errors=True)
    for utterance, samples in speech.items():
        noise = make_noise(utterance, speech)
        noise *= np.sqrt(power(samples) / power(noise) / 10 ** (snr_db / 10))
        path = (folder / utterance.path).with_suffix(".wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, (samples + noise).astype(np.float32), 16000, subtype="FLOAT")
    extract(experiment, name, folder, noisy_list(experiment, speech))
    shutil.rmtree(folder)


def noisy_list(experiment, utterances):
    return list_text((u.path.removesuffix(".flac") + ".wav", u.speaker, experiment.scored_split) for u in utterances)


def prepare(experiment):
    """Makes whatever is not there yet. One minute for all."""
    manifest = read_manifest(experiment.audio)
    experiment.data_sets.mkdir(parents=True, exist_ok=True)
    lists = experiment.root / "lists"
    lists.mkdir(exist_ok=True)
    link = lists / "audio"
    link.unlink(missing_ok=True)
    link.symlink_to(experiment.audio.resolve())
    for name, members in speech_sets(experiment, manifest).items():
        text = list_text((f"audio/{u.path}", u.speaker, split) for u, split in members)
        if not is_made(experiment, name, text):
            extract(experiment, name, lists, text)
    _, scored = scored_and_train(experiment, manifest)
    makers = {"white": white, "babble": babble}
    missing = [(noise, snr) for noise in NOISES for snr in SNRS_DB
               if not is_made(experiment, f"{noise}-{snr}", noisy_list(experiment, scored))]
    if missing:
        speech = {u: read_audio(experiment, u) for u in scored}
        for noise, snr in missing:
            write_noisy_set(experiment, f"{noise}-{snr}", snr, makers[noise], speech)


def fingerprint(experiment, name):
    """Of which recordings make the data set, and how. Without the checksums of its frames, whose last bits are those of
    the processor: results of several machines meet in one table."""
    manifest = read_json(experiment.data_sets / name / "dataset.json")
    shards = [{key: value for key, value in shard.items() if "checksum" not in key} for shard in manifest["shards"]]
    recordings = (experiment.data_sets / f"{name}.csv").read_text()
    text = json.dumps({**manifest, "shards": shards, "recordings": recordings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
