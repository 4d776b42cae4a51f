"""Runs of the contestants, each in processes of its own; all return the same figures.

Figures: {step_seconds, data_wait (share of a step), exposed_communication (share, or absent), memory_bytes (peak of the
largest rank), first_step_seconds (from the start of the command), losses}.
"""

import dataclasses
import functools
import json
import math
import os
import shutil
import subprocess
import sys

from performance import resolved
from performance.data_sets import CROP_FRAMES
from performance.processes import ContestantError, Watched, on_cores, preload_libraries
from recognition.experiment import PROJECT, read_json, write_json

OURS, DDP, COMPILED, NOTEBOOK = "ours", "ddp", "ddp-compile", "notebook"
TITLES = {OURS: "ours", DDP: "PyTorch DDP", COMPILED: "DDP, torch.compile", NOTEBOOK: "notebook"}
# As PyTorch's tuning guide sets jemalloc for training.
JEMALLOC = "oversize_threshold:1,background_thread:true,metadata_thp:auto,dirty_decay_ms:9000000000," \
           "muzzy_decay_ms:9000000000"
MPI_ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                   "OMPI_MCA_mpi_yield_when_idle": "1"}
# On a port that it finds free: a fixed one might be another run's.
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
NOTEBOOK_WORKERS = 8


@dataclasses.dataclass(frozen=True)
class Case:
    """What is the same for all contestants."""

    config: str  # name in configs/
    precision: str  # fp32 | bf16
    ranks: int
    threads: int  # of each rank
    batch: int  # global
    device: str  # cpu | cuda
    cores: tuple  # that all ranks together may use; empty: any

    @property
    def key(self):
        return f"{self.config}/{self.precision}/{self.ranks}x{self.threads}/{self.batch}"


def overrides_text(overrides):
    def text(value):
        return str(value).lower() if isinstance(value, bool) else str(value)

    return [f"{key}={text(value)}" for key, value in overrides.items()]


class Ours:
    def __init__(self, programs, scratch):
        self.trainer, self.scratch = programs / "trainer", scratch

    @functools.cache
    def configuration(self, config, *overrides):
        """The configuration with all its values, as the trainer itself prints it; None where it refuses a key."""
        result = subprocess.run([self.trainer, "--config", f"{config}.yaml", "--print-config", *overrides],
                                capture_output=True, text=True, env={**os.environ, **MPI_ENVIRONMENT}, check=False)
        return resolved.parse(result.stdout) if result.returncode == 0 else None

    def has_precision(self, precision):
        return self.configuration("simple", f"train.precision={precision}") is not None

    def run(self, case, data_set, warm_up, steps, extra=None, measure_communication=True):
        """`data_set`: one that DataSets made; `steps` are counted in intervals of `warm_up`, the log's."""
        del measure_communication  # always
        folder = self.scratch / "ours"
        shutil.rmtree(folder, ignore_errors=True)
        intervals = max(1, math.ceil(steps / warm_up))
        watched, lines = self.train(case, data_set, folder, {
            "train.log_every": warm_up, "schedule.total_steps": warm_up * (1 + intervals), "checkpoint.every": 0,
            **(extra or {})})
        shutil.rmtree(folder, ignore_errors=True)
        return self.figures(watched, lines, case)

    def train(self, case, data_set, folder, settings):
        """A run in the new folder `folder`, with nothing beside steps but what `settings` ask for: how it went, and the lines
        of its metrics.jsonl."""
        overrides = {
            "data.path": data_set / "shards", "data.valid_split": "none", "data.crop_frames": CROP_FRAMES,
            "run.dir": folder, "train.global_batch": case.batch, "train.threads": case.threads,
            "train.device": case.device, "train.validate_every": 0, "checkpoint.keep": 1,
            "metrics.tensorboard": False, "metrics.prometheus.address": "", "metrics.progress": "never", **settings,
        }
        if case.precision != "fp32" or self.has_precision("fp32"):
            overrides["train.precision"] = case.precision
        command = on_cores(case.cores, ["mpirun", "-n", case.ranks, "--oversubscribe", "--bind-to", "none", self.trainer,
                                        "--config", f"{case.config}.yaml", *overrides_text(overrides)])
        watched = Watched(command, MPI_ENVIRONMENT, "first step (", memory_of="trainer")
        return watched, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

    @staticmethod
    def figures(watched, lines, case):
        first, last, measured = lines[0], lines[-1], lines[1:] or lines
        seconds = ((last["unix_seconds"] - first["unix_seconds"]) / (last["step"] - first["step"])
                   if len(lines) > 1 else first["step_seconds"])

        def share(key):
            return sum(line[key] for line in measured) / sum(line["step_seconds"] for line in measured)

        figures = {
            "step_seconds": seconds, "data_wait": share("data_wait_seconds"),
            "memory_bytes": last.get("device_memory_bytes") if case.device == "cuda"
            else watched.peak_before(last["unix_seconds"]),
            "first_step_seconds": watched.first_step_seconds, "losses": [line["loss"] for line in lines],
            "flops_per_step": last["flops_per_step"], "reduced_bytes": last["reduced_bytes"],
        }
        if case.ranks > 1:
            figures["exposed_communication"] = share("exposed_communication_seconds")
        return figures


