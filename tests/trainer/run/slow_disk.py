"""Checkpoints and metrics are written beside training: seen on a disk that takes its time for each."""

import os
import re
import signal
import sys

from compared import RANKS, ComparedTestCase
from run_trainer import Job, checkpoints, last_step, main, metrics, trainer

FAILURE, BAD_INPUT, STALLED = 1, 2, 76
# Of the three files of a checkpoint, and of the folder.
FSYNC_SECONDS, FSYNCS = 1, 4


class SlowDisk(ComparedTestCase):
    settings = {"schedule__total_steps": 30, "checkpoint__every": 10, "train__validate_every": 0}
    library = None

    def setUp(self):
        super().setUp()
        self.run_dir = self.scratch / "run"

    def job(self, stop_seconds=1000, fsync_seconds=FSYNC_SECONDS, write_seconds=0, **overrides):
        environment = [f"LD_PRELOAD={self.library}", f"SLOW_FSYNC_SECONDS={fsync_seconds}",
                       f"SLOW_WRITE_SECONDS={write_seconds}", f"TRAINER_STOP_SECONDS={stop_seconds}"]
        arguments = self.arguments(self.run_dir, **overrides)
        return Job(RANKS, [*environment, trainer(), *arguments, "--verbose"], program="/usr/bin/env")

    def is_saving(self, step):
        return (self.run_dir / "checkpoints" / f".tmp-step-{step:08d}").exists()

    def saved(self):
        return [int(folder.name.removeprefix("step-")) for folder in checkpoints(self.run_dir)]

    def wait_for_save(self, job, step):
        self.assertTrue(job.wait_until(lambda: self.is_saving(step), f"the save of step {step}"))

    def test_training_goes_on_meanwhile(self):
        with self.job(stop_seconds=7) as job:
            self.wait_for_save(job, 10)
            self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= 15, "step 15"))
            self.assertTrue(self.is_saving(10), "it waited for the disk")
            self.assertEqual(self.saved(), [])
            # The second save waits for the first.
            self.wait_for_save(job, 20)
            self.assertEqual(self.saved(), [10])
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.out.count("for the checkpoint before to be written"), 1, result)
        told = re.findall(r"a stop may take ([\d.]+)s ", result.out)
        self.assertEqual(len(told), 1, result)
        self.assertGreaterEqual(float(told[0]), FSYNC_SECONDS * FSYNCS)
        self.assertIn("TRAINER_STOP_SECONDS gives it 7 s", result.out)
        stalls = re.findall(r"checkpoint of step (\d+): training stood still for ([\d.]+) ms", result.out)
        self.assertEqual([int(step) for step, _ in stalls], [10, 20, 30], result)
        self.assertLess(float(stalls[0][1]), 1e3 * FSYNC_SECONDS)
        first = next(line for line in metrics(self.run_dir) if "checkpoint_write_seconds" in line)
        self.assertGreaterEqual(first["checkpoint_write_seconds"], FSYNC_SECONDS * FSYNCS)
        self.assertLess(first["checkpoint_stall_seconds"], FSYNC_SECONDS)
        self.assert_as_uninterrupted(self.run_dir)

    def test_unless_it_shall_wait(self):
        with self.job(checkpoint__async="false", schedule__total_steps=20) as job:
            self.wait_for_save(job, 10)
            self.assertTrue(job.wait_until(lambda: not self.is_saving(10) or last_step(self.run_dir) > 10, "its end"))
            self.assertEqual(self.saved(), [10])
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assertNotIn("a stop may take", result.out)
        self.assertGreaterEqual(metrics(self.run_dir)[-1]["checkpoint_stall_seconds"], FSYNC_SECONDS * FSYNCS)

    def test_killed_meanwhile_the_one_before_counts(self):
        with self.job() as job:
            self.wait_for_save(job, 20)
            self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) > 20, "a step more"))
            job.kill_all()
        self.assertEqual(self.saved(), [10])
        self.assertIn("going on from step 10 ", self.finish(self.run_dir).out)
        self.assert_as_uninterrupted(self.run_dir)

    def test_stopped_meanwhile_both_are_kept(self):
        with self.job(checkpoint__keep=100, schedule__total_steps=1_000_000) as job:
            self.wait_for_save(job, 10)
            job.signal_mpirun(signal.SIGUSR1)
            result = job.finish()
        self.assert_stopped_with_checkpoint(self.run_dir, result)
        self.assertEqual(os.readlink(self.run_dir / "checkpoints" / "last"), f"step-{self.saved()[-1]:08d}")
        self.assertIn(10, self.saved())

    def test_stop_seconds_that_are_none(self):
        for text in ("soon", "0", "-5"):
            with self.job(stop_seconds=text) as job:
                result = job.finish()
            self.assertEqual(result.code, BAD_INPUT, result)
            self.assertEqual(len(result.own_lines()), 1, result)
            self.assertIn(f"TRAINER_STOP_SECONDS={text}: ", result.own_lines()[0])

    def test_a_save_that_does_not_end_is_a_stall(self):
        limits = {"watchdog__timeout_seconds": 2, "watchdog__validation_seconds": 3, "watchdog__first_step_seconds": 60}
        with self.job(fsync_seconds=1000, schedule__total_steps=1_000_000, **limits) as job:
            result = job.finish()
        self.assertEqual(result.code, STALLED, result)
        self.assertEqual(len(result.own_lines()), 1, result)
        # Training goes on until the next save, which has to wait for this one.
        self.assertRegex(result.own_lines()[0], r"^rank 0 on \S+ has made no progress for \d+ s: step 20, checkpoint; "
                                                r"it is at work that does not end: check its disk")
        self.assertEqual(self.saved(), [])

    def test_training_does_not_wait_for_metrics(self):
        seconds = 0.5
        with self.job(fsync_seconds=0, write_seconds=seconds, checkpoint__every=0) as job:
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        lines = metrics(self.run_dir)
        self.assertEqual([line["step"] for line in lines], list(range(1, 31)))
        # By the time at which each was made: a thread writes them, as slowly as it must.
        self.assertLess(lines[-2]["unix_seconds"] - lines[0]["unix_seconds"], seconds * len(lines) / 2)
        self.assertGreater(result.seconds, seconds * len(lines))
        self.assertLess(max(line["recording_seconds"] for line in lines), seconds)
        self.assert_as_uninterrupted(self.run_dir)

    def test_another_error_meanwhile_does_not_cost_it(self):
        with self.job(checkpoint__every=1, optimizer__lr=1e30, schedule__warmup_steps=0) as job:
            result = job.finish()
        self.assertEqual(result.code, FAILURE, result)
        self.assertEqual(len(result.own_lines()), 1, result)
        self.assertIn("has diverged; the last checkpoint is of step 1.", result.own_lines()[0])
        self.assertEqual(self.saved(), [1])

    def test_an_error_of_the_disk_meanwhile_ends_all(self):
        with self.job(schedule__total_steps=1_000_000) as job:
            self.wait_for_save(job, 10)
            (self.run_dir / "checkpoints" / "step-00000010").write_text("in the way")
            result = job.finish(limit_seconds=job.seconds() + 30)
        self.assertEqual(result.code, BAD_INPUT, result)
        self.assertEqual(len(result.own_lines()), 1, result)
        self.assertIn("checkpoint of step 10 not saved", result.own_lines()[0])
        self.assertIn("Not a directory", result.own_lines()[0])


if __name__ == "__main__":
    SlowDisk.library = sys.argv.pop(3)
    main()
