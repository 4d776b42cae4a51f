"""Interrupted in any way, a run that is started again ends as if nothing had happened."""

import os
import re
import shutil
import signal
import time

from compared import RANKS, STOPPED, ComparedTestCase, repeated_figures
from run_trainer import (Job, RunTestCase, checkpoint_bytes, checkpoints, evaluate, last_step, main, metrics, run,
                         train, training)

BAD_INPUT = 2
# On SIGTERM mpirun sends its ranks SIGCONT, SIGTERM and SIGKILL, so many seconds apart (1 by default). Meanwhile it
# reads none of their output, so a rank that logs every millisecond is soon held up: such a run logs seldom.
PATIENT_MPIRUN = ("--mca", "odls_base_sigkill_timeout", "6")


class Interrupted(ComparedTestCase):
    """Stops, against one uninterrupted run."""

    def test_sigusr1_saves_and_exits_75(self):
        run_dir = self.scratch / "run"
        for at_step in (20, 130):
            result = self.stop(run_dir, [signal.SIGUSR1], at_step)
            self.assertEqual(result.code, STOPPED, result)
            self.assertEqual(result.own_lines(), [])
            self.assert_stopped_with_checkpoint(run_dir, result)
        self.finish(run_dir)
        self.assert_as_uninterrupted(run_dir)

    def test_a_signal_to_one_rank_stops_all(self):
        run_dir = self.scratch / "run"
        for rank, at_step in ((0, 20), (1, 130)):
            with Job(RANKS, self.arguments(run_dir)) as job:
                self.assertTrue(job.wait_until(lambda: last_step(run_dir) >= at_step, f"step {at_step}"))
                process = next(process for process, its_rank in job.processes().items() if its_rank == rank)
                os.kill(process, signal.SIGUSR2)  # of no meaning
                os.kill(process, signal.SIGUSR1)
                result = job.finish()
            self.assertEqual(result.code, STOPPED, result)
            self.assert_stopped_with_checkpoint(run_dir, result)
        self.finish(run_dir)
        self.assert_as_uninterrupted(run_dir)

    def test_sigterm_saves(self):
        run_dir = self.scratch / "run"
        settings = {"schedule__total_steps": 1_000_000, "train__log_every": 500, "checkpoint__every": 500,
                    "train__validate_every": 0}
        stopped_at = 0
        for _ in range(2):
            with Job(RANKS, training(self.data, run_dir, **settings), mpirun_options=PATIENT_MPIRUN) as job:
                self.assertTrue(job.wait_until(lambda: last_step(run_dir) > stopped_at, "progress"))
                job.signal_mpirun(signal.SIGTERM)
                result = job.finish()
            # mpirun's own exit code after SIGTERM is not the ranks', whatever they return.
            self.assertNotEqual(result.code, 0, result)
            self.assertIn(f"going on from step {stopped_at} " if stopped_at else "training utterances", result.out)
            log = (run_dir / "train.log").read_text().splitlines()
            stopped = re.search(r"stopped on request at step (\d+)", log[-1])
            self.assertTrue(stopped, result)
            stopped_at = int(stopped.group(1))
            self.assertEqual(checkpoints(run_dir)[-1].name, f"step-{stopped_at:08d}")
            self.assertEqual(evaluate(1, run_dir / "checkpoints" / "last", self.data).code, 0)

    def test_a_second_signal_does_no_harm(self):
        for name, numbers in {"usr1": [signal.SIGUSR1] * 2, "term": [signal.SIGTERM] * 2,
                              "both": [signal.SIGUSR1, signal.SIGTERM]}.items():
            with self.subTest(name):
                run_dir = self.scratch / name
                result = self.stop(run_dir, numbers, 20)
                self.assertNotEqual(result.code, 0, result)
                self.finish(run_dir)
                self.assert_as_uninterrupted(run_dir)

    def test_a_signal_before_the_first_step(self):
        run_dir = self.scratch / "run"
        for delay_seconds in (0.1, 0.4, 0.8):  # the signals may not be caught yet: then they end the job
            with Job(RANKS, self.arguments(run_dir)) as job:
                time.sleep(delay_seconds)
                job.signal_mpirun(signal.SIGUSR1)
                # It may also be lost: mpirun hands it on to the ranks that there are, maybe none yet.
                job.finish()
        # The run folder is made while all is set up, long after the signals are caught.
        shutil.rmtree(run_dir, ignore_errors=True)
        with Job(RANKS, self.arguments(run_dir)) as job:
            self.assertTrue(job.wait_until((run_dir / "config.yaml").exists, "the run folder"))
            job.signal_mpirun(signal.SIGUSR1)
            result = job.finish()
        self.assertEqual(result.code, STOPPED, result)
        self.assert_stopped_with_checkpoint(run_dir, result)
        self.finish(run_dir)
        self.assert_as_uninterrupted(run_dir)


