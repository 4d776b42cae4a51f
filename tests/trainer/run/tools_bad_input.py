"""Whatever is wrong with what a tool is given: one line that says what, where and what to do; exit code 2."""

import subprocess

import numpy as np

from dataset_files import DatasetFiles
from run_trainer import main, mels, run, synthesise, train, trainer
from tool_case import BAD_INPUT, ToolTestCase, hw4_folder, sing


class WrongInput(ToolTestCase):
    def refused(self, *arguments, texts, ranks=2):
        result = run(ranks, arguments, limit_seconds=30)
        self.assertEqual(result.code, BAD_INPUT, result)
        self.assertEqual(result.out, "")
        lines = result.own_lines()
        self.assertEqual(len(lines), 1, result)
        for text in texts:
            self.assertIn(str(text), lines[0])

    def tool_refused(self, name, *options, texts, checkpoint=None, data=None, **keywords):
        self.refused(name, "--checkpoint", checkpoint or self.checkpoint, "--data", data or self.data, "--device",
                     "cpu", *options, texts=texts, **keywords)

    def test_splits_and_checkpoints(self):
        csv_path = self.scratch / "x.csv"
        self.tool_refused("predict", "--split", "tset", "--csv", csv_path, texts=["'tset'", "test", self.data])
        self.assertFalse(csv_path.exists())
        self.tool_refused("embed", "--split", "tset", "--out", self.scratch / "x", texts=["'tset'"], ranks=1)
        self.assertFalse((self.scratch / "x").exists())
        self.tool_refused("verify", texts=["no such checkpoint"], checkpoint=self.scratch / "none")

    def test_places_that_cannot_be_written(self):
        (self.scratch / "file").write_text("")
        below = self.scratch / "file" / "below"
        self.tool_refused("predict", "--csv", below / "x.csv", texts=["--csv", "no folder"])
        self.tool_refused("predict", "--csv", self.scratch, texts=["--csv", "is a folder"], ranks=1)
        for tool in ("evaluate", "embed", "verify"):
            self.tool_refused(tool, "--out", below, texts=["--out", below, "another folder"], ranks=1)

    def test_trials(self):
        name = self.names("test")[0]
        for text, texts in ((f"1\t{name}\t{name}\n0\t{name}\tnobody\n", ["line 2", "'nobody'", self.data]),
                            (f"1\t{name}\n", ["line 1", "label enrol test"]),
                            (f"yes\t{name}\t{name}\n", ["line 1", "'yes'", "nontarget"]),
                            (f"1\t{name}\t{name}\n", ["no nontarget trial"]),
                            ("\n", ["no trial in it"])):
            (self.scratch / "trials").write_text(text)
            self.tool_refused("verify", "--trials", self.scratch / "trials", texts=[self.scratch / "trials", *texts],
                              ranks=1)
        self.tool_refused("verify", "--trials", self.scratch / "none", texts=[self.scratch / "none", "No such file"])

    def test_splits_that_give_no_trials(self):
        data = self.scratch / "data"
        sing(self.scratch / "tree" / "a" / "0.wav", 0, 0)
        sing(self.scratch / "tree" / "a" / "1.wav", 0, 1)
        self.assertEqual(mels("extract", self.scratch / "tree", data).returncode, 0)
        self.tool_refused("verify", "--split", "train", data=data, texts=[data, "'train'", "one speaker"])
        files = DatasetFiles(data)
        files.set_split("train", [0])
        self.tool_refused("verify", "--split", "train", data=data, texts=["two utterances"], ranks=1)
        silence = [np.zeros((50, 40))]
        hw4_folder(self.scratch / "hw4", {"x": silence, "y": silence}, silence * 2)
        mels("import-hw4", self.scratch / "hw4", self.scratch / "imported")
        self.tool_refused("verify", data=self.scratch / "imported", texts=["without a speaker", "--trials"], ranks=1)

    def test_ensemble_of_other_speakers(self):
        other = synthesise(self.scratch / "other")
        train(self, 1, other, self.scratch / "run", schedule__total_steps=2)
        member = self.scratch / "run" / "checkpoints" / "last"
        self.tool_refused("predict", "--csv", self.scratch / "x.csv", "--ensemble", member,
                          texts=["--ensemble", member, "does not know speaker 'anna'", "same speakers"])
        self.refused("identify", "--checkpoint", member, self.audio / self.names("test")[0], ranks=1,
                     texts=[member, "not made from audio", "mels extract"])

    def test_values_that_cannot_be(self):
        for option, value in (("--frames", "-1"), ("--frames", "abc"), ("--max-frames", "0"), ("--threads", "5000"),
                              ("--frames", "92233720368547758070"), ("--frames", "010"), ("--frames", "+5"),
                              ("--frames", "5 ")):
            self.tool_refused("evaluate", option, value, texts=[f"{option}: '{value}' is no whole number"], ranks=1)
        self.tool_refused("evaluate", "--out", "", texts=["--out: is empty"], ranks=1)
        self.refused("identify", "--checkpoint", self.checkpoint, "--enrol", "", "x.wav", texts=["--enrol: is empty"],
                     ranks=1)
        self.tool_refused("verify", "--trials", "x", "--split", "test", texts=["--trials", "--split"], ranks=1)
        self.refused("--quiet", "evalute", texts=["no command 'evalute'"], ranks=1)
        self.refused("evalute", "--checkpoint", self.checkpoint, texts=["no command 'evalute'", "--help"], ranks=1)

    def test_answers_that_do_not_arrive(self):
        """On a full disk, or with standard output closed, a tool has not succeeded."""
        command = [trainer(), "evaluate", "--checkpoint", self.checkpoint, "--data", self.data, "--device", "cpu"]
        for command, where, word in ((command, "/dev/full", "No space left"), (command, "&-", "standard output"),
                                     ([trainer(), "--help"], "/dev/full", "standard output")):
            result = subprocess.run(["bash", "-c", f'"$@" >{where}', "bash", *map(str, command)], text=True,
                                    stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(result.returncode, 1, result)
            self.assertEqual(len(result.stderr.splitlines()), 1, result)
            self.assertIn("cannot write to standard output", result.stderr)
            self.assertIn(word, result.stderr)

    def test_usage(self):
        self.refused("predict", "--checkpoint", self.checkpoint, "--data", self.data, texts=["--csv", "--help"])
        self.refused("identify", "--checkpoint", self.checkpoint, texts=["recordings", "--help"], ranks=1)
        recording = self.audio / self.names("test")[0]
        self.refused("identify", "--checkpoint", self.checkpoint, recording, texts=["one process"])
        self.refused("identify", "--checkpoint", self.checkpoint, "--enrol", self.scratch / "none", recording,
                     texts=[self.scratch / "none", "no such"], ranks=1)
        self.tool_refused("evaluate", "--max-frames", "0", texts=["--max-frames"], ranks=1)


if __name__ == "__main__":
    main()
