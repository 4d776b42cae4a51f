"""Our models against Python torch: initial weights bit for bit, outputs and gradients within 1e-5.

usage: parity.py DUMP_MODEL
"""

import os
import subprocess
import sys
import tempfile
import unittest

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from reference_models import CONFIGS, Transformer  # noqa: E402

DUMP_MODEL = sys.argv.pop(1)
N_MELS, N_SPEAKERS, BATCH, FRAMES = 40, 600, 6, 128


def run_ours(seed, inputs, n_mels=N_MELS, **model):
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.safetensors"), os.path.join(folder, "out.safetensors")
        save_file(inputs, source)
        keys = [f"model.{key}={value}" for key, value in model.items()]
        subprocess.run([DUMP_MODEL, str(seed), str(n_mels), str(N_SPEAKERS), source, target, *keys], check=True)
        return load_file(target)


def make_inputs(padded, n_mels=N_MELS):
    torch.manual_seed(7)
    inputs = {
        "mels": torch.randn(BATCH, FRAMES, n_mels) * 3 - 8,
        "speakers": torch.randint(N_SPEAKERS, (BATCH,)),
    }
    if padded:
        inputs["lengths"] = torch.tensor([128, 1, 17, 64, 127, 90])
    return inputs


# A unit that ReLU follows, and that rounding alone may carry over 0 for some frame: its row of gradients then differs.
NEAR_ZERO = 1e-6


class Parity(unittest.TestCase):
    def check(self, seed, inputs, n_mels=N_MELS, **model):
        ours = run_ours(seed, inputs, n_mels, dropout=0, **model)
        torch.manual_seed(seed)
        reference = Transformer(n_mels, N_SPEAKERS, dropout=0, **model)
        names = [name for name, _ in reference.named_parameters()]
        self.assertEqual(sorted(names), sorted(key[2:] for key in ours if key.startswith("w.")))
        for name, value in reference.named_parameters():
            self.assertTrue(torch.equal(value, ours["w." + name]), f"initial {name} differs")

        reference.eval()
        with torch.no_grad():
            logits = reference(inputs["mels"], inputs.get("lengths"))
        self.assertLess((logits - ours["logits"]).abs().max().item(), 1e-5)
        nearest = {}  # layer: of each unit, how near it comes to 0
        for name, layer in reference.named_modules():
            if name.endswith(("linear1", "pred_layer.0")):
                layer.register_forward_hook(lambda _, inputs, outputs, name=name: nearest.update(
                    {name: outputs.detach().abs().flatten(0, -2).amin(0)}))
        reference.train()
        loss = torch.nn.functional.cross_entropy(reference(inputs["mels"], inputs.get("lengths")), inputs["speakers"])
        loss.backward()
        for name, value in reference.named_parameters():
            difference = (value.grad - ours["g." + name]).abs()
            layer = name.rpartition(".")[0]
            if layer in nearest:
                decided = nearest[layer] > NEAR_ZERO
                self.assertGreater(decided.float().mean().item(), 0.95)
                difference = difference[decided]
            self.assertLess(difference.max().item(), 1e-5, f"gradient of {name}")

    def test_each_config_without_padding(self):
        for name, model in CONFIGS.items():
            with self.subTest(name):
                self.check(1234, make_inputs(padded=False), **model)

    def test_each_config_with_padding(self):
        for name, model in CONFIGS.items():
            with self.subTest(name):
                self.check(5, make_inputs(padded=True), **model)

    def test_options(self):
        self.check(6, make_inputs(padded=True, n_mels=24), n_mels=24, d_model=32, layers=3, heads=4, feed_forward=48,
                   head="mlp", activation="gelu")

    def test_another_seed_gives_other_weights(self):
        inputs = make_inputs(padded=False)
        first, second = (run_ours(seed, inputs, dropout=0, **CONFIGS["simple"]) for seed in (1, 2))
        self.assertFalse(torch.equal(first["w.prenet.weight"], second["w.prenet.weight"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
