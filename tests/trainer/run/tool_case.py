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


def hw4_folder(folder, labelled, unlabelled):
    """A HW4 folder of features (T, 40), with names in no order: {speaker: [features]}, and a list of features without
    speakers. Speakers are numbered in the order of the dictionary. Returns the names of the unlabelled."""
    import torch
    folder.mkdir()
    random = np.random.default_rng(5)

    def entry(features, name=None):
        name = name or f"uttr-{random.integers(1 << 60):032x}.pt"
        torch.save(torch.from_numpy(np.array(features, "f4")), folder / name)
        return {"feature_path": name, "mel_len": len(features)}

    tests = [entry(features) for features in unlabelled[:-1]] + [entry(unlabelled[-1], 'uttr-a,"b".pt')]
    for file, content in {
        "mapping": {"speaker2id": {s: i for i, s in enumerate(labelled)},
                    "id2speaker": {str(i): s for i, s in enumerate(labelled)}},
        "metadata": {"n_mels": 40, "speakers": {s: [entry(f) for f in rows] for s, rows in labelled.items()}},
        "testdata": {"n_mels": 40, "utterances": tests},
    }.items():
        (folder / f"{file}.json").write_text(json.dumps(content))
    return [test["feature_path"] for test in tests]
