"""A model of a step's time on many GPUs, checked against what is measured here, and what it predicts: docs/scaling.md.

    .venv/bin/python benchmarks/performance.py && .venv/bin/python benchmarks/all_reduce.py    # what it is checked against
    .venv/bin/python benchmarks/scaling_model.py                                               # writes the tables

Without those results the check says so, and the rest is the same. Nothing but arithmetic runs here.
"""

import argparse
import functools
import pathlib
import re
import statistics

import numpy as np

from performance import document
from performance.network import Cluster, all_reduce_seconds, buckets, step_seconds
from recognition.experiment import PROJECT, read_json

CONFIGS = ("simple", "medium", "medium-224", "hard", "hard-512")
MIB = 1 << 20
FIRST_BUCKET, BUCKET = 0.25 * MIB, 4 * MIB  # train.first_bucket_mib, train.bucket_mib
BUCKETS = tuple(2 ** i * MIB for i in range(0, 10))
LOCAL_BATCH = 32
WORLDS = (8, 16, 64, 256, 1024)

# Published figures; docs/scaling.md names the sources. V100: 6 NVLinks of 25 GB/s each way and one adapter of 100 Gb/s a
# node, of which 80 % are taken to arrive. H100: bus bandwidths as measured by others within one node and over four.
V100 = Cluster("V100, 8 a node, 100 Gb/s a node", 8, 125e12, 0.8 * 150e9, 0.8 * 12.5e9)
H100 = Cluster("H100, 8 a node, 400 Gb/s a GPU", 8, 989e12, 480e9, 331e9)
CLUSTERS = (V100, H100)

# Assumed, not measured: what kernels of these sizes reach, and what a kernel costs at least in a CUDA graph.
ASSUMED_UTILISATION = 0.4
KERNELS_A_LAYER, KERNELS_BESIDE, KERNEL_SECONDS = {"transformer": 60, "conformer": 150}, 60, 2e-6


def read_sizes():
    """{configuration: (parameters, flops an utterance, layers, kind)} as the heads of configs/ state them."""
    sizes = {}
    for name in CONFIGS:
        text = (PROJECT / "configs" / f"{name}.yaml").read_text()
        head = re.search(r"Size:\s+([\d,]+) parameters.*?([\d,.]+) GFLOP a step \((\d+) crops", text.replace("\n# ", " "), re.S)
        kind = re.search(r"^  type: (\w+)", text, re.M).group(1)
        layers = int(re.search(r"^  (?:layers|depth): (\d+)", text, re.M).group(1))
        parameters, flops, crops = (float(part.replace(",", "")) for part in head.groups())
        sizes[name] = int(parameters), flops * 1e9 / crops, layers, kind
    return sizes


def compute_seconds(cluster, size, batch):
    _, flops, layers, kind = size
    floor = (KERNELS_BESIDE + layers * KERNELS_A_LAYER[kind]) * KERNEL_SECONDS
    return max(floor, flops * batch / (cluster.peak_flops * ASSUMED_UTILISATION))


@functools.cache
def predict(cluster, size, batch, world, bucket=None):
    """(seconds a step, seconds not hidden, bytes of a bucket); without `bucket` the best of BUCKETS."""
    compute = compute_seconds(cluster, size, batch)
    if world == 1:
        return compute, 0.0, 0
    candidates = []
    for each in (bucket,) if bucket else BUCKETS:
        parts = buckets(4 * size[0], min(FIRST_BUCKET, each), each)
        seconds, exposed = step_seconds(compute, parts, lambda part: all_reduce_seconds(cluster, part, world)[0])
        candidates.append((seconds, exposed, each))
    return min(candidates)


def fit(sizes, seconds):
    """Latency and bytes/s of seconds = latency + bytes / bandwidth, least squares of the relative error."""
    sizes, seconds = np.array(sizes, float), np.array(seconds)
    columns = np.stack([np.ones_like(sizes), sizes], 1) / seconds[:, None]
    latency, slope = np.linalg.lstsq(columns, np.ones_like(seconds), rcond=None)[0]
    return max(latency, 0.0), 1 / slope


