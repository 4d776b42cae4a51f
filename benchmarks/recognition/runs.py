"""Trainings and their measurements: each has a folder of its own, is gone on with where it was interrupted, and is not
repeated once its result is there. A run whose configuration or data are no longer these is started anew."""

import functools
import json
import re
import shutil
import subprocess
import sys

from recognition import data_sets, provenance
from recognition.experiment import (COLUMNS, CONDITIONS, CROP_FRAMES, GLOBAL_BATCH, LEARNING_RATE, PROJECT,
                                    PYTORCH_MODEL, read_json, training_overrides, warmup_steps, write_json)

# Where things lie and how often they are told changes no result.
NOT_COMPARED = {"run.dir", "data.path", "train.log_every", "checkpoint.every", "checkpoint.keep", "run.resume"}
NOT_COMPARED_SECTIONS = ("metrics.", "watchdog.")


class RunError(Exception):
    """One line: what, where, what to do."""


class Stopped(Exception):
    """A training saved its state on request; the same command goes on."""


def parse_config(text):
    """section.key to the value's text, of what the trainer itself prints: two levels and comment lines."""
    values, section = {}, ""
    for line in text.splitlines():
        match = re.fullmatch(r"(\s*)(\w+):\s*(.*)", line)
        if not match:
            continue
        if not match[1]:
            section = match[2]
        else:
            values[f"{section}.{match[2]}"] = match[3]
    return values


def compared(values):
    return {key: value for key, value in values.items()
            if key not in NOT_COMPARED and not key.startswith(NOT_COMPARED_SECTIONS)}


def last_json_line(text):
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    return None


