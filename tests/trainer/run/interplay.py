"""Checkpoints and data sets are what Python takes them for: weights go both ways, and losses agree."""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from dataset_files import DatasetFiles  # noqa: E402
from reference_models import Transformer  # noqa: E402
from run_trainer import RunTestCase, evaluate, main, metrics, run, train  # noqa: E402

TOLERANCE = 1e-5
# Of tiny.yaml, with the classifier of each of the two kinds.
WIDTHS = dict(d_model=16, layers=1, heads=2, feed_forward=32)


class Interplay(RunTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        torch.set_num_threads(1)
        cls.files = DatasetFiles(cls.data)

    def reference(self, head):
        manifest = self.files.manifest
        return Transformer(manifest["n_mels"], len(manifest["speakers"]), head=head, dropout=0.1, **WIDTHS)

    def figures(self, model, utterances, frames=None):
        """(mean loss, accuracy) in Python, an utterance at a time."""
        model.eval()
        losses, hits = [], 0
        with torch.no_grad():
            for utterance in utterances:
                mels = torch.from_numpy(self.files.frames(utterance))[None, :frames]
                target = torch.tensor([int(self.files.speakers[utterance])])
                logits = model(mels).double()
                losses.append(torch.nn.functional.cross_entropy(logits, target).item())
                hits += int(logits.argmax(1) == target)
        return sum(losses) / len(losses), hits / len(losses)

    def test_python_loads_checkpoints_and_agrees(self):
        for head in ("mlp", "linear"):
            with self.subTest(head):
                run_dir = self.scratch / head
                train(self, 2, self.data, run_dir, model__head=head)
                folder = run_dir / "checkpoints" / "best"
                model = self.reference(head)
                model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
                for ranks, frames in ((1, None), (2, None), (2, 100)):
                    options = ["--split", "test"] + (["--frames", frames] if frames else [])
                    result = evaluate(ranks, folder, self.data, *options)
                    self.assertEqual(result.code, 0, result)
                    self.assertEqual(len(result.out.splitlines()), 1, "stdout is one JSON line")
                    line = json.loads(result.out)
                    loss, accuracy = self.figures(model, self.files.split("test"), frames)
                    self.assertLessEqual(abs(line["loss"] - loss), TOLERANCE * max(1, loss), f"{ranks} ranks, {frames}")
                    self.assertAlmostEqual(line["accuracy"], accuracy, places=9)
                    self.assertEqual(line["utterances"], len(self.files.split("test")))
                # What the run itself said of its validation split.
                best = json.loads((run_dir / "summary.json").read_text())["best"]
                loss, accuracy = self.figures(model, self.files.split("valid"))
                self.assertLessEqual(abs(best["valid_loss"] - loss), TOLERANCE * max(1, loss))
                self.assertAlmostEqual(best["valid_accuracy"], accuracy, places=9)

    def test_weights_from_python(self):
        # One batch of all training utterances, whole: then neither their order nor the crops matter. Two ranks share
        # it, so their number must be even.
        shutil.copytree(self.data, self.scratch / "data")
        files = DatasetFiles(self.scratch / "data")
        utterances = files.split("train")
        utterances = utterances[:len(utterances) // 2 * 2]
        files.set_split("train", utterances)

        model = self.reference("linear")
        torch.manual_seed(5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        weights = self.scratch / "from_python.safetensors"
        save_file(model.state_dict(), weights)
        run_dir = self.scratch / "run"
        train(self, 2, files.folder, run_dir, model__head="linear", model__init_from=weights, model__dropout=0,
              data__crop_frames=int(files.lengths[utterances].max()), train__global_batch=len(utterances),
              schedule__warmup_steps=0, schedule__total_steps=1, optimizer__lr=1e-12, optimizer__weight_decay=0)
        first = metrics(run_dir)[0]
        loss, accuracy = self.figures(model, utterances)
        self.assertLessEqual(abs(first["loss"] - loss), TOLERANCE * max(1, loss))
        self.assertAlmostEqual(first["accuracy"], accuracy, places=6)
        saved = load_file(run_dir / "checkpoints" / "last" / "model.safetensors")
        self.assertEqual(saved.keys(), model.state_dict().keys())
        for name, values in model.state_dict().items():
            self.assertLessEqual((saved[name] - values).abs().max().item(), 1e-6, name)

    def test_the_python_package_s_encoder(self):
        from conformer import Conformer
        torch.manual_seed(3)
        package = Conformer(dim=12, depth=2, dim_head=6, heads=2, conv_kernel_size=5)
        weights = self.scratch / "conformer.safetensors"
        save_file(package.state_dict(), weights)
        widths = dict(model__dim=12, model__depth=2, model__dim_head=6, model__heads=2, model__conv_kernel_size=5)
        run_dir = self.scratch / "run"
        train(self, 2, self.data, run_dir, model__type="conformer", model__init_from=weights, schedule__total_steps=1,
              schedule__warmup_steps=0, optimizer__lr=1e-12, **widths)
        saved = load_file(run_dir / "checkpoints" / "last" / "model.safetensors")
        encoder = {name: value for name, value in saved.items() if name.startswith("encoder.")}
        self.assertEqual({"encoder." + name for name in package.state_dict()}, encoder.keys())
        for name, value in package.named_parameters():
            self.assertLessEqual((encoder["encoder." + name] - value).abs().max().item(), 1e-6, name)

    def test_average_of_checkpoints(self):
        run_dir = self.scratch / "run"
        train(self, 1, self.data, run_dir, schedule__total_steps=20, checkpoint__every=5, checkpoint__keep=9,
              model__type="conformer", model__depth=1, model__dim=12)
        folders = sorted((run_dir / "checkpoints").glob("step-*"))[-3:]
        average = self.scratch / "average"
        result = run(2, ["average", *folders, "--out", f"{average}/"])
        self.assertEqual(result.code, 0, result)
        self.assertEqual(json.loads(result.out)["step"], 20)
        parts, whole = [load_file(folder / "model.safetensors") for folder in folders], load_file(average / "model.safetensors")
        self.assertEqual(parts[0].keys(), whole.keys())
        for name, value in whole.items():
            if value.is_floating_point():
                expected = torch.stack([part[name].double() for part in parts]).mean(0)
                self.assertLessEqual((value - expected).abs().max().item(), 1e-6, name)
            else:
                self.assertTrue(torch.equal(value, parts[-1][name]), name)
        self.assertEqual(evaluate(1, average, self.data).code, 0)


if __name__ == "__main__":
    main()
