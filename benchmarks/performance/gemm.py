"""The machine's matrix-multiply peak, against which utilisations are told: the best rate of any product that PyTorch can
call, over a few sizes, one process a rank at the same time on its cores.

As a module (`python -m performance.gemm DEVICE THREADS SECONDS`) it prints {"fp32": flops/s, "bf16": flops/s}.
"""

import json
import os
import subprocess
import sys
import time

import torch

from performance.processes import ContestantError, on_cores
from recognition.experiment import PROJECT

SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}


def measure(device, threads, seconds):
    torch.set_num_threads(threads)
    best = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        # oneDNN multiplies bfloat16 only on processors that have instructions for it; elsewhere it takes seconds.
        one_dnn = device == "cpu" and torch.backends.mkldnn.is_available() and (
            precision == "fp32" or torch.ops.mkldnn._is_mkldnn_bf16_supported())
        is_slow = device == "cpu" and precision == "bf16" and not one_dnn
        for size in SIZES[device][:1] if seconds < 0.2 or is_slow else SIZES[device]:
            a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            products = [lambda: a @ b]
            if one_dnn:
                products.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
            for product in products:
                product()
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    if device == "cuda":
                        torch.cuda.synchronize()
                    start = time.perf_counter()
                    for _ in range(20 if device == "cuda" else 1):
                        product()
                    if device == "cuda":
                        torch.cuda.synchronize()
                    took = (time.perf_counter() - start) / (20 if device == "cuda" else 1)
                    best[precision] = max(best.get(precision, 0), 2 * size ** 3 / took)
    return best


def peak(device, core_sets, threads, seconds):
    """Flops a second of one rank, while as many ranks work as there are `core_sets`: the slowest rank's best."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(PROJECT / "benchmarks")}
    started = [subprocess.Popen(on_cores(cores, [sys.executable, "-m", "performance.gemm", device, threads, seconds]),
                                stdout=subprocess.PIPE, text=True, env=environment) for cores in core_sets]
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode != 0 for process in started):
        raise ContestantError("the matrix-multiply peak could not be measured")
    results = [json.loads(output) for output in outputs]
    return {precision: min(result[precision] for result in results) for precision in results[0]}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))