class Tools:
    """The programs that are measured."""

    def __init__(self, experiment):
        self.trainer = experiment.programs / "trainer"
        self.experiment = experiment
        for name in ("trainer", "mels"):
            if not (experiment.programs / name).is_file():
                raise SystemExit(f"{experiment.programs / name}: not there; build first, or name the folder with "
                                 "--programs")
        usage = self.output("--help")
        self.has_verify = re.search(r"^\s+verify\s", usage, re.MULTILINE) is not None
        empty = experiment.root / "defaults.yaml"
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.write_text("{}\n")
        self.defaults = parse_config(self.output("--config", empty, "--print-config"))

    def output(self, *arguments):
        result = subprocess.run([self.trainer, *map(str, arguments)], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RunError(f"trainer {' '.join(map(str, arguments))}: {result.stderr.strip() or result.returncode}")
        return result.stdout


class Job:
    """One model, trained in one condition with one seed, and all its columns."""

    def __init__(self, experiment, tools, model, condition, seed):
        self.experiment, self.tools = experiment, tools
        self.model, self.condition, self.seed = model, condition, seed
        self.name = f"{condition}/{model}/seed{seed}"
        self.folder = experiment.run_dir(condition, model, seed)
        self.results_file = experiment.results(condition, model, seed)
        self.process = self.told = None

    def columns(self):
        return [column for column in COLUMNS if column.condition == self.condition
                and (self.tools.has_verify or not column.eer or self.model == PYTORCH_MODEL)]

    def made_of(self):
        return {"train": data_sets.fingerprint(self.experiment, CONDITIONS[self.condition][0]),
                "steps": self.experiment.steps}

    def configuration(self):
        """What the training is made with, as far as it can change a result."""
        return {}

    def is_done(self):
        results = read_json(self.results_file, {})
        return (results.get("made_of") == self.made_of() and self.is_same(results["configuration"])
                and all(self.is_measured(results, column) for column in self.columns()))

    def is_same(self, then):
        return then == self.configuration()

    def is_measured(self, results, column):
        cell = results.get("columns", {}).get(column.key)
        return cell is not None and cell["data"] == data_sets.fingerprint(self.experiment, column.data_set)

    def call(self, command):
        """Runs one program, its output appended to the run's console.log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "console.log", "a") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log,
                                            cwd=PROJECT / "benchmarks", start_new_session=True)
            code = self.process.wait()
        self.process = None
        if code in (75, -15):
            raise Stopped(self.name)
        if code != 0:
            lines = (self.folder / "console.log").read_text().strip().splitlines()
            raise RunError(f"{self.name}: exit code {code}: {lines[-1] if lines else ''}")

    def stop(self):
        """Asks the program that runs now, once: a second signal could end a training that is saving."""
        process = self.process
        if process is not None and process is not self.told:
            self.told = process
            process.terminate()

    def finish_results(self, results, seconds):
        write_json(self.results_file, {"made_of": self.made_of(), "configuration": self.configuration(), **results,
                                       "seconds": seconds, "provenance": provenance.now()})


class TrainerJob(Job):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        overrides = training_overrides(self.model, self.condition, self.seed, self.experiment.steps)
        overrides.update({key: value for model, key, value in self.experiment.extra if model == self.model})
        self.arguments = ["--config", PROJECT / "configs" / f"{self.model}.yaml",
                          *(f"{key}={value}" for key, value in overrides.items()),
                          f"data.path={self.experiment.data_sets / CONDITIONS[self.condition][0]}",
                          f"run.dir={self.folder}"]

    @functools.cache
    def configuration(self):
        return compared(parse_config(self.tools.output(*self.arguments, "--print-config")))

    def is_same(self, then):
        """A key that came into being since then must have its default value: it was so in effect."""
        now = self.configuration()
        return all(now.get(key) == then.get(key, self.tools.defaults.get(key)) for key in now.keys() | then.keys())

    def has_same_configuration(self):
        try:
            then = compared(parse_config((self.folder / "config.yaml").read_text()))
        except OSError:
            return False
        return self.is_same(then) and read_json(self.folder / "made_of.json") == self.made_of()

    def is_trained(self):
        return read_json(self.folder / "summary.json", {}).get("end") == "finished" and self.has_same_configuration()

    def run(self):
        if not self.is_trained():
            if self.folder.exists() and not self.has_same_configuration():
                print(f"{self.name}: another configuration or other data than before; starts anew", flush=True)
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "made_of.json", self.made_of())
            (self.folder / "results.json").unlink(missing_ok=True)
            self.call([self.tools.trainer, *self.arguments])
        results = read_json(self.folder / "results.json", {"columns": {}})
        for column in self.columns():
            if not self.is_measured(results, column):
                results["columns"][column.key] = self.measure(column)
                write_json(self.folder / "results.json", results)
        log = (self.folder / "train.log").read_text()
        parameters = re.findall(r": (\d+) parameters", log)
        if parameters:
            results["parameters"] = int(parameters[-1])
        self.finish_results(results, self.train_seconds())

    def measure(self, column):
        data = self.experiment.data_sets / column.data_set
        arguments = ["verify" if column.eer else "evaluate", "--checkpoint", self.folder / "checkpoints" / "best",
                     "--data", data, "--split", self.experiment.split_of(column), "--threads", 1]
        if column.frames:
            arguments += ["--frames", column.frames]
        figures = last_json_line(self.tools.output(*arguments))
        wanted = ("eer", "trials", "min_dcf_0.01", "min_dcf_0.05") if column.eer else ("accuracy", "loss", "utterances")
        if figures is None or wanted[0] not in figures:
            raise RunError(f"{self.name}: trainer {' '.join(map(str, arguments))} printed no {wanted[0]}")
        return {**{key: figures[key] for key in wanted if key in figures},
                "data": data_sets.fingerprint(self.experiment, column.data_set)}

    def train_seconds(self):
        """Of all steps, whatever the number of interruptions."""
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        previous, total = 0, 0.0
        for line in lines:
            total += line["step_seconds"] * max(0, line["step"] - previous)
            previous = line["step"]
        return total

    def steps_done(self):
        try:
            with open(self.folder / "metrics.jsonl", "rb") as file:
                lines = file.read().splitlines()
            return json.loads(lines[-1])["step"]
        except (OSError, ValueError, IndexError, KeyError):
            return 0


class PytorchJob(Job):
    def configuration(self):
        return {"learning_rate": LEARNING_RATE, "global_batch": GLOBAL_BATCH, "crop_frames": list(CROP_FRAMES),
                "warmup_steps": warmup_steps(self.experiment.steps), "mean_removed": CONDITIONS[self.condition][1]}

    def run(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        data_set, mean_removed = CONDITIONS[self.condition]
        job = {"data": str(self.experiment.data_sets / data_set), "normalize": mean_removed, "seed": self.seed,
               "steps": self.experiment.steps, "result": str(self.folder / "figures.json"),
               "columns": [{"key": column.key, "data": str(self.experiment.data_sets / column.data_set),
                            "split": self.experiment.split_of(column), "frames": column.frames, "eer": column.eer}
                           for column in self.columns()]}
        write_json(self.folder / "job.json", job)
        write_json(self.folder / "made_of.json", self.made_of())
        self.call([sys.executable, "-m", "recognition.pytorch_simple", self.folder / "job.json"])
        results = read_json(self.folder / "figures.json")
        for column in self.columns():
            results["columns"][column.key]["data"] = data_sets.fingerprint(self.experiment, column.data_set)
        self.finish_results(results, results["seconds"])

    def steps_done(self):
        try:
            line = last_json_line((self.folder / "console.log").read_text())
        except (OSError, ValueError):
            return 0
        return line["step"] if line else 0


def current_results(experiment, tools):
    """Whether a trained model's result is of today's recipe: a function of (model, condition, seed, result)."""
    def is_current(model, condition, seed, result):
        job = make_job(experiment, tools, model, condition, seed)
        current = result["made_of"]["steps"] == experiment.steps and job.is_same(result["configuration"])
        if not current:
            print(f"{job.name}: of another recipe than today's; left out of the table", flush=True)
        return current

    return is_current


def make_job(experiment, tools, model, condition, seed):
    kind = PytorchJob if model == PYTORCH_MODEL else TrainerJob
    return kind(experiment, tools, model, condition, seed)


def make_jobs(experiment, tools, models, conditions, seeds):
    """In the order in which they run: all of the first seed, then the next seed."""
    jobs = []
    for model in models:
        if model != PYTORCH_MODEL and not (PROJECT / "configs" / f"{model}.yaml").is_file():
            print(f"no configs/{model}.yaml: {model} is left out", flush=True)
            models = [other for other in models if other != model]
    for seed in seeds:
        for condition in conditions:
            for model in models:
                jobs.append(make_job(experiment, tools, model, condition, seed))
    return jobs
