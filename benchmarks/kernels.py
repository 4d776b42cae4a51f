"""Each fused kernel alone beside LibTorch's operations for the same, forward and backward, on one core.

    .venv/bin/python benchmarks/kernels.py            # half a minute; writes the table of docs/performance.md
    .venv/bin/python benchmarks/kernels.py --quick    # all parts once, figures mean nothing
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys

from performance import document
from performance.processes import on_cores
from performance.report import spread
from recognition.experiment import PROJECT
from recognition.provenance import now


def run(program, seconds):
    command = on_cores(sorted(os.sched_getaffinity(0))[:1], [program, str(seconds)])
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"error: {program} ended with {result.returncode}: {result.stderr[-2000:]}")
    return {(line["kernel"], line["shape"]): line for line in map(json.loads, result.stdout.splitlines())}


def lines_of(rounds):
    rows = []
    for key in rounds[0]:
        plain, ours = ([one[key][name] for one in rounds] for name in ("plain_seconds", "ours_seconds"))
        rows.append((*key, *(f"{1e3 * statistics.median(times):.2f}" for times in (plain, ours)),
                     spread([a / b for a, b in zip(plain, ours)])))
    command = shlex.join([".venv/bin/python", "benchmarks/kernels.py", *sys.argv[1:]])
    return [*document.provenance_lines([now()], [command]), "",
            *document.table(("kernel", "input", "LibTorch, ms", "ours, ms", "ours is faster by"), rows), ""]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each kernel and round")
    parser.add_argument("--quick", action="store_true", help="one short round, nothing written to docs")
    parser.add_argument("--programs", type=pathlib.Path, default=PROJECT / "build" / "bin")
    parser.add_argument("--output", type=pathlib.Path, default=PROJECT / "docs" / "performance.md")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.01
    lines = lines_of([run(arguments.programs / "kernel_bench", arguments.seconds) for _ in range(arguments.rounds)])
    if arguments.quick:
        print("\n".join(lines))
    else:
        document.replace_between(arguments.output, "kernels", lines)
        print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
