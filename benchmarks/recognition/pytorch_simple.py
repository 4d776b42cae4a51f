"""The Python reference of `simple`, trained and scored by PyTorch alone: what the trainer is compared with.

The model is that of tests/trainer/reference_models.py; the recipe is the trained models': AdamW, linear warm-up and one
cosine descent, each step a batch of crops of one random length, every utterance once an epoch, one thread.

usage: python -m recognition.pytorch_simple JOB, a JSON file {data, normalize, seed, steps, result, columns} where
columns is a list of {key, data, split, frames, eer}.
"""

import json
import math
import pathlib
import sys
import time

import numpy as np
import torch
from torch.nn import functional

from recognition.experiment import CROP_FRAMES, GLOBAL_BATCH, LEARNING_RATE, PROJECT, warmup_steps, write_json
from recognition.shards import equal_error_rate, match_speakers, read_split

sys.path.insert(0, str(PROJECT / "tests" / "trainer"))
from reference_models import CONFIGS, Transformer  # noqa: E402  (found only after the line above)


def learning_rate(step, warmup, total):
    """Of the step that is taken as number `step`, from 1."""
    if step < warmup:
        return LEARNING_RATE * step / warmup
    return LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def remove_mean(mels, lengths):
    # mels: (B, T, n_mels), padded with zeros, which stay zeros
    inside = (torch.arange(mels.shape[1])[None] < lengths[:, None])[:, :, None]
    return (mels - mels.sum(1, keepdim=True) / lengths[:, None, None]) * inside


def batches(frames, random):
    """Lists of utterance numbers, without end. The last part of an epoch that fills no batch begins the next one."""
    left = []
    while True:
        left += list(random.permutation(len(frames)))
        while len(left) >= GLOBAL_BATCH:
            yield left[:GLOBAL_BATCH]
            left = left[GLOBAL_BATCH:]


def crop_batch(frames, chosen, random):
    # -> (B, T, n_mels), (B,) with one random T for all
    crop = int(random.integers(CROP_FRAMES[0], CROP_FRAMES[1] + 1))
    lengths = torch.tensor([min(crop, len(frames[i])) for i in chosen])
    mels = torch.zeros(len(chosen), crop, frames[0].shape[1])
    for row, (i, length) in enumerate(zip(chosen, lengths.tolist())):
        start = random.integers(len(frames[i]) - length + 1)
        mels[row, :length] = torch.from_numpy(frames[i][start:start + length])
    return mels, lengths


def train(job, data):
    torch.manual_seed(job["seed"])
    random = np.random.default_rng(job["seed"])
    model = Transformer(data.frames[0].shape[1], len(data.speakers), **CONFIGS["simple"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    warmup = warmup_steps(job["steps"])
    feed = batches(data.frames, random)
    for step in range(1, job["steps"] + 1):
        chosen = next(feed)
        mels, lengths = crop_batch(data.frames, chosen, random)
        if job["normalize"]:
            mels = remove_mean(mels, lengths)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, warmup, job["steps"])
        loss = functional.cross_entropy(model(mels, lengths), torch.from_numpy(data.labels[chosen]).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(json.dumps({"step": step, "loss": loss.item()}), flush=True)
    return model.eval()


@torch.inference_mode()
def measure(model, job, column, data):
    scored = read_split(pathlib.Path(column["data"]), column["split"])
    outputs = []
    for frames in scored.frames:
        mels = torch.from_numpy(frames[:column["frames"] or None])[None]
        if job["normalize"]:
            mels = remove_mean(mels, torch.tensor([mels.shape[1]]))
        # Trials compare what the classifier is given: the mean over time.
        outputs.append(model.encoder(model.prenet(mels)).mean(1) if column["eer"] else model(mels))
    outputs = torch.cat(outputs)
    if column["eer"]:
        eer, trials = equal_error_rate(outputs.double().numpy(), scored.labels)
        return {"eer": eer, "trials": trials}
    right = outputs.argmax(1).numpy() == match_speakers(data, scored)
    return {"accuracy": float(right.mean()), "utterances": len(right)}


def main():
    job = json.loads(pathlib.Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    data = read_split(pathlib.Path(job["data"]), "train")
    start = time.monotonic()
    model = train(job, data)
    seconds = time.monotonic() - start
    columns = {column["key"]: measure(model, job, column, data) for column in job["columns"]}
    write_json(pathlib.Path(job["result"]), {"seconds": seconds, "columns": columns,
                                             "parameters": sum(p.numel() for p in model.parameters())})


if __name__ == "__main__":
    main()
