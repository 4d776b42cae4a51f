"""What a trained model is used for: evaluate, predict, embed, verify and identify against Python computations."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import h5py
import numpy as np
from safetensors.numpy import load_file

from dataset_files import DatasetFiles
from run_trainer import main, mels, run, synthesise, train, trainer
from tool_case import BAD_INPUT, SPEAKERS, ToolTestCase, hw4_folder, sing

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


def error_rates(scores, labels):
    """(thresholds, acceptance of nontargets, rejection of targets): for each score, and for infinity."""
    thresholds = np.append(np.unique(scores), np.inf)
    rejection = np.searchsorted(np.sort(scores[labels]), thresholds, side="left") / labels.sum()
    acceptance = 1 - np.searchsorted(np.sort(scores[~labels]), thresholds, side="left") / (~labels).sum()
    return thresholds, acceptance, rejection


def equal_error_rate(scores, labels):
    """(EER, threshold) where the lines between neighbouring thresholds' error rates cross."""
    thresholds, acceptance, rejection = error_rates(scores, labels)
    i = int(np.argmax(rejection >= acceptance))
    gaps = acceptance - rejection
    part = gaps[i - 1] / (gaps[i - 1] - gaps[i])
    step = 0 if np.isinf(thresholds[i]) else thresholds[i] - thresholds[i - 1]
    return acceptance[i - 1] + part * (acceptance[i] - acceptance[i - 1]), thresholds[i - 1] + part * step


def min_dcf(scores, labels, prior):
    _, acceptance, rejection = error_rates(scores, labels)
    return min(prior * rejection + (1 - prior) * acceptance) / min(prior, 1 - prior)


class Reference:
    """The tiny model in Python."""

    def __init__(self, checkpoint):
        import torch
        from reference_models import Transformer
        weights = load_file(checkpoint / "model.safetensors")
        self.speakers = json.loads((checkpoint / "state.json").read_text())["speakers"]
        self.model = Transformer(40, len(self.speakers), 16, 1, 2, 32, "mlp").eval()
        self.model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=True)
        self.torch = torch

    def __call__(self, frames):
        """(T, 40) to (embedding, logits), float32: the embedding is what the last linear layer gets."""
        with self.torch.no_grad():
            x = self.torch.as_tensor(frames)[None]
            pooled = self.model.encoder(self.model.prenet(x)).mean(1)
            embedding = self.model.pred_layer[:-1](pooled)
            return embedding[0].numpy(), self.model.pred_layer[-1](embedding)[0].numpy()


