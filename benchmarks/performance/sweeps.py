"""What is varied, one thing at a time, and what theory says of it."""

import dataclasses

import numpy as np
import torch

from performance.contestants import Case
from performance.data_sets import CROP_FRAMES, HW4_UTTERANCES, read_index, set_splits, synthesise

SPEAKERS = 100
LONGEST_CROP = 512
SHARD_MIB = {1: 256, 8: 32, 64: 4}  # about so many shards with BASE utterances
BASE = 2400


@dataclasses.dataclass(frozen=True)
class Point:
    value: int  # of what is varied
    case: Case
    data: str  # name of the data set
    extra: tuple = ()  # (key, value): overrides


@dataclasses.dataclass(frozen=True)
class Sweep:
    name: str
    title: str
    theory: str  # flops: as the model's operations grow; linear; flat; inverse
    points: tuple


# Counts of the utterances that data sets hold, by how much is measured. The second is that of all other sweeps.
UTTERANCES = {"quick": (400, 800), "usual": (600, BASE, 9600), "full": (600, BASE, 9600, HW4_UTTERANCES)}


def sweeps(device, cores, size):
    """`size`: of UTTERANCES; "quick" has two points of each."""
    quick = size == "quick"

    def case(config, batch=32, ranks=1):
        return Case(config, "fp32", ranks, 1, batch, device, cores[:ranks] if device == "cpu" else ())

    base = f"utterances-{UTTERANCES[size][1]}"
    few = slice(0, 2) if quick else slice(None)
    ranks = [count for count in (1, 2, 4, 8) if count <= (len(cores) if device == "cpu" else torch.cuda.device_count())]
    return (
        Sweep("d_model", "width (medium)", "flops",
              tuple(Point(width, case("medium"), base, (("model.d_model", width),))
                    for width in (64, 128, 256, 512)[few])),
        Sweep("frames", "frames a crop (medium)", "flops",
              tuple(Point(frames, case("medium", 16), base, (("data.crop_frames", frames), ("data.train_split", "long")))
                    for frames in (64, 128, 256, 512)[few])),
        Sweep("batch", "utterances a batch (simple)", "linear",
              tuple(Point(batch, case("simple", batch), base) for batch in (16, 32, 64, 128)[few])),
        Sweep("ranks", "ranks, the global batch being the same (medium)", "inverse",
              tuple(Point(count, case("medium", 32, count), base) for count in ranks)),
        Sweep("shards", "shards of the data set (simple)", "flat",
              tuple(Point(count, case("simple"), f"shards-{count}") for count in tuple(SHARD_MIB)[few])),
        Sweep("utterances", "utterances in the data set (simple)", "flat",
              tuple(Point(count, case("simple"), f"utterances-{count}") for count in UTTERANCES[size])),
    )


def prepare(root, programs, size, names):
    """root/<name>/shards for each of the data sets `names`."""
    known = {f"utterances-{count}": (count, 256) for count in UTTERANCES[size]}
    known |= {f"shards-{count}": (UTTERANCES[size][1], mib) for count, mib in SHARD_MIB.items()}
    for name in sorted(names):
        utterances, mib = known[name]
        folder = root / name / "shards"
        if (folder / "ready").is_file():
            continue
        folder.parent.mkdir(parents=True, exist_ok=True)
        synthesise(programs, folder, SPEAKERS // 4 if size == "quick" else SPEAKERS, utterances, "--shard-mib", str(mib))
        frames, _ = read_index(folder)
        set_splits(folder, {"train": np.flatnonzero(frames >= CROP_FRAMES).tolist(),
                            "long": np.flatnonzero(frames >= LONGEST_CROP).tolist()})
        (folder / "ready").touch()
