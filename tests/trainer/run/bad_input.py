"""Whatever is wrong with the input: one line that says what, where and what to do; the right exit code; no hang."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
from safetensors.numpy import load_file, save_file

from dataset_files import DatasetFiles
from run_trainer import (TINY_CONFIG, last_step, Job, RunTestCase, checkpoint_bytes, checkpoints, evaluate, main, mels, metrics,
                         run, synthesise, train, trainer, training)

FAILURE, BAD_INPUT = 1, 2
# Ten seconds from the error to the last rank's end, the start of the program before it, and a busy machine.
TIME_LIMIT_SECONDS = 30


class BadInputTestCase(RunTestCase):
    """Checkpoints of steps 10, 20, 30 in `used`, to be copied."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.used = cls.shared / "used"
        train(cls(), 2, cls.data, cls.used, schedule__total_steps=30)

    def used_run(self):
        """A run that has 20 steps to go."""
        shutil.copytree(self.used, self.scratch / "run", symlinks=True)
        return self.scratch / "run"

    def copy_of_data(self):
        shutil.copytree(self.data, self.scratch / "data")
        return DatasetFiles(self.scratch / "data")

    def assert_one_line(self, result, code, *texts):
        self.assertEqual(result.code, code, result)
        lines = result.own_lines()
        self.assertEqual(len(lines), 1, result)
        for text in texts:
            self.assertIn(str(text), lines[0])
        print(f"  {result.seconds:.1f} s, exit code {result.code}: {lines[0]}", flush=True)
        return lines[0]

    def assert_refused(self, arguments, *texts, code=BAD_INPUT, ranks=2, **keywords):
        return self.assert_one_line(run(ranks, arguments, TIME_LIMIT_SECONDS, **keywords), code, *texts)

    def assert_training_refused(self, data, *texts, code=BAD_INPUT, ranks=2, run_dir=None, config=TINY_CONFIG,
                                **overrides):
        """Returns the one line."""
        run_dir = run_dir or self.scratch / "run"
        before = [folder.name for folder in checkpoints(run_dir)]
        line = self.assert_refused(training(data, run_dir, config, **overrides), *texts, code=code, ranks=ranks)
        after = [folder.name for folder in checkpoints(run_dir)]
        self.assertTrue(set(before[-1:]) <= set(after), "the last checkpoint is gone")
        if after:
            self.assert_usable(run_dir / "checkpoints" / after[-1])
        return line

    def assert_usable(self, checkpoint):
        result = evaluate(1, checkpoint, self.data)
        self.assertEqual(result.code, 0, result)
        self.assertGreater(json.loads(result.out)["utterances"], 0)


class Usage(BadInputTestCase):
    def test_unknown_command(self):
        # A word that is no command is taken for an override.
        self.assert_refused(["trane", "--config", TINY_CONFIG], "trane", "key=value")
        self.assert_refused(["trane"], "trane", "--help", ranks=1)

    def test_unknown_option(self):
        self.assert_refused(["--config", TINY_CONFIG, "--gpus", "4"], "--gpus", "--help")
        self.assert_refused(["evaluate", "--checkpoints", "x"], "--checkpoint", "--help", ranks=1)

    def test_the_line_is_there_even_where_rank_0_is_the_last(self):
        # mpirun ends every rank once the first has failed.
        late = 'test "$OMPI_COMM_WORLD_RANK" != 0 || sleep 2; exec "$0" "$@"'
        for wrong in (["--gpus", "4"], ["--config", "none.yaml", "--print-config"], ["--config", "none.yaml"]):
            self.assert_refused(["-c", late, trainer(), *wrong], wrong[1] if "none" in wrong[1] else wrong[0],
                                program="/bin/sh")

    def test_no_config(self):
        self.assert_refused([], "--config", "--help")


