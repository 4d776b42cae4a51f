"""The same global batches on 1, 2 and 4 ranks give the same training, dropout included; the same command gives the same bits."""

import numpy as np
from safetensors.numpy import load_file

from dataset_files import DatasetFiles
from run_trainer import RunTestCase, checkpoint_bytes, main, metrics, train

STEPS = 50
TOLERANCE = 1e-5
# Adam divides each gradient by its own running size: where the true gradient is next to nothing, the step is made of
# rounding errors, which differ with the order of additions.
PARAMETER_TOLERANCE = 2e-4
# Cut longer than some utterances of the data set: those are padded.
LONG_CROP = 300


def comparable(name, values, d_model):
    """Without the key's bias: it shifts all scores of a query alike, so its gradient is rounding errors only."""
    if name.endswith("in_proj_bias"):
        return np.delete(values, slice(d_model, 2 * d_model))
    return values


class NRanks(RunTestCase):
    def train_on(self, name, ranks, **overrides):
        run_dir = self.scratch / name
        train(self, ranks, self.data, run_dir, schedule__total_steps=STEPS, **overrides)
        self.assertEqual([line["step"] for line in metrics(run_dir)], list(range(1, STEPS + 1)))
        return run_dir

    def assert_same_training(self, expected_dir, actual_dir, what):
        for expected, actual in zip(metrics(expected_dir), metrics(actual_dir), strict=True):
            for key in ("loss", "gradient_norm", "valid_loss"):
                self.assertEqual(key in expected, key in actual)
                if key in expected:
                    limit = TOLERANCE * max(1.0, abs(expected[key]))
                    self.assertLessEqual(abs(expected[key] - actual[key]), limit,
                                         f"{what}: {key} of step {expected['step']}")
            for key in ("accuracy", "epoch", "learning_rate"):
                self.assertAlmostEqual(expected[key], actual[key], places=9, msg=what)
        reference = load_file(expected_dir / "checkpoints/last/model.safetensors")
        model = load_file(actual_dir / "checkpoints/last/model.safetensors")
        self.assertEqual(reference.keys(), model.keys())
        for name, values in reference.items():
            difference = np.abs(comparable(name, values, 16) - comparable(name, model[name], 16)).max()
            self.assertLessEqual(difference, PARAMETER_TOLERANCE, f"{what}: {name}")

    def check_all_worlds(self, worlds, **overrides):
        reference = self.train_on("reference", 1, **overrides)
        losses = [line["loss"] for line in metrics(reference)]
        self.assertLess(np.mean(losses[-5:]), np.mean(losses[:5]), "nothing was learnt, so equality would mean little")
        for ranks, accumulate in worlds:
            name = f"{ranks} ranks, accumulate {accumulate}"
            run_dir = self.train_on(name, ranks, train__accumulate=accumulate, **overrides)
            self.assert_same_training(reference, run_dir, name)

    def test_1_2_and_4_ranks_train_alike(self):
        self.check_all_worlds([(2, 1), (4, 1), (1, 2), (2, 2), (4, 2)])

    def test_synchronised_conformers_train_alike(self):
        # Without an embedding layer's norm every parameter has a gradient of its own.
        self.check_all_worlds([(2, 1), (4, 1)], model__type="conformer", model__dim=12, model__depth=2,
                              model__dim_head=6, model__heads=2, model__conv_kernel_size=5, model__conv_norm="sync_batch",
                              model__attn_dropout=0.1, model__ff_dropout=0.1, model__conv_dropout=0.1,
                              model__stochastic_depth=0.1,
                              data__min_crop_frames=20, augment__noise_probability=0.5, augment__time_masks=1)

    def test_padded_utterances_train_alike(self):
        lengths = DatasetFiles(self.data).lengths
        self.assertTrue((lengths < LONG_CROP).any() and (lengths > LONG_CROP).any(),
                        "the data set must have utterances on both sides of the crop")
        self.check_all_worlds([(2, 1), (4, 1), (2, 2)], data__crop_frames=LONG_CROP, model__dropout=0)

    def test_the_same_command_gives_the_same_bits(self):
        for name, overrides in {"dropout": {}, "no dropout": {"model__dropout": 0},
                                "padding": {"data__crop_frames": LONG_CROP}}.items():
            with self.subTest(name):
                first = self.train_on(f"{name}, first", 2, **overrides)
                second = self.train_on(f"{name}, second", 2, **overrides)
                self.assertEqual(checkpoint_bytes(first), checkpoint_bytes(second))
        dropout, no_dropout = (metrics(self.scratch / f"{name}, first") for name in ("dropout", "no dropout"))
        self.assertNotEqual(dropout[0]["loss"], no_dropout[0]["loss"], "model.dropout had no effect")


if __name__ == "__main__":
    main()
