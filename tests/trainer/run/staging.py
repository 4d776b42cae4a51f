"""data.stage_to: the shards are copied to the host once, whole and right, and the run reads the copy."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess

import numpy as np

from compared import RANKS, STOPPED
from dataset_files import DatasetFiles
from run_trainer import Job, RunTestCase, checkpoint_bytes, main, run, train, training

FAILURE, BAD_INPUT = 1, 2


class Staging(RunTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reference = cls.shared / "reference"
        train(cls(), RANKS, cls.data, cls.reference)
        cls.shards = len(DatasetFiles(cls.data).manifest["shards"])
        assert cls.shards > 2

    def setUp(self):
        super().setUp()
        shutil.copytree(self.data, self.scratch / "data")
        self.source = DatasetFiles(self.scratch / "data")
        self.stage = self.scratch / "stage"

    def arguments(self, run_dir="run", stage=None):
        return training(self.source.folder, self.scratch / run_dir, data__stage_to=stage or self.stage)

    def staged(self, run_dir="run"):
        """A run that must succeed; how many shards it copied."""
        result = run(RANKS, self.arguments(run_dir))
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.own_lines(), [])
        return self.copied(result)

    def copied(self, result):
        line = next(line for line in result.out.splitlines() if "data staged to" in line)
        return int(line.split(" shards copied")[0].split(": ")[-1].split(" of ")[0])

    def copy(self):
        copy, = (path for path in self.stage.iterdir() if path.is_dir())
        return copy

    def assert_as_the_reference(self, run_dir):
        self.assertEqual(checkpoint_bytes(self.scratch / run_dir), checkpoint_bytes(self.reference))

    def assert_one_line(self, result, code, *texts):
        self.assertEqual(result.code, code, result)
        self.assertEqual(len(result.own_lines()), 1, result)
        for text in texts:
            self.assertIn(str(text), result.own_lines()[0])

    def test_copied_once_and_read_from_there(self):
        self.assertEqual(self.staged("first"), self.shards)
        self.assert_as_the_reference("first")
        for number in range(self.shards):
            name = self.source.shard(number).name
            self.assertEqual((self.copy() / name).read_bytes(), self.source.shard(number).read_bytes())
            self.source.shard(number).unlink()
        self.assertEqual(self.staged("second"), 0)
        self.assert_as_the_reference("second")

    def test_what_is_damaged_or_missing_is_copied_again(self):
        self.staged("first")
        copy = DatasetFiles(self.copy())
        content = [copy.shard(number).read_bytes() for number in range(3)]
        copy.flip_byte(0, -1)
        copy.shard(1).unlink()
        os.utime(copy.shard(2))  # touched alone: it is read, and found right
        (self.copy() / ".tmp-shard-00000.h5").write_bytes(b"left by a kill")
        (self.copy() / "dataset.json").unlink()
        self.assertEqual(self.staged("second"), 2)
        self.assertEqual([copy.shard(number).read_bytes() for number in range(3)], content)
        self.assertEqual(list(self.copy().glob(".tmp*")), [])
        self.assert_as_the_reference("second")
        (self.copy() / "staged.json").write_text("{")
        self.assertEqual(self.staged("third"), self.shards)

    def test_only_what_training_and_validation_need(self):
        last = np.array([u for u in range(len(self.source.speakers))
                         if self.source.shard_of(u) == self.source.shard(self.shards - 1)])
        for split in ("train", "valid"):
            self.source.set_split(split, np.setdiff1d(self.source.split(split), last))
        unstaged = training(self.source.folder, self.scratch / "unstaged")
        self.assertEqual(run(RANKS, unstaged).code, 0)
        self.assertEqual(self.staged(), self.shards - 1)
        self.assertFalse((self.copy() / self.source.shard(self.shards - 1).name).exists())
        self.assertEqual(checkpoint_bytes(self.scratch / "run"), checkpoint_bytes(self.scratch / "unstaged"))

    def test_another_content_gets_another_copy(self):
        self.staged("first")
        first = self.copy()
        train_split = self.source.split("train")
        self.source.set_split("train", train_split[:-1])
        self.assertEqual(self.staged("second"), self.shards)
        self.assertEqual(len([path for path in self.stage.iterdir() if path.is_dir()]), 2)
        self.assertTrue((first / "dataset.json").exists())

    def test_two_jobs_at_once(self):
        with Job(RANKS, self.arguments("first")) as first, Job(RANKS, self.arguments("second")) as second:
            results = [first.finish(), second.finish()]
        for result in results:
            self.assertEqual(result.code, 0, result)
        self.assertEqual(sum(map(self.copied, results)), self.shards)
        for run_dir in ("first", "second"):
            self.assert_as_the_reference(run_dir)

    def test_stopped_while_staging(self):
        self.staged("first")
        lock, = self.stage.glob("*.lock")
        for rank in (None, 0):
            with self.subTest(rank=rank), open(lock) as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                with Job(RANKS, self.arguments("second")) as job:
                    waits = lambda: "waiting for another job" in job.output()
                    self.assertTrue(job.wait_until(waits, "its waiting", 0.05))
                    if rank is None:
                        job.signal_mpirun(signal.SIGUSR1)
                    else:
                        os.kill(next(process for process, its_rank in job.processes().items() if its_rank == rank),
                                signal.SIGTERM)
                    result = job.finish(limit_seconds=job.seconds() + 30)
                self.assertEqual(result.code, STOPPED, result)
                self.assertEqual(result.own_lines(), [])
                self.assertIn("stopped while the data set was being staged; run the same command again", result.out)
        self.assertEqual(self.staged("second"), 0)

    def test_source_is_incomplete(self):
        self.source.shard(1).unlink()
        self.assert_one_line(run(RANKS, self.arguments()), BAD_INPUT, "data.stage_to", self.source.shard(1), "is missing",
                             "restore")
        self.assertFalse((self.copy() / "dataset.json").exists())
        self.source.shard(1).write_bytes(b"short")
        self.assert_one_line(run(RANKS, self.arguments()), BAD_INPUT, self.source.shard(1), "is damaged", "5 bytes")
        shutil.copy(self.data / self.source.shard(1).name, self.source.shard(1))
        self.assertEqual(self.staged(), self.shards - 1)
        shutil.rmtree(self.source.folder)
        self.assert_one_line(run(RANKS, self.arguments()), BAD_INPUT, self.source.folder, "no such folder")

    def test_a_folder_that_cannot_be(self):
        (self.scratch / "file").write_text("")
        self.assert_one_line(run(RANKS, self.arguments(stage=self.scratch / "file" / "stage")), BAD_INPUT,
                             "data.stage_to", self.scratch / "file", "choose a folder")

    @contextlib.contextmanager
    def disk(self, mib):
        self.stage.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", self.stage], capture_output=True,
                                 text=True)
        if mounted.returncode != 0:
            self.skipTest(f"no file system can be mounted here: {mounted.stderr.strip()}")
        try:
            yield
        finally:
            subprocess.run(["umount", self.stage], check=True)

    def test_a_disk_that_is_too_small(self):
        with self.disk(2):
            result = run(RANKS, self.arguments())
            self.assert_one_line(result, FAILURE, "data.stage_to", self.stage, "has room for", "need", "free space")
            self.assertEqual(list(self.copy().iterdir()), [])
            subprocess.run(["mount", "-o", "remount,size=64m", self.stage], check=True)
            self.assertEqual(self.staged(), self.shards)

    def test_a_batch_that_does_not_fit_is_told_before(self):
        result = run(RANKS, [*self.arguments(), "train.global_batch=9"])
        self.assert_one_line(result, BAD_INPUT, "train.global_batch")
        self.assertFalse(self.stage.exists())


if __name__ == "__main__":
    main()
