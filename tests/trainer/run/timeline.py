"""`trainer --trace FILE`: real runs leave a timeline that a viewer can load, with all ranks' steps in it."""

import json
import os
import unittest
import unittest.mock

import run_trainer

PHASES = ["data_wait", "host_to_device", "forward", "backward", "exposed_communication", "optimizer"]
# Times are written in microseconds with three decimals; sums of two of them may be off by a rounding.
EPSILON = 0.002


class Timeline:
    def __init__(self, path):
        self.events = json.loads(path.read_text())["traceEvents"]

    def spans(self, rank, thread=None, category=None):
        """In the order of their start, outer ones first."""
        thread_id = None if thread is None else self.threads(rank)[thread]
        return sorted((event for event in self.events
                       if event["ph"] == "X" and event["pid"] == rank and thread_id in (None, event["tid"])
                       and category in (None, event["cat"])), key=lambda event: (event["ts"], -event["dur"]))

    def ranks(self):
        return {event["pid"]: event["args"]["name"] for event in self.events if event["name"] == "process_name"}

    def threads(self, rank):
        return {event["args"]["name"]: event["tid"] for event in self.events
                if event["name"] == "thread_name" and event["pid"] == rank}


def end(span):
    return span["ts"] + span["dur"]


def inside(inner, outer):
    return outer["ts"] - EPSILON <= inner["ts"] and end(inner) <= end(outer) + EPSILON


def overlap(a, b):
    return a["ts"] < end(b) and b["ts"] < end(a)


class TimelineTest(run_trainer.RunTestCase):
    def trace(self, ranks, *options, run="run", **overrides):
        arguments = run_trainer.training(self.data, self.scratch / run, **overrides)
        return run_trainer.run(ranks, [*arguments, *options])

    def test_steps_of_both_ranks(self):
        with unittest.mock.patch.dict(os.environ, TRAINER_SHARED_MEMORY="0"):
            self.check_steps_of_both_ranks("mpi")

    def test_steps_of_both_ranks_in_shared_memory(self):
        self.check_steps_of_both_ranks("shared")

    def check_steps_of_both_ranks(self, way):
        file = self.scratch / "steps.json"
        result = self.trace(2, "--trace", file, "--trace-steps", "5:30", run=way, schedule__total_steps=40,
                            train__validate_every=8, checkpoint__every=7,
                            # Backward must outlast the communication thread's waking up.
                            model__layers=4, model__feed_forward=512, train__bucket_mib=0.05)
        self.assertEqual(result.code, 0, result)
        self.assertIn("steps 5 to 34", result.out)
        timeline = Timeline(file)
        ranks = timeline.ranks()
        self.assertEqual(sorted(ranks), [0, 1])
        for rank, name in ranks.items():
            self.assertRegex(name, rf"^rank {rank} \(.+\)$")
            steps = timeline.spans(rank, "main", "step")
            self.assertEqual([step["name"] for step in steps], [f"step {number}" for number in range(5, 35)])
            for before, after in zip(steps, steps[1:]):
                self.assertLessEqual(end(before), after["ts"] + EPSILON)
            phases = timeline.spans(rank, "main", "phase")
            between = [phase["name"] for phase in phases if not any(inside(phase, step) for step in steps)]
            # Rank 1 only waits while rank 0 saves: it takes part in both.
            self.assertEqual(between[:2], ["checkpoint", "validation"])
            self.assertLessEqual(set(between), {"checkpoint", "validation"})
            buckets = timeline.spans(rank, "communication", "bucket")
            per_step = [[bucket for bucket in buckets if inside(bucket, step)] for step in steps]
            self.assertEqual(sum(map(len, per_step)), len(buckets))
            self.assertGreater(len(per_step[0]), 3)
            hidden = 0
            for step, of_step in zip(steps, per_step):
                inner = [phase for phase in phases if inside(phase, step)]
                self.assertEqual([phase["name"] for phase in inner], PHASES)
                for before, after in zip(inner, inner[1:]):
                    self.assertLessEqual(end(before), after["ts"] + EPSILON)
                self.assertEqual([bucket["args"]["bytes"] for bucket in of_step],
                                 [bucket["args"]["bytes"] for bucket in per_step[0]])
                forward, backward, exposed = inner[2], inner[3], inner[4]
                for bucket in of_step:
                    self.assertGreaterEqual(bucket["ts"], end(forward) - EPSILON)
                    hidden += overlap(bucket, backward)
                    if way == "shared":
                        self.assertTrue(inside(bucket, exposed), (bucket, exposed))
            if way == "mpi":
                self.assertGreater(hidden, 0)
            batches = [batch["args"]["for_step"] for batch in timeline.spans(rank, "loader")]
            self.assertEqual(batches, list(range(batches[0], batches[0] + len(batches))))
            self.assertGreaterEqual(len(batches), 4)
        # A sum (in shared memory all of a step together) is over nowhere before all ranks have begun it: so the ranks'
        # clocks are one.
        if way == "shared":
            for mine, theirs in zip(*([phase for phase in timeline.spans(rank, "main", "phase")
                                       if phase["name"] == "exposed_communication"] for rank in (0, 1)), strict=True):
                self.assertTrue(overlap(mine, theirs), (mine, theirs))
            return
        for mine, theirs in zip(timeline.spans(0, "communication"), timeline.spans(1, "communication"), strict=True):
            self.assertEqual(mine["args"], theirs["args"])
            self.assertTrue(overlap(mine, theirs), (mine, theirs))

    def test_steps_are_counted_from_this_start(self):
        first = self.trace(1, schedule__total_steps=10)
        self.assertEqual(first.code, 0, first)
        file = self.scratch / "steps.json"
        result = self.trace(1, "--trace", file, "--trace-steps", "2:50", schedule__total_steps=14)
        self.assertEqual(result.code, 0, result)
        timeline = Timeline(file)
        self.assertEqual([span["name"] for span in timeline.spans(0, "main", "step")],
                         ["step 12", "step 13", "step 14"])
        self.assertNotIn("communication", timeline.threads(0))  # a lone rank sums nothing

    def test_a_run_that_ends_before_the_window(self):
        result = self.trace(2, "--trace", self.scratch / "steps.json", schedule__total_steps=5)
        self.assertEqual(result.code, 0, result)
        self.assertIn("ended after 5 steps", result.out)
        self.assertFalse((self.scratch / "steps.json").exists())

    def test_bad_options(self):
        file = self.scratch / "steps.json"
        for options, words in ((["--trace", self.scratch / "none" / "steps.json"], "--trace"),
                               (["--trace", self.scratch], "is a folder"),
                               (["--trace", file, "--trace-steps", "0:5"], "--trace-steps"),
                               (["--trace", file, "--trace-steps", "5"], "--trace-steps"),
                               (["--trace", file, "--trace-steps", "5:6x"], "--trace-steps"),
                               (["--trace-steps", "5:6"], "--trace")):
            result = self.trace(1, *options)
            self.assertEqual(result.code, 2, result)
            line, = result.own_lines()
            self.assertIn(words, line)
            self.assertFalse((self.scratch / "run").exists())


if __name__ == "__main__":
    run_trainer.main()
