"""Loaders of Python alone: `python -m performance.loaders files|h5py FOLDER BATCH CROP_FRAMES SECONDS WORKERS` reads
batches for so long and prints {"utterances_per_second", "resident_bytes"}; loader processes' memory counts.

files: the notebook's, a .pt an utterance. h5py: a Dataset over our own shards, a crop read by slicing `frames`, which
h5py turns into one contiguous read; files are opened once a process.
"""

import json
import os
import pathlib
import random
import sys
import time

import h5py
import torch
from torch.utils.data import DataLoader, Dataset

from performance import feeds
from performance.processes import descendants


class ShardDataset(Dataset):
    def __init__(self, folder, split, crop_frames):
        manifest = json.loads((folder / "dataset.json").read_text())
        self.paths = [folder / shard["file"] for shard in manifest["shards"]]
        self.crop_frames, self.files, self.index = crop_frames, None, []
        whole = []
        for shard, path in enumerate(self.paths):
            with h5py.File(path) as file:
                offsets, speakers = file["offsets"][:].tolist(), file["speaker"][:].tolist()
            whole += [(shard, begin, end, speaker) for begin, end, speaker in zip(offsets, offsets[1:], speakers)]
        self.index = [whole[i] for begin, end in manifest["splits"][split] for i in range(begin, end)]

    def __len__(self):
        return len(self.index)

    def __getitem__(self, number):
        if self.files is None:  # HDF5 handles do not survive a fork
            self.files = [h5py.File(path)["frames"] for path in self.paths]
        shard, begin, end, speaker = self.index[number]
        start = begin + random.randint(0, max(0, end - begin - self.crop_frames))
        return torch.from_numpy(self.files[shard][start:min(end, start + self.crop_frames)]), speaker


def collate(batch):
    mels, labels = zip(*batch)
    return torch.stack(mels), torch.tensor(labels)


def resident_bytes():
    total = 0
    for process in [os.getpid(), *descendants(os.getpid())]:
        try:
            # Shared pages are divided among those who share them.
            rollup = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def main(kind, folder, batch, crop_frames, seconds, workers):
    torch.set_num_threads(1)
    folder = pathlib.Path(folder)
    if kind == "files":
        feed = feeds.notebook_feed(folder / "files", batch, crop_frames, workers, cuda=False)
    else:
        loader = DataLoader(ShardDataset(folder / "shards", "train", crop_frames), batch_size=batch, shuffle=True,
                            drop_last=True, num_workers=workers, collate_fn=collate, persistent_workers=workers > 0)
        feed = (pair for _ in iter(int, 1) for pair in loader)
    for _ in range(8):
        next(feed)
    batches, start, elapsed = 0, time.perf_counter(), 0.0
    while elapsed < seconds:
        next(feed)
        batches += 1
        elapsed = time.perf_counter() - start
    print(json.dumps({"utterances_per_second": batches * batch / elapsed, "resident_bytes": resident_bytes()}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]))
