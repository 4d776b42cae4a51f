"""Drives the real programs as a user does: mpirun, folders, signals. Shared by the tests of this folder.

A script calls main(), which takes the paths of `trainer` and `mels` from the command line and hands the rest to
unittest. Every process that is started carries a mark in its environment, so that all of a job's processes, and no
others, can be found again: Open MPI puts each rank into a process group of its own.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

TINY_CONFIG = pathlib.Path(__file__).with_name("tiny.yaml")
SKIPPED = 77
# What a run of these sizes takes is a second or two; the machine may be busy with other tests.
TIME_LIMIT_SECONDS = 120

_MARK = "TRAINER_TEST_JOB"
_programs = {}


def trainer():
    return _programs["trainer"]


def main():
    """Usage: <script> TRAINER MELS [unittest's options]"""
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} TRAINER MELS [unittest's options]")
    _programs["trainer"], _programs["mels"] = sys.argv[1:3]
    if shutil.which("mpirun") is None:
        print("skipped: there is no mpirun")
        sys.exit(SKIPPED)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)


class Result:
    """How a job ended. `code` is mpirun's exit code, or minus the signal that ended mpirun."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def own_lines(self):
        """What the program itself wrote on stderr: without the boxes that mpirun draws around its own remarks."""
        lines, in_box = [], False
        for line in self.err.splitlines():
            if re.fullmatch(r"-{40,}", line):
                in_box = not in_box
            elif not in_box and line.strip() and not _is_from_mpirun(line):
                lines.append(line)
        return lines

    def __str__(self):
        return (f"exit code {self.code} after {self.seconds:.1f} s\n--- stdout\n{_ends(self.out)}\n"
                f"--- stderr\n{_ends(self.err)}")


def _ends(text):
    """Where it begins and where it ends: a crash says first what it is."""
    return text if len(text) <= 5000 else f"{text[:2000]}\n[...]\n{text[-3000:]}"


def _is_from_mpirun(line):
    return bool(re.match(r"mpirun: |\[[^\]]+:\d+\] ", line))


class Job:
    """A program under mpirun, running. Use as a context manager: leaving it ends whatever is left of the job."""

    starter = ("mpirun",)
    placing = ("--oversubscribe", "--bind-to", "none")

    def __init__(self, ranks, arguments, program=None, mpirun_options=()):
        self._mark = uuid.uuid4().hex
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                           OMPI_MCA_mpi_yield_when_idle="1",
                           # Once a rank has failed mpirun ends the others, and takes two seconds for it even where
                           # all have ended by themselves. Without them the tests are faster, and stricter.
                           OMPI_MCA_odls_base_sigkill_timeout="0")
        environment[_MARK] = self._mark
        command = [*self.starter, "-n", ranks, *self.placing, *mpirun_options,
                   program or trainer(), *arguments]
        self._start = time.monotonic()
        self._mpirun = subprocess.Popen(list(map(str, command)), stdout=self._out, stderr=self._err,
                                        stdin=subprocess.DEVNULL, env=environment, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill_all()
        self._mpirun.wait()
        self._out.close()
        self._err.close()

    def processes(self):
        """{process id: rank} of everything of this job that lives; the rank of mpirun itself is None."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue  # it ended meanwhile, or is not ours
            if f"{_MARK}={self._mark}".encode() not in environment.split(b"\0") or state in "ZX":
                continue
            rank = re.search(rb"(?:^|\0)OMPI_COMM_WORLD_RANK=(\d+)", environment)
            found[int(entry.name)] = int(rank.group(1)) if rank else None
        return found

    def running(self):
        return self._mpirun.poll() is None

    def signal_mpirun(self, number):
        self._mpirun.send_signal(number)

    def kill_rank(self, rank):
        """kill -9 of one rank. False where it is not there (yet, or any more)."""
        for process, its_rank in self.processes().items():
            if its_rank == rank:
                return _kill(process)
        return False

    def kill_all(self):
        """kill -9 of mpirun and all ranks."""
        for process in self.processes():
            _kill(process)

    def seconds(self):
        return time.monotonic() - self._start

    def wait_until(self, condition, what, interval_seconds=0.002):
        """True once condition() is; False where the job ends first."""
        while self.running():
            if condition():
                return True
            if self.seconds() > TIME_LIMIT_SECONDS:
                raise AssertionError(f"waited {TIME_LIMIT_SECONDS} s for {what}")
            time.sleep(interval_seconds)
        return False

    def finish(self, limit_seconds=TIME_LIMIT_SECONDS):
        """Waits for the end of mpirun, and of all ranks; the result's seconds are those until the last one is gone."""
        try:
            self._mpirun.wait(max(0.1, limit_seconds - self.seconds()))
        except subprocess.TimeoutExpired:
            self.kill_all()
            self._mpirun.wait()
            raise AssertionError(f"the job did not end within {limit_seconds} s\n{self._result()}") from None
        deadline = time.monotonic() + 10
        while self.processes():
            if time.monotonic() > deadline:
                raise AssertionError(f"processes {self.processes()} outlive mpirun\n{self._result()}")
            time.sleep(0.02)
        return self._result()

    def output(self):
        """Its standard output so far."""
        return os.pread(self._out.fileno(), 1 << 20, 0).decode(errors="replace")

    def errors(self):
        """Its standard error so far."""
        return os.pread(self._err.fileno(), 1 << 20, 0).decode(errors="replace")

    def _result(self):
        texts = []
        for stream in (self._out, self._err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
        return Result(self._mpirun.returncode, *texts, self.seconds())


def _kill(process):
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def run(ranks, arguments, limit_seconds=TIME_LIMIT_SECONDS, program=None, mpirun_options=()):
    with Job(ranks, arguments, program, mpirun_options) as job:
        return job.finish(limit_seconds)


def training(data, run_dir, config=TINY_CONFIG, **overrides):
    """The arguments of a training run; `model__dropout=0` means model.dropout=0."""
    if device := os.environ.get("TRAINER_TEST_DEVICE"):
        overrides = {"train__device": device, **overrides}
    keys = [f"{key.replace('__', '.')}={value}" for key, value in overrides.items()]
    return ["--config", config, f"data.path={data}", f"run.dir={run_dir}", *keys]


def train(test, ranks, data, run_dir, **overrides):
    """A training run that must succeed."""
    result = run(ranks, training(data, run_dir, **overrides))
    test.assertEqual(result.code, 0, result)
    return result


def evaluate(ranks, checkpoint, data, *options, **keywords):
    return run(ranks, ["evaluate", "--checkpoint", checkpoint, "--data", data, "--device", "cpu", "--threads", "1",
                       *options], **keywords)


def mels(*arguments):
    return subprocess.run([_programs["mels"], *map(str, arguments)], capture_output=True, text=True,
                          timeout=TIME_LIMIT_SECONDS)


def synthesise(folder, *options, speakers=6, utterances=72, seed=3):
    """A small data set with the splits train, valid and test, in several shards."""
    result = mels("synth", folder, "--speakers", speakers, "--utterances", utterances, "--seed", seed,
                  "--shard-mib", 1, "--max-frames", 400, "--split", "train:valid:test=70:15:15", *options)
    if result.returncode != 0:
        raise AssertionError(f"mels synth failed: {result.stderr}")
    return pathlib.Path(folder)


def metrics(run_dir):
    """The lines of metrics.jsonl."""
    text = (pathlib.Path(run_dir) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def last_step(run_dir):
    """The newest logged step while the run may be writing; 0 where there is none."""
    try:
        text = (pathlib.Path(run_dir) / "metrics.jsonl").read_bytes()
    except FileNotFoundError:
        return 0
    complete = text[:text.rfind(b"\n") + 1].splitlines()
    return json.loads(complete[-1])["step"] if complete else 0


def checkpoints(run_dir):
    """The complete checkpoint folders, oldest first."""
    return sorted((pathlib.Path(run_dir) / "checkpoints").glob("step-*"))


def checkpoint_bytes(run_dir):
    """(model.safetensors, optimizer.safetensors) of the newest checkpoint."""
    last = pathlib.Path(run_dir) / "checkpoints" / "last"
    return (last / "model.safetensors").read_bytes(), (last / "optimizer.safetensors").read_bytes()


class RunTestCase(unittest.TestCase):
    """One data set for the class, one scratch folder a test."""

    @classmethod
    def setUpClass(cls):
        cls._shared = tempfile.TemporaryDirectory(prefix="trainer-test-")
        cls.addClassCleanup(cls._shared.cleanup)
        cls.shared = pathlib.Path(cls._shared.name)
        cls.data = synthesise(cls.shared / "data")

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="trainer-test-")
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
