"""All-reduce as torch.distributed does it, by message size: under torchrun,
`python -m performance.collective gloo|nccl SECONDS BYTES...` prints {bytes: seconds a call}."""

import json
import os
import sys
import time

import torch
from torch import distributed

TURNS, WARM_UP_CALLS = 5, 5


def seconds_a_call(tensor, calls, cuda):
    distributed.barrier()
    start = time.perf_counter()
    for _ in range(calls):
        distributed.all_reduce(tensor)
    if cuda:
        torch.cuda.synchronize()
    mean = torch.tensor([(time.perf_counter() - start) / calls], device=tensor.device)
    distributed.all_reduce(mean)
    return mean.item() / distributed.get_world_size()


def main(backend, seconds, sizes):
    torch.set_num_threads(1)
    cuda = backend == "nccl"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group(backend)
    best = {}
    for size in sizes:
        tensor = torch.zeros(size // 4, device="cuda" if cuda else "cpu")
        once = seconds_a_call(tensor, WARM_UP_CALLS, cuda)
        calls = max(1, int(seconds / TURNS / once))
        best[size] = min(seconds_a_call(tensor, calls, cuda) for _ in range(TURNS))
    if distributed.get_rank() == 0:
        print(json.dumps(best), flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), [int(size) for size in sys.argv[3:]])
