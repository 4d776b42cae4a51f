"""What disks, other programs, clocks and networks do to a run that trains: it says so in one line and ends in time with
the right exit code, or goes on unharmed; and whatever was saved is still there, to be gone on from bit for bit."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

from compared import RANKS, STOPPED, ComparedTestCase
from dataset_files import DatasetFiles
from run_trainer import Job, checkpoints, main, metrics, run, synthesise, trainer, training

FAILURE, BAD_INPUT = 1, 2
# From the fault to the end of the last process, on a busy machine.
EXIT_LIMIT_SECONDS = 30
LIBFAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
HOUR = 3600


class FaultTestCase(ComparedTestCase):
    def setUp(self):
        super().setUp()
        self.run_dir = self.scratch / "run"

    def disturbed(self, fault, at_step=50, data=None, job_kind=Job, **keywords):
        """A run that `fault()` happens to at a step; how it ended, in time."""
        with job_kind(RANKS, self.arguments(self.run_dir, data), **keywords) as job:
            self.wait_for_step(job, self.run_dir, at_step)
            since = job.seconds()
            fault()
            result = job.finish(limit_seconds=since + EXIT_LIMIT_SECONDS)
        print(f"  {result.seconds - since:.1f} s, exit code {result.code}: {result.own_lines()}", flush=True)
        return result

    def assert_one_line(self, result, code, *texts):
        self.assertEqual(result.code, code, result)
        self.assertEqual(len(result.own_lines()), 1, result)
        for text in texts:
            self.assertIn(str(text), result.own_lines()[0])

    def newest_checkpoint(self):
        return int(checkpoints(self.run_dir)[-1].name.removeprefix("step-"))


class OfAReadOnlyFolder(Job):
    """A job for whom file modes count, even where it belongs to root."""

    if os.geteuid() == 0:
        starter = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "mpirun")


class RunFolder(FaultTestCase):
    @contextlib.contextmanager
    def read_only(self, folder):
        mount = lambda *options: subprocess.run(["mount", *options], capture_output=True, text=True)
        mounted = mount("--bind", folder, folder)
        if mounted.returncode != 0:
            self.skipTest(f"no folder can be mounted here: {mounted.stderr.strip()}")
        try:
            self.assertEqual(mount("-o", "remount,bind,ro", folder).returncode, 0)
            yield
        finally:
            subprocess.run(["umount", folder], check=True)

    def test_read_only_from_the_start(self):
        self.run_dir.mkdir()
        with self.read_only(self.run_dir):
            result = run(RANKS, self.arguments(self.run_dir), EXIT_LIMIT_SECONDS)
            self.assert_one_line(result, BAD_INPUT, self.run_dir, "Read-only file system", "set run.dir")
        self.finish(self.run_dir)
        self.assert_as_uninterrupted(self.run_dir)

    def test_read_only_from_some_step_on(self):
        folder = lambda: self.run_dir / "checkpoints"
        result = self.disturbed(lambda: folder().chmod(0o555), job_kind=OfAReadOnlyFolder)
        folder().chmod(0o755)
        self.assert_one_line(result, FAILURE, "checkpoint of step ", "not saved", folder(), "Permission denied", "intact")
        # That of step 49 may have been the one that was being written.
        self.assertGreaterEqual(self.newest_checkpoint(), 42)
        self.finish(self.run_dir)
        self.assert_as_uninterrupted(self.run_dir)

    def remove(self, folder):
        """Whatever the trainer deletes or writes there meanwhile."""
        deadline = time.monotonic() + EXIT_LIMIT_SECONDS
        while folder.exists():
            self.assertLess(time.monotonic(), deadline, f"{folder} cannot be removed")
            shutil.rmtree(folder, ignore_errors=True)

    def delete(self):
        # Into another name first: files that are being written would come back while they are deleted.
        self.run_dir.rename(self.scratch / "doomed")
        self.remove(self.scratch / "doomed")

    def assert_made_anew(self, text):
        self.assertEqual(text.count(f"run.dir {self.run_dir} was deleted, emptied or moved during the run"), 1, text)
        self.assertTrue((self.run_dir / "config.yaml").exists())
        self.assertIn("made anew", (self.run_dir / "train.log").read_text())

    def test_deleted_it_is_made_anew(self):
        result = self.disturbed(self.delete)
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.own_lines(), [])
        self.assert_made_anew(result.out)
        self.assert_same_model(self.run_dir)
        lines = metrics(self.run_dir)
        self.assertEqual([line["step"] for line in lines], list(range(lines[0]["step"], lines[-1]["step"] + 1)))
        self.assertTrue((self.run_dir / "checkpoints" / "best" / "state.json").exists())

    def test_emptied_it_is_made_anew(self):
        def empty():
            doomed = self.scratch / "doomed"
            doomed.mkdir()
            # The lock last: without it, but with the rest still there, the folder is only locked again.
            for path in sorted(self.run_dir.iterdir(), key=lambda path: path.name == ".lock"):
                path.rename(doomed / path.name)
            self.remove(doomed)

        result = self.disturbed(empty)
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.own_lines(), [])
        self.assert_made_anew(result.out)
        self.assertTrue((self.run_dir / "starts.jsonl").exists())
        self.assert_same_model(self.run_dir)

    def test_its_lock_deleted_it_is_locked_again(self):
        result = self.disturbed(lambda: (self.run_dir / ".lock").unlink())
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.own_lines(), [])
        self.assertEqual(result.out.count(f"run.dir {self.run_dir}/.lock, which keeps a second run out, was deleted"), 1,
                         result)
        self.assertTrue((self.run_dir / ".lock").exists())
        self.assert_same_model(self.run_dir)
        # What comes while the folder may be another run's is not written.
        self.assertGreaterEqual(len(metrics(self.run_dir)), self.settings["schedule__total_steps"] - 20)
        self.assertEqual(os.readlink(self.run_dir / "checkpoints" / "best"),
                         os.readlink(self.reference / "checkpoints" / "best"))

    @contextlib.contextmanager
    def locked_by_another(self):
        self.run_dir.mkdir()
        with open(self.run_dir / ".lock", "w") as lock:
            lock.write("process 1 on elsewhere\n")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock

    def test_a_lock_that_stays(self):
        with self.locked_by_another():
            result = run(RANKS, self.arguments(self.run_dir), EXIT_LIMIT_SECONDS)
        self.assert_one_line(result, BAD_INPUT, "another run is writing to run.dir", "(process 1 on elsewhere)")

    def patient(self):
        os.environ["TRAINER_RESTARTS"] = "1"
        self.addCleanup(os.environ.pop, "TRAINER_RESTARTS")

    def test_a_lock_that_goes(self):
        """As where the host of the start before was lost, and NFS gives its lock back later."""
        self.patient()
        with self.locked_by_another() as lock, Job(RANKS, self.arguments(self.run_dir)) as job:
            waiting = f"waiting for the lock of run.dir {self.run_dir} (process 1 on elsewhere)"
            self.assertTrue(job.wait_until(lambda: waiting in job.output(), "its waiting"))
            time.sleep(4)  # longer than a first start would
            self.assertTrue(job.running())
            fcntl.flock(lock, fcntl.LOCK_UN)
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assert_as_uninterrupted(self.run_dir)

    def test_a_lock_that_is_deleted_while_it_is_waited_for(self):
        self.patient()
        with self.locked_by_another(), Job(RANKS, self.arguments(self.run_dir)) as job:
            waiting = f"waiting for the lock of run.dir {self.run_dir} (process 1 on elsewhere)"
            self.assertTrue(job.wait_until(lambda: waiting in job.output(), "its waiting"))
            (self.run_dir / ".lock").unlink()
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assert_as_uninterrupted(self.run_dir)

    def test_deleted_and_stopped_it_goes_on_where_it_was(self):
        with Job(RANKS, self.arguments(self.run_dir)) as job:
            self.wait_for_step(job, self.run_dir, 50)
            self.delete()
            job.signal_mpirun(signal.SIGUSR1)
            result = job.finish(limit_seconds=job.seconds() + EXIT_LIMIT_SECONDS)
        self.assertEqual(result.code, STOPPED, result)
        self.assertGreaterEqual(self.newest_checkpoint(), 50)
        self.assert_made_anew(result.out)
        self.assertIn(f"going on from step {self.newest_checkpoint()} ", self.finish(self.run_dir).out)
        self.assert_same_model(self.run_dir)

    def test_deleted_it_is_still_one_run_s_alone(self):
        endless = {"schedule__total_steps": 1_000_000, "metrics__prometheus__address": "127.0.0.1:0"}
        with Job(1, self.arguments(self.run_dir, **endless)) as first:
            self.wait_for_step(first, self.run_dir, 50)
            endpoint = (self.run_dir / "metrics_endpoint").read_text()
            self.delete()
            new_endpoint = self.run_dir / "metrics_endpoint"
            self.assertTrue(first.wait_until(lambda: checkpoints(self.run_dir) and new_endpoint.exists(),
                                             "a new checkpoint and endpoint"))
            self.assertEqual(new_endpoint.read_text(), endpoint)
            second = run(1, self.arguments(self.run_dir, **endless), EXIT_LIMIT_SECONDS)
            self.assert_one_line(second, BAD_INPUT, "another run is writing to run.dir", self.run_dir)
            self.assertTrue(first.running())

    def test_deleted_and_taken_by_another_run(self):
        # The first writes so seldom that the second one comes before.
        seldom = {"checkpoint__every": 0, "train__validate_every": 0, "train__log_every": 1_000_000}
        with Job(1, training(self.data, self.run_dir, schedule__total_steps=1_000_000, **seldom)) as first:
            log = self.run_dir / "train.log"
            ready = lambda: log.exists() and "first step (1) done" in log.read_text()
            self.assertTrue(first.wait_until(ready, "its first step"))
            self.delete()
            with Job(RANKS, self.arguments(self.run_dir)) as second:
                self.wait_for_step(second, self.run_dir, 10)
                first.signal_mpirun(signal.SIGUSR1)
                result = first.finish(limit_seconds=first.seconds() + EXIT_LIMIT_SECONDS)
                self.assert_one_line(result, BAD_INPUT, "another run is writing to run.dir", self.run_dir)
                self.assertEqual(second.finish().code, 0)
        self.assert_as_uninterrupted(self.run_dir)


class Shards(FaultTestCase):
    """Something happens to a shard that the run has open."""

    def setUp(self):
        super().setUp()
        shutil.copytree(self.data, self.scratch / "data")
        self.files = DatasetFiles(self.scratch / "data")
        self.shard = self.files.shard(0)

    def assert_refused(self, result, *texts):
        self.assert_one_line(result, BAD_INPUT, self.shard, *texts, "restore")

    def restore_and_finish(self):
        shutil.copy(self.data / self.shard.name, self.shard)
        self.assertGreaterEqual(self.newest_checkpoint(), 49 // 7 * 7)
        self.finish(self.run_dir, self.files.folder)
        self.assert_as_uninterrupted(self.run_dir)

    def disturbed(self, fault):
        return super().disturbed(fault, data=self.files.folder)

    def test_truncated(self):
        # In the midst of the frames.
        self.assert_refused(self.disturbed(lambda: os.truncate(self.shard, self.shard.stat().st_size // 2)), "truncated")
        self.restore_and_finish()

    def test_damaged_frames_that_are_numbers(self):
        utterance = int(self.files.split("train")[0])
        result = self.disturbed(lambda: self.files.overwrite_frames(utterance, 0.5))
        self.assert_refused(result, self.files.names[utterance], "checksum of its frames")
        self.restore_and_finish()

    def test_overwritten_by_that_of_another_data_set(self):
        other = DatasetFiles(synthesise(self.scratch / "other", seed=4))
        self.assert_refused(self.disturbed(lambda: shutil.copyfile(other.shard(0), self.shard)))
        self.restore_and_finish()

    def test_replaced_by_that_of_another_data_set(self):
        # The run keeps the file that it has opened; the next start finds the other one.
        other = DatasetFiles(synthesise(self.scratch / "other", "--n-mels", 24))
        def replace():
            shutil.copyfile(other.shard(0), self.scratch / "new")
            (self.scratch / "new").rename(self.shard)
        self.assertEqual(self.disturbed(replace).code, 0)
        self.assert_as_uninterrupted(self.run_dir)
        result = run(RANKS, self.arguments(self.run_dir, self.files.folder), EXIT_LIMIT_SECONDS)
        self.assert_refused(result, "another data set", "n_mels")

    def test_deleted_or_only_touched(self):
        for name, fault in {"deleted": self.shard.unlink, "touched": lambda: os.utime(self.shard)}.items():
            with self.subTest(name):
                self.run_dir = self.scratch / name
                shutil.copy(self.data / self.shard.name, self.shard)
                result = self.disturbed(fault)
                self.assertEqual(result.code, 0, result)
                self.assert_as_uninterrupted(self.run_dir)


class Storms(FaultTestCase):
    def test_sigterm_again_and_again_and_start_after_start(self):
        stopped_at = 0
        for at_step in (20, 0, 0):  # the latter: before the first step of a start
            with Job(RANKS, self.arguments(self.run_dir)) as job:
                if at_step:
                    self.wait_for_step(job, self.run_dir, at_step)
                else:
                    starts = (self.run_dir / "starts.jsonl").read_text().count("\n")
                    ready = lambda: (self.run_dir / "starts.jsonl").read_text().count("\n") > starts
                    self.assertTrue(job.wait_until(ready, "a start"))
                ranks = [process for process, rank in job.processes().items() if rank is not None]
                self.assertEqual(len(ranks), RANKS)
                while job.running():
                    for process in ranks:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(process, signal.SIGTERM)
                    time.sleep(0.001)
                result = job.finish(limit_seconds=job.seconds() + EXIT_LIMIT_SECONDS)
            self.assert_stopped_with_checkpoint(self.run_dir, result)
            self.assertEqual(result.own_lines(), [])
            self.assertGreater(self.newest_checkpoint(), stopped_at)
            stopped_at = self.newest_checkpoint()
        self.finish(self.run_dir)
        self.assert_as_uninterrupted(self.run_dir)


class Clock(FaultTestCase):
    def setUp(self):
        super().setUp()
        if LIBFAKETIME is None:
            self.skipTest("no libfaketime here (Debian: libfaketime)")
        self.offset = self.scratch / "offset"
        self.set_clock(0)

    def set_clock(self, seconds):
        """The ranks' clocks go wrong by so much at once."""
        new = self.scratch / "offset.new"
        new.write_text(f"{seconds:+d}")
        new.rename(self.offset)

    def job(self):
        # As the kernel would have it: the clock that only measures stays as it is.
        environment = {"LD_PRELOAD": LIBFAKETIME, "FAKETIME_TIMESTAMP_FILE": self.offset, "FAKETIME_NO_CACHE": 1,
                       "FAKETIME_DONT_FAKE_MONOTONIC": 1}
        settings = [f"{name}={value}" for name, value in environment.items()]
        return Job(RANKS, [*settings, trainer(), *self.arguments(self.run_dir)], program="/usr/bin/env")

    def test_it_jumps(self):
        with self.job() as job:
            self.wait_for_step(job, self.run_dir, 30)
            self.set_clock(48 * HOUR)
            self.wait_for_step(job, self.run_dir, 60)
            self.set_clock(-2 * HOUR)
            self.wait_for_step(job, self.run_dir, 100)
            job.kill_all()
        # And goes on in a past that is older than all that the run has written.
        self.set_clock(-48 * HOUR)
        with self.job() as job:
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.own_lines(), [])
        self.assert_as_uninterrupted(self.run_dir)
        lines = metrics(self.run_dir)
        jumps = [b["unix_seconds"] - a["unix_seconds"] for a, b in zip(lines, lines[1:])]
        self.assertTrue(any(jump > 40 * HOUR for jump in jumps), "the clock did not jump: the test tested nothing")
        self.assertTrue(any(jump < -40 * HOUR for jump in jumps))
        for line in lines:
            self.assertGreater(line["step_seconds"], 0)
            self.assertLess(line["step_seconds"], HOUR)


class Pushgateway(FaultTestCase):
    def test_it_cannot_be_reached(self):
        with socket.socket() as mute, socket.socket() as closed:
            for gateway in (mute, closed):
                gateway.bind(("127.0.0.1", 0))
            mute.listen(0)  # it takes a connection and never answers
            for name, gateway in {"mute": mute, "closed": closed}.items():
                with self.subTest(name):
                    run_dir = self.scratch / name
                    address = f"127.0.0.1:{gateway.getsockname()[1]}"
                    result = run(RANKS, self.arguments(run_dir, metrics__prometheus__pushgateway=address,
                                                       metrics__prometheus__push_seconds=1))
                    self.assertEqual(result.code, 0, result)
                    self.assertEqual(result.own_lines(), [])
                    warnings = [line for line in result.out.splitlines() if address in line]
                    self.assertEqual(len(warnings), 1, result)
                    self.assertIn("the run goes on, and will try again", warnings[0])
                    self.assert_as_uninterrupted(run_dir)


if __name__ == "__main__":
    main()
