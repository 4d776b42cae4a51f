"""How long training stands still to save: ours beside torch.save and torch.distributed.checkpoint's async_save.

    .venv/bin/python benchmarks/checkpoints.py            # hard-512, a quarter of an hour
    .venv/bin/python benchmarks/checkpoints.py --quick    # simple, once; figures mean nothing

Each contestant trains on a core a rank and saves parameters and both moments, 1.0 GB with hard-512, to the work folder;
all but torch.save wait, beside training, until the disk has them. Two figures: how long training stands still, and what
a save costs in all: by how much longer the steps up to the next one take than so many quiet ones (the median of those in
the second half before each save), as what is done beside training takes its time from the same cores. Interleaved;
writes the table between the markers of docs/performance.md.
"""

import os
import pathlib
import shlex
import shutil
import statistics
import sys
import tempfile

from performance import contestants, data_sets, document, part, report
from performance.processes import ContestantError
from recognition.provenance import now

BATCH = 4
SAVERS = {"ours": "ours", "torch.save": "torch.save", "async_save": "torch.distributed.checkpoint.async_save"}


def run_ours(ours, case, data_set, folder, every, saves):
    _, lines = ours.train(case, data_set, folder, {
        "train.log_every": 1, "schedule.total_steps": every * (saves + 1), "checkpoint.every": every})
    # A line holds that of the latest checkpoint that is written, none that of the last: it is saved at the end.
    stalls = list(dict.fromkeys(line["checkpoint_stall_seconds"] for line in lines if "checkpoint_stall_seconds" in line))
    return {"ends": [line["unix_seconds"] for line in lines], "stalls": stalls}


def figures_of(run, every, saves):
    """{step_seconds, of quiet steps; stalls; costs}: seconds, each save's."""
    if len(run["stalls"]) != saves:
        raise ContestantError(f"only {len(run['stalls'])} of {saves} checkpoints were written before the next: try a larger "
                              "--every")
    ends = run["ends"]
    steps = [after - before for before, after in zip(ends, ends[1:])]  # the second step is the first of these
    quiet = [second for n in range(saves + 1) for second in steps[n * every + every // 2:(n + 1) * every - 2]]
    step = statistics.median(quiet)
    # Of ours a step's line is written before it is saved, of the others after: so from the step before the save.
    costs = [ends[(n + 1) * every - 2] - ends[n * every - 2] - every * step for n in range(1, saves + 1)]
    return {"step_seconds": step, "stalls": run["stalls"], "costs": costs}


def measure(arguments, scratch):
    ours = contestants.Ours(arguments.programs, scratch)
    sets = data_sets.DataSets(arguments.work, arguments.programs, arguments.utterances)
    sets.prepare(with_files=False)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    cases = [contestants.Case(arguments.config, "fp32", ranks, 1, BATCH, "cpu", cores[:ranks])
             for ranks in arguments.ranks]
    runs = {f"{case.ranks}": {name: [] for name in SAVERS} for case in cases}
    folder = arguments.work / "checkpoints"
    peer = contestants.Peer(contestants.DDP, ours, scratch, "tcmalloc")
    for number in range(arguments.rounds):
        for case in cases:
            names = list(SAVERS)
            for name in names[number % len(names):] + names[:number % len(names)]:
                shutil.rmtree(folder, ignore_errors=True)
                try:
                    if name == "ours":
                        run = run_ours(ours, case, sets.root, folder, arguments.every, arguments.saves)
                    else:
                        run = peer.run(case, sets.root, 0, arguments.every * (arguments.saves + 1), program="saving",
                                       more={"saver": name, "save_every": arguments.every, "checkpoints": str(folder)})
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                figures = figures_of(run, arguments.every, arguments.saves)
                runs[f"{case.ranks}"][name].append(figures)
                print(f"round {number + 1}: {case.ranks} ranks, {SAVERS[name]}: "
                      f"{', '.join(f'{1e3 * s:.0f}' for s in figures['stalls'])} ms", flush=True)
    return {"config": arguments.config, "every": arguments.every, "runs": runs, "provenance": now(),
            "command": shlex.join([".venv/bin/python", "benchmarks/checkpoints.py", *sys.argv[1:]])}


def lines_of(results):
    rows = []
    for ranks, runs in results["runs"].items():
        def all_of(name, key):
            return [value for run in runs[name] for value in run[key]]

        ours = statistics.median(all_of("ours", "stalls"))
        for name in runs:
            stalls = all_of(name, "stalls")
            step = statistics.median(run["step_seconds"] for run in runs[name])
            middle = statistics.median(stalls)
            rows.append((f"{results['config']}, {ranks} x 1", SAVERS[name], report.spread([1e3 * s for s in stalls], "{:.1f}"),
                         f"{1e3 * step:.0f}", f"{100 * middle / step:.2f} %", "-" if name == "ours" else f"{middle / ours:.3g}",
                         report.spread([1e3 * s for s in all_of(name, "costs")], "{:.0f}")))
    return [*document.provenance_lines([results["provenance"]], [results["command"]]), "",
            f"A checkpoint every {results['every']} steps, batch {BATCH}; PyTorch with tcmalloc.", "",
            *document.table(("configuration, ranks x threads", "saved by", "stands still, ms", "a step, ms", "share of a step",
                             "ours is shorter by", "costs in all, ms"), rows), ""]


def main():
    parser = part.parser_of(__doc__, rounds=3, quick="one short round, little data")
    parser.add_argument("--config", default="hard-512")
    parser.add_argument("--ranks", nargs="+", type=int, default=[1], help="a core each; with more, take a larger --every")
    parser.add_argument("--every", type=int, default=12,
                        help="steps between checkpoints; so many that the one before is written")
    parser.add_argument("--saves", type=int, default=2, help="checkpoints of a run that count")
    parser.add_argument("--utterances", type=int, default=2400)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.config, arguments.rounds, arguments.utterances, arguments.every, arguments.saves = "simple", 1, 400, 500, 2
    with tempfile.TemporaryDirectory(prefix="checkpoints-") as scratch:
        part.run(arguments, "checkpoints", "checkpoints", lambda: measure(arguments, pathlib.Path(scratch)), lines_of)


if __name__ == "__main__":
    try:
        main()
    except ContestantError as error:
        sys.exit(f"error: {error}")
