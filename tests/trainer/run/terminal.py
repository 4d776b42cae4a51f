"""What a run says: a line redrawn in place on a terminal and nowhere else, quietly, verbosely, and of slow ranks."""

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import termios

from run_trainer import Job, RunTestCase, main, metrics, run, train, trainer, training

STEPS = 400
SETTINGS = {"schedule__total_steps": STEPS, "checkpoint__every": 200, "train__validate_every": 200,
            "train__log_every": 100}
PHASES = ("data_wait", "host_to_device", "forward", "backward", "exposed_communication", "optimizer", "checkpoint",
          "validation")


def run_on_terminal(command, columns):
    """What `command` writes to a terminal of so many columns, and its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                               env=environment)
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the terminal's other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    return text.decode(), process.wait()


def redrawn(text):
    """What was drawn in place: the pieces that follow an erased line and end no line."""
    return [piece for piece in re.split("\r\x1b\\[K", text)[1:] if piece and "\n" not in piece]


def cpus_of_first_core():
    """How many of our CPUs belong to the core of the first one: Open MPI binds a rank to all of them."""
    ours = os.sched_getaffinity(0)
    siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{min(ours)}/topology/thread_siblings_list").read_text()
    ranges = [list(map(int, part.split("-"))) for part in siblings.split(",")]
    return sum(any(ends[0] <= cpu <= ends[-1] for ends in ranges) for cpu in ours)


class BoundJob(Job):
    placing = ("--bind-to", "core")


class Terminal(RunTestCase):
    def arguments(self, name, **settings):
        return training(self.data, self.scratch / name, **{**SETTINGS, **settings})

    def mpirun(self, name, **settings):
        return ["mpirun", "-n", 2, "--oversubscribe", "--bind-to", "none", trainer(), *self.arguments(name, **settings)]

    def test_a_line_is_redrawn_under_mpirun_on_a_terminal(self):
        text, code = run_on_terminal(self.mpirun("run", schedule__total_steps=3000, train__log_every=1500), 100)
        self.assertEqual(code, 0, text)
        drawn = redrawn(text)
        self.assertGreater(len(drawn), 2, text)
        for line in drawn:
            self.assertLess(len(line), 100)
            self.assertRegex(line, r"^\[#*\.*\] +\d+% \d+/3000 left \S+ loss \S+ acc \S+ lr \S+ \d+ utt/s wait ")
        # Whatever was in place is gone at the end, and log lines stand by themselves.
        self.assertTrue(text.endswith("\r\x1b[K"), text[-200:])
        self.assertRegex(text, r"\x1b\[K\d\d:\d\d:\d\d step 1500/3000 ")

    def test_a_narrow_terminal_is_not_overrun(self):
        text, code = run_on_terminal([trainer(), *self.arguments("run", schedule__total_steps=1500)], 30)
        self.assertEqual(code, 0, text)
        drawn = redrawn(text)
        self.assertTrue(drawn)
        self.assertLess(max(map(len, drawn)), 30)

    def test_nothing_is_redrawn_elsewhere(self):
        result = train(self, 2, self.data, self.scratch / "run", **SETTINGS)
        self.assertNotIn("\x1b", result.out)
        self.assertNotIn("\r", result.out)

    def test_never_and_always(self):
        text, code = run_on_terminal(self.mpirun("never", metrics__progress="never"), 100)
        self.assertEqual(code, 0, text)
        self.assertNotIn("\x1b", text)
        result = run(2, self.arguments("always", metrics__progress="always", schedule__total_steps=1500))
        self.assertEqual(result.code, 0, result)
        self.assertIn("\x1b[K", result.out)

    def test_quiet_on_a_terminal(self):
        mpirun = self.mpirun("run")
        text, code = run_on_terminal([*mpirun[:7], "--quiet", *mpirun[7:]], 100)
        self.assertEqual((code, text), (0, ""))

    def test_quiet(self):
        result = run(2, ["--quiet", *self.arguments("run")])
        self.assertEqual((result.code, result.out.strip()), (0, ""), result)
        log = (self.scratch / "run" / "train.log").read_text()
        self.assertIn(f"step {STEPS}/{STEPS}", log)

    def test_verbose_says_where_the_time_goes_and_who_is_slow(self):
        result = run(2, ["--verbose", *self.arguments("run")])
        self.assertEqual(result.code, 0, result)
        details = [line for line in result.out.splitlines() if "phases" in line]
        self.assertEqual(len(details), STEPS // 100)
        for phase in PHASES:
            self.assertIn(f" {phase} ", details[-1])
        self.assertRegex(details[-1], r"slowest: rank [01] on \S+\)")

    def test_which_cores_a_rank_has(self):
        cores = len(os.sched_getaffinity(0))
        if cores < 2:
            self.skipTest("there is one core: binding to it changes nothing")
        arguments = ["--verbose", *self.arguments("free", schedule__total_steps=2)]
        result = run(2, arguments)
        self.assertEqual(result.code, 0, result)
        self.assertRegex(result.out, rf"2 ranks on cpu \(shared memory\), 1 threads each, fp32; each rank on any of {cores} cores")
        for rank in range(2):
            self.assertRegex(result.out, rf"rank {rank} on \S+: cores [\d,-]+, NUMA nodes? [\d,-]+, 1 thread\n")
        self.assertNotIn("--bind-to none", result.out + result.err)
        bound = cpus_of_first_core()
        if bound == cores:
            self.skipTest("all CPUs are threads of one core: binding to it changes nothing")
        # Open MPI's own choice for a lone rank.
        with BoundJob(1, self.arguments("bound", schedule__total_steps=2)) as job:
            result = job.finish()
        self.assertEqual(result.code, 0, result)
        self.assertRegex(result.out, rf"1 threads each, fp32; bound to {bound} cores? by what started it")
        self.assertRegex(result.out, rf"mpirun has bound the rank to {bound} of {cores} cores; .*--bind-to none")

    def test_quiet_and_verbose_exclude_each_other(self):
        result = run(1, ["--quiet", "--verbose", *self.arguments("run")])
        self.assertEqual(result.code, 2, result)
        self.assertEqual(len(result.own_lines()), 1, result)

    def test_the_figures_add_up(self):
        train(self, 2, self.data, self.scratch / "run", **SETTINGS)
        lines = metrics(self.scratch / "run")
        for line in lines:
            in_step = sum(line[f"{phase}_seconds"] for phase in PHASES[:6])
            # What is no phase is small; on a busy machine a rank may lose its core anywhere.
            self.assertLessEqual(in_step, line["step_seconds"] * 1.001)
            self.assertGreater(in_step, line["step_seconds"] * 0.5)
            self.assertAlmostEqual(line["utterances_per_second"] * line["step_seconds"], 8, places=3)
            self.assertAlmostEqual(line["frames_per_second"] / line["utterances_per_second"], 64, places=3)
            self.assertAlmostEqual(line["audio_hours_per_second"] * 3600 * 100 / line["frames_per_second"], 1, places=6)
            self.assertGreater(line["weight_norm"], 0)
            self.assertGreater(line["update_norm"], 0)
            self.assertGreater(line["bus_bandwidth_bytes_per_second"], 0)
        # Step 200 is logged with its validation, and saved after that.
        self.assertGreater(lines[1]["validation_seconds"], 0)
        self.assertGreater(lines[2]["checkpoint_seconds"], 0)
        # Of the ranks the newest figures that have arrived: the first line may be too early for them.
        for line in lines[1:]:
            self.assertIn(line["slowest_rank"], (0, 1))
            self.assertGreater(line["host_memory_bytes"], 50e6)
            self.assertLessEqual(line["busy_seconds"]["min"], line["busy_seconds"]["max"])

    def test_utilisation_is_there_where_the_peak_is_known(self):
        train(self, 1, self.data, self.scratch / "without", **SETTINGS)
        self.assertNotIn("model_flops_utilization", metrics(self.scratch / "without")[-1])
        result = train(self, 1, self.data, self.scratch / "with", **SETTINGS, metrics__peak_tflops=0.5)
        line = metrics(self.scratch / "with")[-1]
        self.assertAlmostEqual(line["model_flops_utilization"] * line["step_seconds"] * 0.5e12 / line["flops_per_step"], 1,
                               places=6)
        self.assertRegex(result.out, r"mfu \d")

    def test_the_slow_rank_is_named(self):
        arguments = self.arguments("run", **{**SETTINGS, "schedule__total_steps": 200}, model__d_model=64,
                                   model__feed_forward=1024,
                                   data__valid_split="none")  # validation refuses ranks that round differently
        # Rank 1 computes with the vector instructions of a CPU of 2008.
        old_cpu = ["env", "ONEDNN_MAX_CPU_ISA=SSE41", "ATEN_CPU_CAPABILITY=default", "MKL_ENABLE_INSTRUCTIONS=SSE4_2"]
        result = run(1, [*arguments, ":", "-n", "1", *old_cpu, trainer(), *arguments])
        self.assertEqual(result.code, 0, result)
        newest = metrics(self.scratch / "run")[-1]
        self.assertEqual(newest["slowest_rank"], 1, newest)
        self.assertGreater(newest["busy_seconds"]["max"], 1.2 * newest["busy_seconds"]["min"], newest)

    def test_starts_are_told(self):
        for steps in (100, 200):
            train(self, 2, self.data, self.scratch / "run", **{**SETTINGS, "schedule__total_steps": steps})
        starts = [json.loads(line) for line in (self.scratch / "run" / "starts.jsonl").read_text().splitlines()]
        self.assertEqual([start["from_step"] for start in starts], [0, 100])
        for start in starts:
            self.assertEqual(start["world_size"], 2)
            self.assertEqual(len(start["hosts"]), 2)
            self.assertEqual(start["communicator"], "shared memory")
            self.assertIn("data.path=", start["command"])


if __name__ == "__main__":
    main()
