"""`trainer preflight`: what it finds, what it says about it, how it ends, and that it leaves nothing behind."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import unittest

from dataset_files import DatasetFiles
from run_trainer import Job, RunTestCase, checkpoints, last_step, main, run, train, trainer, training

BAD_INPUT, STALLED = 2, 76
DOCUMENT = pathlib.Path(__file__).parents[3] / "docs" / "preflight.md"
CPUS = sorted(os.sched_getaffinity(0))

# Stands in for a host whose clock is wrong.
CLOCK_SHIFT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec* time) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
  const int result = real(clock, time);
  if (clock == CLOCK_REALTIME) time->tv_sec += 100;
  return result;
}
"""


def tree(folder):
    """Every path below a folder; of files also what would change if they were written to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (status.st_mode, None if path.is_dir() and not path.is_symlink() else
                                                (status.st_size, status.st_mtime_ns))
    return found


def paths(value, prefix=""):
    """`a.b` for each member of a document; lists of objects as `a[].b`."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from paths(member, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for member in value:
            yield from paths(member, prefix + "[]")
    else:
        yield prefix


class Preflight(RunTestCase):
    def preflight(self, ranks, data, run_dir, *options, code=0, limit_seconds=120, **overrides):
        before = tree(self.scratch)
        result = run(ranks, ["preflight", *training(data, run_dir, **overrides), *options], limit_seconds)
        self.assertEqual(result.code, code, result)
        self.assertEqual(tree(self.scratch), before, "something was left behind")
        print(f"  {result.seconds:.1f} s", flush=True)
        return result

    def findings(self, *arguments, **keywords):
        """The document, and its findings as (level, section): [text and advice]."""
        result = self.preflight(*arguments, "--json", **keywords)
        self.assertEqual(len(result.out.splitlines()), 1, result)
        document = json.loads(result.out)
        found = {}
        for finding in document["findings"]:
            found.setdefault((finding["level"], finding["section"]), []).append(
                f"{finding['text']}; {finding['advice']}")
        self.assertEqual(document["errors"], sum(len(v) for (level, _), v in found.items() if level == "error"))
        if document["errors"]:
            self.assertEqual(document["result"], "error")
        return document, found

    def assert_found(self, found, level, section, *texts):
        lines = found.get((level, section), [])
        self.assertTrue(any(all(str(text) in line for text in texts) for line in lines), (level, section, texts, found))

    def test_for_people(self):
        result = self.preflight(2, self.data, self.scratch / "deep" / "run")
        lines = result.out.splitlines()
        sections = [line[3:] for line in lines if line.startswith("== ")]
        self.assertEqual(sections[:5], ["versions", "config", "hosts", "clocks", "data"])
        for name in ("run folder", "speed", "all-reduce", "training"):
            self.assertIn(name, sections)
        for line in lines[:-1]:
            self.assertRegex(line, r"^(ok      |warning |error   ) \S|^== [a-z -]+$|^$")
        self.assertRegex(lines[-1], r"^errors: 0, warnings: \d+, after [0-9.]+ s: the run can start$")
        self.assertRegex(result.out, r"50 steps in about [0-9.]+s, 2 validations of")
        self.assertIn("ranks 0-1 on ", result.out)
        self.assertIn("preflight: training steps", result.err)

    def test_a_rank_that_is_stopped(self):
        with Job(2, ["preflight", *training(self.data, self.scratch / "run"), "--timeout", 20]) as job:
            # Reading takes a second.
            self.assertTrue(job.wait_until(lambda: "preflight: reading" in job.errors(), "the reading"))
            os.kill(next(process for process, rank in job.processes().items() if rank == 1), signal.SIGSTOP)
            result = job.finish()
        self.assertEqual(result.code, STALLED, result)
        self.assertRegex(result.err, r"rank 1 on \S+ has made no progress for \d+ s: [a-z, -]+; its process does not answer")

    def test_for_scripts(self):
        run_dir = self.scratch / "run"
        train(self, 2, self.data, run_dir, schedule__total_steps=30, checkpoint__keep=1)
        document, found = self.findings(2, self.data, run_dir, schedule__total_steps=70)
        self.assertNotEqual(document["result"], "error")
        self.assert_found(found, "ok", "run folder", "go on from step 30")
        self.assertEqual(document["run_folder"]["steps_done"], 30)
        self.assertEqual(document["training"]["steps_left"], 40)
        size = sum(file.stat().st_size for file in checkpoints(run_dir)[-1].glob("*.safetensors"))
        self.assertAlmostEqual(document["run_folder"]["checkpoint_bytes"], size, delta=0.1 * size + 8192)
        self.assertEqual([rank["rank"] for rank in document["ranks"]], [0, 1])
        self.assertEqual([size["bytes"] for size in document["all_reduce"]["sizes"]][:2], [4096, 65536])
        self.assertGreater(min(document["speed"]["alone"]["fp32_gflops"]), 0)
        self.assertGreater(document["training"]["step_seconds"], 0)
        # The document describes itself: nothing that docs/preflight.md does not name, and all that it names but for
        # what only GPUs, or findings, bring.
        documented = dict(re.findall(r"^\| `([a-z0-9_.\[\]]+)` \| ?(.*?) ?\|$", DOCUMENT.read_text(), re.MULTILINE))
        there = set(paths(document))
        self.assertEqual(there - set(documented), set())
        missing = {path for path in set(documented) - there if "GPU" not in documented[path]}
        self.assertEqual(missing, set())

    def test_one_rank(self):
        document, found = self.findings(1, self.data, self.scratch / "run", train__validate_every=0)
        self.assertNotEqual(document["result"], "error")
        self.assert_found(found, "ok", "all-reduce", "one rank")
        self.assertEqual(document["all_reduce"]["sizes"], [])

    def test_synchronised_norms(self):
        # Ranks wait for each other in forward: other code goes first through the model there.
        document, found = self.findings(2, self.data, self.scratch / "run", model__embedding=8,
                                        model__embedding_norm="sync_batch", train__accumulate=2, train__ema_decay=0.9,
                                        data__stage_to=self.scratch / "stage")
        self.assertNotEqual(document["result"], "error")
        self.assert_found(found, "ok", "data", "data.stage_to", "room")

    def test_configuration(self):
        # As in training: a line and nothing else, unless a script wants its document.
        result = self.preflight(2, self.data, self.scratch / "run", code=BAD_INPUT, model__headz=3)
        self.assertEqual(result.out, "")
        self.assertIn("did you mean model.heads?", result.err)
        document, found = self.findings(2, self.data, self.scratch / "run", code=BAD_INPUT, model__headz=3)
        self.assertEqual(document["errors"], 1)
        self.assert_found(found, "error", "config", "did you mean model.heads?")
        result = run(2, ["preflight"], 30)
        self.assertEqual(result.code, BAD_INPUT, result)
        self.assertIn("--config", result.err)

    def test_all_that_is_wrong_is_said_at_once(self):
        (self.scratch / "file").touch()
        _, found = self.findings(2, self.scratch / "none", self.scratch / "file" / "run", code=BAD_INPUT,
                                 metrics__prometheus__auth_file=self.scratch / "secret",
                                 metrics__prometheus__textfile=self.scratch / "nowhere" / "x.prom",
                                 metrics__prometheus__address="127.0.0.1:99999",
                                 metrics__prometheus__pushgateway="host:port:")
        self.assert_found(found, "error", "data", self.scratch / "none")
        self.assert_found(found, "error", "run folder", self.scratch / "file", "set run.dir")
        self.assert_found(found, "error", "config", "auth_file", self.scratch / "secret")
        self.assert_found(found, "error", "config", "textfile", self.scratch / "nowhere")
        self.assert_found(found, "error", "config", "prometheus.address", "127.0.0.1:99999", "set it to host:port")
        self.assert_found(found, "error", "config", "metrics.prometheus.pushgateway", "host:port:")

    def test_no_gpu_and_a_batch_that_does_not_divide(self):
        if shutil.which("nvidia-smi"):
            self.skipTest("there may be a GPU here")
        document, found = self.findings(2, self.data, self.scratch / "run", code=BAD_INPUT, train__device="cuda",
                                        train__global_batch=9)
        self.assert_found(found, "error", "hosts", "no GPU", "train.device=cpu")
        self.assert_found(found, "error", "data", "train.global_batch = 9", "2 ranks")
        self.assertNotIn("speed", document)

    def test_damaged_frames(self):
        shutil.copytree(self.data, self.scratch / "data")
        files = DatasetFiles(self.scratch / "data")
        for utterance in files.split("train"):
            files.overwrite_frames(utterance, float("nan"))
        document, found = self.findings(2, self.scratch / "data", self.scratch / "run", code=BAD_INPUT)
        self.assert_found(found, "error", "data", "shard")
        self.assertNotIn("training", document)

    def test_run_folder_of_another_run(self):
        run_dir = self.scratch / "run"
        train(self, 1, self.data, run_dir, schedule__total_steps=2)
        _, found = self.findings(1, self.data, run_dir, code=BAD_INPUT, run__seed=8)
        self.assert_found(found, "error", "run folder", "run.seed", "set it back")
        _, found = self.findings(1, self.data, run_dir, code=BAD_INPUT, run__resume="never",
                                 data__stage_to=run_dir / "config.yaml" / "stage")
        self.assert_found(found, "error", "data", "data.stage_to", "Not a directory")
        self.assert_found(found, "error", "run folder", "holds a run already")

    def test_a_run_in_progress_is_left_alone(self):
        run_dir = self.scratch / "run"
        with Job(1, training(self.data, run_dir, schedule__total_steps=100000, train__validate_every=0)) as job:
            self.assertTrue(job.wait_until(lambda: last_step(run_dir) > 0, "the first step"))
            result = run(2, ["preflight", *training(self.data, run_dir), "--json"])
            self.assertTrue(job.running())
        self.assertEqual(result.code, BAD_INPUT, result)
        document = json.loads(result.out)
        self.assertTrue(document["run_folder"]["in_use"])
        self.assertIn("another run is writing to run.dir", result.out)
        self.assertNotIn("speed", document)

    @contextlib.contextmanager
    def small_disk(self, kib):
        folder = self.shared / "disk"
        folder.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True,
                                 text=True)
        if mounted.returncode != 0:
            folder.rmdir()
            self.skipTest(f"no file system can be mounted here: {mounted.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)
            folder.rmdir()

    def test_disk(self):
        with self.small_disk(512) as disk:
            document, found = self.findings(1, self.data, disk / "run", code=BAD_INPUT, model__feed_forward=1024)
            self.assert_found(found, "error", "run folder", "too small", "checkpoint.keep")
            self.assertLessEqual(document["run_folder"]["free_bytes"], 512 * 1024)
            self.assertEqual(list(disk.iterdir()), [])
            (disk / "filler").write_bytes(bytes(4096))
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            _, found = self.findings(1, self.scratch / "none", disk / "run", code=BAD_INPUT)
            self.assert_found(found, "error", "run folder", "Read-only file system", "set run.dir")

    def test_mixed_versions(self):
        other = self.scratch / "trainer"
        shutil.copy(trainer(), other)
        with open(other, "ab") as file:
            file.write(b"\0")
        arguments = ["preflight", *training(self.data, self.scratch / "run"), "--json"]
        result = run(1, [*arguments, ":", "-n", 1, other, *arguments])
        self.assertEqual(result.code, BAD_INPUT, result)
        document = json.loads(result.out)
        self.assertEqual(document["errors"], 1)
        [error] = [finding for finding in document["findings"] if finding["level"] == "error"]
        self.assertRegex(error["text"], r"the program's checksum is not the same .* for rank 0 on .* for rank 1 on ")
        self.assertIn("the same build", error["advice"])
        self.assertEqual([group["ranks"] for group in document["versions"]["build"]], [[0], [1]])

    @unittest.skipIf(len(CPUS) < 2, "needs two CPUs")
    def test_a_slow_rank_and_a_wrong_clock_are_named(self):
        source, library = self.scratch / "clock.c", self.scratch / "clock.so"
        source.write_text(CLOCK_SHIFT)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        arguments = ["preflight", *training(self.data, self.scratch / "run"), "--json"]
        # Four processes that do nothing but compute take the second rank's CPU; the first rank goes before whatever
        # else may run on its own, where that is allowed.
        loop = "while True: pass"
        busy = [subprocess.Popen(["taskset", "-c", str(CPUS[0]), sys.executable, "-c", loop]) for _ in range(4)]
        try:
            result = run(1, ["-n", "-15", "taskset", "-c", CPUS[1], trainer(), *arguments,
                             ":", "-n", 1, "taskset", "-c", CPUS[0], "env", f"LD_PRELOAD={library}", trainer(), *arguments],
                         limit_seconds=400, program="nice")
        finally:
            for process in busy:
                process.kill()
                process.wait()
        self.assertEqual(result.code, 0, result)
        document = json.loads(result.out)
        warnings = [finding["text"] for finding in document["findings"] if finding["level"] == "warning"]
        self.assertTrue(any(re.match(r"rank 1 on \S+ (multiplies|copies) .*the median is", text) for text in warnings),
                        warnings)
        self.assertIn(1, document["speed"]["slow_ranks"])
        self.assertTrue(any(re.match(r"the clock of rank 1 on \S+ is (99|100)\.\d s ahead of rank 0's", text)
                            for text in warnings), warnings)
        self.assertEqual(document["result"], "warning")


if __name__ == "__main__":
    main()