def check_lines(work):
    reduce, training = read_json(work / "all_reduce.json"), read_json(work / "training.json")
    if reduce is None or training is None or reduce["ranks"] != 2:
        return ["Not checked: there are no results of `benchmarks/performance.py` and `benchmarks/all_reduce.py` with two ranks."]
    sizes = [int(size) for size in reduce["seconds"]["ours"]]
    seconds = [statistics.median(times) for times in reduce["seconds"]["ours"].values()]
    latency, bandwidth = fit(sizes, seconds)
    error = max(abs(latency + size / bandwidth - time) / time for size, time in zip(sizes, seconds))
    cells = {(c["case"]["config"], c["case"]["precision"], c["case"]["ranks"], c["case"]["batch"]): c
             for c in training.values() if c["case"]["threads"] == 1 and c["runs"].get("ours")}
    rows = []
    for (config, precision, ranks, batch), cell in cells.items():
        one = cells.get((config, precision, 1, batch))
        if ranks != 2 or one is None or "reduced_bytes" not in cell["runs"]["ours"][0]:
            continue
        alone, together = (statistics.median(run["step_seconds"] for run in each["runs"]["ours"]) for each in (one, cell))
        # On the CPUs of one host the computing thread itself sums, all buckets at once: nothing overlaps.
        sum_seconds = latency + cell["runs"]["ours"][0]["reduced_bytes"] / bandwidth
        predicted = alone / 2 + sum_seconds
        exposed = statistics.median(run["exposed_communication"] for run in cell["runs"]["ours"])
        rows.append((f"{config}, {precision}, batch {batch}", *(f"{1e3 * t:.2f}" for t in (alone, predicted, together)),
                     f"{100 * together / predicted - 100:+.0f} %", f"{100 * sum_seconds / predicted:.1f} %",
                     f"{100 * exposed:.1f} %"))
    provenances = [reduce["provenance"], *(cell["provenance"] for cell in training.values())]
    header = ("", "1 rank, ms", "2 ranks, predicted", "2 ranks, measured", "off by", "exposed, predicted",
              "exposed, measured")
    return [*document.provenance_lines(provenances, [reduce["command"], *(c["command"] for c in training.values())]), "",
            f"All-reduce here: {1e6 * latency:.0f} us + bytes / {bandwidth / 1e9:.2f} GB/s (farthest point off by "
            f"{100 * error:.0f} %).", "", *(document.table(header, rows) if rows else ["No configuration was measured on both."])]


def milliseconds(seconds):
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"


def prediction_lines(sizes):
    lines = []
    for cluster in CLUSTERS:
        rows = []
        for name, size in sizes.items():
            alone = predict(cluster, size, LOCAL_BATCH, 1)[0]
            cells = []
            for world in WORLDS:
                seconds, exposed, _ = predict(cluster, size, LOCAL_BATCH, world)
                cells.append(f"{milliseconds(seconds)} ({100 * exposed / seconds:.0f} %, {100 * alone / seconds:.0f} %)")
            rows.append((name, milliseconds(alone), *cells))
        lines += [f"{cluster.name}; ms a step (exposed communication, efficiency), {LOCAL_BATCH} utterances a GPU:", "",
                  *document.table(("", "1 GPU", *(f"{world} GPUs" for world in WORLDS)), rows), ""]
    return lines


def bucket_lines(sizes):
    """What the size of the buckets is worth."""
    rows = []
    for cluster in CLUSTERS:
        for name, size in sizes.items():
            cells = []
            for world in WORLDS:
                best, _, bucket = predict(cluster, size, LOCAL_BATCH, world)
                ours = predict(cluster, size, LOCAL_BATCH, world, BUCKET)[0]
                cells.append(f"{min(bucket, 4 * size[0]) / MIB:.3g} ({ours / best:.2f})")
            rows.append((f"{name}, {cluster.name.partition(',')[0]}", *cells))
    return document.table(("", *(f"{world} GPUs" for world in WORLDS)), rows)


def efficiency(cluster, size, batch, world, global_batch=None):
    """Against one GPU doing the same work: with `global_batch` the whole of it."""
    if global_batch is None:
        return predict(cluster, size, batch, 1)[0] / predict(cluster, size, batch, world)[0]
    return predict(cluster, size, global_batch, 1)[0] / (world * predict(cluster, size, global_batch / world, world)[0])


