"""All-reduce by latency and bandwidth, and a step whose backward hides as much of it as it can. Nothing runs here.

Ring: each byte crosses every link twice, 2 (n - 1) steps. Tree (NCCL's, two of them sharing the bytes): a chain within
each node, then log2(nodes) levels, up and down. The time is latency + bytes / algorithm bandwidth, with the
constants that NCCL's own model of itself has (src/graph/tuning.cc): it chooses algorithm and protocol by them.
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Cluster:
    name: str
    gpus_per_node: int
    peak_flops: float  # of a GPU, 16-bit tensor cores, dense
    node_bus: float  # bytes/s: bus bandwidth of an all-reduce inside a node
    network_bus: float  # bytes/s: the same over nodes, of all of a node's adapters together


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Seconds; `share` of the bandwidth that is left for data."""

    base: float
    inside: float  # a hop over NVLink
    between: float  # a hop over the network
    share: float


MICRO = 1e-6
# LL: a flag beside each word; LL128: one beside 120 bytes; Simple: large chunks.
RING = (Protocol(3.6 * MICRO, 0.47 * MICRO, 2.7 * MICRO, 0.25), Protocol(10.0 * MICRO, 1.9 * MICRO, 4.0 * MICRO, 0.92),
        Protocol(8.4 * MICRO, 3.4 * MICRO, 9.6 * MICRO, 1.0))
TREE = (Protocol(4.4 * MICRO, 0.52 * MICRO, 5.0 * MICRO, 0.9 / 3.8), Protocol(4.4 * MICRO, 1.2 * MICRO, 8.5 * MICRO, 0.82),
        Protocol(0.0, 28 * MICRO, 50 * MICRO, 0.9))


def nodes_of(cluster, world):
    return math.ceil(world / cluster.gpus_per_node)


def ring_seconds(cluster, size, world):
    nodes = nodes_of(cluster, world)
    bus = cluster.node_bus if nodes == 1 else min(cluster.node_bus, cluster.network_bus)
    steps, between = 2 * (world - 1), 2 * (nodes - 1) if nodes > 1 else 0
    return min(p.base + (steps - between) * p.inside + between * p.between + size * steps / world / (bus * p.share)
               for p in RING)


def tree_seconds(cluster, size, world):
    nodes = nodes_of(cluster, world)
    bus = cluster.node_bus if nodes == 1 else min(cluster.node_bus, cluster.network_bus)
    local = min(world, cluster.gpus_per_node)
    levels = math.ceil(math.log2(nodes)) if nodes > 1 else 0
    return min(p.base + 2 * ((local - 1) * p.inside + levels * p.between) + 2 * size / (bus * p.share) for p in TREE)


def all_reduce_seconds(cluster, size, world):
    """(seconds, the name of the faster algorithm)"""
    if world == 1:
        return 0.0, "-"
    return min((ring_seconds(cluster, size, world), "ring"), (tree_seconds(cluster, size, world), "tree"))


def buckets(total, first, rest):
    """Bytes of each bucket, in the order in which backward fills them: a small first one, then equal ones."""
    sizes, left = [], total
    while left > 0:
        sizes.append(min(left, first if not sizes else rest))
        left -= sizes[-1]
    return sizes


def step_seconds(compute, sizes, reduce_seconds):
    """(seconds of a step, of which not hidden): forward is a third of `compute`, backward fills bucket after bucket in the
    rest, in proportion to their bytes; sums run one after the other, none before its bucket is full."""
    forward = compute / 3
    total, filled, free = sum(sizes), 0, 0.0
    for size in sizes:
        filled += size
        ready = forward + (compute - forward) * filled / total
        free = max(free, ready) + reduce_seconds(size)
    return max(compute, free), max(0.0, free - compute)
