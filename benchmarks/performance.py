"""Training speed beside PyTorch's: the notebook's way, DDP as an expert writes it, and ours, interleaved in one run.

    .venv/bin/python benchmarks/performance.py                       # all, some 25 minutes on two cores
    .venv/bin/python benchmarks/performance.py --quick               # all parts once, figures mean nothing
    .venv/bin/python benchmarks/performance.py --only hard --ranks 2 --precision bf16 --rounds 9
    .venv/bin/python benchmarks/performance.py --table               # only writes the table again

First every contestant must show the same losses as the others, without dropout on one batch; then come the rounds, in
each of which every contestant of every case runs once. Cases that ran before and do not run now stay in the results
(--results) and in the tables between the markers of docs/performance.md. Where there is a GPU it is used, a rank each.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import sys
import tempfile

import torch

from performance import contestants, data_sets, document, gemm, measure, processes, report
from performance.check import Disagreement
from recognition.experiment import PROJECT, read_json, write_json

CONFIGS = ("simple", "medium", "medium-224", "hard", "hard-512")
CPU_BATCH = {"hard-512": 4}  # what a core computes in a second or two
GPU_BATCH = {"hard-512": 256}
BATCH = 32


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CONFIGS, default=list(CONFIGS), metavar="CONFIG")
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--threads", nargs="+", type=int, default=[1], help="of each rank, on as many cores, on CPUs")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--contestants", nargs="+", choices=tuple(contestants.TITLES))
    parser.add_argument("--batch", type=int, help="global batch of all cases")
    parser.add_argument("--allocator", choices=("best", "jemalloc", "tcmalloc", "none"), default="best",
                        help="DDP's; best: the one of them with which it is fastest on medium-224")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="that a run measures, after its warm-up")
    parser.add_argument("--utterances", type=int, default=2400, help="of the synthetic data; HW4's 56666 take 17 GB")
    parser.add_argument("--quick", action="store_true", help="one short round, little data, nothing written to docs")
    parser.add_argument("--json", action="store_true", help="print the results")
    parser.add_argument("--table", action="store_true", help="measure nothing, only write the table")
    parser.add_argument("--work", type=pathlib.Path, default=PROJECT / "runs" / "performance")
    parser.add_argument("--results", type=pathlib.Path, help="default: training.json in the work folder")
    parser.add_argument("--programs", type=pathlib.Path, default=PROJECT / "build" / "bin")
    parser.add_argument("--output", type=pathlib.Path, default=PROJECT / "docs" / "performance.md")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.2
        arguments.utterances = min(arguments.utterances, 400)
    arguments.results = arguments.results or arguments.work / ("quick.json" if arguments.quick else "training.json")
    return arguments


def make_cases(arguments, device):
    available = torch.cuda.device_count() if device == "cuda" else os.cpu_count()
    for config in arguments.only:
        batch = arguments.batch or (GPU_BATCH if device == "cuda" else CPU_BATCH).get(config, BATCH)
        for precision in arguments.precision:
            for ranks in arguments.ranks:
                for threads in arguments.threads if device == "cpu" else [1]:
                    wanted = ranks * threads if device == "cpu" else ranks
                    if wanted > available:
                        print(f"left out: {config} on {ranks} ranks wants {wanted} of {available} "
                              f"{'cores' if device == 'cpu' else 'GPUs'}", flush=True)
                        continue
                    cores = tuple(sorted(os.sched_getaffinity(0)))[:wanted] if device == "cpu" else ()
                    yield contestants.Case(config, precision, ranks, threads, batch, device, cores)


def peaks_of(cases, seconds):
    """{(ranks, threads): {precision: flops/s of one rank}}"""
    peaks = {}
    for case in cases:
        if (case.ranks, case.threads) not in peaks:
            sets = [case.cores[i * case.threads:(i + 1) * case.threads] for i in range(case.ranks)]
            peaks[case.ranks, case.threads] = gemm.peak(case.device, sets if case.cores else [()], case.threads, seconds)
    return peaks


def choose_allocator(arguments, device, ours, scratch, sets):
    installed = ["none", *processes.preload_libraries()]
    if arguments.allocator != "best":
        if arguments.allocator not in installed:
            raise contestants.ContestantError(f"{arguments.allocator} is not installed (libjemalloc2 and "
                                              "libtcmalloc-minimal4 in Debian)")
        return arguments.allocator
    if device == "cuda" or arguments.quick:
        return "none"
    print("Allocators", flush=True)
    case = contestants.Case("medium-224", "fp32", 1, 1, BATCH, device, tuple(sorted(os.sched_getaffinity(0)))[:1])
    return measure.best_allocator(lambda name: contestants.Peer(contestants.DDP, ours, scratch, name), installed, case,
                                  sets, min(2, arguments.seconds))


def measure_all(arguments, scratch):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours = contestants.Ours(arguments.programs, scratch)
    names = arguments.contestants or [name for name in contestants.TITLES if name != contestants.COMPILED
                                      or device == "cuda"]
    sets = data_sets.DataSets(arguments.work, arguments.programs, arguments.utterances)
    cases = list(make_cases(arguments, device))
    sets.prepare(with_files=contestants.NOTEBOOK in names, checks=[case.batch for case in cases])
    allocator = choose_allocator(arguments, device, ours, scratch, sets)
    taking_part = {name: ours if name == contestants.OURS else
                   contestants.Peer(name, ours, scratch, allocator) for name in names}
    types = {config: ours.configuration(config)["model"]["type"] for config in arguments.only}
    cells = measure.make_cells(cases, taking_part, types, ours.has_precision("bf16"))
    print("Matrix-multiply peak", flush=True)
    peaks = peaks_of(cases, 0.1 if arguments.quick else 0.6)
    print("Losses", flush=True)
    measure.check_all(cells, sets)
    command = shlex.join([".venv/bin/python", "benchmarks/performance.py", *sys.argv[1:]])
    for number in range(arguments.rounds):
        print(f"Round {number + 1} of {arguments.rounds}", flush=True)
        for cell in cells:
            cell.run_round(number, arguments.seconds, sets)
        # After each round: what was measured so far outlives an interruption.
        results = {} if arguments.quick else read_json(arguments.results, {})
        for cell in cells:
            peak = peaks[cell.case.ranks, cell.case.threads][cell.case.precision]
            results[f"{device}/{cell.case.key}"] = cell.result(peak, allocator, command)
        write_json(arguments.results, results)


def main():
    arguments = parse_arguments()
    if not arguments.table:
        # The last checkpoint of each of our runs goes there: not to a disk that would still be writing it during the next.
        memory = pathlib.Path("/dev/shm")
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
        with tempfile.TemporaryDirectory(prefix="performance-", dir=memory if roomy else None) as scratch:
            measure_all(arguments, pathlib.Path(scratch))
    results = read_json(arguments.results)
    if not results:
        sys.exit(f"error: {arguments.results}: holds no results; run without --table first")
    lines = report.sections(results)
    if arguments.json:
        print(json.dumps(results, indent=1))
    if arguments.quick:
        print("\n".join(lines))
    else:
        document.replace_between(arguments.output, "training", lines)
        print(f"wrote {arguments.output}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (contestants.ContestantError, Disagreement) as error:
        sys.exit(f"error: {error}")
