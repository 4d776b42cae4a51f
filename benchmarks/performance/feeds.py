"""How the peers get their batches: (mels (B, T, n_mels) float32, labels (B) int64) without end."""

import json
import pathlib
import random
import threading
import queue

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class NotebookDataset(Dataset):
    """A file an utterance, read whole, then cropped."""

    def __init__(self, folder, crop_frames):
        self.folder, self.crop_frames = pathlib.Path(folder), crop_frames
        self.items = list(json.loads((self.folder / "labels.json").read_text()).items())

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        name, label = self.items[index]
        mel = torch.load(self.folder / name)
        if len(mel) > self.crop_frames:
            start = random.randint(0, len(mel) - self.crop_frames)
            mel = torch.FloatTensor(mel[start:start + self.crop_frames])
        return mel, torch.FloatTensor([label]).long()


def collate(batch):
    mels, labels = zip(*batch)
    mels = torch.nn.utils.rnn.pad_sequence(mels, batch_first=True, padding_value=-20)
    return mels, torch.FloatTensor(labels).long()


def notebook_feed(folder, batch, crop_frames, workers, cuda):
    loader = DataLoader(NotebookDataset(folder, crop_frames), batch_size=batch, shuffle=True, drop_last=True,
                        num_workers=workers, pin_memory=cuda, collate_fn=collate)
    while True:
        yield from loader


class ArrayFeed:
    """This rank's part of every global batch out of a mapped array: what an expert does where a file system and a page
    cache suffice. Every rank draws the same order."""

    def __init__(self, folder, batch, crop_frames, rank, world_size, seed=1):
        folder = pathlib.Path(folder)
        self.frames = np.load(folder / "frames.npy", mmap_mode="r")
        self.offsets, self.labels = np.load(folder / "offsets.npy"), np.load(folder / "labels.npy")
        self.batch, self.crop, self.rank, self.local = batch, crop_frames, rank, batch // world_size
        self.random = np.random.default_rng(seed)

    def __iter__(self):
        while True:
            order = self.random.permutation(len(self.labels))
            starts = self.random.random(len(self.labels))
            for first in range(0, len(order) - self.batch + 1, self.batch):
                begin = first + self.rank * self.local
                yield self.gather(order[begin:begin + self.local], starts)

    def gather(self, chosen, starts):
        mels = np.empty((len(chosen), self.crop, self.frames.shape[1]), np.float32)
        room = self.offsets[chosen + 1] - self.offsets[chosen] - self.crop + 1
        at = self.offsets[chosen] + (starts[chosen] * room).astype(np.int64)
        for row, start in enumerate(at):
            mels[row] = self.frames[start:start + self.crop]
        return torch.from_numpy(mels), torch.from_numpy(self.labels[chosen])


def ahead(feed, device, depth=4):
    """On a thread, in page-locked memory, copied to the device on a stream of its own."""
    batches = queue.Queue(depth)

    def fill():
        stream = torch.cuda.Stream(device)
        for mels, labels in feed:
            with torch.cuda.stream(stream):
                pair = [tensor.pin_memory().to(device, non_blocking=True) for tensor in (mels, labels)]
            batches.put((pair, stream.record_event()))

    threading.Thread(target=fill, daemon=True).start()
    while True:
        (mels, labels), ready = batches.get()
        current = torch.cuda.current_stream(device)
        current.wait_event(ready)
        mels.record_stream(current)
        labels.record_stream(current)
        yield mels, labels
