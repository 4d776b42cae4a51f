"""The benchmarks of single parts, each once and small: that every contestant runs, and what their tables hold.

usage: parts.py PROGRAMS
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = sys.argv.pop(1)


class Parts(unittest.TestCase):
    def run_quick(self, name, *arguments, keeps_data=True):
        with tempfile.TemporaryDirectory() as folder:
            work = ["--work", folder] if keeps_data else []
            done = subprocess.run([sys.executable, PROJECT / "benchmarks" / name, "--programs", PROGRAMS, *work, "--quick",
                                   *arguments], capture_output=True, text=True, timeout=600)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            return done.stdout

    def test_loader(self):
        text = self.run_quick("loader.py")
        for contestant in ("ours", "pread of the same bytes", "torch.load + DataLoader, 8 workers", "h5py + DataLoader, 0 workers"):
            self.assertIn(f"| {contestant} |", text)

    def test_checkpoints(self):
        text = self.run_quick("checkpoints.py")
        for saver in ("ours", "torch.save", "torch.distributed.checkpoint.async_save"):
            row = next(line for line in text.splitlines() if line.startswith(f"| simple, 1 x 1 | {saver} |"))
            stalled = float(row.split("|")[3].split()[0])
            self.assertGreater(stalled, 0, row)

    def test_all_reduce(self):
        text = self.run_quick("all_reduce.py")
        self.assertIn("| 4 KB |", text)
        self.assertIn("| 16 KB |", text)

    def test_kernels(self):
        text = self.run_quick("kernels.py", keeps_data=False)
        self.assertIn("| GLU, depthwise convolution | (32, 128, 288), kernel 31 |", text)

    def test_scaling(self):
        text = self.run_quick("scaling.py", "--only", "ranks", "shards")
        self.assertIn("| shards of the data set (simple) | 1 8 | 0.00 |", text)
        self.assertRegex(text, r"\| MiB a rank \| \d+ \| \d+ \|")


class ScalingModel(unittest.TestCase):
    def test_tables(self):
        """What is in docs/scaling.md apart from the check against measurements is what the model computes now."""
        document = (PROJECT / "docs" / "scaling.md").read_text()
        with tempfile.TemporaryDirectory() as folder:
            copy = pathlib.Path(folder) / "scaling.md"
            copy.write_text(document)
            done = subprocess.run([sys.executable, PROJECT / "benchmarks" / "scaling_model.py", "--work", folder, "--output",
                                   copy], capture_output=True, text=True, timeout=100)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            computed = copy.read_text()
        for name in ("predictions", "buckets", "overlap", "useful", "speakers", "data"):
            begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
            self.assertEqual(document[document.index(begin):document.index(end)],
                             computed[computed.index(begin):computed.index(end)], name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
