"""Ranks and threads that stand still, really: the watchdog names them and ends the run; or nothing happens."""

import ctypes
import json
import os
import pathlib
import re
import signal
import time

from compared import repeated_figures
from run_trainer import (Job, RunTestCase, checkpoint_bytes, last_step, main, mels, train, trainer, training)

STALLED = 76
RANKS = 2
LIMIT_SECONDS = 3
# Of starts that are not what is tested; a GPU takes more (gpu.py).
SET_UP_SECONDS = 60
# The same of saves, whose limit is validation's.
SAVE_SECONDS = 60
# A machine that is busy with other tests may take its time; a run that hangs does so for ever.
PATIENCE_SECONDS = 60
FAR = 400  # steps of a millisecond: by then each rank has reported from amid the run
# What the process of a rank does not end at by itself.
ENDLESS = {"schedule__total_steps": 1_000_000, "train__log_every": 20, "checkpoint__every": 0,
           "train__validate_every": 0, "metrics__tensorboard": "false"}


def watched(timeout=LIMIT_SECONDS, first_step=None, validation=0):
    if first_step is None:
        first_step = SET_UP_SECONDS
    return {"watchdog__timeout_seconds": timeout, "watchdog__first_step_seconds": first_step,
            "watchdog__validation_seconds": validation}


def process_of(job, rank):
    return next((process for process, its_rank in job.processes().items() if its_rank == rank), None)


