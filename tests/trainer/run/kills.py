"""A run is killed or stopped at random moments, again and again, and ends as if nothing had happened.

usage: kills.py LAUNCHER TRAINER MELS [unittest's options]. TRAINER_TEST_KILLS: how often; TRAINER_TEST_SEED repeats the
same faults in the same order. scripts/soak.sh does it for longer.
"""

import math
import os
import random
import signal
import sys
import time

from compared import RANKS, STOPPED, ComparedTestCase
from run_trainer import Job, checkpoints, evaluate, last_step, main, metrics, run

CYCLES = int(os.environ.get("TRAINER_TEST_KILLS", "30"))
SEED = int(os.environ.get("TRAINER_TEST_SEED", str(time.time_ns() % 1_000_000)))
# From the fault to the end of the last process, on a busy machine.
EXIT_LIMIT_SECONDS = 30
BAD_INPUT, KILLED = 2, 128 + 9

KILLS = ("kill -9 of a rank", "kill -9 of mpirun", "kill -9 of the launcher", "kill -9 of all")
STOPS = ("SIGUSR1 to mpirun", "SIGTERM to mpirun", "SIGTERM to every rank again and again")
MOMENTS = ("at a step", "while saving", "while validating", "while starting")
FAULTS = [(what, when) for what in KILLS + STOPS for when in MOMENTS]


class UnderLauncher(Job):
    starter = ()  # set where this script starts


def faults():
    """CYCLES of them: every fault in random order, then all again in another one."""
    order = random.Random(SEED)
    drawn = []
    while len(drawn) < CYCLES:
        drawn += order.sample(FAULTS, len(FAULTS))
    return drawn


def signal_again_and_again(job, number):
    while job.running():
        for process, rank in job.processes().items():
            if rank is not None:
                try:
                    os.kill(process, number)
                except ProcessLookupError:
                    pass  # it has ended meanwhile
        time.sleep(0.002)