class Configuration(BadInputTestCase):
    def config(self, old, new):
        """tiny.yaml with one line changed; (path, that line's number)."""
        lines = TINY_CONFIG.read_text().splitlines()
        number = next(i for i, line in enumerate(lines) if line.strip().startswith(old))
        lines[number] = new
        path = self.scratch / "changed.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path, number + 1

    def check(self, old, new, *texts, lines_below=0):
        path, line = self.config(old, new)
        self.assert_training_refused(self.data, f"changed.yaml:{line + lines_below}:", *texts, config=path)

    def test_unknown_key(self):
        self.check("heads:", "  headz: 2", "model.headz", "did you mean model.heads")
        self.assert_training_refused(self.data, "optimizer.rate", "unknown key", ranks=1, optimizer__rate=1)

    def test_mistyped_value(self):
        self.check("d_model:", "  d_model: wide", "model.d_model", "wide", "whole number")
        self.check("lr:", "  lr: [1, 2]", "optimizer.lr")
        self.assert_training_refused(self.data, "command line", "train.global_batch", "8.5", train__global_batch=8.5)

    def test_impossible_value(self):
        self.check("dropout:", "  dropout: 1.5", "model.dropout", "1.5", "must be")
        self.check("heads:", "  heads: 3", "model.heads", "model.d_model")
        self.assert_training_refused(self.data, "checkpoint.every", "must be", checkpoint__every=-1)
        self.assert_training_refused(self.data, "model.type", "transformer", model__type="rnn")

    def test_settings_that_do_not_go_together(self):
        refused = self.assert_training_refused
        refused(self.data, "loss.type", "model.head: cosine", loss__type="aam_softmax")
        refused(self.data, "model.subsampling", "one of 1, 2, 4", model__subsampling=3)
        refused(self.data, "model.dim_head", "model.heads", "65536", model__type="conformer", model__heads=1024,
                model__dim_head=65536)
        refused(self.data, "data.min_crop_frames", "data.crop_frames", data__min_crop_frames=999)
        refused(self.data, "augment.snr_db", "second", augment__snr_db="[9, 3]")
        refused(self.data, "model.embedding_norm", "train.global_batch", ranks=2, train__global_batch=2,
                model__embedding=8)

    def test_syntax_error(self):
        # A bracket is missed where something else comes in its place.
        self.check("heads:", "  heads: [2", "YAML", "check", lines_below=1)
        self.check("heads:", "   heads: 2", "YAML", "indentation")

    def test_missing_file(self):
        self.assert_refused(["--config", self.scratch / "none.yaml"], "none.yaml", "no such configuration")
        line = self.assert_refused(["--config", "none.yaml"], "none.yaml", "no such configuration")
        self.assertIn("simple.yaml", line)  # what there is instead
        self.assert_refused(["--config", self.scratch], self.scratch, "folder", ranks=1)

    def test_no_data_path(self):
        self.assert_refused(["--config", TINY_CONFIG, f"run.dir={self.scratch / 'run'}"], "data.path", "tiny.yaml")
        self.assertFalse((self.scratch / "run").exists())

    def test_batch_does_not_divide(self):
        self.assert_training_refused(self.data, "train.global_batch", "9", "2 ranks", "multiple of 2",
                                     train__global_batch=9)
        self.assert_training_refused(self.data, "train.global_batch", "12", "train.accumulate", "multiple of 8",
                                     ranks=4, train__global_batch=12, train__accumulate=2)

    def test_run_dir_cannot_be_made(self):
        (self.scratch / "file").write_text("")
        self.assert_training_refused(self.data, "run.dir", self.scratch / "file", "another folder",
                                     run_dir=self.scratch / "file" / "run")
        self.assert_training_refused(self.data, "run.dir", self.scratch / "file", run_dir=self.scratch / "file")

    def test_cuda_without_a_gpu(self):
        if pathlib.Path("/dev/nvidiactl").exists():
            self.skipTest("this machine has a GPU")
        self.assert_training_refused(self.data, "no GPU", "train.device=cpu", train__device="cuda")


