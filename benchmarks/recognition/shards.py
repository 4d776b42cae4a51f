"""Reads data sets (data/FORMAT.md) with h5py, and the figures that Python computes on its own."""

import dataclasses
import json

import h5py
import numpy as np


@dataclasses.dataclass
class Split:
    frames: list  # an (T, n_mels) float32 array an utterance
    labels: np.ndarray  # (N,) index into speakers
    speakers: list


def read_split(folder, split):
    manifest = json.loads((folder / "dataset.json").read_text())
    frames, labels = [], []
    for shard in manifest["shards"]:
        with h5py.File(folder / shard["file"]) as file:
            offsets = file["offsets"][:]
            values = file["frames"][:].astype(np.float32)
            labels.append(file["speaker"][:])
            frames += [values[begin:end] for begin, end in zip(offsets[:-1], offsets[1:])]
    labels = np.concatenate(labels)
    chosen = [i for begin, end in manifest["splits"][split] for i in range(begin, end)]
    return Split([frames[i] for i in chosen], labels[chosen], manifest["speakers"])


def match_speakers(train, scored):
    """The scored labels as indices into the training speakers: data sets meet by name."""
    index = {name: i for i, name in enumerate(train.speakers)}
    return np.array([index[scored.speakers[label]] for label in scored.labels])


def equal_error_rate(vectors, labels):
    """Of all pairs of utterances, scored by cosine: where misses and false alarms are equally frequent, on the line
    between the two thresholds around that point. Returns it and the number of pairs."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(len(labels), 1)
    scores = np.einsum("ij,ij->i", vectors[first], vectors[second])
    same = labels[first] == labels[second]
    order = np.argsort(scores, kind="stable")
    scores, same = scores[order], same[order]
    # A threshold lies only between different scores.
    last = np.append(scores[1:] != scores[:-1], True)
    misses = np.concatenate(([0], np.cumsum(same)[last])) / same.sum()
    alarms = np.concatenate(([1], 1 - np.cumsum(~same)[last] / (~same).sum()))
    crossing = int(np.argmax(misses >= alarms))
    before, after = alarms[crossing - 1] - misses[crossing - 1], misses[crossing] - alarms[crossing]
    share = before / (before + after) if before + after > 0 else 0.0
    eer = misses[crossing - 1] + share * (misses[crossing] - misses[crossing - 1])
    return float(eer), len(labels) * (len(labels) - 1) // 2