class Answers(ToolTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reference = Reference(cls.checkpoint)

    def frames(self, split):
        return [self.files.frames(int(u)) for u in self.files.split(split)]

    def test_evaluate(self):
        outputs = []
        for ranks in (1, 3):
            out = self.scratch / f"out{ranks}"
            figures = json.loads(self.ok(ranks, "evaluate", "--out", out))
            tables = {file.name: file.read_text() for file in out.iterdir()}
            outputs.append((figures, tables))
        self.assertEqual(outputs[0], outputs[1])
        figures, tables = outputs[0]
        logits = np.array([self.reference(frames)[1] for frames in self.frames("test")], "f8")
        truth = np.array([self.reference.speakers.index(s) for s in self.speakers("test")])
        own = logits[np.arange(len(truth)), truth]
        count, correct = len(truth), int((logits.argmax(1) == truth).sum())
        self.assertEqual(figures["utterances"], count)
        self.assertEqual(figures["accuracy"], correct / count)
        self.assertGreater(figures["accuracy"], 0.4)  # chance: 0.17
        self.assertEqual(figures["top5_accuracy"], float(((logits > own[:, None]).sum(1) < 5).mean()))
        loss = np.log(np.exp(logits - own[:, None]).sum(1)).mean()
        self.assertAlmostEqual(figures["loss"], loss, places=5)
        low, high = figures["accuracy_interval"]
        for bound in (low, high):  # the bounds p are where |share - p| is 1.96 standard errors of p
            if 0 < bound < 1:
                self.assertAlmostEqual((correct / count - bound) ** 2, 1.959964 ** 2 * bound * (1 - bound) / count,
                                       places=6)
        self.assertTrue(low <= figures["accuracy"] <= high)
        matrix = np.zeros((6, 6), int)
        np.add.at(matrix, (truth, logits.argmax(1)), 1)
        rows = list(csv.reader(tables["confusion.csv"].splitlines()))
        self.assertEqual(rows[0], ["speaker", *self.reference.speakers])
        self.assertEqual([row[0] for row in rows[1:]], self.reference.speakers)
        self.assertEqual([[int(x) for x in row[1:]] for row in rows[1:]], matrix.tolist())
        for row in csv.DictReader(tables["speakers.csv"].splitlines()):
            number = self.reference.speakers.index(row["speaker"])
            self.assertEqual(int(row["utterances"]), matrix[number].sum())
            self.assertEqual(int(row["correct"]), matrix[number, number])
            wrong = matrix[number].copy()
            wrong[number] = 0
            self.assertEqual(int(row["confusions"]), wrong.max())
            if wrong.max():
                self.assertEqual(row["confused_with"], self.reference.speakers[wrong.argmax()])
        xml.etree.ElementTree.fromstring(tables["confusion.svg"])
        state = json.loads((self.checkpoint / "state.json").read_text())
        self.assertEqual(json.loads(tables["evaluation.json"]),
                         figures | {"model_checksum": state["checksums"]["model.safetensors"]})

    def test_predict(self):
        # Mixtures of two voices each: the members of an ensemble should not agree on all of them.
        pure, random = self.frames("test"), np.random.default_rng(4)
        mixtures = [0.5 * pure[i][:40] + 0.5 * pure[j][:40] for i, j in random.integers(len(pure), size=(40, 2))]
        # The second member learns the same speakers from a data set that numbers them the other way round.
        labelled = {speaker: [] for speaker in reversed(self.reference.speakers)}
        for speaker, frames in zip(self.speakers("train"), self.frames("train")):
            labelled[speaker].append(frames)
        names = hw4_folder(self.scratch / "hw4", labelled, mixtures)
        imported = mels("import-hw4", self.scratch / "hw4", self.scratch / "imported")
        self.assertEqual(imported.returncode, 0, imported.stderr)
        second = self.scratch / "second"
        train(self, 1, self.scratch / "imported", second, run__seed=8, schedule__total_steps=120, optimizer__lr=0.005)
        member = second / "checkpoints" / "last"
        answers = {}
        for ranks in (1, 2):
            for label, options in (("one", []), ("two", ["--ensemble", member])):
                path = self.scratch / f"{label}{ranks}.csv"
                self.ok(ranks, "predict", "--csv", path, *options, data=self.scratch / "imported")
                answers[label, ranks] = path.read_bytes()
        self.assertEqual(answers["one", 1], answers["one", 2])
        self.assertEqual(answers["two", 1], answers["two", 2])
        other = Reference(member)
        self.assertEqual(other.speakers, self.reference.speakers[::-1])
        expected = {"one": [], "two": []}
        for mixture in mixtures:
            probabilities = []
            for model in (self.reference, other):
                logits = model(mixture)[1].astype("f8")
                softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
                probabilities.append(dict(zip(model.speakers, softmax)))
            expected["one"].append(max(probabilities[0], key=probabilities[0].get))
            expected["two"].append(max(SPEAKERS, key=lambda s: sum(p[s] for p in probabilities)))
        self.assertNotEqual(expected["one"], expected["two"], "the second member changes nothing: a weak test")
        for label in ("one", "two"):
            text = answers[label, 1].decode()
            self.assertTrue(text.startswith("Id,Category\r\n") and text.endswith("\r\n"))
            self.assertEqual(text.count("\r\n"), text.count("\n"))
            self.assertIn('"uttr-a,""b"".pt",', text)
            rows = list(csv.reader(text.splitlines()))[1:]
            self.assertEqual([row[0] for row in rows], names)
            self.assertEqual([row[1] for row in rows], expected[label])

    def test_answers_go_where_they_are_wanted(self):
        """Through a link to its file, and straight into what is no file."""
        self.ok(1, "predict", "--csv", self.scratch / "plain.csv")
        plain = (self.scratch / "plain.csv").read_bytes()
        target, link, other = self.scratch / "target.csv", self.scratch / "link.csv", self.scratch / "target.csv.tmp"
        target.write_text("old")
        other.write_text("not ours")
        link.symlink_to("target.csv")
        self.ok(1, "predict", "--csv", link)
        self.assertTrue(link.is_symlink())
        self.assertEqual((target.read_bytes(), other.read_text()), (plain, "not ours"))
        # Also where there is nothing yet.
        target.unlink()
        self.ok(1, "predict", "--csv", link)
        self.assertTrue(link.is_symlink())
        self.assertEqual(target.read_bytes(), plain)
        # Standard output holds the answers alone, behind what was there.
        (self.scratch / "log").write_text("before\n")
        with open(self.scratch / "log", "ab") as log:
            command = [trainer(), "predict", "--checkpoint", self.checkpoint, "--data", self.data, "--device", "cpu",
                       "--csv", "/dev/stdout"]
            subprocess.run(list(map(str, command)), stdout=log, stderr=subprocess.PIPE, check=True, timeout=60)
        self.assertEqual((self.scratch / "log").read_bytes(), b"before\n" + plain)
        os.mkfifo(self.scratch / "pipe")
        with subprocess.Popen(["cat", self.scratch / "pipe"], stdout=subprocess.PIPE) as reader:
            self.ok(1, "predict", "--csv", self.scratch / "pipe")
            self.assertEqual(reader.stdout.read(), plain)
        self.assertTrue((self.scratch / "pipe").is_fifo())

    def test_average_counts_a_checkpoint_once(self):
        last = self.run_dir / "checkpoints" / "last"
        result = run(1, ["average", "--out", self.scratch / "mean/", last, last.resolve()])
        self.assertEqual(result.code, 0, result)
        self.assertEqual(json.loads(result.out)["averaged"], 1)
        self.assertIn("counts once", result.err)

    def test_embed(self):
        for ranks in (1, 2):
            self.ok(ranks, "embed", "--out", self.scratch / str(ranks))
        one, two = self.scratch / "1", self.scratch / "2"
        for name in ("embeddings.h5", "embeddings.npy", "ids.txt"):
            self.assertEqual((one / name).read_bytes(), (two / name).read_bytes(), name)
        expected = np.array([self.reference(frames)[0] for frames in self.frames("test")])
        array = np.load(one / "embeddings.npy")
        self.assertEqual(array.dtype, np.float32)
        np.testing.assert_allclose(array, expected, atol=1e-4)
        self.assertEqual((one / "ids.txt").read_text().splitlines(), self.names("test"))
        with h5py.File(one / "embeddings.h5") as file:
            np.testing.assert_array_equal(file["embeddings"][:], array)
            self.assertEqual([name.decode() for name in file["utterance"][:]], self.names("test"))
            self.assertEqual([name.decode() for name in file["speaker"][:]], self.speakers("test"))
            self.assertIn("checkpoints/last", file.attrs["checkpoint"].decode())
        self.ok(1, "embed", "--out", self.scratch / "crop", "--frames", "20")
        cropped = np.array([self.reference(frames[:20])[0] for frames in self.frames("test")])
        np.testing.assert_allclose(np.load(self.scratch / "crop" / "embeddings.npy"), cropped, atol=1e-4)

    def test_windows(self):
        """Long inputs: the weighted mean over windows. Short ones: as without."""
        frames = self.frames("test")
        most = sorted(len(f) for f in frames)[len(frames) // 2]
        self.ok(1, "embed", "--out", self.scratch / "whole")
        self.ok(1, "embed", "--out", self.scratch / "enough", "--max-frames", max(len(f) for f in frames))
        self.assertEqual((self.scratch / "whole" / "embeddings.npy").read_bytes(),
                         (self.scratch / "enough" / "embeddings.npy").read_bytes())
        for limit in (most, 17):
            expected = []
            for f in frames:
                windows = -(-len(f) // limit)
                edges = [i * len(f) // windows for i in range(windows + 1)]
                parts = [(end - begin) * self.reference(f[begin:end])[0] for begin, end in zip(edges, edges[1:])]
                expected.append(sum(parts) / len(f))
            for ranks in (1, 2):
                self.ok(ranks, "embed", "--out", self.scratch / "windows", "--max-frames", limit)
                np.testing.assert_allclose(np.load(self.scratch / "windows" / "embeddings.npy"), expected, atol=1e-4)

    def test_verify(self):
        out = self.scratch / "out"
        figures = json.loads(self.ok(1, "verify", "--out", out))
        names, speakers = self.names("test"), self.speakers("test")
        embeddings = np.array([self.reference(frames)[0] for frames in self.frames("test")], "f8")
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        first, second = np.triu_indices(len(names), 1)
        labels = np.array([speakers[i] == speakers[j] for i, j in zip(first, second)])
        rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
        self.assertEqual([(r["label"], r["enrol"], r["test"]) for r in rows],
                         [(str(int(l)), names[i], names[j]) for l, i, j in zip(labels, first, second)])
        scores = np.array([float(r["score"]) for r in rows])
        np.testing.assert_allclose(scores, (unit[first] * unit[second]).sum(1), atol=1e-5)
        self.check_figures(figures, scores, labels)
        svg = xml.etree.ElementTree.fromstring((out / "det.svg").read_text())
        self.assertIn(f"EER {figures['eer'] * 100:.2f} %", "".join(svg.itertext()))
        # The list it made gives the same figures, on any number of ranks.
        for ranks in (1, 2):
            again = json.loads(self.ok(ranks, "verify", "--trials", out / "trials.txt"))
            self.assertEqual(again | {"split": "test"}, figures)
        # A list of its own, in which an utterance is compared with itself.
        trials = [(1, 0, 0), (1, 1, 1), (0, 0, 5), (0, 3, 2), (1, 4, 4), (0, 7, 1)]
        lines = [f"{('nontarget', 'target')[l]}\t{names[i]}\t{names[j]}" for l, i, j in trials]
        (self.scratch / "list").write_text("\r\n".join(lines))
        figures = json.loads(self.ok(2, "verify", "--trials", self.scratch / "list", "--frames", "30"))
        self.assertEqual((figures["trials"], figures["targets"], figures["frames"]), (6, 3, 30))
        self.assertEqual(figures["eer"], 0)
        # A list across splits: whoever enrols need not be tested.
        train_names, train_speakers = self.names("train"), self.speakers("train")
        pairs = [(i, j) for i in range(len(train_names)) for j in range(0, len(names), 5)]
        lines = [f"{int(train_speakers[i] == speakers[j])}\t{train_names[i]}\t{names[j]}\n" for i, j in pairs]
        (self.scratch / "list").write_text("\ufeff" + "".join(lines), encoding="utf-8")
        figures = json.loads(self.ok(2, "verify", "--trials", self.scratch / "list", "--out", out))
        enrolled = np.array([self.reference(frames)[0] for frames in self.frames("train")], "f8")
        enrolled /= np.linalg.norm(enrolled, axis=1, keepdims=True)
        rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
        scores = np.array([float(r["score"]) for r in rows])
        np.testing.assert_allclose(scores, [enrolled[i] @ unit[j] for i, j in pairs], atol=1e-5)
        self.check_figures(figures, scores, np.array([train_speakers[i] == speakers[j] for i, j in pairs]))
        self.assertEqual((figures["speakers"], figures["known_speakers"]), (len(SPEAKERS), len(SPEAKERS)))

    def test_verify_leaves_out_whom_the_model_knows(self):
        """Made trials are of strangers, where the split has two at least."""
        for number in (6, 7):
            for take in range(3):
                sing(self.scratch / "tree" / f"new{number}" / f"{take}.wav", number, take)
        for speaker in SPEAKERS[:2]:
            (self.scratch / "tree" / speaker).symlink_to(self.audio / speaker)
        data = self.scratch / "mixed"
        self.assertEqual(mels("extract", self.scratch / "tree", data).returncode, 0)
        result = self.tool(1, "verify", "--split", "train", "--out", self.scratch / "out", data=data)
        self.assertEqual((result.code, result.own_lines()), (0, []))
        figures = json.loads(result.out)
        self.assertEqual([figures[key] for key in ("trials", "targets", "speakers", "known_speakers")], [15, 6, 2, 0])
        self.assertEqual({line.split()[1][:3] for line in (self.scratch / "out" / "trials.txt").read_text().splitlines()},
                         {"new"})
        # Strangers of whom no trial of one kind can be made are scored together with the others.
        for take in (1, 2):
            for number in (6, 7):
                (self.scratch / "tree" / f"new{number}" / f"{take}.wav").unlink()
        self.assertEqual(mels("extract", self.scratch / "tree", self.scratch / "few").returncode, 0)
        result = self.tool(1, "verify", "--split", "train", data=self.scratch / "few")
        self.assertEqual(json.loads(result.out)["known_speakers"], 2)
        # With one stranger alone there is nobody else to take him for.
        (self.scratch / "tree" / "new7").rename(self.scratch / "new7")
        self.assertEqual(mels("extract", self.scratch / "tree", self.scratch / "one").returncode, 0)
        result = self.tool(1, "verify", "--split", "train", data=self.scratch / "one")
        self.assertEqual(json.loads(result.out)["known_speakers"], 2)
        self.assertIn("warning: the model was trained on 2 of the 3 speakers", result.err)

    def check_figures(self, figures, scores, labels):
        rate, threshold = equal_error_rate(scores, labels)
        self.assertGreater(rate, 0)
        self.assertLess(rate, 0.5)
        self.assertAlmostEqual(figures["eer"], rate, places=9)
        self.assertAlmostEqual(figures["threshold"], threshold, places=8)
        self.assertAlmostEqual(figures["min_dcf_0.01"], min_dcf(scores, labels, 0.01), places=9)
        self.assertAlmostEqual(figures["min_dcf_0.05"], min_dcf(scores, labels, 0.05), places=9)
        self.assertEqual((figures["trials"], figures["targets"]), (len(labels), int(labels.sum())))

    def test_verify_strangers(self):
        strangers = synthesise(self.scratch / "strangers", speakers=30, utterances=920)
        figures = json.loads(self.ok(2, "verify", "--split", "train", "--out", self.scratch / "out", data=strangers))
        rows = list(csv.DictReader((self.scratch / "out" / "scores.csv").read_text().splitlines()))
        labels = np.array([r["label"] == "1" for r in rows])
        self.check_figures(figures, np.array([float(r["score"]) for r in rows]), labels)
        # Of 644 utterances' 207,046 pairs: all of one speaker, and 100,000 others.
        files = DatasetFiles(strangers)
        counts = np.bincount(files.speakers[files.split("train")])
        self.assertGreater(counts.sum() * (counts.sum() - 1) // 2, 200000)
        self.assertEqual(labels.sum(), (counts * (counts - 1) // 2).sum())
        self.assertEqual((~labels).sum(), 100000)

    def identify(self, *arguments, checkpoint=None):
        return subprocess.run([trainer(), "identify", "--checkpoint", checkpoint or self.checkpoint, "--device", "cpu",
                               "--threads", "1", *map(str, arguments)], capture_output=True, text=True, timeout=60)

    def test_speed_copies_are_no_answers(self):
        data, run_dir = self.scratch / "shards", self.scratch / "run"
        extracted = mels("extract", self.audio, data, "--split", "train:valid:test=50:25:25", "--speed", "0.9,1.1")
        self.assertEqual(extracted.returncode, 0, extracted.stderr)
        # Hardly trained: among all classes two answers in three would be copies.
        train(self, 1, data, run_dir, schedule__total_steps=2)
        checkpoint = run_dir / "checkpoints" / "last"
        self.assertEqual(len(json.loads((checkpoint / "state.json").read_text())["speakers"]), 3 * len(SPEAKERS))
        answers = self.scratch / "answers.csv"
        self.ok(1, "predict", "--csv", answers, "--split", "test", checkpoint=checkpoint, data=data)
        with answers.open(newline="") as file:
            self.assertLessEqual({row["Category"] for row in csv.DictReader(file)}, set(SPEAKERS))
        table = self.scratch / "table"
        for split in ("test", "train"):  # the latter holds the copies themselves
            figures = json.loads(self.ok(2, "evaluate", "--split", split, "--out", table, checkpoint=checkpoint, data=data))
            self.assertLess(figures["loss"], 10)
            shutil.rmtree(table)
        # Nor does a trial tell a speaker from a copy of him.
        self.ok(1, "verify", "--split", "train", "--out", table, checkpoint=checkpoint, data=data)
        self.assertNotIn("@", (table / "trials.txt").read_text())
        # Members of an ensemble need not have had the same copies.
        for first, second in ((checkpoint, self.checkpoint), (self.checkpoint, checkpoint)):
            self.ok(2, "predict", "--csv", answers, "--split", "test", "--ensemble", second, checkpoint=first, data=data)
        result = run(1, ["identify", "--checkpoint", checkpoint, "--json", self.audio / "anna" / "take 00.wav"])
        self.assertEqual(result.code, 0, result)
        self.assertNotIn("@", result.out)

    def test_identify(self):
        utterances = [int(u) for u in self.files.split("test")]
        recordings = [self.audio / self.files.names[u] for u in utterances]
        result = self.identify("--json", *recordings)
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([line["file"] for line in lines], list(map(str, recordings)))
        for line, utterance in zip(lines, utterances):
            logits = self.reference(self.files.frames(utterance))[1].astype("f8")
            probabilities = np.exp(logits) / np.exp(logits).sum()
            best = np.argsort(-probabilities)[:5]
            self.assertEqual([c["speaker"] for c in line["candidates"]], [self.reference.speakers[i] for i in best])
            np.testing.assert_allclose([c["probability"] for c in line["candidates"]], probabilities[best], atol=1e-4)
        table = self.identify(recordings[0]).stdout.splitlines()
        self.assertEqual(table[0], str(recordings[0]))
        self.assertEqual(len(table), 6)
        self.assertIn(lines[0]["candidates"][0]["speaker"], table[1])

    def test_identify_enrolled(self):
        enrol = self.scratch / "enrol"
        for number in (6, 7, 8):  # voices the model never heard
            for take in range(3):
                sing(enrol / f"new{number}" / f"{take}.wav", number, take)
        sing(self.scratch / "who.wav", 7, 9)
        result = self.identify("--json", "--enrol", enrol, self.scratch / "who.wav")
        self.assertEqual(result.returncode, 0, result.stderr)
        candidates = {c["speaker"]: c["cosine"] for c in json.loads(result.stdout)["candidates"]}
        # The same in Python, from features that `mels extract` makes.
        sing(self.scratch / "all" / "who" / "who.wav", 7, 9)
        for folder in enrol.iterdir():
            (self.scratch / "all" / folder.name).symlink_to(folder)
        self.assertEqual(mels("extract", self.scratch / "all", self.scratch / "mels").returncode, 0)
        files = DatasetFiles(self.scratch / "mels")
        units = {}
        for utterance, name in enumerate(files.names):
            embedding = self.reference(files.frames(utterance))[0].astype("f8")
            units.setdefault(name.split("/")[0], []).append(embedding / np.linalg.norm(embedding))
        query = units.pop("who")[0]
        for speaker, rows in units.items():
            mean = np.mean(rows, 0)
            self.assertAlmostEqual(candidates[speaker], query @ mean / np.linalg.norm(mean), places=4)
        self.assertEqual(list(candidates.values()), sorted(candidates.values(), reverse=True))

    def test_identify_goes_on_after_bad_files(self):
        (self.scratch / "noise.wav").write_bytes(bytes(range(256)) * 20)
        good = self.audio / self.names("test")[0]
        result = self.identify("--json", self.scratch / "noise.wav", good, self.scratch / "none.wav")
        self.assertEqual(result.returncode, BAD_INPUT)
        self.assertEqual([json.loads(line)["file"] for line in result.stdout.splitlines()], [str(good)])
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("noise.wav", lines[0])
        self.assertIn("none.wav", lines[1])
        self.assertIn("no such file", lines[1])
        sing(self.scratch / "enrol" / "a" / "0.wav", 1, 1)
        (self.scratch / "enrol" / "a" / "bad.wav").write_bytes(b"RIFF")
        result = self.identify("--json", "--enrol", self.scratch / "enrol", good)
        self.assertEqual(result.returncode, BAD_INPUT)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        self.assertIn("bad.wav", result.stderr)
        self.assertEqual([c["speaker"] for c in json.loads(result.stdout)["candidates"]], ["a"])


if __name__ == "__main__":
    main()
