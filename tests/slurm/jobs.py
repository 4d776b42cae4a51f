"""The scripts in slurm/ on a real SLURM: each job ends as docs/slurm.md says, with the model of an undisturbed run.

Usage: jobs.py TRAINER MELS [unittest's options]
"""

import math
import os
import pathlib
import random
import re
import signal
import socket
import struct
import sys
import tempfile
import threading
import wave

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "trainer" / "run"))

import run_trainer
from cluster import Cluster, wait_until, why_not
from run_trainer import RunTestCase, checkpoint_bytes, checkpoints, last_step, train, training

SCRIPTS = HERE.parents[1] / "slurm"
STOPPED, STALLED = 75, 76
RANKS = 2
# Long enough to be met in the middle, a millisecond a step.
SETTINGS = {"schedule__total_steps": 4000, "checkpoint__every": 100, "train__validate_every": 500,
            "train__log_every": 10}


class Job:
    """A submitted job, its run folder and its log."""

    def __init__(self, number, run_dir, log):
        self.number, self.run_dir, self._log = number, run_dir, log

    def log(self):
        """Without the lines of the steps."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return "\n".join(line for line in lines if not re.match(r"[\d:]+ step \d+/", line))

    def last_checkpoint(self):
        folders = checkpoints(self.run_dir)
        return int(folders[-1].name.removeprefix("step-")) if folders else 0


class Slurm(RunTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory(prefix="slurm-")
        cls.addClassCleanup(folder.cleanup)
        cls.cluster = Cluster(folder.name, {"n1": 16, "n2": 16})
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.environment.update(
            TRAINER_BIN=str(pathlib.Path(run_trainer.trainer()).parent), TRAINER_SCRIPTS=str(SCRIPTS),
            OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_mpi_yield_when_idle="1",
            OMPI_MCA_rmaps_base_oversubscribe="1")
        # These wait for their time limit of a minute while the other tests run. Stopped meanwhile: time must pass, not
        # steps. All jobs run on n1 but those of the tests that preempt them or take the node away.
        cls.warned = cls.submit_and_halt("warned", "--signal=B:USR1@55")
        cls.limited = cls.submit_and_halt("limited", "--signal=USR2@0")
        cls.wakers = {name: threading.Thread(target=wait, daemon=True)
                      for name, wait in (("warned", cls.wake_when_warned), ("limited", cls.wait_until_limited))}
        for waker in cls.wakers.values():
            waker.start()
        cls.reference = cls.shared / "reference"
        train(cls(), RANKS, cls.data, cls.reference, **SETTINGS)

    @classmethod
    def submit_and_halt(cls, name, option):
        job = cls.submit(cls.shared / name, sbatch=["-t", "1", option])
        cls.wait_for_step(job, 150)
        cls.signal_ranks(job, signal.SIGSTOP)
        return job

    @classmethod
    def wake_when_warned(cls):
        wait_until(lambda: "SIGUSR1: asking the ranks to save" in cls.warned.log(), "SLURM's warning")
        cls.signal_ranks(cls.warned, signal.SIGCONT)
        cls.raise_limit_when_requeued(cls.warned)

    @classmethod
    def wait_until_limited(cls):
        wait_until(lambda: "DUE TO TIME LIMIT" in cls.limited.log(), "the time limit", limit_seconds=180)
        cls.raise_limit_when_requeued(cls.limited)

    @classmethod
    def raise_limit_when_requeued(cls, job):
        """The rest of the run may take more than a minute where the machine is slow, and has no limit to meet."""
        wait_until(lambda: cls.cluster.show(job.number)["Restarts"] == "1", "the requeued job")
        cls.cluster.command("scontrol", "update", f"JobId={job.number}", "TimeLimit=10")

    @classmethod
    def submit(cls, run_dir, sbatch=(), script="train", arguments=None, launcher="", **overrides):
        log = run_dir.with_suffix(".log")
        if arguments is None:
            arguments = training(cls.data, run_dir, **{**SETTINGS, **overrides})
        answer = cls.cluster.command("sbatch", "--parsable", "-n", RANKS, "-w", "n1", "-o", log,
                                     f"--export=ALL,TRAINER_LAUNCHER={launcher}", *sbatch,
                                     SCRIPTS / f"{script}.sbatch", *arguments, cwd=cls.shared)
        return Job(answer.stdout.strip(), run_dir, log)

    @classmethod
    def wait_for(cls, job, condition, what, limit_seconds=60):
        try:
            wait_until(condition, f"{what} of job {job.number}", limit_seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{cls.cluster.show(job.number)}\n{job.log()}\n{cls.cluster.logs()}") from None

    @classmethod
    def wait_for_step(cls, job, step):
        cls.wait_for(job, lambda: last_step(job.run_dir) >= step, f"step {step}")

    @classmethod
    def signal_ranks(cls, job, number):
        ranks = wait_until(lambda: cls.cluster.ranks(job.number, "trainer"), "the ranks")
        assert len(ranks) == RANKS, ranks
        for process in ranks.values():
            os.kill(process, number)

    def signal_processes(self, job, program, number):
        processes = self.cluster.processes(job.number, program)
        self.assertTrue(processes, f"job {job.number} has no {program}")
        for process in processes:
            os.kill(process, number)

    def state(self, job):
        return self.cluster.show(job.number)["JobState"]

    def wait_for_end(self, job, expected, limit_seconds=400):
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"}
        self.wait_for(job, lambda: self.state(job) in over, "the end", limit_seconds)
        self.assertEqual(self.state(job), expected, f"{job.log()}\n{self.cluster.logs()}")

    def assert_ended(self, job, state, exit_code=0, restarts=0):
        self.wait_for_end(job, state)
        facts = self.cluster.show(job.number)
        self.assertEqual((facts["ExitCode"], facts["Restarts"]), (f"{exit_code}:0", str(restarts)), job.log())

    def assert_as_undisturbed(self, job):
        self.assertEqual(checkpoint_bytes(job.run_dir), checkpoint_bytes(self.reference), job.log())

    def assert_went_on(self, job, restarts=1):
        """It was requeued so often, and came to the end of an undisturbed run."""
        self.assert_ended(job, "COMPLETED", restarts=restarts)
        log = job.log()
        self.assertEqual(log.count(f"slurm: job {self.cluster.show(job.number)['JobId']} on "), 1 + restarts, log)
        self.assertEqual(log.count("going on from step "), restarts, log)
        self.assert_as_undisturbed(job)

    def test_asked_to_stop_by_its_shell_or_directly_it_is_requeued(self):
        ways = {"srun": ["--batch"], "mpirun": ["--batch"], "direct": []}
        # What the ranks are told of the time that a stop has: the script's own figure, or what it is told itself.
        seconds = {"srun": (120, ()), "mpirun": (90, ["--export=ALL,TRAINER_LAUNCHER=mpirun,SBATCH_SIGNAL=B:USR1@90"]),
                   "direct": (300, ["--export=ALL,TRAINER_STOP_SECONDS=300"])}
        jobs = {way: self.submit(self.scratch / way, sbatch=seconds[way][1]) for way in ways}
        for way, job in jobs.items():
            self.wait_for_step(job, 50)
            rank_zero = wait_until(lambda number=job.number: self.cluster.ranks(number, "trainer"), "the ranks")[0]
            environment = pathlib.Path(f"/proc/{rank_zero}/environ").read_bytes().split(b"\0")
            self.assertIn(f"TRAINER_STOP_SECONDS={seconds[way][0]}".encode(), environment)
            self.cluster.command("scancel", "--signal=USR1", *ways[way], job.number)
        for way, job in jobs.items():
            with self.subTest(way):
                self.assert_went_on(job)
                self.assertIn("mpirun starts 2 ranks (as TRAINER_LAUNCHER says)" if way == "mpirun" else
                              "srun starts 2 ranks (this SLURM has PMIx)", job.log())
                self.assertEqual("SIGUSR1: asking the ranks to save" in job.log(), way != "direct")

    def program_that_waits(self):
        """The folder of a trainer that leaves a line in `begun`, and three seconds in which the script can be signalled."""
        folder, begun = self.scratch / "slow-bin", self.scratch / "begun"
        folder.mkdir()
        begun.touch()
        program = folder / "trainer"
        program.write_text(f'#!/bin/sh\ncase "$*" in *--print-config*) echo >>"{begun}"; sleep 3;; esac\n'
                           f'exec "{run_trainer.trainer()}" "$@"\n')
        program.chmod(0o755)
        return folder, lambda: begun.read_text().count("\n")

    def ask_to_stop(self, job):
        self.cluster.command("scancel", "--batch", "--signal=USR1", job.number)

    def test_asked_to_stop_before_it_has_begun(self):
        """Once it is requeued; twice, without a step in between, it is not."""
        folder, begun = self.program_that_waits()
        job = self.submit(self.scratch / "run", sbatch=[f"--export=ALL,TRAINER_BIN={folder}"])
        self.wait_for(job, lambda: begun() == 1, "the first start")
        self.ask_to_stop(job)
        self.wait_for(job, lambda: begun() == 2, "the second start")
        self.assertIn("exit code 75; newest checkpoint: none", job.log())
        self.ask_to_stop(job)
        self.assert_ended(job, "FAILED", exit_code=1, restarts=1)
        self.assertIn("no new checkpoint in two starts in a row; not requeued", job.log())

    def test_asked_to_stop_while_the_ranks_come_up(self):
        """No signal is lost, although srun drops those that come before its tasks are up."""
        # It must not be over when it is asked again, five seconds later.
        settings = {**SETTINGS, "schedule__total_steps": 2 * SETTINGS["schedule__total_steps"]}
        job = self.submit(self.scratch / "run", **settings)
        self.wait_for(job, lambda: "srun starts" in job.log(), "srun")
        self.ask_to_stop(job)
        self.assert_ended(job, "COMPLETED", restarts=1)
        self.assert_as_without_slurm(job, **settings)

    def test_another_signal(self):
        job = self.submit(self.scratch / "run", sbatch=["--export=ALL,TRAINER_STOP_SIGNAL=USR2"])
        self.wait_for_step(job, 50)
        self.cluster.command("scancel", "--batch", "--signal=USR2", job.number)
        self.assert_went_on(job)
        self.assertIn("SIGUSR2: asking the ranks to save", job.log())

    def test_sigterm_while_it_is_to_go_on(self):
        """As of --signal=B:TERM@120; the one of scancel comes to a job that is no longer running."""
        job = self.submit(self.scratch / "run")
        self.wait_for_step(job, 50)
        self.cluster.command("scancel", "--batch", "--signal=TERM", job.number)
        self.assert_went_on(job)
        self.assertIn("SIGTERM: asking the ranks to save", job.log())

    def test_a_stall_is_requeued(self):
        job = self.submit(self.scratch / "run", watchdog__timeout_seconds=5, watchdog__first_step_seconds=120)
        self.wait_for_step(job, 150)
        os.kill(self.cluster.ranks(job.number, "trainer")[1], signal.SIGSTOP)
        self.assert_went_on(job)
        self.assertIn("rank 1 on ", job.log())
        self.assertIn(f"the ranks ended with exit code {STALLED}; newest checkpoint: ", job.log())

    def test_an_mpirun_that_hangs_is_ended_and_requeued(self):
        """As where it waits for a host that hangs."""
        job = self.submit(self.scratch / "run", launcher="mpirun", watchdog__timeout_seconds=5,
                          watchdog__first_step_seconds=120)
        self.wait_for_step(job, 150)
        self.signal_processes(job, "orterun", signal.SIGSTOP)
        os.kill(self.cluster.ranks(job.number, "trainer")[1], signal.SIGSTOP)
        self.assert_went_on(job)
        self.assertIn("the ranks have not ended 30 s after the watchdog ended the run: they are killed", job.log())
        self.assertIn(f"the ranks ended with exit code {STALLED}; newest checkpoint: ", job.log())

    def test_killed_while_it_is_to_stop_it_fails(self):
        job = self.submit(self.scratch / "run")
        self.wait_for_step(job, 150)
        rank = self.cluster.ranks(job.number, "trainer")[1]
        os.kill(rank, signal.SIGSTOP)
        self.ask_to_stop(job)
        self.wait_for(job, lambda: "asking the ranks to save" in job.log(), "the request")
        os.kill(rank, signal.SIGKILL)
        self.assert_ended(job, "FAILED", exit_code=128 + signal.SIGKILL)

    def test_a_stop_signal_that_is_none(self):
        job = self.submit(self.scratch / "run", sbatch=["--export=ALL,TRAINER_STOP_SIGNAL=KILL"])
        self.assert_ended(job, "FAILED", exit_code=2)
        self.assertIn("TRAINER_STOP_SIGNAL=KILL: set it to USR1 or USR2", job.log())

    def test_cancelled_it_is_saved_and_not_requeued(self):
        job = self.submit(self.scratch / 'a "run"')
        self.wait_for_step(job, 150)
        self.cluster.command("scancel", job.number)
        self.wait_for_end(job, "CANCELLED")
        self.wait_for(job, lambda: "not requeued from here" in job.log(), "the script's end")
        step = job.last_checkpoint()
        self.assertEqual(step, last_step(job.run_dir) // 10 * 10 + step % 10)
        self.assertIn(f"exit code {STOPPED}; newest checkpoint: {step}", job.log())
        again = self.submit(self.scratch / 'a "run"')
        self.assert_ended(again, "COMPLETED")
        self.assertIn(f"going on from step {step} ", again.log())
        self.assertEqual(self.state(job), "CANCELLED")
        self.assert_as_undisturbed(again)

    def test_a_killed_rank_fails_the_job(self):
        job = self.submit(self.scratch / "run")
        self.wait_for_step(job, 150)
        os.kill(self.cluster.ranks(job.number, "trainer")[1], signal.SIGKILL)
        self.assert_ended(job, "FAILED", exit_code=128 + signal.SIGKILL)
        again = self.submit(self.scratch / "run")
        self.assert_ended(again, "COMPLETED")
        self.assertIn("going on from step ", again.log())
        self.assert_as_undisturbed(again)

    def test_a_wrong_configuration_fails_the_job(self):
        job = self.submit(self.scratch / "run", schedule__total_step=10)
        self.assert_ended(job, "FAILED", exit_code=2)
        lines = job.log().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("schedule.total_step", lines[0])
        self.assertFalse(job.run_dir.exists())

    def test_a_run_folder_that_is_a_file_fails_the_job(self):
        (self.scratch / "run").touch()
        job = self.submit(self.scratch / "run")
        self.assert_ended(job, "FAILED", exit_code=2)
        lines = job.log().splitlines()
        self.assertEqual(len(lines), 1, lines)
        self.assertIn("error: run.dir: cannot create directory", lines[0])
        self.assertIn("File exists; set run.dir to another folder", lines[0])

    def test_preempted_they_make_way_and_come_back(self):
        jobs = [self.submit(self.scratch / "srun", sbatch=["-w", "n2"]),
                self.submit(self.scratch / "mpirun", sbatch=["-w", "n2"], launcher="mpirun"),
                self.submit(self.scratch / "hasty", sbatch=["-w", "n2", "-p", "hasty"])]
        for job in jobs:
            self.wait_for_step(job, 150)
            self.signal_ranks(job, signal.SIGSTOP)  # none may be over before all have come so far
        for job in jobs:
            self.signal_ranks(job, signal.SIGCONT)
        self.cluster.command("sbatch", "-p", "urgent", "-w", "n2", "--exclusive", "-o", self.scratch / "urgent.log",
                             "--wrap", "sleep 1")
        for job in jobs:
            self.assert_went_on(job)

    def test_lost_nodes(self):
        """One job goes on after its node was lost; one that never comes to its first checkpoint gives up at last."""
        job = self.submit(self.scratch / "run", sbatch=["-w", "n2"])
        hopeless = self.submit(self.scratch / "hopeless", sbatch=["-w", "n2"], checkpoint__every=1_000_000,
                               schedule__total_steps=10_000_000, train__validate_every=0)
        self.wait_for_step(job, 150)
        self.wait_for(job, job.last_checkpoint, "the first checkpoint")
        self.wait_for_step(hopeless, 10)
        for restarts in (1, 2):
            self.signal_ranks(hopeless, signal.SIGSTOP)  # its steps are not needed, and others want the cores
            self.cluster.lose_node("n2")
            self.cluster.restore_node("n2")
            starts = f"slurm: job {hopeless.number} on n2, start {restarts + 1}, checkpoint: none"
            if restarts == 1:
                self.wait_for(hopeless, lambda: starts in hopeless.log() and self.cluster.ranks(hopeless.number, "trainer"),
                              "the second start")
                self.assert_went_on(job)
        self.assert_ended(hopeless, "FAILED", exit_code=1, restarts=2)
        self.assertIn("no new checkpoint in two starts in a row, still at step none; not started again", hopeless.log())

    def test_ranks_that_cannot_be_started(self):
        """srun ends with 0 then, and yet the job must not count as done."""
        job = self.submit(self.scratch / "run", sbatch=["-w", "n1", "--hold"])
        with socket.socket(socket.AF_UNIX) as in_the_way:
            in_the_way.bind(str(self.cluster.folder / "spool-n1" / f"stepd.slurm.pmix.{job.number}.0"))
            self.cluster.command("scontrol", "release", job.number)
            self.assert_ended(job, "FAILED", exit_code=1)
        self.assertIn("no rank was started", job.log())

    def assert_as_without_slurm(self, job, **settings):
        plain = self.scratch / "plain"
        train(self, RANKS, self.data, plain, **settings)
        self.assertEqual(checkpoint_bytes(job.run_dir), checkpoint_bytes(plain), job.log())

    def test_two_nodes(self):
        """Each reads its own copy of the shards."""
        local = self.scratch / "local"
        local.mkdir()
        job = self.submit(self.scratch / "run", script="multi-node", schedule__total_steps=30, data__stage_to=local,
                          sbatch=["-N", "2", "--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0"])  # no GPUs
        self.assert_ended(job, "COMPLETED")
        self.assertIn(" on n[1-2], ", job.log())
        self.assertIn("2 ranks on cpu", job.log())
        self.assertTrue(list(local.rglob("*.h5")), job.log())
        self.assert_as_without_slurm(job, **{**SETTINGS, "schedule__total_steps": 30})

    def array(self, tasks, arguments):
        """The jobs of an array, by task number."""
        name = self.scratch / "task"
        answer = self.cluster.command("sbatch", "--parsable", "-n", RANKS, "-w", "n1", "-a", tasks, "-o", f"{name}-%a.log",
                                      SCRIPTS / "array.sbatch", *arguments, cwd=self.shared)
        whole = answer.stdout.strip()
        numbers = [int(task) for task in tasks.split(",")]
        return {task: Job(f"{whole}_{task}", name.with_name(f"task-{task}"), name.with_name(f"task-{task}.log"))
                for task in numbers}

    def test_an_array_of_seeds(self):
        jobs = self.array("6,7", training(self.data, self.scratch / "task-{}", run__seed="{}", **SETTINGS))
        self.wait_for_step(jobs[7], 50)
        # The last task has the array's own number as its job number: the others must not be requeued with it.
        self.cluster.command("scancel", "--batch", "--signal=USR1", jobs[7].number)
        self.assert_went_on(jobs[7])  # the seed in tiny.yaml is 7
        self.assert_ended(jobs[6], "COMPLETED", restarts=0)
        self.assertNotEqual(checkpoint_bytes(jobs[6].run_dir), checkpoint_bytes(self.reference))

    def test_an_array_of_a_list(self):
        sweep = self.scratch / "sweep.txt"
        sweep.write_text("# what is tried\nrun.seed=1\n\noptimizer.lr=0.005 run.seed=2\n")
        arguments = training(self.data, self.scratch / "task-{}", schedule__total_steps=20)
        jobs = self.array("2,3", [*arguments, f"@{sweep}"])
        self.assert_ended(jobs[2], "COMPLETED")
        config = (jobs[2].run_dir / "config.yaml").read_text()
        self.assertIn("lr: 0.005", config)
        self.assertIn("seed: 2", config)
        self.assert_as_without_slurm(jobs[2], schedule__total_steps=20, optimizer__lr=0.005, run__seed=2)
        self.assert_ended(jobs[3], "FAILED", exit_code=2)
        self.assertIn("sweep.txt has 2 lines, and this is task 3", jobs[3].log())

    def test_an_array_needs_run_folders(self):
        jobs = self.array("1,2", training(self.data, self.scratch / "same"))
        for job in jobs.values():
            self.assert_ended(job, "FAILED", exit_code=2)
            self.assertIn("run.dir=runs/sweep-{}", job.log())

    def test_extract(self):
        noise = random.Random(3)
        for speaker in range(2):
            folder = self.scratch / "recordings" / f"speaker-{speaker}"
            folder.mkdir(parents=True)
            for number in range(2):
                with wave.open(str(folder / f"{number}.wav"), "wb") as recording:
                    recording.setparams((1, 2, 16000, 0, "NONE", ""))
                    recording.writeframes(b"".join(
                        struct.pack("<h", int(8000 * math.sin(i * (0.1 + 0.05 * speaker)) + noise.gauss(0, 500)))
                        for i in range(16000)))
        shards = self.scratch / "shards"
        job = self.submit(shards, sbatch=["-n", "1", "-c", "2"], script="extract",
                          arguments=[self.scratch / "recordings", shards])
        self.assert_ended(job, "COMPLETED")
        info = run_trainer.mels("check", shards)
        self.assertEqual(info.returncode, 0, info.stderr)
        self.assertIn("4 utterances", job.log())

    def test_time_nearly_up(self):
        self.wakers["warned"].join()
        self.assert_went_on(self.warned)
        self.assertNotIn("DUE TO TIME LIMIT", self.warned.log())

    def test_time_up(self):
        """Without a warning the end of the time itself is one: KillWait is long enough to save. SLURM wakes the ranks."""
        self.wakers["limited"].join()
        self.assertIn("DUE TO TIME LIMIT", self.limited.log())
        self.assert_went_on(self.limited)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(run_trainer.SKIPPED)
    run_trainer.main()
