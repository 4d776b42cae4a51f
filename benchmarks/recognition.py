"""How well the models tell 30 speakers apart in real speech, beside LDA, an SVM and PyTorch: docs/recognition.md.

    .venv/bin/pip install -r benchmarks/requirements.txt
    .venv/bin/python benchmarks/recognition.py              # trains and measures: hours on two cores
    .venv/bin/python benchmarks/recognition.py --table      # only writes the table, of what is measured so far with
                                                            # today's recipes, which the built trainer tells

It can be stopped (Ctrl-C lets the trainings save) and started again: what is finished is kept in
benchmarks/recognition/results/ and not repeated, on whatever machine it goes on. A recipe is
to be chosen with --validate, which scores a part of the training split and never reads the test split:

    .venv/bin/python benchmarks/recognition.py --validate --tag noisier --models boss --seeds 1 \\
        --set boss:augment.noise_probability=0.5
"""

import argparse
import pathlib
import sys

from recognition import baselines, data_sets, table
from recognition.experiment import BASELINES, CONDITIONS, DEFAULT_STEPS, MODELS, PROJECT, SEEDS, Experiment
from recognition.queue import Queue
from recognition.runs import RunError, Tools, current_results, make_jobs


def comma_list(allowed, convert=str):
    def parse(text):
        values = [convert(part) for part in text.split(",")]
        for value in values:
            if value not in allowed:
                raise argparse.ArgumentTypeError(f"{value!r} is none of {', '.join(map(str, allowed))}")
        return values

    return parse


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def override(text):
    model, colon, assignment = text.partition(":")
    key, equals, value = assignment.partition("=")
    if not colon or not equals or model not in MODELS:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL:KEY=VALUE")
    return model, key, value


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=PROJECT.parent / "shared" / "data" / "arabic_commands",
                        help="folder with manifest.csv and the recordings")
    parser.add_argument("--work", type=pathlib.Path, default=PROJECT / "runs" / "recognition",
                        help="folder of data sets and runs")
    parser.add_argument("--programs", type=pathlib.Path, default=PROJECT / "build" / "bin",
                        help="folder of trainer and mels")
    parser.add_argument("--validate", action="store_true", help="score a part of train instead of test")
    parser.add_argument("--tag", default="", help="with --validate: keep these runs apart, under this name")
    parser.add_argument("--set", type=override, action="append", default=[], metavar="MODEL:KEY=VALUE",
                        help="with --validate: a configuration key to try")
    parser.add_argument("--models", type=comma_list(MODELS + BASELINES), default=list(MODELS + BASELINES))
    parser.add_argument("--conditions", type=comma_list(CONDITIONS), default=list(CONDITIONS))
    parser.add_argument("--seeds", type=comma_list(SEEDS, int), default=list(SEEDS))
    parser.add_argument("--steps", type=positive, default=DEFAULT_STEPS, help="of every training")
    parser.add_argument("--jobs", type=positive, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--data-only", action="store_true", help="only make the data sets")
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--output", type=pathlib.Path, help="the table's file; docs/recognition.md, or with --validate "
                        "one in the work folder")
    arguments = parser.parse_args()
    if (arguments.set or arguments.tag) and not arguments.validate:
        parser.error("--set and --tag choose a recipe: only with --validate, never on test")
    return arguments


def main():
    arguments = parse_arguments()
    experiment = Experiment(arguments.data.resolve(), arguments.work.resolve(), arguments.programs.resolve(),
                            arguments.validate, arguments.tag, arguments.steps, arguments.jobs, tuple(arguments.set))
    output = arguments.output or (experiment.runs / "recognition.md" if arguments.validate
                                  else PROJECT / "docs" / "recognition.md")
    complete = True
    tools = Tools(experiment)
    if not arguments.table:
        data_sets.prepare(experiment)
        if arguments.data_only:
            return 0
        if set(arguments.models) & set(BASELINES):
            baselines.run_baselines(experiment, [model for model in BASELINES if model in arguments.models],
                                    arguments.conditions, arguments.seeds)
        models = [model for model in MODELS if model in arguments.models]
        complete = Queue(make_jobs(experiment, tools, models, arguments.conditions, arguments.seeds), arguments.jobs,
                         arguments.steps).run()
        if not tools.has_verify:
            print("this trainer has no command verify: the EER column of trained models is left out", flush=True)
    table.write(experiment, output, current_results(experiment, tools))
    print(f"wrote {output}", flush=True)
    return 0 if complete else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RunError as error:
        sys.exit(f"error: {error}")
