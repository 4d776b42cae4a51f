"""Event files and projector files, read back with TensorBoard's own readers, and served by a real `tensorboard`.

usage: tensorboard_test.py WRITE_TENSORBOARD [unittest's options]; the content is what write_tensorboard.cpp writes.
"""

import io
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import PIL.Image
from google.protobuf import json_format, text_format
from tensorboard.backend.event_processing import event_file_loader, plugin_event_accumulator
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.util import tensor_util

WRITER = None
START = 1.75e9


def write(*arguments):
    subprocess.run([WRITER, *map(str, arguments)], check=True, timeout=60)


def event_files(folder):
    return sorted(pathlib.Path(folder).glob("events.out.tfevents.*"))


def accumulate(folder):
    """As `tensorboard` itself reads a folder, keeping every step."""
    everything = {plugin_event_accumulator.TENSORS: 0}
    return plugin_event_accumulator.EventAccumulator(str(folder), everything).Reload()


def scalars(accumulator, tag):
    """[(step, value)], in the order in which TensorBoard got them."""
    return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in accumulator.Tensors(tag)]


def expected_histogram():
    values = (np.arange(1000) ** 2 % 997).astype(np.float32) / 8
    counts, edges = np.histogram(values.astype(np.float64), bins=10)
    return values, counts, edges


MAGMA = [(0x00, 0x00, 0x04), (0x1D, 0x11, 0x47), (0x51, 0x12, 0x7C), (0x82, 0x26, 0x81), (0xB6, 0x36, 0x79),
         (0xE6, 0x51, 0x64), (0xFB, 0x88, 0x61), (0xFE, 0xC2, 0x87), (0xFC, 0xFD, 0xBF)]


def colours_of(values):
    """The colours of numbers in 0 .. 1, by numpy's interpolation."""
    table = np.array(MAGMA, dtype=np.float64)
    places = np.linspace(0, 1, len(table))
    return np.stack([np.interp(values, places, table[:, i]) for i in range(3)], axis=-1)


