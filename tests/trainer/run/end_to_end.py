"""From audio to an evaluated model, as the README says it: synthesised voices always, recorded speech where it is.

The recordings are looked for in ../shared/data/arabic_commands, beside the source tree (30 speakers, FLAC).
"""

import json
import os
import pathlib
import subprocess
import sys
import unittest

from run_trainer import RunTestCase, evaluate, main, mels, run

SOURCE = pathlib.Path(__file__).resolve().parents[3]
SPEECH = SOURCE.parent / "shared" / "data" / "arabic_commands" / "manifest.csv"


class SynthesisedVoices(RunTestCase):
    def test_the_demo(self):
        folder = self.scratch / "demo"
        result = subprocess.run(["bash", SOURCE / "scripts" / "demo.sh"], capture_output=True, text=True, timeout=900,
                                env=dict(os.environ, DEMO_DIR=str(folder)))
        self.assertEqual(result.returncode, 0, result.stdout[-3000:] + result.stderr[-3000:])
        evaluation = next(json.loads(line) for line in result.stdout.splitlines() if line.startswith('{"accuracy"'))
        print(evaluation, file=sys.stderr)
        self.assertEqual(evaluation["utterances"], 120)
        self.assertGreater(evaluation["accuracy"], 0.8)  # chance: 0.03
        self.assertIn(f"Accuracy on unheard sentences of 30 speakers: {evaluation['accuracy']}", result.stdout)
        self.assertTrue((folder / "run/checkpoints/best/model.safetensors").exists())


@unittest.skipUnless(SPEECH.exists(), f"no recorded speech in {SPEECH.parent}")
class RecordedSpeech(RunTestCase):
    def test_simple_on_two_ranks(self):
        data, run_dir = self.scratch / "mels", self.scratch / "run"
        extracted = mels("extract", SPEECH, data)
        self.assertEqual(extracted.returncode, 0, extracted.stderr)
        trained = run(2, ["--config", "simple.yaml", f"data.path={data}", f"run.dir={run_dir}", "train.device=cpu",
                          "schedule.total_steps=2000", "schedule.warmup_steps=200"], limit_seconds=1200)
        self.assertEqual(trained.code, 0, trained)
        for options, least in (([], 0.95), (["--frames", "128"], 0.9)):
            result = evaluate(1, run_dir / "checkpoints" / "best", data, "--split", "test", *options)
            self.assertEqual(result.code, 0, result)
            figures = json.loads(result.out)
            print(figures, file=sys.stderr)
            self.assertEqual(figures["utterances"], 449)
            self.assertGreaterEqual(figures["accuracy"], least)


if __name__ == "__main__":
    main()
