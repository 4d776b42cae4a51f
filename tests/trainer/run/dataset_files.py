"""Looks into data sets, and damages copies of them, without the project's own code."""

import json
import pathlib

import h5py
import numpy as np


class DatasetFiles:
    """A data set folder with float32 frames. Utterances are numbered through all shards."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.manifest = json.loads((self.folder / "dataset.json").read_text())
        speakers, lengths, names = [], [], []
        for number in range(len(self.manifest["shards"])):
            with h5py.File(self.shard(number), "r") as shard:
                speakers.append(shard["speaker"][:])
                lengths.append(np.diff(shard["offsets"][:]))
                names += [name.decode() for name in shard["utterance"][:]]
        self.speakers, self.lengths, self.names = np.concatenate(speakers), np.concatenate(lengths), names
        self._first = np.cumsum([0] + [len(part) for part in speakers])

    def shard(self, number):
        return self.folder / self.manifest["shards"][number]["file"]

    def save_manifest(self):
        (self.folder / "dataset.json").write_text(json.dumps(self.manifest))

    def split(self, name):
        return np.concatenate([np.arange(*pair) for pair in self.manifest["splits"][name]])

    def set_split(self, name, utterances):
        """Neighbouring utterances must share a range."""
        cuts = np.flatnonzero(np.diff(utterances) != 1) + 1
        runs = [run for run in np.split(np.asarray(utterances), cuts) if len(run)]
        self.manifest["splits"][name] = [[int(run[0]), int(run[-1]) + 1] for run in runs]
        self.save_manifest()

    def _locate(self, utterance):
        shard = int(np.searchsorted(self._first, utterance, side="right")) - 1
        begin = int(self.lengths[self._first[shard]:utterance].sum())
        return shard, begin

    def shard_of(self, utterance):
        return self.shard(self._locate(utterance)[0])

    def frames(self, utterance):
        """(T, n_mels) float32"""
        shard, begin = self._locate(utterance)
        with h5py.File(self.shard(shard), "r") as file:
            return file["frames"][begin:begin + int(self.lengths[utterance])]

    def overwrite_frames(self, utterance, value):
        """Every frame becomes `value`, behind the checksums' back."""
        shard, begin = self._locate(utterance)
        row = self.manifest["n_mels"]
        values = np.full(int(self.lengths[utterance]) * row, value, "<f4")
        with open(self.shard(shard), "r+b") as file:
            file.seek(self.manifest["shards"][shard]["frames_offset"] + begin * row * 4)
            file.write(values.tobytes())

    def flip_byte(self, number, offset):
        """In shard `number`; a negative offset counts from the end."""
        content = bytearray(self.shard(number).read_bytes())
        content[offset] ^= 0x01
        self.shard(number).write_bytes(content)