# All that the second recipe keeps or draws: an average of the weights, running statistics over ranks, a margin that
# rises, crops of many lengths, noise, babble and masks.
WHOLE_RECIPE = {
    "model__type": "conformer", "model__dim": 12, "model__depth": 2, "model__dim_head": 6, "model__heads": 2,
    "model__conv_kernel_size": 5, "model__conv_norm": "sync_batch", "model__stochastic_depth": 0.2,
    "model__pooling": "attentive_statistics", "model__embedding": 8, "model__embedding_norm": "batch",
    "model__head": "cosine", "loss__type": "aam_softmax", "loss__margin_warmup_steps": 30, "train__ema_decay": 0.9,
    "data__crop_frames": 40, "data__min_crop_frames": 20, "augment__gain_db": 6, "augment__noise_probability": 0.5,
    "augment__babble_probability": 0.5, "augment__time_masks": 1, "augment__frequency_masks": 1,
}


class WholeRecipe(RunTestCase):
    settings = {**WHOLE_RECIPE, "schedule__total_steps": 60, "checkpoint__every": 25, "train__validate_every": 30}

    def test_stopped_and_killed_it_ends_as_if_nothing_had_happened(self):
        reference, run_dir = self.scratch / "reference", self.scratch / "run"
        train(self, RANKS, self.data, reference, **self.settings)
        arguments = training(self.data, run_dir, **self.settings)
        for kill in (False, True):
            with Job(RANKS, arguments) as job:
                step = 40 if kill else 10
                self.assertTrue(job.wait_until(lambda at=step: last_step(run_dir) >= at, f"step {step}"), "over too soon")
                if kill:
                    job.kill_all()
                    continue
                job.signal_mpirun(signal.SIGUSR1)
                self.assertEqual(job.finish().code, STOPPED)
        result = run(RANKS, arguments)
        self.assertEqual(result.code, 0, result)
        self.assertEqual(repeated_figures(run_dir), repeated_figures(reference))
        self.assertEqual(checkpoint_bytes(run_dir), checkpoint_bytes(reference))

    def test_an_average_cannot_begin_midway(self):
        run_dir = self.scratch / "run"
        train(self, 1, self.data, run_dir, schedule__total_steps=4)
        result = run(1, training(self.data, run_dir, schedule__total_steps=8, train__ema_decay=0.9))
        self.assertEqual(result.code, BAD_INPUT, result)
        self.assertEqual(len(result.own_lines()), 1, result)
        self.assertIn("train.ema_decay", result.own_lines()[0])

