"""Our Conformer against the Python package conformer 0.3.2: names, initial weights, outputs, gradients, statistics.

usage: conformer_parity.py DUMP_CONFORMER DUMP_MODEL [GOLDEN_FOLDER]

GOLDEN_FOLDER, where it exists, holds files with the package's inputs, weights and results.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import torch
from conformer import Conformer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

GOLDEN = sys.argv.pop(3) if len(sys.argv) > 3 else ""
DUMP_MODEL = sys.argv.pop(2)
DUMP_CONFORMER = sys.argv.pop(1)

REFERENCE = "model.compat=reference"
CONFIGS = {
    "odd kernel": dict(dim=80, depth=2, dim_head=40, heads=2),
    "even kernel": dict(dim=32, depth=2, dim_head=8, heads=4, conv_kernel_size=20),
    "causal": dict(dim=32, depth=2, dim_head=8, heads=4, conv_causal=True),
    "other widths": dict(dim=24, depth=1, dim_head=12, heads=1, ff_mult=2, conv_expansion_factor=3,
                         conv_kernel_size=3),
}


def keys_of(cfg):
    """The package's arguments as our configuration keys; its defaults are not ours."""
    full = dict(dim_head=64, heads=8, ff_mult=4, conv_expansion_factor=2, conv_kernel_size=31, conv_causal=False) | cfg
    full["causal"] = str(full.pop("conv_causal")).lower()
    return [f"model.{key}={value}" for key, value in full.items()]


def run(program, seed, inputs, arguments, *keys):
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.safetensors"), os.path.join(folder, "out.safetensors")
        save_file(inputs, source)
        subprocess.run([program, str(seed), *arguments, source, target, *keys], check=True)
        return load_file(target)


def largest(a, b):
    return (a - b).abs().max().item()


class Parity(unittest.TestCase):
    def check_gradient(self, name, ours, theirs, scale):
        """Within 1e-4 of the gradient's own size, or a millionth of the model's largest: float32's rounding. Batch norm
        takes the bias before it off again: ours is 0 there, the package's rounding."""
        tolerance = max(1e-4 * theirs.abs().max().item(), (1e-5 if name.endswith("net.4.conv.bias") else 1e-6) * scale)
        self.assertLess(largest(ours, theirs), tolerance, f"gradient of {name}")

    def check_results(self, ours, y_eval, y_train, grad_x, gradients, buffers):
        self.assertLess(largest(ours["y_eval"], y_eval), 1e-5)
        self.assertLess(largest(ours["y_train"], y_train), 1e-5)
        scale = max(g.abs().max().item() for g in gradients.values())
        self.check_gradient("x", ours["grad_x"], grad_x, scale)
        for name, gradient in gradients.items():
            self.check_gradient(name, ours["g." + name], gradient, scale)
        for name, buffer in buffers.items():
            self.assertLess(largest(ours["after_train." + name].float(), buffer.float()), 1e-5, name)

    def test_python_package(self):
        for name, cfg in CONFIGS.items():
            # Beyond 2 * 512 frames distances are clamped on both sides.
            for frames in (60, 1100) if name == "even kernel" else (60,):
                with self.subTest(name, frames=frames):
                    torch.manual_seed(11)
                    package = Conformer(**cfg)
                    initial = {key: value.clone() for key, value in package.state_dict().items()}
                    x = torch.randn(3, frames, cfg["dim"])
                    ours = run(DUMP_CONFORMER, 11, {"x": x}, [], *keys_of(cfg), REFERENCE)
                    self.assertEqual({key[2:] for key in ours if key.startswith("w.")}, set(initial))
                    self.assertEqual([key[2:] for key in ours if key.startswith("g.")],
                                     [key for key, _ in package.named_parameters()])
                    for key, value in initial.items():
                        self.assertTrue(torch.equal(ours["w." + key], value), f"initial {key}")
                    for value in package.parameters():  # layer norms and biases that do something
                        value.data += 0.1 * torch.randn_like(value)
                    for key, value in package.named_buffers():
                        if "running" in key:
                            value.add_(torch.rand_like(value))
                    weights = {"w." + key: value.clone() for key, value in package.state_dict().items()}
                    ours = run(DUMP_CONFORMER, 0, weights | {"x": x}, [], *keys_of(cfg), REFERENCE)
                    package.eval()
                    with torch.no_grad():
                        y_eval = package(x)
                    package.train()
                    x.requires_grad_()
                    y_train = package(x)
                    y_train.square().mean().backward()
                    self.check_results(ours, y_eval, y_train.detach(), x.grad,
                                       {key: value.grad for key, value in package.named_parameters()},
                                       dict(package.named_buffers()))

    def test_golden_files(self):
        if not os.path.isdir(GOLDEN):
            self.skipTest(f"no golden files in '{GOLDEN}'")
        for file in sorted(os.listdir(GOLDEN)):
            if not file.endswith(".safetensors"):
                continue
            with self.subTest(file):
                path = os.path.join(GOLDEN, file)
                with safe_open(path, "pt") as opened:
                    cfg = json.loads(opened.metadata()["cfg"])
                golden = load_file(path)
                inputs = {key: value for key, value in golden.items() if key == "x" or key.startswith("w.")}
                ours = run(DUMP_CONFORMER, 0, inputs, [], *keys_of(cfg), REFERENCE)
                part = lambda prefix: {k[len(prefix):]: v for k, v in golden.items() if k.startswith(prefix)}
                self.check_results(ours, golden["y_eval"], golden["y_train"], golden["grad_x"], part("g."),
                                   part("after_train."))

    def test_classifier(self):
        """compat: reference is Linear, the package, the mean over all frames, Linear: padding and all."""
        cfg = dict(dim=24, depth=2, dim_head=6, heads=3, conv_kernel_size=7)
        torch.manual_seed(9)
        prenet, package, head = torch.nn.Linear(40, 24), Conformer(**cfg), torch.nn.Linear(24, 30)
        mels, speakers = torch.randn(4, 50, 40), torch.tensor([1, 2, 29, 0])
        inputs = {"mels": mels, "speakers": speakers, "lengths": torch.tensor([50, 20, 3, 49])}
        keys = ["model.type=conformer", "model.head=linear", *keys_of(cfg)]
        ours = run(DUMP_MODEL, 9, inputs, ["40", "30"], REFERENCE, *keys)
        for prefix, module in (("prenet.", prenet), ("encoder.", package), ("pred_layer.", head)):
            for name, value in module.named_parameters():
                self.assertTrue(torch.equal(ours["w." + prefix + name], value), prefix + name)
        for module in (prenet, package, head):
            module.eval()
        with torch.no_grad():
            logits = head(package(prenet(mels)).mean(1))
        self.assertLess(largest(ours["logits"], logits), 1e-5)
        masked = run(DUMP_MODEL, 9, inputs, ["40", "30"], *keys)
        self.assertLess(largest(masked["logits"][0], logits[0]), 1e-5)
        self.assertGreater(largest(masked["logits"][1], logits[1]), 1e-3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
