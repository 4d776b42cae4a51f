"""What a real run leaves for TensorBoard, held against its other files and against the tools' answers."""

import csv
import io

import numpy as np
import PIL.Image
from google.protobuf import json_format, text_format
from safetensors.numpy import load_file
from tensorboard.backend.event_processing import event_file_loader, plugin_event_accumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.util import tensor_util

from dataset_files import DatasetFiles
from run_trainer import RunTestCase, main, metrics, run, train

RANKS = 2


class TensorBoardRun(RunTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_dir = cls.shared / "run"
        cls.folder = cls.run_dir / "tensorboard"
        for steps in (30, 50):  # the second goes on from the first
            train(cls(), RANKS, cls.data, cls.run_dir, schedule__total_steps=steps, metrics__tensorboard="true",
                  optimizer__lr=0.01)
        everything = {plugin_event_accumulator.TENSORS: 0}
        cls.accumulator = plugin_event_accumulator.EventAccumulator(str(cls.folder), everything).Reload()
        cls.checkpoint = cls.run_dir / "checkpoints" / "last"
        cls.files = DatasetFiles(cls.data)

    def points(self, tag):
        return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in self.accumulator.Tensors(tag)]

    def test_scalars_are_those_of_the_metrics_file(self):
        lines = metrics(self.run_dir)
        for tag, key in (("train/loss", "loss"), ("train/accuracy", "accuracy"), ("norms/gradient", "gradient_norm"),
                         ("schedule/learning_rate", "learning_rate"), ("valid/loss", "valid_loss"),
                         ("valid/accuracy", "valid_accuracy"),
                         ("speed/utterances_per_second", "utterances_per_second")):
            expected = [(line["step"], np.float32(line[key])) for line in lines if key in line]
            self.assertEqual(self.points(tag), expected, tag)
        self.assertEqual([step for step, _ in self.points("train/loss")], list(range(1, 51)))
        self.assertTrue(all(value > 0 for _, value in self.points("ranks/busy_ms_max")))

    def test_histograms_are_those_of_the_parameters(self):
        weights = load_file(self.checkpoint / "model.safetensors")
        squares = {}
        for file in sorted(self.folder.glob("events.*")):
            for event in event_file_loader.LegacyEventFileLoader(str(file)).Load():
                for value in event.summary.value:
                    if value.HasField("histo") and event.step == 50:
                        squares[value.tag] = value.histo
        tags = {tag for tag in squares if tag.startswith("weights/")}
        self.assertGreater(len(tags), 10)
        for tag in tags:
            weight = weights[tag.removeprefix("weights/")].astype(np.float64)
            histogram = squares[tag]
            self.assertEqual((histogram.min, histogram.max, histogram.num), (weight.min(), weight.max(), weight.size))
            np.testing.assert_allclose(histogram.sum_squares, (weight ** 2).sum(), rtol=1e-9)
            self.assertEqual(sum(histogram.bucket), weight.size)
        gradients = [histogram for tag, histogram in squares.items() if tag.startswith("gradients/")]
        self.assertEqual(len(gradients), len(tags))
        norm = sum(histogram.sum_squares for histogram in gradients) ** 0.5
        np.testing.assert_allclose(norm, metrics(self.run_dir)[-1]["gradient_norm"], rtol=1e-5)
        self.assertEqual([step for step, _ in self.points(min(tags))], [25, 30, 50])

    def test_predictions_are_those_of_the_model(self):
        answers = self.scratch / "answers.csv"
        result = run(1, ["predict", "--checkpoint", self.checkpoint, "--data", self.data, "--split", "valid", "--csv",
                         answers, "--device", "cpu", "--threads", "1"])
        self.assertEqual(result.code, 0, result)
        predicted = {row["Id"]: row["Category"] for row in csv.DictReader(io.StringIO(answers.read_text()))}
        step, text = self.points("valid/likeliest_speakers")[-1]
        self.assertEqual(step, 50)
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text[0].decode().splitlines()[2:]]
        self.assertEqual(len(rows), 6)
        ids = {self.files.names[u]: self.files.manifest["speakers"][self.files.speakers[u]]
               for u in self.files.split("valid")}
        for utterance, speaker, likeliest in rows:
            self.assertEqual(speaker, ids[utterance])
            names, percents = zip(*(word.rsplit(" ", 1) for word in likeliest.split(", ")))
            self.assertEqual(names[0], predicted[utterance])
            percents = [float(percent.rstrip("%")) for percent in percents]
            self.assertEqual(percents, sorted(percents, reverse=True))
            self.assertTrue(1 / len(set(ids.values())) < percents[0] / 100 and sum(percents) < 100.2, percents)
        self.assertEqual(len({row[0] for row in rows}), 6)

        for step, (width, height, png) in self.points("valid/predictions"):
            self.assertIn(step, (25, 30, 50))
            image = PIL.Image.open(io.BytesIO(png))
            self.assertEqual(image.size, (int(width), int(height)))
            self.assertEqual(image.size[1], 6 * (2 * self.files.manifest["n_mels"] + 16))
        # The caption's colour says whether the answer is right.
        pixels = np.asarray(image)
        for number, (utterance, speaker, _) in enumerate(rows):
            top = number * (image.size[1] // 6)
            caption = pixels[top + 2 * self.files.manifest["n_mels"]:top + image.size[1] // 6].reshape(-1, 3)
            right = predicted[utterance] == speaker
            self.assertTrue((caption == ((120, 220, 140) if right else (255, 120, 110))).all(-1).any(), utterance)

    def test_embeddings_are_those_of_the_model(self):
        out = self.scratch / "embeddings"
        result = run(1, ["embed", "--checkpoint", self.checkpoint, "--data", self.data, "--split", "valid", "--out",
                         out, "--device", "cpu", "--threads", "1"])
        self.assertEqual(result.code, 0, result)
        config = text_format.Parse((self.folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
        embedding, = config.embeddings
        values = np.loadtxt(self.folder / embedding.tensor_path, delimiter="\t")
        expected = np.load(out / "embeddings.npy")
        self.assertEqual(list(embedding.tensor_shape), list(expected.shape))
        np.testing.assert_allclose(values, expected, atol=1e-5)
        rows = [line.split("\t") for line in (self.folder / embedding.metadata_path).read_text().splitlines()]
        self.assertEqual(rows, [["speaker", "utterance"]] + [
            [self.files.manifest["speakers"][self.files.speakers[u]], self.files.names[u]]
            for u in self.files.split("valid")])

    def test_hparams(self):
        content = self.accumulator.PluginTagToContent("hparams")
        start = hparams_metadata.parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
        values = {name: json_format.MessageToDict(value) for name, value in start.hparams.items()}
        self.assertEqual((values["optimizer.lr"], values["model.d_model"], values["metrics.prometheus.address"]),
                         (0.01, 16, ""))
        self.assertIn("_hparams_/session_end_info", content)
        last = [line for line in metrics(self.run_dir) if "valid_accuracy" in line][-1]
        self.assertEqual(self.points("final/valid_accuracy")[-1], (50, np.float32(last["valid_accuracy"])))

    def test_off(self):
        train(self, 1, self.data, self.scratch / "run", schedule__total_steps=5, metrics__tensorboard="false")
        self.assertFalse((self.scratch / "run" / "tensorboard").exists())

    def test_a_folder_that_cannot_be_written_costs_one_warning(self):
        run_dir = self.scratch / "run"
        run_dir.mkdir()
        (run_dir / "tensorboard").write_text("in the way")
        result = train(self, RANKS, self.data, run_dir, schedule__total_steps=30, metrics__tensorboard="true")
        self.assertEqual(len([line for line in result.out.splitlines() if "tensorboard" in line]), 1, result)
        self.assertEqual(len(metrics(run_dir)), 30)


if __name__ == "__main__":
    main()
