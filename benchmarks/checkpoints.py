"""How long training stands still to save: ours beside torch.save and torch.distributed.checkpoint's async_save.

    .venv/bin/python benchmarks/checkpoints.py            # hard-512, some 20 minutes on two cores
    .venv/bin/python benchmarks/checkpoints.py --quick    # simple, once; figures mean nothing

Each contestant trains on a core a rank and saves parameters and both moments, 1.0 GB with hard-512, to the work folder;
ours with checksums and synchronised to the disk, the others without. Interleaved; writes the table between the markers
of docs/performance.md.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import statistics
import sys
import tempfile

from performance import contestants, data_sets, document, report
from performance.processes import ContestantError, Watched, on_cores
from recognition.experiment import PROJECT, read_json, write_json
from recognition.provenance import now

BATCH = 4
SAVERS = {"ours": "ours", "torch.save": "torch.save", "async_save": "torch.distributed.checkpoint.async_save"}


def run_ours(trainer, case, shards, folder, every, saves):
    """Of ours the last checkpoint, at the end, is not counted: training has nothing left to do beside it."""
    overrides = {
        "data.path": shards, "data.valid_split": "none", "data.crop_frames": data_sets.CROP_FRAMES, "run.dir": folder,
        "train.global_batch": case.batch, "train.threads": case.threads, "train.device": "cpu", "train.log_every": 1,
        "schedule.total_steps": every * (saves + 1), "checkpoint.every": every, "checkpoint.keep": 1,
        "metrics.tensorboard": False, "metrics.prometheus.address": "", "metrics.progress": "never",
    }
    Watched(on_cores(case.cores, ["mpirun", "-n", case.ranks, "--oversubscribe", "--bind-to", "none", trainer, "--config",
                                  f"{case.config}.yaml", *contestants.overrides_text(overrides)]),
            contestants.MPI_ENVIRONMENT, "first step (")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    # A line holds that of the latest checkpoint that is written.
    stalls = list(dict.fromkeys(line["checkpoint_stall_seconds"] for line in lines if "checkpoint_stall_seconds" in line))
    return {"step_seconds": statistics.median(line["step_seconds"] for line in lines[1:]), "stalls": stalls}


def measure(arguments, scratch):
    ours = contestants.Ours(arguments.programs, scratch)
    sets = data_sets.DataSets(arguments.work, arguments.programs, arguments.utterances)
    sets.prepare(with_files=False)
    cores = tuple(sorted(os.sched_getaffinity(0)))
    cases = [contestants.Case(arguments.config, "fp32", ranks, 1, BATCH, "cpu", cores[:ranks])
             for ranks in (1, 2) if ranks <= len(cores)]
    runs = {f"{case.ranks}": {name: [] for name in SAVERS} for case in cases}
    for number in range(arguments.rounds):
        for case in cases:
            for name in SAVERS:
                folder = arguments.work / "checkpoints"
                shutil.rmtree(folder, ignore_errors=True)
                if name == "ours":
                    figures = run_ours(ours.trainer, case, sets.shards, folder, arguments.every, arguments.saves)
                else:
                    figures = contestants.Peer(contestants.DDP, ours, scratch).run(
                        case, sets.root, 0, arguments.every * arguments.saves, program="saving",
                        more={"saver": name, "save_every": arguments.every, "checkpoints": str(folder)})
                runs[f"{case.ranks}"][name].append({key: figures[key] for key in ("step_seconds", "stalls")})
                print(f"round {number + 1}: {case.ranks} ranks, {SAVERS[name]}: "
                      f"{', '.join(f'{1e3 * s:.0f}' for s in figures['stalls'])} ms", flush=True)
                shutil.rmtree(folder, ignore_errors=True)
    return {"config": arguments.config, "every": arguments.every, "runs": runs, "provenance": now(),
            "command": shlex.join([".venv/bin/python", "benchmarks/checkpoints.py", *sys.argv[1:]])}


def lines_of(results):
    rows = []
    for ranks, runs in results["runs"].items():
        middle = {}
        for name, each in runs.items():
            stalls = [stall for run in each for stall in run["stalls"]]
            step = statistics.median(run["step_seconds"] for run in each)
            middle[name] = statistics.median(stalls)
            rows.append((f"{results['config']}, {ranks} x 1", SAVERS[name], report.spread([1e3 * s for s in stalls], "{:.1f}"),
                         f"{1e3 * step:.0f}", f"{100 * middle[name] / step:.2f} %", f"{middle[name] / middle['ours']:.0f}"))
    return [*document.provenance_lines([results["provenance"]], [results["command"]]), "",
            f"A checkpoint every {results['every']} steps, batch {BATCH}.", "",
            *document.table(("configuration, ranks x threads", "saved by", "stands still, ms", "a step, ms", "share of a step",
                             "ours is shorter by"), rows), ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="hard-512")
    parser.add_argument("--every", type=int, default=12,
                        help="steps between checkpoints; so many that the one before is written")
    parser.add_argument("--saves", type=int, default=2, help="checkpoints of a run that count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--utterances", type=int, default=2400)
    parser.add_argument("--quick", action="store_true", help="one short round, little data, nothing written to docs")
    parser.add_argument("--table", action="store_true", help="measure nothing, only write the table")
    parser.add_argument("--work", type=pathlib.Path, default=PROJECT / "runs" / "performance")
    parser.add_argument("--programs", type=pathlib.Path, default=PROJECT / "build" / "bin")
    parser.add_argument("--output", type=pathlib.Path, default=PROJECT / "docs" / "performance.md")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.config, arguments.rounds, arguments.utterances, arguments.every, arguments.saves = "simple", 1, 400, 5, 2
    path = arguments.work / ("checkpoints-quick.json" if arguments.quick else "checkpoints.json")
    if not arguments.table:
        with tempfile.TemporaryDirectory(prefix="checkpoints-") as scratch:
            write_json(path, measure(arguments, pathlib.Path(scratch)))
    results = read_json(path)
    if results is None:
        sys.exit(f"error: {path}: holds no results; run without --table first")
    if arguments.quick:
        print("\n".join(lines_of(results)))
    else:
        document.replace_between(arguments.output, "checkpoints", lines_of(results))


if __name__ == "__main__":
    try:
        main()
    except ContestantError as error:
        sys.exit(f"error: {error}")
