"""What it costs to watch a run: steps with all of the telemetry on against steps with all that can be off.

    .venv/bin/python benchmarks/telemetry.py

On: a log line every 10 steps with figures of all ranks, Prometheus fetching once a second, TensorBoard's event files.
Off: a log line every 50. (The clock of the phases is always on: ten readings of the time a step, a microsecond at most.) Trains `simple`
on two ranks on synthetic utterances, the runs interleaved; prints the median time of a step of each, their ratio and its
spread, and the share of a step that rank 0 spent recording by its own clock, which a busy machine blurs less.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import threading
import urllib.request

PROJECT = pathlib.Path(__file__).resolve().parents[1]
WARM_UP_STEPS = 50
ADDRESS = "127.0.0.1:9471"
OFF = [f"train.log_every={WARM_UP_STEPS}", "metrics.tensorboard=false", "metrics.prometheus.address="]
ON = ["train.log_every=10", "metrics.tensorboard=true", f"metrics.prometheus.address={ADDRESS}"]


def fetch_until(done):
    """As Prometheus would, but more often than its 15 s."""
    while not done.wait(1):
        try:
            urllib.request.urlopen(f"http://{ADDRESS}/metrics", timeout=1).read()
        except OSError:
            pass  # not there yet, or no more


def step_seconds(arguments, data, folder, settings):
    """Mean seconds of a step after the warm-up by the run's own clock, and those of them that rank 0 spent recording."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    done = threading.Event()
    fetcher = threading.Thread(target=fetch_until, args=(done,))
    fetcher.start()
    try:
        subprocess.run(["mpirun", "-n", str(arguments.ranks), "--oversubscribe", "--bind-to", "none",
                        arguments.programs / "trainer", "--config", f"{arguments.config}.yaml", f"data.path={data}",
                        f"run.dir={run}", f"schedule.total_steps={arguments.steps}", "data.valid_split=none",
                        "schedule.warmup_steps=10", *settings], check=True, stdout=subprocess.DEVNULL, env=environment)
    finally:
        done.set()
        fetcher.join()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["step"] >= WARM_UP_STEPS)
    seconds = (lines[-1]["unix_seconds"] - first["unix_seconds"]) / (lines[-1]["step"] - first["step"])
    return seconds, statistics.mean(line["recording_seconds"] for line in lines if line["step"] > first["step"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=PROJECT / "build" / "bin")
    parser.add_argument("--config", default="simple")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=WARM_UP_STEPS * 7)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="telemetry-") as name:
        folder = pathlib.Path(name)
        subprocess.run([arguments.programs / "mels", "synth", folder / "data", "--speakers", "600", "--utterances", "2000",
                        "--seed", "1"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with_all, without, shares = [], [], []
        for round_number in range(arguments.rounds):
            pair = [(with_all, ON), (without, OFF)]
            for times, settings in pair if round_number % 2 == 0 else reversed(pair):
                seconds, recording = step_seconds(arguments, folder / "data", folder, settings)
                times.append(seconds)
                if settings is ON:
                    shares.append(recording / seconds)
            print(f"round {round_number + 1}: on {1e3 * with_all[-1]:.3f} ms, off {1e3 * without[-1]:.3f} ms, "
                  f"{100 * shares[-1]:.3f} % of it recording", flush=True)
    ratios = sorted(on / off for on, off in zip(with_all, without))
    quartiles = statistics.quantiles(ratios, n=4)
    print(f"{arguments.config}, {arguments.ranks} ranks: on {1e3 * statistics.median(with_all):.3f} ms a step, "
          f"off {1e3 * statistics.median(without):.3f} ms; ratio {statistics.median(ratios):.4f} "
          f"(quartiles {quartiles[0]:.4f} to {quartiles[2]:.4f}, {arguments.rounds} interleaved rounds); "
          f"recording took {100 * statistics.median(shares):.3f} % of a step")


if __name__ == "__main__":
    main()
