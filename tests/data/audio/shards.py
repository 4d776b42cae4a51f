"""Reads a data set without HDF5: a shard's frames lie in one piece, at the offset that dataset.json gives."""

import json
import pathlib

import numpy


def read_frames(folder):
    """All frames of a float32 data set, shard after shard: (frames, n_mels)."""
    folder = pathlib.Path(folder)
    manifest = json.loads((folder / "dataset.json").read_text())
    n_mels = manifest["front_end"]["n_mels"]
    parts = []
    for index, shard in enumerate(manifest["shards"]):
        flat = numpy.fromfile(
            folder / f"shard-{index:05d}.h5",
            dtype="<f4",
            count=shard["frames"] * n_mels,
            offset=shard["frames_offset"],
        )
        parts.append(flat.reshape(-1, n_mels))
    return manifest, numpy.concatenate(parts)
