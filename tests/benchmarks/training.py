"""benchmarks/performance.py, once and small: ours beside DDP on two ranks, the results and the tables made of them.

usage: training.py PROGRAMS
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = sys.argv.pop(1)


def run(*arguments):
    return subprocess.run([sys.executable, PROJECT / "benchmarks" / "performance.py", "--programs", PROGRAMS,
                           *map(str, arguments)], capture_output=True, text=True, timeout=280)


class Training(unittest.TestCase):
    def test_quick(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            results, document = folder / "results.json", folder / "performance.md"
            common = ("--work", folder, "--results", results)
            done = run(*common, "--quick", "--only", "simple", "--ranks", 2, "--precision", "fp32", "--contestants", "ours",
                       "ddp", "--batch", 4)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            (key, cell), = json.loads(results.read_text()).items()
            self.assertIn("simple/fp32/2x1/4", key)
            for name in ("ours", "ddp"):
                figures, = cell["runs"][name]
                for figure in ("step_seconds", "memory_bytes", "first_step_seconds"):
                    self.assertGreater(figures[figure], 0, (name, figure))
                for share in ("data_wait", "exposed_communication"):
                    self.assertGreaterEqual(figures[share], 0, (name, share))
                    self.assertLess(figures[share], 1, (name, share))

            document.write_text("before\n<!-- training: begin -->\nold\n<!-- training: end -->\nafter\n")
            done = run(*common, "--table", "--output", document)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            text = document.read_text()
            self.assertTrue(text.startswith("before\n<!--") and text.endswith("-->\nafter\n"), text)
            self.assertNotIn("old", text)
            self.assertIn("| simple, 2 x 1, batch 4 | PyTorch DDP |", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