class Resumed(RunTestCase):
    """What a run finds when it is started again; checkpoints of steps 10, 20, ... 60."""

    settings = {"schedule__total_steps": 60, "checkpoint__every": 10, "checkpoint__keep": 100,
                "train__validate_every": 25}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reference = cls.shared / "reference"
        train(cls(), 1, cls.data, cls.reference, **cls.settings)

    def run_as_of(self, step, source=None, name="run"):
        """A copy of a run folder, the checkpoints after `step` taken away: as if it had been killed there."""
        run_dir = self.scratch / name
        shutil.copytree(source or self.reference, run_dir, symlinks=True)
        for folder in checkpoints(run_dir):
            if int(folder.name.removeprefix("step-")) > step:
                shutil.rmtree(folder)
        self.assertEqual(checkpoints(run_dir)[-1].name, f"step-{step:08d}")
        return run_dir

    def resume(self, run_dir, ranks=1, **overrides):
        return run(ranks, training(self.data, run_dir, **{**self.settings, **overrides}))

    def assert_resumed(self, run_dir, from_step):
        result = self.resume(run_dir)
        self.assertEqual(result.code, 0, result)
        self.assertIn(f"going on from step {from_step} ", result.out)
        self.assertEqual(repeated_figures(run_dir), repeated_figures(self.reference))
        self.assertEqual(checkpoint_bytes(run_dir), checkpoint_bytes(self.reference))
        return result

    def test_mid_epoch(self):
        # With 6 batches an epoch, step 40 is 4 batches into the seventh.
        self.assertNotEqual(metrics(self.reference)[39]["epoch"], metrics(self.reference)[44]["epoch"])
        self.assertEqual(metrics(self.reference)[39]["epoch"], metrics(self.reference)[40]["epoch"])
        self.assert_resumed(self.run_as_of(40), from_step=40)

    def test_1_then_2_then_4_ranks(self):
        one = self.scratch / "one"
        no_dropout = {"model__dropout": 0}
        train(self, 1, self.data, one, **self.settings, **no_dropout)
        two = self.run_as_of(20, one, "two")
        result = self.resume(two, ranks=2, **no_dropout)
        self.assertEqual(result.code, 0, result)
        self.assertIn("going on from step 20 ", result.out)
        four = self.run_as_of(40, two, "four")
        result = self.resume(four, ranks=4, **no_dropout)
        self.assertEqual(result.code, 0, result)
        self.assertIn("going on from step 40 ", result.out)
        self.assertIn("saved by 2 ranks", result.out)
        for expected, actual in zip(metrics(one), metrics(four), strict=True):
            self.assertEqual(expected["step"], actual["step"])
            self.assertLessEqual(abs(expected["loss"] - actual["loss"]), 1e-5 * max(1, expected["loss"]), expected)

    def test_a_damaged_newest_checkpoint_is_named_and_skipped(self):
        def flip(path):
            content = bytearray(path.read_bytes())
            content[len(content) * 2 // 3] ^= 0x10
            path.write_bytes(content)

        def truncate(path):
            os.truncate(path, path.stat().st_size // 2)

        def empty(path):
            os.truncate(path, 0)

        damages = [(damage, name) for damage in (flip, truncate, os.remove)
                   for name in ("model.safetensors", "optimizer.safetensors", "state.json")]
        for damage, name in [*damages, (empty, "state.json")]:
            with self.subTest(damage=damage.__name__, file=name):
                run_dir = self.run_as_of(40, name=f"{damage.__name__} {name}")
                damage(run_dir / "checkpoints" / "step-00000040" / name)
                result = self.assert_resumed(run_dir, from_step=30)
                self.assertIn(f"step-00000040/{name}", result.out)
                self.assertEqual(result.own_lines(), [])

    def test_no_checkpoint_left_undamaged(self):
        run_dir = self.run_as_of(20)
        for folder in checkpoints(run_dir):
            os.truncate(folder / "model.safetensors", 100)
        before = (run_dir / "metrics.jsonl").read_bytes()
        result = self.resume(run_dir, ranks=2)
        self.assertEqual(result.code, BAD_INPUT, result)
        self.assertEqual(len(result.own_lines()), 1, result)
        for text in ("step-00000010", "step-00000020", "model.safetensors", "run.dir"):
            self.assertIn(text, result.own_lines()[0])
        self.assertEqual((run_dir / "metrics.jsonl").read_bytes(), before)

    def test_leftovers_of_an_interrupted_save_are_ignored(self):
        run_dir = self.run_as_of(40)
        folder = run_dir / "checkpoints"
        shutil.copytree(folder / "step-00000040", folder / ".tmp-step-00000050")
        os.truncate(folder / ".tmp-step-00000050" / "optimizer.safetensors", 10)
        (folder / ".tmp-old-step-00000010").mkdir()
        (folder / ".tmp-last").symlink_to("step-00000050")
        (run_dir / "metrics.jsonl.tmp").write_text('{"step": 99}\n')
        self.assert_resumed(run_dir, from_step=40)
        self.assertEqual([path.name for path in folder.iterdir() if path.name.startswith(".")], [])

    def test_a_torn_metrics_line_is_repaired(self):
        run_dir = self.run_as_of(40)
        text = (run_dir / "metrics.jsonl").read_text()
        cut = text.index('{"step":45')
        (run_dir / "metrics.jsonl").write_text(text[:cut + 30])
        self.assert_resumed(run_dir, from_step=40)

    def test_init_from_is_not_needed_to_go_on(self):
        weights = self.scratch / "weights.safetensors"
        shutil.copy(self.reference / "checkpoints" / "last" / "model.safetensors", weights)
        run_dir = self.scratch / "run"
        train(self, 1, self.data, run_dir, schedule__total_steps=10, model__init_from=weights)
        weights.unlink()
        train(self, 1, self.data, run_dir, schedule__total_steps=20, model__init_from=weights)
        self.assertEqual(last_step(run_dir), 20)

    def test_a_finished_run_stays_as_it_is(self):
        run_dir = self.run_as_of(60)
        result = self.assert_resumed(run_dir, from_step=60)
        self.assertIn("schedule.total_steps", result.out)

    def test_resume_never(self):
        run_dir = self.run_as_of(60)
        before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
        result = self.resume(run_dir, ranks=2, run__resume="never")
        self.assertEqual(result.code, BAD_INPUT, result)
        self.assertEqual(len(result.own_lines()), 1, result)
        for text in (str(run_dir), "run.resume=auto", "run.dir"):
            self.assertIn(text, result.own_lines()[0])
        self.assertEqual({path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}, before)
        self.assertEqual(evaluate(1, run_dir / "checkpoints" / "last", self.data).code, 0)


if __name__ == "__main__":
    main()
