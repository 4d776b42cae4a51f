"""Ranks on GPUs that are stopped, killed or told to stop: the same as on CPUs, with NCCL between them. Skips where there is
no GPU. Two ranks share one where there is no second (TRAINER_SHARE_GPU)."""

import json
import os
import signal
import subprocess
import sys

import run_trainer
import stalls
from run_trainer import Job, RunTestCase, checkpoints, last_step, run, training

STOPPED, KILLED = 75, 128 + 9
RANKS = 2
LIMIT_SECONDS = 60
STEPS = 2000

# On GPUs sums are not the same to the last bit each time: these compare them.
EXACT = {"test_stopped_and_continued_in_time"}
# These have limits of their own, which a GPU's start does not keep.
TOO_SHORT = {"test_the_first_step_has_a_limit_of_its_own"}


class Stalls(stalls.Stalls):
    pass


for name in EXACT | TOO_SHORT:
    setattr(Stalls, name, None)


class Ended(RunTestCase):
    settings = {"schedule__total_steps": STEPS, "checkpoint__every": 50, "train__validate_every": 500}

    def setUp(self):
        super().setUp()
        self.run_dir = self.scratch / "run"

    def ended(self, deed):
        with Job(RANKS, training(self.data, self.run_dir, **self.settings)) as job:
            self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= 120, "step 120"), "over too soon")
            deed(job)
            return job.finish(limit_seconds=job.seconds() + LIMIT_SECONDS)

    def assert_goes_on(self):
        newest = int(checkpoints(self.run_dir)[-1].name.removeprefix("step-"))
        result = run(RANKS, training(self.data, self.run_dir, **self.settings))
        self.assertEqual(result.code, 0, result)
        self.assertIn(f"going on from step {newest} ", result.out)
        self.assertEqual(last_step(self.run_dir), STEPS)

    def test_a_rank_is_killed(self):
        for rank in range(RANKS):
            with self.subTest(rank=rank):
                self.run_dir = self.scratch / f"run-{rank}"
                result = self.ended(lambda job: job.kill_rank(rank))
                self.assertEqual(result.code, KILLED, result)
                self.assert_goes_on()

    def test_mpirun_is_killed(self):
        result = self.ended(lambda job: job.signal_mpirun(signal.SIGKILL))
        self.assertEqual(result.code, -signal.SIGKILL, result)
        self.assert_goes_on()

    def test_it_is_told_to_stop(self):
        result = self.ended(lambda job: job.signal_mpirun(signal.SIGUSR1))
        self.assertEqual(result.code, STOPPED, result)
        self.assert_goes_on()

    def test_it_says_what_it_uses(self):
        result = run(RANKS, training(self.data, self.run_dir, schedule__total_steps=20))
        self.assertEqual(result.code, 0, result)
        self.assertRegex(result.out, r"2 ranks on cuda.* \(nccl\)")


def gpu_is_there():
    """Whether the trainer, of whose programs the command line tells, finds one."""
    probe = subprocess.run([sys.argv[1], "preflight", "--config", run_trainer.TINY_CONFIG, "--json",
                            "data.path=/nonexistent", "train.device=cuda"], capture_output=True, text=True)
    findings = json.loads(probe.stdout)["findings"]
    return not any(finding["level"] == "error" and finding["section"] == "hosts" for finding in findings)


if __name__ == "__main__":
    if len(sys.argv) > 2 and not gpu_is_there():
        print("skipped: no CUDA device")
        sys.exit(run_trainer.SKIPPED)
    os.environ.update(TRAINER_TEST_DEVICE="cuda", TRAINER_SHARE_GPU="1")
    stalls.SET_UP_SECONDS = 120
    run_trainer.main()
