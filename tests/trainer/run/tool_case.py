"""What the tests of the tools share: recordings of made-up voices, a tiny model trained on them, HW4 folders."""

import json
import wave

import numpy as np

from dataset_files import DatasetFiles
from run_trainer import RunTestCase, mels, run, train

BAD_INPUT = 2
RATE = 16000
SPEAKERS = ["anna", "bert, jr", "carl", "dora", "emil", "fred"]


def sing(path, speaker, take, seconds=1.0):
    """A WAV file: a wavering tone with the speaker's own pitch and overtones, and noise."""
    random = np.random.default_rng([speaker, take])
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 110 * 1.06 ** speaker * (1 + 0.02 * np.sin(2 * np.pi * random.uniform(2, 5) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE + random.uniform(0, 6)
    weights = np.random.default_rng(speaker).uniform(0.4, 1, 12)
    samples = sum(w * np.sin((k + 1) * phase) for k, w in enumerate(weights)) + random.normal(0, 3, len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples / np.abs(samples).max() * 20000).astype("<i2").tobytes())


class ToolTestCase(RunTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.audio, cls.data, cls.run_dir = cls.shared / "audio", cls.shared / "shards", cls.shared / "run"
        for number, speaker in enumerate(SPEAKERS):
            for take in range(16):
                sing(cls.audio / speaker / f"take {take:02d}.wav", number, take, seconds=0.6 + 0.05 * (take % 9))
        extracted = mels("extract", cls.audio, cls.data, "--split", "train:valid:test=50:25:25")
        if extracted.returncode != 0:
            raise AssertionError(extracted.stderr)
        train(cls(), 2, cls.data, cls.run_dir, schedule__total_steps=120, optimizer__lr=0.005)
        cls.checkpoint = cls.run_dir / "checkpoints" / "last"
        cls.files = DatasetFiles(cls.data)

    def tool(self, ranks, name, *options, checkpoint=None, data=None):
        return run(ranks, [name, "--checkpoint", checkpoint or self.checkpoint, "--data", data or self.data,
                           "--device", "cpu", "--threads", "1", *options], limit_seconds=60)

    def ok(self, ranks, name, *options, **keywords):
        result = self.tool(ranks, name, *options, **keywords)
        self.assertEqual(result.code, 0, result)
        return result.out

    def names(self, split):
        return [self.files.names[u] for u in self.files.split(split)]

    def speakers(self, split):
        return [self.files.manifest["speakers"][self.files.speakers[u]] for u in self.files.split(split)]


def hw4_folder(folder, speakers, features):
    """A HW4 folder of these features, whose names are in no order: one for each speaker, the others unlabelled.
    Returns the names and tensors of the latter."""
    import torch
    folder.mkdir()
    random = np.random.default_rng(5)
    names = [f"uttr-{random.integers(1 << 60):032x}.pt" for _ in features[1:]] + ['uttr-a,"b".pt']
    tensors = [torch.from_numpy(np.ascontiguousarray(rows)) for rows in features]
    lengths = [len(tensor) for tensor in tensors]
    for name, tensor in zip(names, tensors):
        torch.save(tensor, folder / name)
    entries = [{"feature_path": name, "mel_len": length} for name, length in zip(names, lengths)]
    for file, content in {
        "mapping": {"speaker2id": {s: i for i, s in enumerate(speakers)},
                    "id2speaker": {str(i): s for i, s in enumerate(speakers)}},
        "metadata": {"n_mels": 40, "speakers": {s: [entries[i]] for i, s in enumerate(speakers)}},
        "testdata": {"n_mels": 40, "utterances": entries[len(speakers):]},
    }.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    return names[len(speakers):], tensors[len(speakers):]