def expected_mels(frames, number):
    """The pixels (2 * 5, frames, 3) of a strip."""
    x, mel = np.meshgrid(np.arange(frames), np.arange(5), indexing="ij")
    mels = ((x * 31 + mel * 17 + number * 5) % 101).astype(np.float64)  # (frames, mels)
    low, high = np.sort(mels.ravel())[mels.size // 100], mels.max()
    return colours_of((mels - low) / (high - low)).transpose(1, 0, 2)[::-1].repeat(2, axis=0)


class Files(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tensorboard-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name) / "run"

    def test_records_and_checksums(self):
        write("scalars", self.folder, 0, 1, 3)
        content = event_files(self.folder)[0].read_bytes()
        at = records = 0
        while at < len(content):
            length, length_crc = struct.unpack_from("<QI", content, at)
            self.assertEqual(length_crc, pywrap_tensorflow.masked_crc32c(content[at:at + 8]))
            data = content[at + 12:at + 12 + length]
            data_crc, = struct.unpack_from("<I", content, at + 12 + length)
            self.assertEqual(data_crc, pywrap_tensorflow.masked_crc32c(data))
            at, records = at + length + 16, records + 1
        self.assertEqual(records, 2 + 3)

    def test_every_field_is_known(self):
        """What protobuf does not know it keeps aside: a wrong field number would show there, or as a wrong kind."""
        write("scalars", self.folder, 5, 6, 8)
        write("media", self.folder)
        for file in event_files(self.folder):
            events = list(event_file_loader.LegacyEventFileLoader(str(file)).Load())
            self.assertEqual(events[0].file_version, "brain.Event:2")
            for event in events:
                before = event.SerializeToString()
                event.DiscardUnknownFields()
                self.assertEqual(event.SerializeToString(), before)

    def test_scalars(self):
        write("scalars", self.folder, 0, 1, 12)
        accumulator = accumulate(self.folder)
        steps = range(1, 13)
        for tag, value in {
                "train/loss": lambda s: 1 / s, "train/accuracy": lambda s: 1 - 1 / s, "train/epoch": lambda s: s // 10,
                "schedule/learning_rate": lambda s: 1e-3 / s, "speed/step_ms": lambda s: 250,
                "speed/gflops_per_second": lambda s: 20, "phases/forward_ms": lambda s: 3,
                "phases/validation_ms": lambda s: 8}.items():
            self.assertEqual(scalars(accumulator, tag), [(s, np.float32(value(s))) for s in steps], tag)
        self.assertEqual(scalars(accumulator, "valid/loss"), [(s, np.float32(2 / s)) for s in (4, 8, 12)])
        later = range(3, 13)
        for tag, value in {"ranks/busy_ms_max": 500, "ranks/busy_ms_median": 125, "ranks/slowest": 1,
                           "ranks/host_memory_mb_max": 2, "devices/temperature_celsius_max": 61}.items():
            self.assertEqual(scalars(accumulator, tag), [(s, value) for s in later], tag)
        tags = accumulator.Tags()["tensors"]
        self.assertNotIn("devices/memory_mb_max", tags)  # not a number on all ranks
        self.assertNotIn("speed/model_flops_utilization", tags)
        self.assertEqual([event.wall_time for event in accumulator.Tensors("train/loss")], [START + s for s in steps])

    def test_a_run_that_goes_on_shows_no_step_twice(self):
        write("scalars", self.folder, 0, 1, 15)
        write("scalars", self.folder, 10, 11, 13)
        accumulator = accumulate(self.folder)
        for tag in ("train/loss", "phases/forward_ms"):
            self.assertEqual([step for step, _ in scalars(accumulator, tag)], list(range(1, 14)))
        # Logged at step 12 before the restart and after it.
        self.assertEqual([step for step, _ in scalars(accumulator, "valid/loss")], [4, 8, 12])
        # Begun anew, nothing of it is left.
        write("scalars", self.folder, 0, 1, 2)
        self.assertEqual([step for step, _ in scalars(accumulate(self.folder), "train/loss")], [1, 2])

    def test_torn_last_record(self):
        write("scalars", self.folder, 0, 1, 8)
        file = event_files(self.folder)[0]
        whole = file.read_bytes()
        for cut in (1, 4, 20):
            file.write_bytes(whole[:-cut])
            self.assertEqual([step for step, _ in scalars(accumulate(self.folder), "train/loss")], list(range(1, 8)))
        write("scalars", self.folder, 7, 8, 9)
        self.assertEqual([step for step, _ in scalars(accumulate(self.folder), "train/loss")], list(range(1, 10)))

    def test_histograms(self):
        write("media", self.folder)
        event = next(event for event in event_file_loader.LegacyEventFileLoader(str(event_files(self.folder)[0])).Load()
                     if event.step == 7)
        histograms = {value.tag: value.histo for value in event.summary.value if value.HasField("histo")}
        histogram = histograms["weights/encoder.0"]
        values, counts, edges = expected_histogram()
        self.assertEqual((histogram.min, histogram.max, histogram.num), (values.min(), values.max(), 1000))
        self.assertEqual(histogram.sum, values.astype(np.float64).sum())
        self.assertEqual(histogram.sum_squares, (values.astype(np.float64) ** 2).sum())
        self.assertEqual(list(histogram.bucket), list(counts))
        np.testing.assert_allclose(histogram.bucket_limit, edges[1:], rtol=1e-12)
        # As TensorBoard's page shows them: (left, right, count).
        shown = tensor_util.make_ndarray(accumulate(self.folder).Tensors("weights/encoder.0")[0].tensor_proto)
        self.assertEqual(shown[:, 2].sum(), 1000)
        self.assertEqual((shown[0, 0], shown[-1, 1]), (values.min(), values.max()))
        zeros = tensor_util.make_ndarray(accumulate(self.folder).Tensors("weights/zeros")[0].tensor_proto)
        self.assertEqual(zeros[:, 2].sum(), 32)

    def test_mel_picture(self):
        write("media", self.folder)
        event, = accumulate(self.folder).Tensors("valid/mels")
        width, height, png = tensor_util.make_ndarray(event.tensor_proto)
        image = PIL.Image.open(io.BytesIO(png))
        image.load()  # checks the chunks' checksums
        self.assertEqual((image.mode, *image.size), ("RGB", int(width), int(height)))
        pixels = np.asarray(image).astype(int)
        strip = 2 * 5 + 16
        self.assertEqual(pixels.shape, (2 * strip, 80, 3))
        for number, frames in ((0, 80), (1, 70)):
            mels = pixels[number * strip:number * strip + 10]
            np.testing.assert_allclose(mels[:, :frames], expected_mels(90 if number == 0 else 70, number)[:, :frames],
                                       atol=0.5001)
            self.assertTrue((mels[:, frames:] == (24, 24, 28)).all())
        # The second caption is an A and nothing else.
        letter = ["......", "..X...", ".X.X..", "X...X.", "X...X.", "XXXXX.", "X...X.", "X...X.", "......", "......"]
        drawn = pixels[strip + 10 + 3:strip + 10 + 13]
        for y, row in enumerate(letter):
            for x in range(80):
                colour = (255, 120, 110) if x < 6 and row[x] == "X" else (24, 24, 28)
                self.assertEqual(tuple(drawn[y, x]), colour, (x, y))
        first = pixels[13:23]
        self.assertTrue((first[:, :6] == np.where((drawn[:, :6] == (24, 24, 28)).all(-1, keepdims=True), (24, 24, 28),
                                                  (120, 220, 140))).all())
        # Two bytes that are not ASCII: two question marks, alike.
        marks = first[:, 9 * 6:11 * 6]
        self.assertTrue((marks[:, :6] == marks[:, 6:]).all() and (marks == (120, 220, 140)).all(-1).any())

    def test_colours_grow_lighter_evenly(self):
        """CIE lightness along the map: the picture reads in grey, too."""
        linear = np.array(MAGMA) / 255
        linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
        luminance = linear @ (0.2126, 0.7152, 0.0722)
        lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
        self.assertTrue((np.diff(lightness) > 9).all() and (np.diff(lightness) < 16).all(), lightness)

    def test_text(self):
        write("media", self.folder)
        event, = accumulate(self.folder).Tensors("valid/predictions")
        self.assertEqual(tensor_util.make_ndarray(event.tensor_proto).tolist(), ["| utterance |\n|---|\n| é |\n".encode()])

    def test_hparams(self):
        write("media", self.folder)
        accumulator = accumulate(self.folder)
        content = accumulator.PluginTagToContent("hparams")
        self.assertEqual(set(content), {"_hparams_/experiment", "_hparams_/session_start_info",
                                        "_hparams_/session_end_info"})
        experiment = hparams_metadata.parse_experiment_plugin_data(content["_hparams_/experiment"])
        start = hparams_metadata.parse_session_start_info_plugin_data(content["_hparams_/session_start_info"])
        end = hparams_metadata.parse_session_end_info_plugin_data(content["_hparams_/session_end_info"])
        types = {info.name: info.type for info in experiment.hparam_infos}
        self.assertEqual(types, {
            "optimizer.lr": api_pb2.DATA_TYPE_FLOAT64, "optimizer.betas": api_pb2.DATA_TYPE_STRING,
            "model.type": api_pb2.DATA_TYPE_STRING, "model.causal": api_pb2.DATA_TYPE_BOOL,
            "model.layers": api_pb2.DATA_TYPE_FLOAT64, "run.dir": api_pb2.DATA_TYPE_STRING,
            "run.deep.key": api_pb2.DATA_TYPE_BOOL})
        self.assertEqual([info.name.tag for info in experiment.metric_infos], ["final/accuracy", "train/loss"])
        values = {name: json_format.MessageToDict(value) for name, value in start.hparams.items()}
        self.assertEqual(values, {"optimizer.lr": 0.125, "optimizer.betas": "[0.5,0.75]", "model.type": "conformer",
                                  "model.causal": False, "model.layers": 3.0, "run.dir": "r\ufffd s",
                                  "run.deep.key": True})
        self.assertEqual((start.start_time_secs, end.end_time_secs), (START, START + 9))
        self.assertEqual(end.status, api_pb2.STATUS_SUCCESS)
        self.assertEqual(scalars(accumulator, "final/accuracy"), [(9, 0.875)])

    def test_projector(self):
        write("media", self.folder)
        config = text_format.Parse((self.folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
        embedding, = config.embeddings
        values = np.loadtxt(self.folder / embedding.tensor_path, delimiter="\t")
        self.assertEqual(list(embedding.tensor_shape), [4, 3])
        np.testing.assert_allclose(values, (np.arange(12) / 7 - 1).reshape(4, 3), rtol=1e-6)
        rows = [line.split("\t") for line in (self.folder / embedding.metadata_path).read_text().splitlines()]
        self.assertEqual(rows, [["utterance", "speaker"], ["u0", "ann"], ["u 1", "bob"], ["u2", "éve"], ["u3", "ann"]])


class Server:
    """`tensorboard` on a free port of the loopback address; leaving the context ends it."""

    def __init__(self, logdir, *options):
        self._errors = tempfile.TemporaryFile("w+")
        environment = dict(os.environ, PYTHONUNBUFFERED="1")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0", "--host", "127.0.0.1",
             "--reload_interval", "1", *options], stderr=self._errors, stdout=self._errors, env=environment)
        deadline = time.monotonic() + 60
        while not (url := re.search(r"http://127\.0\.0\.1:\d+/", self._text())):
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = self._text()
                self.__exit__()
                raise AssertionError(f"tensorboard did not start:\n{text}")
            time.sleep(0.1)
        self.url = url[0]

    def _text(self):
        self._errors.seek(0)
        return self._errors.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def get(self, path, body=None, **query):
        url = f"{self.url}data/{path}" + ("?" + urllib.parse.urlencode(query) if query else "")
        request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.read()

    def json(self, path, body=None, **query):
        return json.loads(self.get(path, body, **query))

    def until(self, get, good):
        """What get() returns, once good() likes it: data are loaded in the background."""
        deadline = time.monotonic() + 30
        while True:
            try:
                if good(value := get()):
                    return value
            except (urllib.error.HTTPError, KeyError) as error:
                value = error
            if time.monotonic() > deadline:
                raise AssertionError(f"not served within 30 s; the last answer: {value}")
            time.sleep(0.2)


class Served(unittest.TestCase):
    def check(self, *options):
        with tempfile.TemporaryDirectory(prefix="tensorboard-test-") as folder:
            root = pathlib.Path(folder)
            write("scalars", root / "a", 0, 1, 15)
            write("scalars", root / "a", 10, 11, 20)
            write("media", root / "b")
            with Server(root, *options) as server:
                loss = server.until(
                    lambda: server.json("plugin/scalars/scalars", run="a", tag="train/loss"),
                    lambda points: points and points[-1][1] == 20)
                self.assertEqual([step for _, step, _ in loss], list(range(1, 21)))
                np.testing.assert_allclose([value for *_, value in loss], 1 / np.arange(1, 21), rtol=1e-6)

                histograms = server.until(
                    lambda: server.json("plugin/histograms/histograms", run="b", tag="weights/encoder.0"), bool)
                (_, step, buckets), = histograms
                self.assertEqual((step, sum(bucket[2] for bucket in buckets)), (7, 1000))

                image, = server.json("plugin/images/images", run="b", tag="valid/mels", sample=0)
                self.assertEqual(image["step"], 7)
                png = server.get("plugin/images/individualImage?" + image["query"])
                self.assertEqual(PIL.Image.open(io.BytesIO(png)).size, (80, 52))

                text, = server.json("plugin/text/text", run="b", tag="valid/predictions")
                self.assertIn("<th>utterance</th>", text["text"])

                experiment = server.json("plugin/hparams/experiment", body={"experimentName": ""})
                self.assertIn("optimizer.lr", [info["name"] for info in experiment["hparamInfos"]])
                groups = server.until(
                    lambda: server.json("plugin/hparams/session_groups", body={
                        "experimentName": "", "startIndex": 0, "sliceSize": 10,
                        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
                        "colParams": [{"metric": {"tag": "final/accuracy"}}]}),
                    lambda groups: groups["sessionGroups"][0].get("metricValues"))
                group, = groups["sessionGroups"]
                self.assertEqual(group["hparams"]["optimizer.lr"], 0.125)
                self.assertEqual(group["sessions"][0]["status"], "STATUS_SUCCESS")
                self.assertIn({"final/accuracy": 0.875},
                              [{metric["name"]["tag"]: metric["value"]} for metric in group["metricValues"]])

                runs = server.until(lambda: server.json("plugin/projector/runs"), bool)
                self.assertEqual(runs, ["b"])
                info = server.json("plugin/projector/info", run="b")
                self.assertEqual(info["embeddings"][0]["tensorShape"], [4, 3])
                tensor = np.frombuffer(server.get("plugin/projector/tensor", run="b", name="embeddings"), np.float32)
                np.testing.assert_allclose(tensor, np.arange(12) / 7 - 1, rtol=1e-6)
                metadata = server.get("plugin/projector/metadata", run="b", name="embeddings").decode()
                self.assertIn("u2\téve\n", metadata)

    def test_by_python(self):
        self.check("--load_fast", "false")

    def test_by_the_data_server(self):
        self.check("--load_fast", "true")


if __name__ == "__main__":
    WRITER = sys.argv[1]
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)
