"""All-reduce alone, by message size: ours beside MPI_Allreduce and gloo; on GPUs ours (NCCL) beside torch's NCCL.

    .venv/bin/python benchmarks/all_reduce.py            # 4 KB to 64 MB, two ranks
    .venv/bin/python benchmarks/all_reduce.py --quick    # all parts once, figures mean nothing

MPI_Allreduce is timed as osu_allreduce times it: blocking calls in a loop, the mean over the ranks. Algorithm bandwidth is
bytes over time, bus bandwidth 2 (n - 1) / n of it, as nccl-tests define them. Best of five turns of each round, then
the median over the rounds. Writes the table between the markers of docs/performance.md.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys

import torch

from performance import document, part
from performance.contestants import MPI_ENVIRONMENT, TORCHRUN
from performance.processes import ContestantError
from recognition.experiment import PROJECT
from recognition.provenance import now

SIZES = tuple(4096 * 4 ** i for i in range(8))
COLUMNS = {"ours": "ours", "mpi": "MPI_Allreduce", "peer": "torch.distributed"}


def output(command, environment):
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False,
                            env={**os.environ, "OMP_NUM_THREADS": "1", **environment})
    if result.returncode != 0:
        raise ContestantError(f"{command[0]} ended with {result.returncode}: {result.stderr[-2000:]}")
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def run_round(arguments, sizes, cuda):
    """{who: {bytes: seconds}}, and what ours sums by."""
    program = arguments.programs / "all_reduce_bench"
    if not program.is_file():
        raise ContestantError(f"{program}: not there; cmake --build --preset release --target all_reduce_bench")
    native = output(["mpirun", "-n", arguments.ranks, "--oversubscribe", "--bind-to", "none", program,
                     "cuda" if cuda else "cpu", arguments.seconds, *sizes], MPI_ENVIRONMENT)
    peer, = output([sys.executable, *TORCHRUN, "--nproc-per-node", arguments.ranks,
                    "-m", "performance.collective", "nccl" if cuda else "gloo", arguments.seconds, *sizes],
                   {"PYTHONPATH": str(PROJECT / "benchmarks"), "GLOO_SOCKET_IFNAME": "lo"})
    times = {"ours": {line["bytes"]: line["ours_seconds"] for line in native},
             "peer": {int(size): seconds for size, seconds in peer.items()}}
    if not cuda:
        times["mpi"] = {line["bytes"]: line["mpi_seconds"] for line in native}
    return times, native[0]["by"]


def measure(arguments):
    sizes = SIZES[:2] if arguments.quick else SIZES
    cuda = torch.cuda.is_available() and torch.cuda.device_count() >= arguments.ranks
    seconds = {}
    for number in range(arguments.rounds):
        measured, by = run_round(arguments, sizes, cuda)
        for who, times in measured.items():
            for size, value in times.items():
                seconds.setdefault(who, {}).setdefault(str(size), []).append(value)
        print(f"round {number + 1} of {arguments.rounds} done", flush=True)
    return {"seconds": seconds, "ranks": arguments.ranks, "by": by, "provenance": now(),
            "command": shlex.join([".venv/bin/python", "benchmarks/all_reduce.py", *sys.argv[1:]])}


def size_text(size):
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} KB"


def lines_of(results):
    ranks, seconds = results["ranks"], results["seconds"]
    rows = []
    for size in map(int, seconds["ours"]):
        middle = {who: statistics.median(times[str(size)]) for who, times in seconds.items()}
        algorithm = size / middle["ours"] / 1e9
        rows.append((size_text(size), *(f"{1e6 * middle[who]:.1f}" if who in middle else "-" for who in COLUMNS),
                     f"{algorithm:.2f}", f"{algorithm * 2 * (ranks - 1) / ranks:.2f}",
                     f"{middle['mpi'] / middle['ours']:.2f}" if "mpi" in middle else "-",
                     f"{middle['peer'] / middle['ours']:.2f}"))
    header = ("message", *(f"{title}, us" for title in COLUMNS.values()), "ours, algorithm GB/s", "ours, bus GB/s",
              "MPI / ours", "torch / ours")
    return [*document.provenance_lines([results["provenance"]], [results["command"]]), "",
            f"{ranks} ranks; ours by {results['by']}, torch.distributed by {'nccl' if results['by'] == 'nccl' else 'gloo'}.",
            "", *document.table(header, rows), ""]


def main():
    parser = part.parser_of(__doc__, rounds=5, quick="one short round, two sizes")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5, help="a message size and contestant")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.05
    part.run(arguments, "all_reduce", "all-reduce", lambda: measure(arguments), lines_of)


if __name__ == "__main__":
    try:
        main()
    except ContestantError as error:
        sys.exit(f"error: {error}")