def largest_world(holds, most=4096):
    world = 1
    while 2 * world <= most and holds(2 * world):
        world *= 2
    return f"{world}" if world < most else f"{most} and more"


def useful_lines(sizes):
    rows = []
    for cluster in CLUSTERS:
        for name, size in sizes.items():
            same = {batch: largest_world(lambda world: world <= batch and
                                         efficiency(cluster, size, None, world, batch) >= 0.5, batch)
                    .replace(" and more", " (one each)") for batch in (256, 1024)}
            rows.append((f"{name}, {cluster.name.partition(',')[0]}",
                         largest_world(lambda world: efficiency(cluster, size, LOCAL_BATCH, world) >= 0.9),
                         same[256], same[1024]))
    return document.table(("", f"{LOCAL_BATCH} utterances a GPU, 90 % efficient", "global batch 256, 50 %",
                           "global batch 1024, 50 %"), rows)


def overlap_lines(sizes):
    """The smallest batch a GPU with which at most 5 % of a step are not hidden."""
    rows = []
    for cluster in CLUSTERS:
        for name, size in sizes.items():
            cells = []
            for world in WORLDS:
                fitting = [batch for batch in (2 ** i for i in range(15))
                           if predict(cluster, size, batch, world)[1] <= 0.05 * predict(cluster, size, batch, world)[0]]
                cells.append(str(fitting[0]) if fitting else "-")
            rows.append((f"{name}, {cluster.name.partition(',')[0]}", *cells))
    return document.table(("", *(f"{world} GPUs" for world in WORLDS)), rows)


def speakers_lines(width=512, speakers=1_000_000, batch=32):
    weights = width * speakers
    rows = []
    for world in (8, 64, 512):
        whole = all_reduce_seconds(H100, 4 * weights, world)[0]
        gathered = 4 * batch * world * width
        # All-gather and reduce-scatter move half an all-reduce each; the two sums a row are small.
        sharded = all_reduce_seconds(H100, gathered, world)[0] + all_reduce_seconds(H100, 8 * batch * world, world)[0]
        rows.append((f"{world} GPUs", f"{16 * weights / 1e9:.1f}", f"{16 * weights / world / 1e9:.2f}",
                     f"{4 * weights / 1e9:.2f}", f"{(2 * gathered + 8 * batch * world) / 1e9:.4f}", f"{1e3 * whole:.1f}",
                     f"{1e3 * sharded:.2f}", f"{4 * batch * speakers / 1e9:.2f}",
                     f"{4 * batch * world * speakers / world / 1e9:.2f}"))
    return [f"{speakers:,} speakers, embeddings of {width}, {batch} utterances a GPU, H100; a weight takes 16 bytes with its "
            "gradient and AdamW's two averages:", "",
            *document.table(("", "head, GB a GPU", "sharded", "GB into all-reduce", "sharded, GB gathered and scattered",
                             "ms on the network", "sharded", "logits, GB a GPU", "sharded"), rows)]


def data_lines(sizes):
    crop = 128 * 40 * 4
    rows = []
    for cluster in CLUSTERS:
        for name, size in sizes.items():
            seconds = predict(cluster, size, LOCAL_BATCH, 64)[0]
            rate = cluster.gpus_per_node * LOCAL_BATCH / seconds
            rows.append((f"{name}, {cluster.name.partition(',')[0]}", f"{rate:,.0f}", f"{rate * crop / 1e9:.2f}"))
    return document.table(("64 GPUs, 32 utterances each", "reads/s a node", "GB/s a node"), rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, default=PROJECT / "runs" / "performance", help="folder of results")
    parser.add_argument("--output", type=pathlib.Path, default=PROJECT / "docs" / "scaling.md")
    arguments = parser.parse_args()
    sizes = read_sizes()
    made = "Computed by `benchmarks/scaling_model.py`; no GPU was measured."
    parts = {"check": check_lines(arguments.work), "predictions": [made, "", *prediction_lines(sizes)],
             "buckets": bucket_lines(sizes), "overlap": overlap_lines(sizes), "useful": useful_lines(sizes), "speakers": speakers_lines(),
             "data": data_lines(sizes)}
    for name, lines in parts.items():
        document.replace_between(arguments.output, name, [*lines])
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
