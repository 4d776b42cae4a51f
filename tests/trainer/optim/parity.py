"""Schedule and AdamW against torch.optim.

usage: parity.py DUMP_OPTIM
"""

import math
import os
import subprocess
import sys
import tempfile
import unittest

import torch
from safetensors.torch import load_file, save_file

DUMP_OPTIM = sys.argv.pop(1)


class ScheduleParity(unittest.TestCase):
    def rates(self, lr, warmup, total, cycles, steps):
        arguments = ["schedule", repr(lr), str(warmup), str(total), repr(cycles), *map(str, steps)]
        out = subprocess.run([DUMP_OPTIM, *arguments], check=True, capture_output=True, text=True).stdout
        return [float(line) for line in out.split()]

    def lambda_lr(self, lr, warmup, total, cycles, first_step=0):
        """torch's own scheduler, as the notebook writes it; from `first_step` as after a resume."""

        def factor(step):
            if step < warmup:
                return float(step) / float(max(1, warmup))
            progress = float(step - warmup) / float(max(1, total - warmup))
            return max(0.0, 0.5 * (1.0 + math.cos(math.pi * float(cycles) * 2.0 * progress)))

        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        if first_step > 0:
            optimizer.param_groups[0]["initial_lr"] = lr
        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor, last_epoch=first_step - 1)

    def test_every_step_and_after_every_resume(self):
        table = [(10, 100, 0.5), (0, 50, 0.5), (1, 2, 0.5), (20, 20, 0.5), (5, 60, 1.5), (30, 20, 0.5), (100, 1000, 0.5)]
        for warmup, total, cycles in table:
            for lr in (1e-3, 0.37):
                with self.subTest(warmup=warmup, total=total, cycles=cycles, lr=lr):
                    steps = list(range(total + 3))
                    ours = self.rates(lr, warmup, total, cycles, steps)
                    optimizer, scheduler = self.lambda_lr(lr, warmup, total, cycles)
                    for step in steps:
                        self.assertEqual(ours[step], optimizer.param_groups[0]["lr"], f"step {step}")
                        optimizer.step()
                        scheduler.step()
                    for resumed in (1, total // 2, total):
                        optimizer, _ = self.lambda_lr(lr, warmup, total, cycles, resumed)
                        self.assertEqual(ours[resumed], optimizer.param_groups[0]["lr"], f"resumed at {resumed}")

    def test_the_notebook(self):
        ours = self.rates(1e-3, 1000, 70000, 0.5, [0, 500, 1000, 35500, 70000])
        for rate, expected in zip(ours, [0, 5e-4, 1e-3, 5e-4, 0]):
            self.assertAlmostEqual(rate, expected, places=12)


class AdamWParity(unittest.TestCase):
    def test_updates(self):
        shapes = {"a": (7, 5), "b": (33,), "c": (2, 3, 4)}
        rates = [0.0, 1e-3, 5e-3, 1e-2, 1e-3]
        for clip in (0, 0.5):
            torch.manual_seed(11)
            tensors = {f"p.{name}": torch.randn(shape) for name, shape in shapes.items()}
            for update in range(len(rates)):
                for name, shape in shapes.items():
                    tensors[f"g.{update}.{name}"] = torch.randn(shape)
            parameters = {name: torch.nn.Parameter(tensors[f"p.{name}"].clone()) for name in shapes}
            optimizer = torch.optim.AdamW(parameters.values())
            norms = []
            for update, rate in enumerate(rates):
                optimizer.param_groups[0]["lr"] = rate
                for name, parameter in parameters.items():
                    parameter.grad = tensors[f"g.{update}.{name}"].clone()
                norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), clip or math.inf))
                optimizer.step()
            with tempfile.TemporaryDirectory() as folder:
                source, target = os.path.join(folder, "in"), os.path.join(folder, "out")
                save_file(tensors, source)
                subprocess.run([DUMP_OPTIM, "adamw", str(clip), source, target, *map(repr, rates)], check=True)
                ours = load_file(target)
            for name, parameter in parameters.items():
                self.assertLess((ours[f"p.{name}"] - parameter).abs().max().item(), 1e-6)
            for update, norm in enumerate(norms):
                self.assertAlmostEqual(ours[f"norm.{update}"].item(), norm.item(), places=4)


if __name__ == "__main__":
    unittest.main(verbosity=2)