class DataSets(BadInputTestCase):
    def test_no_data_set(self):
        self.assert_training_refused(self.scratch / "none", self.scratch / "none", "no data set", "check the path")
        (self.scratch / "empty").mkdir()
        self.assert_training_refused(self.scratch / "empty", self.scratch / "empty", "dataset.json", "mels")

    def test_damaged_manifest(self):
        files = self.copy_of_data()
        path = files.folder / "dataset.json"
        os.truncate(path, path.stat().st_size // 2)
        self.assert_training_refused(files.folder, path, "damaged", "restore")

    def test_unknown_split(self):
        self.assert_training_refused(self.data, self.data, "'trian'", "train", "valid", data__train_split="trian")

    def test_missing_shard(self):
        files = self.copy_of_data()
        files.shard(1).unlink()
        self.assert_training_refused(files.folder, files.shard(1), "missing", "restore")

    def test_truncated_shard(self):
        files = self.copy_of_data()
        os.truncate(files.shard(1), files.shard(1).stat().st_size - 5000)
        self.assert_training_refused(files.folder, files.shard(1), "truncated", "restore")

    def test_damaged_index(self):
        files = self.copy_of_data()
        # Its line of JSON, and the HDF5 file's headers and index, which all lie before the frames.
        frames_offset = files.manifest["shards"][1]["frames_offset"]
        with open(files.shard(1), "rb") as shard:
            header = shard.read(frames_offset)
        offsets = [3, header.index(b"\x89HDF") + 1, header.rindex(b"utterance-") + 3]
        for offset in offsets:
            with self.subTest(offset=offset):
                files.flip_byte(1, offset)
                self.assert_training_refused(files.folder, files.shard(1), "damaged", "restore")
                files.flip_byte(1, offset)

    def test_shard_of_another_data_set(self):
        other = DatasetFiles(synthesise(self.scratch / "other", "--n-mels", 24))
        files = self.copy_of_data()
        shutil.copy(other.shard(1), files.shard(1))
        self.assert_training_refused(files.folder, files.shard(1), "n_mels", "24", "40", "restore")

    def nan_in_one_utterance(self, files, split):
        """The last utterance of a split becomes NaN in frames that no checksum of the index covers."""
        utterance = int(files.split(split)[-1])
        files.overwrite_frames(utterance, np.nan)
        return files.shard_of(utterance), files.names[utterance]

    def test_nan_that_one_rank_meets_in_training(self):
        files = self.copy_of_data()
        shard, name = self.nan_in_one_utterance(files, "train")
        run_dir = self.scratch / "run"
        self.assert_training_refused(files.folder, "rank ", shard, name, "not finite", run_dir=run_dir,
                                     checkpoint__every=1)
        trained = metrics(run_dir)[-1]["step"]
        self.assertGreater(trained, 0, "it was to be met in the midst of training")
        self.assertEqual(checkpoints(run_dir)[-1].name, f"step-{trained:08d}")
        # Once the data is mended the run goes on.
        shutil.copy(self.data / shard.name, shard)
        train(self, 2, files.folder, run_dir)

    def test_nan_that_one_rank_meets_in_validation(self):
        files = self.copy_of_data()
        shard, name = self.nan_in_one_utterance(files, "valid")
        self.assert_training_refused(files.folder, shard, name, "not finite", ranks=4)
        self.assertEqual(checkpoints(self.scratch / "run")[-1].name, "step-00000020")

    def test_damaged_frames_that_are_numbers(self):
        files = self.copy_of_data()
        utterance = int(files.split("train")[-1])
        files.overwrite_frames(utterance, 0.5)
        result = mels("check", files.folder)
        self.assertEqual(result.returncode, BAD_INPUT, result)
        self.assertIn(files.names[utterance], result.stderr + result.stdout)
        self.assertIn(files.shard_of(utterance).name, result.stderr + result.stdout)

    def test_speaker_without_training_utterances(self):
        files = self.copy_of_data()
        train_split = files.split("train")
        files.set_split("train", train_split[files.speakers[train_split] != 2])
        self.assert_training_refused(files.folder, files.folder, files.manifest["speakers"][2], "'train'", "mels split")

    def test_fewer_utterances_than_a_batch(self):
        self.assert_training_refused(self.data, self.data, "'train'", "fewer than one batch", "train.global_batch",
                                     train__global_batch=1024)


class Checkpoints(BadInputTestCase):
    def test_another_model(self):
        line = self.assert_training_refused(self.data, "step-00000030", "another model", "model.", "run.dir",
                                            run_dir=self.used_run(), model__d_model=32)
        self.assertIn("[32", line)
        self.assertIn("d_model: 16", (self.scratch / "run" / "config.yaml").read_text(),
                      "a refused command must leave the run's configuration alone")

    def test_another_order_of_utterances(self):
        for key, value in {"run__seed": 8, "train__global_batch": 16}.items():
            with self.subTest(key):
                shutil.rmtree(self.scratch / "run", ignore_errors=True)
                self.assert_training_refused(self.data, "step-00000030", key.partition("__")[2], value, "run.dir",
                                             run_dir=self.used_run(), **{key: value})

    def test_another_data_set(self):
        other = synthesise(self.scratch / "other", seed=4)
        self.assert_training_refused(other, "step-00000030", "other data", "data.path", "run.dir",
                                     run_dir=self.used_run())
        shutil.rmtree(self.scratch / "run")
        more_speakers = synthesise(self.scratch / "more", speakers=7)
        self.assert_training_refused(more_speakers, "step-00000030", "other data", "speakers", "run.dir",
                                     run_dir=self.used_run())

    def test_two_runs_in_one_folder(self):
        run_dir = self.scratch / "run"
        with Job(1, training(self.data, run_dir, schedule__total_steps=1000000)) as first:
            self.assertTrue(first.wait_until(lambda: last_step(run_dir) > 0, "the first run's first step"))
            self.assert_refused(training(self.data, run_dir), "another run", run_dir, "run.dir")
            self.assertTrue(first.running())

    def test_diverged(self):
        line = self.assert_training_refused(self.data, "step 3", "diverged", "step 30", "optimizer.lr",
                                            code=FAILURE, run_dir=self.used_run(), optimizer__lr=1e30,
                                            schedule__warmup_steps=0)
        self.assertRegex(line, "nan|inf")
        self.assertEqual(checkpoints(self.scratch / "run")[-1].name, "step-00000030")

    def test_init_from(self):
        weights = self.used / "checkpoints" / "last" / "model.safetensors"
        self.assert_training_refused(self.data, "model.init_from", self.scratch / "none", "no such",
                                     model__init_from=self.scratch / "none")
        self.assert_training_refused(self.data, "model.init_from", weights, "another model", "model.",
                                     model__init_from=weights, model__feed_forward=64)
        tensors = load_file(weights)
        tensors.pop("prenet.bias")
        save_file(tensors, self.scratch / "lacking.safetensors")
        self.assert_training_refused(self.data, "model.init_from", "lacking.safetensors", "prenet.bias",
                                     model__init_from=self.scratch / "lacking.safetensors")
        damaged = self.scratch / "damaged.safetensors"
        damaged.write_bytes(weights.read_bytes()[:-100])
        self.assert_training_refused(self.data, "model.init_from", "damaged.safetensors", model__init_from=damaged)
        folder = self.scratch / "step-00000030"
        shutil.copytree(self.used / "checkpoints" / "step-00000030", folder)
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[-5] ^= 1
        (folder / "model.safetensors").write_bytes(content)
        self.assert_training_refused(self.data, "model.init_from", folder, "checksum", model__init_from=folder)

    def test_average(self):
        best = self.used / "checkpoints/last"
        average = lambda *arguments: ["average", *arguments]
        self.assert_refused(average(best, "--out", self.used), self.used, "exists already")
        self.assert_refused(average(best, self.scratch / "none", "--out", self.scratch / "a"), "none", "no such")
        self.assert_refused(average("--out", self.scratch / "a"), "checkpoints", "--help")
        heads = self.scratch / "heads"
        train(self, 1, self.data, heads, model__heads=4, schedule__total_steps=2)
        self.assert_refused(average(best, heads / "checkpoints/last", "--out", self.scratch / "a"), "differ",
                            "config/model")
        self.assertFalse((self.scratch / "a").exists())

    @contextlib.contextmanager
    def small_disk(self, kib):
        """A file system of its own in a folder of ours."""
        folder = self.scratch / "disk"
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True,
                                 text=True)
        if mounted.returncode != 0:
            self.skipTest(f"no file system can be mounted here: {mounted.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)

    def test_full_disk_while_saving(self):
        size = sum(file.stat().st_size for file in checkpoints(self.used)[-1].iterdir())
        # Room for the logs and about three checkpoints of the ten that are to be kept.
        with self.small_disk(64 + 7 * size // 2048) as disk:
            run_dir = disk / "run"
            settings = {"checkpoint__every": 5, "checkpoint__keep": 10}
            self.assert_training_refused(self.data, "checkpoint of step", "not saved", "No space left", "intact",
                                         code=FAILURE, run_dir=run_dir, **settings)
            self.assertGreaterEqual(len(checkpoints(run_dir)), 1)
            self.assertEqual(list((run_dir / "checkpoints").glob(".tmp*")), [])
            subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
            train(self, 2, self.data, run_dir, **settings)
            self.assertEqual([line["step"] for line in metrics(run_dir)], list(range(1, 51)))
            undisturbed = self.scratch / "undisturbed"
            train(self, 2, self.data, undisturbed)
            self.assertEqual(checkpoint_bytes(run_dir), checkpoint_bytes(undisturbed))

    def test_full_disk_at_the_start(self):
        with self.small_disk(16) as disk:
            (disk / "filler").write_bytes(bytes(4096 * 3))
            self.assert_training_refused(self.data, disk, "space", code=FAILURE, run_dir=disk / "run")


class Evaluation(BadInputTestCase):
    def check(self, *texts, checkpoint=None, data=None, options=(), ranks=2):
        result = evaluate(ranks, checkpoint or self.used / "checkpoints" / "last", data or self.data, *options,
                          limit_seconds=TIME_LIMIT_SECONDS)
        self.assertEqual(result.out, "")
        return self.assert_one_line(result, BAD_INPUT, *texts)

    def test_unknown_split(self):
        self.check(self.data, "'tset'", "test", "train", "valid", options=["--split", "tset"])

    def test_unknown_speakers(self):
        more = synthesise(self.scratch / "more", speakers=8)
        name = DatasetFiles(more).manifest["speakers"][-1]
        line = self.check(more, "speaker", "not trained on", data=more)
        self.assertTrue(name in line or DatasetFiles(more).manifest["speakers"][-2] in line, line)

    def test_unlabelled_split(self):
        import torch  # takes seconds, and only this test needs it
        source = self.scratch / "hw4"
        source.mkdir()
        names = [f"uttr-{number:032x}.pt" for number in range(5)]
        for name in names:
            torch.save(torch.randn(70, 40), source / name)
        speakers = DatasetFiles(self.data).manifest["speakers"][:2]
        entries = [{"feature_path": name, "mel_len": 70} for name in names]
        for name, content in {
            "mapping": {"speaker2id": {s: i for i, s in enumerate(speakers)},
                        "id2speaker": {str(i): s for i, s in enumerate(speakers)}},
            "metadata": {"n_mels": 40, "speakers": {s: entries[i * 2:i * 2 + 2] for i, s in enumerate(speakers)}},
            "testdata": {"n_mels": 40, "utterances": entries[4:]},
        }.items():
            (source / f"{name}.json").write_text(json.dumps(content))
        data = self.scratch / "imported"
        imported = mels("import-hw4", source, data)
        self.assertEqual(imported.returncode, 0, imported.stderr)
        self.check(data, "'test'", "without a speaker", "--split", data=data)

    def test_other_n_mels(self):
        other = synthesise(self.scratch / "other", "--n-mels", 24)
        self.check(other, "24", "40", "--n-mels 40", data=other)

    def test_missing_checkpoint(self):
        self.check(self.scratch / "none", "no such checkpoint", checkpoint=self.scratch / "none")
        self.check(self.used, "checkpoints/best", checkpoint=self.used, ranks=1)
        with tempfile.TemporaryDirectory() as empty:
            self.check(empty, "not a checkpoint", checkpoint=empty, ranks=1)

    def test_damaged_checkpoint(self):
        run_dir = self.used_run()
        os.truncate(run_dir / "checkpoints" / "step-00000030" / "model.safetensors", 1000)
        self.check("step-00000030", "model.safetensors", checkpoint=run_dir / "checkpoints" / "last")

    def test_missing_data(self):
        self.check(self.scratch / "none", "no data set", data=self.scratch / "none")


if __name__ == "__main__":
    main()