class Kills(ComparedTestCase):
    # Validation of more utterances takes long enough to be hit.
    settings = {**ComparedTestCase.settings, "data__valid_split": "train"}

    def test_any_process_at_any_moment(self):
        print(f"\nTRAINER_TEST_SEED={SEED} TRAINER_TEST_KILLS={CYCLES}", flush=True)
        self.start, self.cycles, self.slowest, self.hits = time.monotonic(), 0, 0, 0
        self.faults = faults()
        chains, failures = 0, 0
        while self.cycles < CYCLES:
            # One run in three goes on with other numbers of ranks: then the sums' rounding differs.
            ranks = (1, 2, 4) if chains % 3 == 2 else (RANKS,)
            passed = False
            with self.subTest(chain=chains):
                self.torment(self.scratch / f"chain {chains}", ranks)
                passed = True
            failures += not passed
            chains += 1
        print(f"{self.cycles} kills and stops in {chains} runs, seed {SEED}: {failures} runs went wrong, "
              f"{self.hits} saves and validations were hit, the longest way to the end took {self.slowest:.1f} s, "
              f"all {time.monotonic() - self.start:.0f} s", flush=True)

    def torment(self, run_dir, ranks):
        """Until the run comes to its end, or all cycles are done."""
        while self.cycles < CYCLES:
            # By the cycle's number, so that a seed gives the same faults however fast the machine is.
            moments = random.Random(f"{SEED}/{self.cycles}")
            if not self.cycle(run_dir, *self.faults[self.cycles], moments.choice(ranks), moments):
                break
        if len(ranks) == 1:
            self.finish(run_dir)
            self.assert_as_uninterrupted(run_dir)
        else:
            result = run(ranks[-1], self.arguments(run_dir))
            self.assertEqual(result.code, 0, result)
            lines = metrics(run_dir)
            self.assertEqual([line["step"] for line in lines], list(range(1, self.settings["schedule__total_steps"] + 1)))
            self.assertTrue(all(math.isfinite(line["loss"]) for line in lines))
            self.assertEqual(evaluate(1, run_dir / "checkpoints" / "best", self.data).code, 0)

    def cycle(self, run_dir, what, when, ranks, moments):
        """False where the run came to its end."""
        rank = moments.randrange(ranks)
        kind = UnderLauncher if "launcher" in what else Job
        with kind(ranks, self.arguments(run_dir)) as job:
            if not self.wait_for(job, run_dir, when, moments) or not job.running():
                return False
            before = self.newest_checkpoint(run_dir)
            at_step, since = last_step(run_dir), job.seconds()
            if what == "kill -9 of a rank":
                if not job.wait_until(lambda: job.kill_rank(rank), f"rank {rank}"):
                    return False
            elif what == "kill -9 of all":
                job.kill_all()
            elif what == "SIGTERM to every rank again and again":
                signal_again_and_again(job, signal.SIGTERM)
            else:
                job.signal_mpirun({"SIGUSR1": signal.SIGUSR1, "SIGTERM": signal.SIGTERM}.get(
                    what.split()[0], signal.SIGKILL))
            result = job.finish(limit_seconds=since + EXIT_LIMIT_SECONDS)
        self.cycles += 1
        # In its last milliseconds mpirun itself ends by the signal.
        was_over = result.code == -signal.SIGUSR1 and last_step(run_dir) == self.settings["schedule__total_steps"]
        if result.code == 0 or was_over:  # it was about to end, or mpirun had no ranks yet to hand the signal on to
            print(f"{self.cycles}/{CYCLES}: {what} {when} came to nothing", flush=True)
            return False
        took = result.seconds - since
        self.assertLess(took, EXIT_LIMIT_SECONDS, f"the last process took too long to end\n{result}")
        self.slowest = max(self.slowest, took)
        hit = {"while saving": before is not None and self.is_saving(run_dir),
               "while validating": last_step(run_dir) == at_step}.get(when, False)
        self.hits += hit
        print(f"{self.cycles}/{CYCLES}: {what} {when}{' (hit)' if hit else ''}, {ranks} ranks, step {at_step}: exit code "
              f"{result.code} after {took:.1f} s", flush=True)
        self.assert_end(what, when, result)
        self.assertGreaterEqual(self.newest_checkpoint(run_dir) or 0, before or 0, f"a checkpoint is lost\n{result}")
        for folder in checkpoints(run_dir):
            self.assertTrue((folder / "state.json").exists(), f"{folder} is incomplete")
        return True

    def is_saving(self, run_dir):
        return any((run_dir / "checkpoints").glob(".tmp-*"))

    def newest_checkpoint(self, run_dir):
        found = checkpoints(run_dir)
        return int(found[-1].name.removeprefix("step-")) if found else None

    def wait_for(self, job, run_dir, when, moments):
        """True once the moment has come; False where the run ends first."""
        delay, pause = moments.uniform(0, 1.5), moments.uniform(0, 0.03)
        target = last_step(run_dir) + moments.randint(1, 60)
        if when == "while starting":
            return job.wait_until(lambda: job.seconds() > delay, "a moment")
        if when == "while validating":
            every = self.settings["train__validate_every"]
            target = (target // every + 1) * every - 1  # then comes the step that is validated
        if not job.wait_until(lambda: last_step(run_dir) >= target, f"step {target}", interval_seconds=0.001):
            return False
        if when == "while saving":
            return job.wait_until(lambda: self.is_saving(run_dir), "a save", interval_seconds=0)
        time.sleep(pause)
        return True

    def assert_end(self, what, when, result):
        self.assertNotEqual(result.code, BAD_INPUT, result)
        if what in ("kill -9 of mpirun", "kill -9 of the launcher", "kill -9 of all"):
            self.assertEqual(result.code, -signal.SIGKILL, result)
        if when == "while starting":
            return  # signals may not be caught yet, and mpirun may not know yet who was killed
        if what == "kill -9 of a rank":
            self.assertEqual(result.code, KILLED, result)
        if what in ("SIGUSR1 to mpirun", "SIGTERM to every rank again and again"):
            self.assertEqual(result.code, STOPPED, result)
            self.assertEqual(result.own_lines(), [])


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(f"usage: {sys.argv[0]} LAUNCHER TRAINER MELS [unittest's options]")
    UnderLauncher.starter = (sys.argv.pop(1), "--max-restarts", "0")
    main()
