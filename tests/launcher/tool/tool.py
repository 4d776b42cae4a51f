"""The program `launcher` with real processes: ranks, mpirun, hosts and the launcher itself are killed under real runs."""

import os
import pathlib
import pty
import random
import re
import shlex
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "trainer" / "run"))
from compared import repeated_figures
from run_trainer import (Job, RunTestCase, checkpoint_bytes, checkpoints, last_step, main, metrics, train, trainer,
                         training)
from terminal import redrawn, run_on_terminal

FAILED, BAD_INPUT, STOPPED, STALLED, KILLED = 1, 2, 75, 76, 128 + 9
RANKS = 2
STEPS = 400  # of a few milliseconds each: room to hit a run in the middle
SEED = int(os.environ.get("TRAINER_TEST_SEED", str(time.time_ns() % 1_000_000)))


def of_process(process, name):
    """A file of /proc; empty where the process has ended meanwhile."""
    try:
        return pathlib.Path(f"/proc/{process}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class Launched(Job):
    """A job under the launcher; what Job calls mpirun is the launcher, and mpirun is another process without a rank."""

    starter = ()  # set where this script starts

    def kill_mpirun(self):
        for process, rank in self.processes().items():
            if rank is None and of_process(process, "comm").strip() in (b"mpirun", b"orterun"):
                os.kill(process, signal.SIGKILL)
                return True
        return False

    def environment_of(self, rank):
        for process, its_rank in self.processes().items():
            if its_rank == rank:
                return of_process(process, "environ").split(b"\0")
        return []


class OnHosts(Launched):
    """Where slots count."""

    placing = ()


def own_messages(result):
    return [line for line in result.err.splitlines() if line.startswith("launcher: ")]


class LauncherTestCase(RunTestCase):
    settings = {"schedule__total_steps": STEPS, "checkpoint__every": 7, "train__validate_every": 45}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        print(f"\nTRAINER_TEST_SEED={SEED}", flush=True)
        cls.moments = random.Random(SEED)

    def setUp(self):
        super().setUp()
        self.run_dir = self.scratch / "run"
        self.arguments = training(self.data, self.run_dir, **self.settings)

    def launch(self, *options, arguments=None, kind=Launched, backoff=0.1):
        return kind(RANKS, arguments or self.arguments, mpirun_options=("--backoff", backoff, *options))

    def wait_for_step(self, job, step):
        self.assertTrue(job.wait_until(lambda: last_step(self.run_dir) >= step, f"step {step}"), "over too soon")

    def assert_stopped(self, result):
        self.assertEqual(result.code, STOPPED, result)
        newest = last_step(self.run_dir)
        self.assertLess(newest, self.settings["schedule__total_steps"])
        self.assertEqual(checkpoints(self.run_dir)[-1].name, f"step-{newest:08d}", result)


ENDLESS = {**LauncherTestCase.settings, "schedule__total_steps": 100_000}


class Killed(LauncherTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reference = cls.shared / "reference"
        train(cls(), RANKS, cls.data, cls.reference, **cls.settings)

    def assert_as_undisturbed(self):
        self.assertEqual(repeated_figures(self.run_dir), repeated_figures(self.reference))
        self.assertEqual(checkpoint_bytes(self.run_dir), checkpoint_bytes(self.reference))

    def assert_one_restart(self, result, what, code=KILLED):
        self.assertEqual(result.code, 0, result)
        messages = own_messages(result)
        self.assertEqual(len(messages), 2, result)
        self.assertRegex(messages[0], rf"failed at step \d+ after \d+\.\d s: exit code {code}{what}; "
                                      r"restart 1 of 3 in 0\.1 s from the checkpoint of step \d+$")
        self.assertEqual(messages[1], "launcher: the run ends with 0 after 1 restart")
        self.assert_as_undisturbed()

    def test_a_rank(self):
        rank = self.moments.randrange(RANKS)
        with self.launch() as job:
            self.wait_for_step(job, self.moments.randint(20, 120))
            self.assertIn(b"TRAINER_RESTARTS=0", job.environment_of(rank))
            job.kill_rank(rank)
            self.assertTrue(job.wait_until(lambda: b"TRAINER_RESTARTS=1" in job.environment_of(rank), "a restart"))
            result = job.finish()
        self.assert_one_restart(result, rf", rank {rank} on \S+, signal 9 \(Killed\)")

    def test_a_rank_is_stopped_for_good(self):
        rank = self.moments.randrange(RANKS)
        with self.launch(arguments=[*self.arguments, "watchdog.timeout_seconds=3"]) as job:
            # By then it has told the others of a step: with this limit ranks report seven times a second.
            self.wait_for_step(job, self.moments.randint(200, 250))
            os.kill(next(process for process, its_rank in job.processes().items() if its_rank == rank), signal.SIGSTOP)
            result = job.finish()
        self.assert_one_restart(result, rf", .*rank {rank} on \S+ has made no progress for \d+ s: step \d+, .*", STALLED)
        self.assertEqual(len(list(self.run_dir.glob("stall-*.jsonl"))), 1)

    def test_mpirun(self):
        with self.launch() as job:
            self.wait_for_step(job, self.moments.randint(20, 120))
            self.assertTrue(job.kill_mpirun())
            result = job.finish()
        self.assert_one_restart(result, ".*")

    def test_the_launcher(self):
        with self.launch() as job:
            self.wait_for_step(job, self.moments.randint(20, 120))
            job.signal_mpirun(signal.SIGKILL)
            job.finish(limit_seconds=job.seconds() + 5)  # which fails where a process is left ten seconds later
        with self.launch() as job:
            self.assertEqual(job.finish().code, 0)
        self.assert_as_undisturbed()

    def test_each_time(self):
        failures = 3
        with self.launch("--max-restarts", failures - 1) as job:
            for restarts in range(failures):
                def ready(mark=f"TRAINER_RESTARTS={restarts}".encode(), step=40 * (restarts + 1)):
                    return last_step(self.run_dir) >= step and mark in job.environment_of(1)
                self.assertTrue(job.wait_until(ready, f"start {restarts}"))
                job.kill_rank(1)
            result = job.finish()
        self.assertEqual(result.code, KILLED, result)
        messages = own_messages(result)
        self.assertEqual(len(messages), failures - 1 + 1 + failures, result)
        self.assertIn("restart 1 of 2 in 0.1 s", messages[0])
        self.assertIn("restart 2 of 2 in 0.2 s", messages[1])
        self.assertIn("giving up: no restart is left of 2 (--max-restarts); 3 failures:", messages[2])
        for line in messages[3:]:
            self.assertRegex(line, r"launcher:   \d{4}-\d\d-\d\d \d\d:\d\d:\d\d after \S+ s on 2 ranks at step \d+: "
                                   r"exit code 137, rank 1 on \S+, signal 9 \(Killed\)$")
        steps = [int(re.search(r"at step (\d+)", line).group(1)) for line in messages[3:]]
        self.assertEqual(steps, sorted(steps))

    def test_before_the_first_step(self):
        with self.launch() as job:
            self.assertTrue(job.wait_until(lambda: job.kill_rank(0), "a rank"))
            result = job.finish()
        self.assertEqual(result.code, KILLED, result)
        messages = own_messages(result)
        self.assertEqual(len(messages), 2, result)
        self.assertIn("giving up: it failed before its first step, and would again; 1 failure:", messages[0])
        # Killed so early that mpirun may not know yet which rank it was.
        self.assertIn("before its first step: exit code 137", messages[1])

    def test_between_two_log_lines(self):
        arguments = training(self.data, self.run_dir, **{
            **self.settings, "checkpoint__every": 0, "train__validate_every": 0, "train__log_every": STEPS})
        log = self.run_dir / "train.log"
        with self.launch(arguments=arguments) as job:
            self.assertTrue(job.wait_until(lambda: log.exists() and "first step (1) done" in log.read_text(), "a step"))
            job.kill_rank(1)
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assertIn("failed at step 1 ", result.err)
        self.assertIn("from the beginning", result.err)


class Failing(LauncherTestCase):
    def test_bad_input_is_passed_on(self):
        for where, extra in {"before mpirun": "model.headz=3", "under mpirun": "train.global_batch=7"}.items():
            with self.subTest(where), self.launch(arguments=[*self.arguments, extra]) as job:
                result = job.finish()
                self.assertEqual(result.code, BAD_INPUT, result)
                self.assertEqual(own_messages(result), [])
                self.assertEqual(len(result.own_lines()), 1, result)
                self.assertFalse((self.run_dir / "starts.jsonl").exists())

    def test_what_fails_again_and_again(self):
        arguments = training(self.data, self.run_dir, optimizer__lr=1e30, schedule__warmup_steps=0)
        with self.launch("--max-restarts", 1, arguments=arguments) as job:
            result = job.finish()
        self.assertEqual(result.code, FAILED, result)
        self.assertIn("giving up: no restart is left of 1 (--max-restarts); 2 failures:", result.err)
        self.assertRegex(own_messages(result)[-1], r"at step \d+: exit code 1, rank \d: trainer: step \d+: the loss is")

    def test_a_wrong_command_line_is_one_line(self):
        good = ["-np", "2"]
        cases = {
            (*good,): "no program to start",
            ("-np", "0", trainer()): "--np",
            (trainer(),): "--np",
            (*good, "no-such-program"): "program 'no-such-program' not found",
            (*good, "--hostfile", "/not/there", trainer()): "/not/there",
            (*good, "--min-np", "3", trainer()): "--min-np 3",
            (*good, "--backoff", "-1", trainer()): "--backoff",
            (*good, "/bin/true"): "run.dir",
        }
        for words, text in cases.items():
            with self.subTest(words):
                result = subprocess.run([*Launched.starter, *words], capture_output=True, text=True, timeout=20)
                self.assertEqual(result.returncode, BAD_INPUT, result)
                self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
                self.assertTrue(result.stderr.startswith("launcher: "), result.stderr)
                self.assertIn(text, result.stderr)
        result = subprocess.run([*Launched.starter, *good, trainer()], capture_output=True, text=True, timeout=20,
                                env={**os.environ, "PATH": str(self.scratch)})
        self.assertEqual((result.returncode, result.stderr.count("\n")), (BAD_INPUT, 1), result)
        self.assertIn("mpirun not found", result.stderr)


class Signalled(LauncherTestCase):
    settings = ENDLESS

    def test_saves_and_stops(self):
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(number), self.launch() as job:
                self.wait_for_step(job, last_step(self.run_dir) + 10)
                job.signal_mpirun(signal.SIGUSR2)  # of no meaning, and passed on to nobody
                job.signal_mpirun(number)
                result = job.finish()
                self.assert_stopped(result)
                self.assertEqual(own_messages(result), [f"launcher: {number.name}: the run is asked to save and stop"])

    def test_once_more_ends_it_at_once(self):
        with self.launch() as job:
            self.wait_for_step(job, 10)
            ranks = [process for process, rank in job.processes().items() if rank is not None]
            for process in ranks:  # so that they cannot save
                os.kill(process, signal.SIGSTOP)
            job.signal_mpirun(signal.SIGTERM)
            asked = "SIGTERM: the run is asked to save and stop"
            self.assertTrue(job.wait_until(lambda: asked in job.errors(), "its being asked"))
            self.assertTrue(job.running())
            job.signal_mpirun(signal.SIGTERM)
            result = job.finish(limit_seconds=job.seconds() + 20)
        self.assertNotIn(result.code, (0, STOPPED), result)
        self.assertIn("SIGTERM again", result.err)
        self.assertIn("the run failed while it was to stop, at step ", result.err)
        self.assertNotIn("restart", result.err)

    def test_at_any_moment_before_the_first_step(self):
        """mpirun loses what it is to pass on before it has ranks; and ranks do not catch signals from the first."""
        for _ in range(6):
            delay = self.moments.uniform(0, 1.5)
            with self.subTest(delay=delay), self.launch() as job:
                time.sleep(delay)
                job.signal_mpirun(signal.SIGTERM)
                result = job.finish()
                self.assertIn(result.code, (STOPPED, -signal.SIGTERM), result)
                if result.code < 0:
                    self.assertLess(delay, 0.5, result)  # before main()

    def test_during_the_pause(self):
        with self.launch(backoff=100) as job:
            self.wait_for_step(job, 10)
            job.kill_rank(1)
            self.assertTrue(job.wait_until(lambda: len(job.processes()) == 1, "the pause"))
            time.sleep(0.2)
            job.signal_mpirun(signal.SIGTERM)
            result = job.finish(limit_seconds=job.seconds() + 5)
        self.assertEqual(result.code, STOPPED, result)
        self.assertIn("restart 1 of 3 in 100 s", result.err)
        self.assertIn("stopped on request with nothing to save", own_messages(result)[-1])


# Starts what would run on a host here, in a folder of its own; or nothing, where the host is marked as down.
AGENT = """#!/bin/sh
host=$1; shift
[ -e {scratch}/down-$host ] && exit 255
mkdir -p {scratch}/$host
TMPDIR={scratch}/$host HOST_OF_TEST=$host exec sh -c "$*"
"""


class FewerRanks(LauncherTestCase):
    def setUp(self):
        super().setUp()
        agent = self.scratch / "agent.sh"
        agent.write_text(AGENT.format(scratch=shlex.quote(str(self.scratch))))
        agent.chmod(0o755)
        hostfile = self.scratch / "hosts"
        hostfile.write_text("alpha slots=1\nbeta slots=1\n")
        self.on_hosts = ("--hostfile", hostfile, "--mca", "plm_rsh_agent", agent)
        os.environ.pop("OMPI_MCA_rmaps_base_oversubscribe", None)

    def lose(self, job, host, by=signal.SIGKILL):
        """All that runs on it dies (or stops, by SIGSTOP), and it cannot be reached any more."""
        (self.scratch / f"down-{host}").touch()
        for process in job.processes():
            if f"HOST_OF_TEST={host}".encode() in of_process(process, "environ").split(b"\0"):
                try:
                    os.kill(process, by)
                except ProcessLookupError:
                    pass  # it went with another one

    def test_a_host_is_lost(self):
        with self.launch(*self.on_hosts, "--min-np", 1, kind=OnHosts) as job:
            self.wait_for_step(job, 20)
            self.lose(job, "beta")
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assertIn("host beta cannot be reached and is left out", result.err)
        self.assertIn("starting 1 ranks instead of 2", result.err)
        self.assertIn("saved by 2 ranks", result.out)
        self.assertIn("1 ranks on cpu", result.out)
        self.assertEqual([line["step"] for line in metrics(self.run_dir)], list(range(1, STEPS + 1)))

    def test_a_host_hangs(self):
        """mpirun would wait for it for ever."""
        arguments = [*self.arguments, "watchdog.timeout_seconds=2", "watchdog.first_step_seconds=20"]
        with self.launch(*self.on_hosts, "--min-np", 1, kind=OnHosts, arguments=arguments) as job:
            self.wait_for_step(job, 20)
            self.lose(job, "beta", by=signal.SIGSTOP)
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assertIn("rank 1 on ", result.err)
        self.assertIn("mpirun has not ended 30 s after the watchdog ended the run: it is killed", result.err)
        self.assertRegex(result.err, f"exit code {STALLED}, rank 1 on .* has made no progress .* restart 1 of 3")
        self.assertIn("host beta cannot be reached and is left out", result.err)
        self.assertIn("1 ranks on cpu", result.out)

    def test_too_few_are_left(self):
        with self.launch(*self.on_hosts, "--min-np", 2, kind=OnHosts) as job:
            self.wait_for_step(job, 20)
            self.lose(job, "beta")
            result = job.finish()
        self.assertNotIn(result.code, (0, BAD_INPUT, STOPPED), result)
        self.assertIn("giving up: there is no room for 2 ranks (--min-np 2); not reached: beta; 1 failure:", result.err)

    def test_too_few_slots(self):
        arguments = training(self.data, self.run_dir, schedule__total_steps=5)
        for options, code in {("--min-np", 1): 0, (): FAILED}.items():
            with self.subTest(options), self.launch("--host", "localhost:1", *options, arguments=arguments,
                                                    kind=OnHosts) as job:
                result = job.finish()
                self.assertEqual(result.code, code, result)
                self.assertEqual("starting 1 ranks instead of 2" in result.err, code == 0, result)


class Terminal(LauncherTestCase):
    settings = ENDLESS

    def test_a_line_is_redrawn_through_the_launcher(self):
        arguments = training(self.data, self.run_dir, schedule__total_steps=1500, train__validate_every=0,
                             checkpoint__every=0, train__log_every=750)
        text, code = run_on_terminal([*Launched.starter, "-np", 2, "--oversubscribe", trainer(), *arguments], 100)
        self.assertEqual(code, 0, text)
        self.assertGreater(len(redrawn(text)), 2, text)
        self.assertNotIn("launcher: ", text)

    def test_ctrl_c_and_a_closed_terminal_save(self):
        for how in ("Ctrl-C", "closed"):
            with self.subTest(how):
                before = last_step(self.run_dir)
                process, terminal = pty.fork()
                if process == 0:
                    os.execv(Launched.starter[0], list(map(str, [
                        *Launched.starter, "-np", 2, "--oversubscribe", trainer(), *self.arguments])))
                deadline = time.monotonic() + 60
                while last_step(self.run_dir) <= before + 10 and time.monotonic() < deadline:
                    os.read(terminal, 65536)
                if how == "Ctrl-C":
                    os.write(terminal, b"\x03")
                    try:
                        while os.read(terminal, 65536):
                            pass
                    except OSError:
                        pass  # its other end is closed
                os.close(terminal)
                code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                self.assertEqual(code, STOPPED)
                self.assertEqual(checkpoints(self.run_dir)[-1].name, f"step-{last_step(self.run_dir):08d}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(f"usage: {sys.argv[0]} LAUNCHER TRAINER MELS [unittest's options]")
    Launched.starter = (sys.argv.pop(1),)
    main()
