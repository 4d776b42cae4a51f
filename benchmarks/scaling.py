"""How time and memory of steps grow with work: width, frames, batch, ranks, shards and utterances, one varied at a time.

    .venv/bin/python benchmarks/scaling.py            # some ten minutes on two cores
    .venv/bin/python benchmarks/scaling.py --full     # up to HW4's 56,666 utterances: 15 GB of disk
    .venv/bin/python benchmarks/scaling.py --quick    # all parts once, figures mean nothing

Each round runs every point once. An exponent is the slope of log(seconds a step) over log(what is varied), by least
squares through the points' medians; beside it the one that theory gives: of the model's floating-point operations, 1
for linear, 0 for flat, -1 for ranks that share the work. Writes the tables between the markers of docs/performance.md.
"""

import os
import pathlib
import shlex
import shutil
import statistics
import sys
import tempfile

import numpy as np
import torch

from performance import document, part, report, sweeps
from performance.contestants import Ours
from performance.data_sets import HW4_UTTERANCES
from performance.measure import plan
from performance.processes import ContestantError
from recognition.provenance import now

EXPONENTS = {"linear": 1.0, "flat": 0.0, "inverse": -1.0}
TOLERANCE = 0.15


def measure(arguments, scratch):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours = Ours(arguments.programs, scratch)
    size = "quick" if arguments.quick else "full" if arguments.full else "usual"
    root = arguments.work / ("scaling-quick" if arguments.quick else "scaling")
    chosen = [sweep for sweep in sweeps.sweeps(device, sorted(os.sched_getaffinity(0)), size)
              if sweep.name in arguments.only]
    sweeps.prepare(root, arguments.programs, size, {point.data for sweep in chosen for point in sweep.points})
    results = {sweep.name: {"title": sweep.title, "theory": sweep.theory,
                            "points": [{"value": point.value, "step_seconds": [], "memory_bytes": []}
                                       for point in sweep.points]}
               for sweep in chosen}
    expected = {}
    for number in range(arguments.rounds):
        for sweep in chosen:
            for place, point in enumerate(sweep.points):
                warm_up, steps = plan(expected.get((sweep.name, place), 0.1), arguments.seconds)
                figures = ours.run(point.case, root / point.data, warm_up, steps, dict(point.extra))
                expected[sweep.name, place] = figures["step_seconds"]
                entry = results[sweep.name]["points"][place]
                entry["step_seconds"].append(figures["step_seconds"])
                entry["memory_bytes"].append(figures["memory_bytes"])
                entry["flops"] = figures["flops_per_step"]
                print(f"round {number + 1}: {sweep.name} {point.value}: {1e3 * figures['step_seconds']:.2f} ms/step",
                      flush=True)
    return {"sweeps": results, "device": device, "provenance": now(),
            "command": shlex.join([".venv/bin/python", "benchmarks/scaling.py", *sys.argv[1:]])}


def exponent(xs, ys):
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0]) if len(xs) > 1 else float("nan")


def lines_of(results):
    lines = [*document.provenance_lines([results["provenance"]], [results["command"]]), ""]
    summary, tables = [], []
    for sweep in results["sweeps"].values():
        values = [point["value"] for point in sweep["points"]]
        seconds = [statistics.median(point["step_seconds"]) for point in sweep["points"]]
        flops = [point["flops"] for point in sweep["points"]]
        theory = exponent(values, flops) if sweep["theory"] == "flops" else EXPONENTS[sweep["theory"]]
        found = exponent(values, seconds)
        verdict = "-" if len(values) < 2 else "yes" if abs(found - theory) <= TOLERANCE else \
            "less" if found < theory else "NO, more"
        summary.append((sweep["title"], " ".join(map(str, values)), f"{theory:.2f}", f"{found:.2f}", verdict))
        tables += [f"{sweep['title']}:", "",
                   *document.table(("", *map(str, values)),
                                   [("ms a step", *(report.spread([1e3 * s for s in point["step_seconds"]], "{:.3g}")
                                                    for point in sweep["points"])),
                                    ("GFLOP/s", *(f"{f / s / 1e9:.0f}" for f, s in zip(flops, seconds))),
                                    ("MiB a rank", *(report.median(point.get("memory_bytes", []), "{:.0f}", 1 / 2**20)
                                                     for point in sweep["points"]))]), ""]
    return [*lines, *document.table(("what grows", "values", "exponent by theory", "measured",
                                     f"as theory says (within {TOLERANCE})"), summary), "", *tables]


def measure_in_memory(arguments):
    memory = pathlib.Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    with tempfile.TemporaryDirectory(prefix="scaling-", dir=memory if roomy else None) as scratch:
        return measure(arguments, pathlib.Path(scratch))


def main():
    names = [sweep.name for sweep in sweeps.sweeps("cpu", [0], "usual")]
    parser = part.parser_of(__doc__, rounds=5, quick="one short round, two points")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SWEEP", help=", ".join(names))
    parser.add_argument("--full", action="store_true", help=f"up to {HW4_UTTERANCES} utterances")
    parser.add_argument("--seconds", type=float, default=1.5, help="that a run measures, after its warm-up")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.05
    part.run(arguments, "scaling", "scaling", lambda: measure_in_memory(arguments), lines_of)


if __name__ == "__main__":
    try:
        main()
    except ContestantError as error:
        sys.exit(f"error: {error}")