class StoppedThread:
    """Stops one thread of another process as a debugger does, and lets it go on where this is left."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17

    def __init__(self, process, thread):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self._thread = thread
        self._call(self.SEIZE)
        self._call(self.INTERRUPT)
        deadline = time.monotonic() + 10
        state = pathlib.Path(f"/proc/{process}/task/{thread}/stat")
        while state.read_text().rpartition(")")[2].split()[0] not in "tT":
            if time.monotonic() > deadline:
                raise AssertionError(f"thread {thread} does not stop")
            time.sleep(0.01)

    def _call(self, request):
        if self._libc.ptrace(request, self._thread, None, None) != 0:
            error = ctypes.get_errno()
            raise PermissionError(error, os.strerror(error))


def threads_named(process, name):
    found = []
    for task in pathlib.Path(f"/proc/{process}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            found.append(int(task.name))
    return found


class Stalls(RunTestCase):
    def setUp(self):
        super().setUp()
        self.run_dir = self.scratch / "run"

    def assert_stalled(self, result, rank, place, started, ranks=RANKS):
        """One line, from one rank; the file; the exit code; nobody left (which finish() has seen)."""
        self.assertEqual(result.code, STALLED, result)
        self.assertLess(time.monotonic() - started, LIMIT_SECONDS + PATIENCE_SECONDS, result)
        lines = result.own_lines()
        self.assertEqual(len(lines), 1, result)
        match = re.search(rf"rank {rank} on (\S+) has made no progress for (\d+) s: {place}; .*; "
                          r"start the run again to go on from its last checkpoint; last events: (\S+)$", lines[0])
        self.assertTrue(match, result)
        self.assertGreaterEqual(int(match.group(2)), LIMIT_SECONDS - 1)
        self.assertEqual(match.group(1), os.uname().nodename)
        (file,) = self.run_dir.glob("stall-*.jsonl")
        self.assertEqual(str(file), match.group(3))
        records = [json.loads(line) for line in file.read_text().splitlines()]
        self.assertEqual(records[0]["kind"], "stall")
        self.assertEqual(records[0]["rank"], rank)
        self.assertIn(records[0]["message"], lines[0])
        self.assertEqual([record["rank"] for record in records if record["kind"] == "rank"], list(range(ranks)))
        for each in range(ranks):
            events = [record for record in records if record["kind"] == "event" and record["rank"] == each]
            self.assertTrue(events, f"rank {each} has no events")
            times = [event["time"] for event in events]
            self.assertLess(abs(times[-1] - time.time()), 600)
            self.assertTrue(all(0 <= later - earlier + 1e-3 for earlier, later in zip(times, times[1:])), times)
        return records

    def stop_and_wait(self, job, process):
        os.kill(process, signal.SIGSTOP)
        started = time.monotonic()
        return job.finish(job.seconds() + LIMIT_SECONDS + PATIENCE_SECONDS), started

    def test_each_rank_is_stopped(self):
        for rank in range(RANKS):
            with self.subTest(rank=rank):
                self.run_dir = self.scratch / f"run-{rank}"
                with Job(RANKS, training(self.data, self.run_dir, **ENDLESS, **watched())) as job:
                    self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= FAR, f"step {FAR}"))
                    result, started = self.stop_and_wait(job, process_of(job, rank))
                records = self.assert_stalled(result, rank, r"step \d+, [a-z -]+(?: \(bucket \d+\))?", started)
                self.assertEqual(records[0]["why"], "silent")
                # The events of the one that is stopped are of the step that it stopped in, or just before.
                stopped_at = max(record["step"] for record in records if record["kind"] == "event")
                self.assertGreater(stopped_at, 0)

    def test_both_who_judge_are_stopped(self):
        ranks = 4
        with Job(ranks, training(self.data, self.run_dir, **ENDLESS, **watched())) as job:
            self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= FAR, f"step {FAR}"))
            for rank in (1, 0):
                os.kill(process_of(job, rank), signal.SIGSTOP)
            result = job.finish(job.seconds() + LIMIT_SECONDS + PATIENCE_SECONDS)
        self.assertEqual(result.code, STALLED, result)
        lines = result.own_lines()
        # Rank 3 speaks, too, where mpirun has not ended it half a second after rank 2 did.
        self.assertIn(len(lines), (1, 2), result)
        for line in lines:
            self.assertRegex(line, r"^rank [01] on \S+, and 1 more, has made no progress for ")

    def test_one_of_many_is_stopped(self):
        ranks = 4
        with Job(ranks, training(self.data, self.run_dir, **ENDLESS, **watched())) as job:
            self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= FAR, f"step {FAR}"))
            result, started = self.stop_and_wait(job, process_of(job, 3))
        self.assert_stalled(result, 3, r"step \d+, [a-z -]+(?: \(bucket \d+\))?", started, ranks)

    def test_stopped_and_continued_in_time(self):
        settings = {"schedule__total_steps": 400, "checkpoint__every": 100, "train__validate_every": 45}
        reference = self.scratch / "reference"
        train(self, RANKS, self.data, reference, **settings, **watched(validation=SAVE_SECONDS))
        with Job(RANKS, training(self.data, self.run_dir, **settings,
                                 **watched(timeout=20, validation=SAVE_SECONDS))) as job:
            for rank, step in ((0, 10), (1, 60), (None, 110)):
                self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= step, f"step {step}"), "over too soon")
                processes = [process for process, its_rank in job.processes().items()
                             if its_rank is not None and rank in (None, its_rank)]
                for number in (signal.SIGSTOP, signal.SIGCONT):
                    for process in processes:
                        os.kill(process, number)
                    if number == signal.SIGSTOP:
                        time.sleep(1)
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.own_lines(), [])
        self.assertEqual(repeated_figures(self.run_dir), repeated_figures(reference))
        self.assertEqual(checkpoint_bytes(self.run_dir), checkpoint_bytes(reference))
        self.assertEqual(list(self.run_dir.glob("stall-*")), [])

    def test_all_are_stopped_for_longer_than_the_limit(self):
        """As schedulers that suspend jobs do: nobody is late."""
        with Job(RANKS, training(self.data, self.run_dir, **{**ENDLESS, "schedule__total_steps": 4000},
                                 **watched(timeout=2, validation=SAVE_SECONDS))) as job:
            self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= FAR, f"step {FAR}"), "over too soon")
            ranks = [process for process, rank in job.processes().items() if rank is not None]
            for process in ranks:
                os.kill(process, signal.SIGSTOP)
            time.sleep(4)
            for process in ranks:
                os.kill(process, signal.SIGCONT)
            result = job.finish()
        self.assertEqual(result.code, 0, result)

    def test_a_thread_stands_still(self):
        """The process is alive and reports, but its main thread does not get on."""
        for rank in range(RANKS):
            with self.subTest(rank=rank):
                self.run_dir = self.scratch / f"run-{rank}"
                with Job(RANKS, training(self.data, self.run_dir, **ENDLESS, **watched())) as job:
                    self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= FAR, f"step {FAR}"))
                    process = process_of(job, rank)
                    try:
                        StoppedThread(process, process)
                    except PermissionError as error:
                        self.skipTest(f"no thread of another process can be stopped here: {error}")
                    started = time.monotonic()
                    result = job.finish(job.seconds() + LIMIT_SECONDS + PATIENCE_SECONDS)
                self.assert_stalled(result, rank, r"step \d+, [a-z -]+(?: \(bucket \d+\))?", started)

    def test_the_loader_stands_still(self):
        with Job(RANKS, training(self.data, self.run_dir, **ENDLESS, **watched())) as job:
            self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= FAR, f"step {FAR}"))
            process = process_of(job, 1)
            (loader,) = threads_named(process, "loader")
            try:
                StoppedThread(process, loader)
            except PermissionError as error:
                self.skipTest(f"no thread of another process can be stopped here: {error}")
            started = time.monotonic()
            result = job.finish(job.seconds() + LIMIT_SECONDS + PATIENCE_SECONDS)
        records = self.assert_stalled(result, 1, r"step \d+, data wait", started)
        self.assertEqual(records[0]["why"], "stuck")
        other = next(record for record in records if record["kind"] == "rank" and record["rank"] == 0)
        self.assertIn((other["phase"], other["waits"]), [("all-reduce wait", True), ("device wait", True)])

    def test_before_there_is_a_watchdog(self):
        """One rank never comes to MPI, or is stopped before the configuration is read."""
        os.environ["TRAINER_START_SECONDS"] = "3"
        try:
            words = ["-c", 'test "$OMPI_COMM_WORLD_RANK" = 1 && exec sleep 1000; exec "$0" "$@"', trainer(),
                     *training(self.data, self.run_dir, **ENDLESS)]
            with Job(RANKS, words, program="/bin/sh") as job:
                result = job.finish()
        finally:
            del os.environ["TRAINER_START_SECONDS"]
        self.assertEqual(result.code, STALLED, result)
        self.assertRegex(result.own_lines()[0], r"^rank 0 on \S+: MPI has not come up for 3 s: a rank or a host does not answer")
        self.assertFalse(self.run_dir.exists())

    def test_off(self):
        with Job(RANKS, training(self.data, self.run_dir, **{**ENDLESS, "schedule__total_steps": 4000},
                                 **watched(timeout=0))) as job:
            self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= FAR, f"step {FAR}"), "over too soon")
            process = process_of(job, 1)
            self.assertEqual(threads_named(process, "watchdog"), [])
            os.kill(process, signal.SIGSTOP)
            time.sleep(LIMIT_SECONDS + 1)
            self.assertTrue(job.running())
            os.kill(process, signal.SIGCONT)
            self.assertEqual(job.finish().code, 0)

    def test_the_first_step_has_a_limit_of_its_own(self):
        limits = watched(timeout=1, first_step=LIMIT_SECONDS)
        with Job(RANKS, training(self.data, self.run_dir, **ENDLESS, **limits)) as job:
            # Looked for before: the set-up may be over while /proc is searched.
            self.assertTrue(job.wait_until(lambda: process_of(job, 1), "rank 1"))
            process = process_of(job, 1)
            # The run folder is made amid the set-up.
            self.assertTrue(job.wait_until((self.run_dir / "train.log").exists, "the set-up"))
            result, started = self.stop_and_wait(job, process)
        self.assertGreater(time.monotonic() - started, LIMIT_SECONDS - 1)
        self.assert_stalled(result, 1, "(?:step 1, )?[a-z -]+", started)

    def test_validation_has_a_limit_of_its_own(self):
        data = self.scratch / "data"
        made = mels("synth", data, "--speakers", 4, "--utterances", 1500, "--max-frames", 400,
                    "--split", "train:valid=2:98")
        self.assertEqual(made.returncode, 0, made.stderr)
        limits = watched(timeout=1, validation=LIMIT_SECONDS)
        settings = {**ENDLESS, "train__validate_every": 1, "train__log_every": 1}
        # Nearly all of the time is validation: its end is followed by the next one's beginning. But in between a slow
        # disk may be saving the best one: then once more.
        for attempt in range(3):
            self.run_dir = self.scratch / f"run-{attempt}"
            with Job(RANKS, training(data, self.run_dir, **settings, **limits)) as job:
                self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= 2, "a validation"))
                time.sleep(0.1)
                result, started = self.stop_and_wait(job, process_of(job, 1))
                took = time.monotonic() - started
            if ", validation; " in result.err:
                break
        self.assertGreater(took, LIMIT_SECONDS - 1)
        self.assert_stalled(result, 1, r"step \d+, validation", started)


if __name__ == "__main__":
    main()