class Peer:
    def __init__(self, way, ours, scratch, allocator="none"):
        self.way, self.ours, self.scratch = way, ours, scratch
        self.allocator = preload_libraries().get(allocator)

    def run(self, case, data_set, warm_up, steps, extra=None, measure_communication=True, program="peer", more=None):
        """`program`: module of performance/ that does the run; `more`: of its job, beside what all jobs hold."""
        values = self.ours.configuration(case.config, *overrides_text(extra or {}))
        notebook = self.way == NOTEBOOK
        # The notebook knows one process: with the cores of several ranks it has their threads instead.
        ranks, threads = (1, case.ranks * case.threads) if notebook else (case.ranks, case.threads)
        if notebook and case.device == "cuda":
            threads = case.threads
        schedule = dict(values["schedule"])
        if extra:
            schedule["total_steps"] = warm_up + steps
        result, job_file = self.scratch / f"{self.way}-figures", self.scratch / f"{self.way}-job.json"
        for rank in range(ranks):
            (self.scratch / f"{result.name}-{rank}.json").unlink(missing_ok=True)
        write_json(job_file, {
            "way": self.way, "model": values["model"], "optimizer": values["optimizer"], "schedule": schedule,
            "data": str(data_set / ("files" if notebook else "array")),
            "n_speakers": read_json(data_set / "speakers.json"), "batch": case.batch, "crop_frames": CROP_FRAMES,
            "precision": case.precision, "device": case.device, "threads": threads, "workers": NOTEBOOK_WORKERS,
            "warm_up": warm_up, "steps": steps, "measure_communication": measure_communication,
            "seed": values["run"]["seed"], "result": str(result), **(more or {})})
        launcher = [sys.executable]
        if ranks > 1:
            launcher += [*TORCHRUN, "--nproc-per-node", ranks]
        command = on_cores(case.cores, [*launcher, "-m", f"performance.{program}", job_file])
        watched = Watched(command, self.environment(threads), "first step done")
        figures = [json.loads((self.scratch / f"{result.name}-{rank}.json").read_text()) for rank in range(ranks)]
        losses = [sum(each) / ranks for each in zip(*(figure["losses"] for figure in figures))]
        return {**figures[0], "memory_bytes": max(figure["memory_bytes"] for figure in figures),
                "first_step_seconds": watched.first_step_seconds, "losses": losses}

    def environment(self, threads):
        environment = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(PROJECT / "benchmarks"),
                       "PYTHONDONTWRITEBYTECODE": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore"}
        if self.way != NOTEBOOK and self.allocator is not None:
            environment["LD_PRELOAD"] = self.allocator
            if "jemalloc" in self.allocator:
                environment["MALLOC_CONF"] = JEMALLOC
        return environment

