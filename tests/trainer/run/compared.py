"""Runs that something happens to, held against one that nothing happened to."""

import os
import time

from run_trainer import (Job, RunTestCase, checkpoint_bytes, checkpoints, last_step, metrics, run, train, training)

STOPPED = 75
RANKS = 2
# Steps take a few milliseconds; this many leave room to hit a run in the middle.
LONG_STEPS = 400
# Figures of a step that a repetition must give again; the others are times.
REPEATED = ("step", "epoch", "loss", "accuracy", "learning_rate", "gradient_norm", "valid_loss", "valid_accuracy")


def repeated_figures(run_dir):
    return [{key: line[key] for key in REPEATED if key in line} for line in metrics(run_dir)]


class ComparedTestCase(RunTestCase):
    settings = {"schedule__total_steps": LONG_STEPS, "checkpoint__every": 7, "train__validate_every": 45}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reference = cls.shared / "reference"
        train(cls(), RANKS, cls.data, cls.reference, **cls.settings)

    def arguments(self, run_dir, data=None, **overrides):
        return training(data or self.data, run_dir, **{**self.settings, **overrides})

    def finish(self, run_dir, data=None):
        result = run(RANKS, self.arguments(run_dir, data))
        self.assertEqual(result.code, 0, result)
        return result

    def wait_for_step(self, job, run_dir, step):
        self.assertTrue(job.wait_until(lambda: last_step(run_dir) >= step, f"step {step}"), "over too soon")

    def assert_same_model(self, run_dir):
        self.assertEqual(checkpoint_bytes(run_dir), checkpoint_bytes(self.reference))

    def assert_as_uninterrupted(self, run_dir):
        steps = self.settings["schedule__total_steps"]
        self.assertEqual([line["step"] for line in metrics(run_dir)], list(range(1, steps + 1)))
        self.assertEqual(repeated_figures(run_dir), repeated_figures(self.reference))
        self.assert_same_model(run_dir)
        for link in ("last", "best"):
            self.assertEqual(os.readlink(run_dir / "checkpoints" / link),
                             os.readlink(self.reference / "checkpoints" / link), link)
        self.assertFalse([path.name for path in (run_dir / "checkpoints").iterdir() if path.name.startswith(".")])

    def stop(self, run_dir, numbers, at_step):
        with Job(RANKS, self.arguments(run_dir)) as job:
            self.wait_for_step(job, run_dir, at_step)
            for number in numbers:
                job.signal_mpirun(number)
                time.sleep(0.05)
            return job.finish()

    def assert_stopped_with_checkpoint(self, run_dir, result):
        self.assertEqual(result.code, STOPPED, result)
        newest = last_step(run_dir)
        self.assertLess(newest, self.settings["schedule__total_steps"], "the run was over before it could be stopped")
        self.assertEqual(checkpoints(run_dir)[-1].name, f"step-{newest:08d}", result)
        self.assertIn(f"stopped on request at step {newest}", result.out)
