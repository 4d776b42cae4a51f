"""The same synthetic utterances three times: as our shards, as one .pt file an utterance, as one mapped array.

All are at least as long as a crop (HW4 has two that are not), so that nobody pads and nobody needs a mask; shorter ones
stay in the shards but in no split.
"""

import json
import pathlib
import shutil
import subprocess

import h5py
import numpy as np
import torch

from recognition.experiment import read_json, write_json
from recognition.shards import read_split

CROP_FRAMES = 128
SPEAKERS = 600
HW4_UTTERANCES = 56666


def synthesise(programs, folder, speakers, utterances, *options):
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([programs / "mels", "synth", folder, "--speakers", str(speakers), "--utterances", str(utterances),
                    "--seed", "1", *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ranges(numbers):
    """Ascending numbers as half-open ranges."""
    result = []
    for number in numbers:
        if result and result[-1][1] == number:
            result[-1][1] = number + 1
        else:
            result.append([number, number + 1])
    return result


def read_index(folder):
    """Of every utterance its frames and its speaker."""
    manifest = json.loads((folder / "dataset.json").read_text())
    frames, speakers = [], []
    for shard in manifest["shards"]:
        with h5py.File(folder / shard["file"]) as file:
            frames.append(np.diff(file["offsets"][:]))
            speakers.append(file["speaker"][:])
    return np.concatenate(frames), np.concatenate(speakers)


def set_splits(folder, splits):
    path = folder / "dataset.json"
    manifest = json.loads(path.read_text())
    manifest["splits"] = {name: ranges(numbers) for name, numbers in splits.items()}
    path.write_text(json.dumps(manifest))


class DataSets:
    """root/shards, root/files (uttr-00000000.pt ..., labels.json) and root/array (frames.npy (F, n_mels) float32,
    offsets.npy (N + 1), labels.npy (N)); in root/check<n> the same of n utterances of n speakers, each exactly one crop
    long."""

    def __init__(self, work, programs, utterances):
        self.root = pathlib.Path(work) / f"data-{utterances}"
        self.programs, self.utterances = programs, utterances
        self.speakers = SPEAKERS if utterances >= 4 * SPEAKERS else max(2, utterances // 8)

    @property
    def shards(self):
        return self.root / "shards"

    def prepare(self, with_files=True, copies=True, checks=()):
        """Makes what is missing. `with_files`: .pt files, too; `copies`: more than the shards alone; `checks`: batches."""
        made = read_json(self.root / "made.json", {"files": False, "copies": False, "checks": []})
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.shards.is_dir() or copies > made["copies"] or with_files > made["files"]:
            print(f"making {self.utterances} synthetic utterances in {self.root}", flush=True)
            synthesise(self.programs, self.shards, self.speakers, self.utterances)
            set_splits(self.shards, {"train": np.flatnonzero(read_index(self.shards)[0] >= CROP_FRAMES).tolist()})
            if copies:
                self.copy(self.root, with_files)
            made = {"files": with_files and copies, "copies": copies, "checks": []}
        for batch in set(checks) - set(made["checks"]):
            self.make_check(self.root / f"check{batch}", batch)
            made["checks"].append(batch)
        write_json(self.root / "made.json", made)

    def make_check(self, folder, batch):
        synthesise(self.programs, folder / "shards", batch, 4 * batch, "--max-frames", str(CROP_FRAMES))
        frames, speakers = read_index(folder / "shards")
        whole = frames == CROP_FRAMES
        chosen = [int(np.flatnonzero(whole & (speakers == speaker))[0]) for speaker in range(batch)]
        set_splits(folder / "shards", {"train": sorted(chosen)})
        self.copy(folder, with_files=True)  # they are few, and a later run may want them

    @staticmethod
    def copy(folder, with_files):
        data = read_split(folder / "shards", "train")
        array, files = folder / "array", folder / "files"
        array.mkdir(parents=True, exist_ok=True)
        np.save(array / "frames.npy", np.concatenate(data.frames))
        np.save(array / "offsets.npy", np.cumsum([0] + [len(frames) for frames in data.frames]))
        np.save(array / "labels.npy", data.labels.astype(np.int64))
        write_json(folder / "speakers.json", len(data.speakers))
        shutil.rmtree(files, ignore_errors=True)
        if not with_files:
            return
        files.mkdir()
        labels = {}
        for number, (frames, label) in enumerate(zip(data.frames, data.labels)):
            name = f"uttr-{number:08}.pt"
            torch.save(torch.from_numpy(frames.copy()), files / name)
            labels[name] = int(label)
        (files / "labels.json").write_text(json.dumps(labels))
