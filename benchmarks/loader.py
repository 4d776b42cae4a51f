"""The loader alone, on one core: ours beside torch.load + DataLoader, h5py + DataLoader, and a pread of the same bytes.

    .venv/bin/python benchmarks/loader.py            # 2,400 synthetic utterances, and ten times as many for the memory
    .venv/bin/python benchmarks/loader.py --full     # HW4's 56,666 utterances: 17 GB of disk
    .venv/bin/python benchmarks/loader.py --quick    # all parts once, figures mean nothing

All contestants are held to the same core, loader processes and threads included; each reads from the page cache.
Interleaved; writes the table between the markers of docs/performance.md.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys

from performance import data_sets, document, part, report
from performance.processes import ContestantError, on_cores
from recognition.experiment import PROJECT
from recognition.provenance import now

BATCH = 32
# The notebook has 8 loader processes, which on one core only get into each other's way: it is given the best of three.
WORKERS = (0, 1, 8)
TITLES = {"ours": "ours", "pread": "pread of the same bytes", **{f"files-{w}": f"torch.load + DataLoader, {w} workers"
                                                                 for w in WORKERS},
          **{f"h5py-{w}": f"h5py + DataLoader, {w} workers" for w in WORKERS[:2]}}


def run(arguments, name, folder, core):
    if name in ("ours", "pread"):
        program = arguments.programs / "loader_bench"
        if not program.is_file():
            raise ContestantError(f"{program}: not there; cmake --build --preset release --target loader_bench")
        command = [program, "loader" if name == "ours" else name, folder / "shards", "train", BATCH,
                   data_sets.CROP_FRAMES, arguments.seconds]
    else:
        kind, _, workers = name.partition("-")
        command = [sys.executable, "-m", "performance.loaders", kind, folder, BATCH, data_sets.CROP_FRAMES,
                   arguments.seconds, workers]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT / "benchmarks")}
    result = subprocess.run(on_cores((core,), command), capture_output=True, text=True, env=environment, check=False)
    if result.returncode != 0:
        raise ContestantError(f"{name}: {result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def measure(arguments):
    core = min(os.sched_getaffinity(0))
    small = data_sets.DataSets(arguments.work, arguments.programs, arguments.utterances)
    large = data_sets.DataSets(arguments.work, arguments.programs, 10 * arguments.utterances)
    free = shutil.disk_usage(arguments.work).free if arguments.work.is_dir() else shutil.disk_usage(PROJECT).free
    wanted = arguments.utterances * 450_000 + (0 if arguments.full else 10 * arguments.utterances * 210_000)
    if free < wanted:
        raise ContestantError(f"{arguments.work}: {free / 1e9:.0f} GB are free, {wanted / 1e9:.0f} GB are wanted")
    small.prepare()
    runs = {name: [] for name in TITLES}
    for number in range(arguments.rounds):
        for name in TITLES:
            runs[name].append(run(arguments, name, small.root, core))
            print(f"round {number + 1}: {TITLES[name]:36} {runs[name][-1]['utterances_per_second']:9.0f} utterances/s",
                  flush=True)
    memory = {"utterances": arguments.utterances, "ours": runs["ours"][0]["resident_bytes"]}
    if not arguments.full:
        large.prepare(with_files=False, copies=False)
        memory["ours_10x"] = run(arguments, "ours", large.root, core)["resident_bytes"]
    return {"runs": runs, "memory": memory, "provenance": now(),
            "command": shlex.join([".venv/bin/python", "benchmarks/loader.py", *sys.argv[1:]])}


def lines_of(results):
    ours = [run["utterances_per_second"] for run in results["runs"]["ours"]]
    rows = []
    for name, runs in results["runs"].items():
        rates = [run["utterances_per_second"] for run in runs]
        times = [a / b for a, b in zip(ours, rates)]
        rows.append((TITLES[name], report.spread(rates, "{:.0f}"), report.spread(times),
                     f"{max(run['resident_bytes'] for run in runs) / 2**20:.0f}"))
    memory = results["memory"]
    lines = [*document.provenance_lines([results["provenance"]], [results["command"]]), "",
             f"{memory['utterances']} utterances, crops of {data_sets.CROP_FRAMES} frames, batches of {BATCH}, one core for all of "
             "each contestant.", "",
             *document.table(("", "utterances/s", "ours is faster by", "MiB resident"), rows), ""]
    if "ours_10x" in memory:
        lines += [f"Memory of ours with {memory['utterances']} utterances: {memory['ours'] / 2**20:.1f} MiB; with ten times as many: "
                  f"{memory['ours_10x'] / 2**20:.1f} MiB.", ""]
    return lines


def main():
    parser = part.parser_of(__doc__, rounds=5, quick="one short round, little data")
    parser.add_argument("--utterances", type=int, default=2400)
    parser.add_argument("--full", action="store_true", help=f"{data_sets.HW4_UTTERANCES} utterances")
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    if arguments.full:
        arguments.utterances = data_sets.HW4_UTTERANCES
    if arguments.quick:
        arguments.utterances, arguments.rounds, arguments.seconds = 400, 1, 0.1
    part.run(arguments, "loader", "loader", lambda: measure(arguments), lines_of)


if __name__ == "__main__":
    try:
        main()
    except ContestantError as error:
        sys.exit(f"error: {error}")
