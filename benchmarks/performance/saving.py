"""A run of a peer that saves as it trains: `python -m performance.saving JOB`, likewise under torchrun.

JOB is that of performance.peer with these keys more: "save_every", steps; "checkpoints", the folder to save to; and
"saver": "torch.save", which returns when the file is written, or "async_save", torch.distributed.checkpoint's, which
copies the state and writes beside training. Rank 0 saves parameters and moments, and not after the last step. Figures:
"stalls", seconds that training stood still for each save; "ends", when each step had ended, its save included.
"""

import json
import pathlib
import shutil
import sys
import time

import torch
from torch.distributed import checkpoint

from performance.peer import Run, peak_resident_bytes


class SavingRun(Run):
    def __init__(self, job):
        super().__init__(job)
        self.folder, self.writing, self.number = pathlib.Path(job["checkpoints"]), None, 0
        # Rank 0 saves alone: without a group of its own it would wait for the others.
        self.alone = torch.distributed.new_group([0]) if self.size > 1 else None

    def save(self):
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        path = self.folder / f"checkpoint-{self.number % 2}"  # two in turns: one of them is always whole
        self.number += 1
        if self.job["saver"] == "torch.save":
            torch.save(state, path)
            return
        if self.writing is not None:
            self.writing.result()
        self.writing = checkpoint.async_save(state, checkpoint_id=path, process_group=self.alone,
                                             no_dist=self.size == 1)

    def run(self):
        job = self.job
        if self.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        ends, stalls = [], []
        for number in range(1, job["steps"] + 1):
            self.step()
            if number == 1 and self.rank == 0:
                print("first step done", flush=True)
            start = time.perf_counter()
            if number % job["save_every"] == 0 and number < job["steps"] and self.rank == 0:
                self.save()
                stalls.append(time.perf_counter() - start)
            ends.append(time.perf_counter())
        if self.writing is not None:
            self.writing.result()
        self.finish({"ends": ends, "stalls": stalls, "losses": [], "memory_bytes": peak_resident_bytes()})


if __name__ == "__main__":
    SavingRun(json.loads(pathlib.Path(sys.argv[1]).read_text())).run()
