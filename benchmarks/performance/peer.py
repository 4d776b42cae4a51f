"""One run of a peer: `python -m performance.peer JOB`, where several ranks are wanted under torchrun.

JOB is a JSON file: {way, model, optimizer, schedule, data, n_speakers, batch, crop_frames, precision, device, threads,
workers, warm_up, steps, measure_communication, seed, result}. `way` is notebook, ddp or ddp-compile. Every rank writes
its figures to RESULT-<rank>.json.
"""

import contextlib
import json
import math
import os
import pathlib
import statistics
import sys
import time

import torch
from torch.nn import functional

from performance import expert_models, feeds, notebook_models

N_MELS = 40


def schedule_factor(schedule, step):
    if step < schedule["warmup_steps"]:
        return step / schedule["warmup_steps"]
    progress = (step - schedule["warmup_steps"]) / max(1, schedule["total_steps"] - schedule["warmup_steps"])
    return max(0.0, 0.5 * (1 + math.cos(math.pi * schedule["cycles"] * 2 * progress)))


def peak_resident_bytes():
    """Without the pages of the mapped data set, which are the page cache's and would be given back."""
    status = pathlib.Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    mapped, inside = 0, False
    for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):  # the head of a mapping: addresses ... file
            inside = words[-1].endswith("frames.npy")
        elif inside and words[0] == "Rss:":
            mapped += int(words[1])
    return 1024 * (peak - mapped)


class Run:
    def __init__(self, job):
        self.job = job
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.cuda = job["device"] == "cuda"
        torch.set_num_threads(job["threads"])
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if self.cuda else torch.device("cpu")
        if self.cuda:
            torch.cuda.set_device(self.device)
        if self.size > 1:
            torch.distributed.init_process_group("nccl" if self.cuda else "gloo")
        torch.manual_seed(job["seed"])
        self.data_wait, self.losses = 0.0, []
        self.notebook = job["way"] == "notebook"
        self.make_model()
        self.feed = self.make_feed()

    def make_model(self):
        job = self.job
        make = (notebook_models if self.notebook else expert_models).make
        self.model = make(job["model"], N_MELS, job["n_speakers"]).to(self.device)
        torch.manual_seed(job["seed"] + 1 + self.rank)  # dropout differs between ranks
        if self.size > 1:
            self.model = torch.nn.parallel.DistributedDataParallel(
                self.model, device_ids=[self.device] if self.cuda else None, gradient_as_bucket_view=True,
                static_graph=job["way"] != "ddp-compile")
        self.compiled = self.model
        if job["way"] == "ddp-compile":
            self.compiled = torch.compile(self.model, mode="reduce-overhead" if self.cuda else "default")
        settings = job["optimizer"]
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=settings["lr"], betas=tuple(settings["betas"]),
                                           eps=settings["eps"], weight_decay=settings["weight_decay"],
                                           fused=None if self.notebook else True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: schedule_factor(job["schedule"], step))

    def make_feed(self):
        job = self.job
        if self.notebook:
            return feeds.notebook_feed(job["data"], job["batch"], job["crop_frames"], job["workers"], self.cuda)
        feed = iter(feeds.ArrayFeed(job["data"], job["batch"], job["crop_frames"], self.rank, self.size))
        return feeds.ahead(feed, self.device) if self.cuda else feed

    def precision(self):
        if self.job["precision"] == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def synchronise(self):
        if self.cuda:
            torch.cuda.synchronize()

    def step(self, synchronised=True):
        start = time.perf_counter()
        mels, labels = next(self.feed)
        self.data_wait += time.perf_counter() - start
        if self.notebook:
            mels, labels = mels.to(self.device), labels.to(self.device)
        with contextlib.nullcontext() if synchronised else self.model.no_sync():
            with self.precision():
                logits = self.compiled(mels)
            loss = functional.cross_entropy(logits.float(), labels)
            loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        if self.notebook:  # the progress bar shows both at every step
            self.losses.append(loss.item())
            (logits.argmax(1) == labels).float().mean().item()
        else:
            self.losses.append(loss.detach())

    def timed(self, steps, synchronised=True):
        """Seconds a step."""
        self.synchronise()
        start = time.perf_counter()
        for _ in range(steps):
            self.step(synchronised)
        self.synchronise()
        return (time.perf_counter() - start) / steps

    def exposed_share(self):
        """How much faster steps are without all-reduce: what backward does not hide of it, and waits for a late rank."""
        count = max(1, self.job["steps"] // 8)
        pairs = [(self.timed(count), self.timed(count, synchronised=False)) for _ in range(3)]
        return max(0.0, 1 - statistics.median(alone / both for both, alone in pairs))

    def run(self):
        job = self.job
        self.step()
        self.synchronise()
        if self.rank == 0:
            print("first step done", flush=True)
        for _ in range(job["warm_up"] - 1):
            self.step()
        self.data_wait = 0.0
        seconds = self.timed(job["steps"])
        figures = {
            "step_seconds": seconds,
            "data_wait": self.data_wait / job["steps"] / seconds,
            "memory_bytes": torch.cuda.max_memory_allocated() if self.cuda else peak_resident_bytes(),
            "losses": [float(loss) for loss in self.losses],
        }
        if job["measure_communication"] and self.size > 1:
            figures["exposed_communication"] = self.exposed_share()
        self.finish(figures)

    def finish(self, figures):
        """Writes them and ends this process."""
        pathlib.Path(f"{self.job['result']}-{self.rank}.json").write_text(json.dumps(figures))
        if self.size > 1:
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
        sys.stdout.flush()
        os._exit(0)  # the notebook's loader processes need no long farewell


if __name__ == "__main__":
    Run(json.loads(pathlib.Path(sys.argv[1]).read_text())).run()
