"""Rounds: in each every contestant of every case runs once, so that what the machine does meanwhile meets all alike."""

import dataclasses

from performance import check
from performance.contestants import NOTEBOOK, OURS
from recognition.provenance import now

FEWEST_STEPS, MOST_STEPS, WARM_UP_INTERVALS = 3, 4000, 4
UNKNOWN_STEP_SECONDS = 0.3


def plan(step_seconds, seconds):
    """(steps of warm-up, measured steps)"""
    steps = min(MOST_STEPS, max(FEWEST_STEPS, round(seconds / step_seconds)))
    warm_up = max(1, steps // WARM_UP_INTERVALS)
    return warm_up, steps


class Cell:
    """One case: who takes part in it, and what all runs of theirs have shown."""

    def __init__(self, case, contestants, model_type):
        self.case, self.contestants, self.model_type = case, contestants, model_type
        self.runs = {name: [] for name in contestants}
        self.expected_step_seconds, self.flops_per_step = {}, None

    @property
    def wants_check(self):
        """With several ranks once a configuration: there precision changes nothing that one rank does not show."""
        return len(self.contestants) > 1 and (self.case.ranks == 1 or self.case.precision == "fp32")

    def check(self, data_sets):
        # The notebook's one process is the same in every case.
        names = [name for name in self.contestants if name != NOTEBOOK or self.case.ranks == 1]
        figures = check.check({name: self.contestants[name] for name in names}, self.case, data_sets, self.model_type)
        for name, figure in figures.items():
            self.expected_step_seconds[name] = figure["step_seconds"]
            self.flops_per_step = figure.get("flops_per_step", self.flops_per_step)

    def run_round(self, number, seconds, data_sets):
        names = list(self.contestants)
        names = names[number % len(names):] + names[:number % len(names)]
        for name in names:
            warm_up, steps = plan(self.expected_step_seconds.get(name, UNKNOWN_STEP_SECONDS), seconds)
            figures = self.contestants[name].run(self.case, data_sets.root, warm_up, steps)
            self.expected_step_seconds[name] = figures["step_seconds"]
            figures["losses"] = [figures["losses"][0], figures["losses"][-1]]
            self.flops_per_step = figures.pop("flops_per_step", self.flops_per_step)
            self.runs[name].append({"round": number, **figures})
            print(f"  {self.case.key:28} {name:12} {1e3 * figures['step_seconds']:9.2f} ms/step over {steps} steps",
                  flush=True)

    def result(self, peak, allocator, command):
        return {"case": dataclasses.asdict(self.case), "runs": self.runs, "flops_per_step": self.flops_per_step,
                "peak_flops_per_rank": peak, "allocator": allocator,
                "command": command, "provenance": now()}


def make_cells(cases, contestants, model_types, has_bf16):
    cells = []
    for case in cases:
        taking_part = {name: contestant for name, contestant in contestants.items()
                       # The notebook has no second precision; ours may not have it yet.
                       if case.precision == "fp32" or name not in ({NOTEBOOK} if has_bf16 else {NOTEBOOK, OURS})}
        if taking_part:
            cells.append(Cell(case, taking_part, model_types[case.config]))
    return cells


def check_all(cells, data_sets):
    for cell in cells:
        if cell.wants_check:
            print(f"  {cell.case.key}: do the losses agree?", flush=True)
            cell.check(data_sets)
    # How long steps take is now known of enough cases to guess it of the rest.
    known = {(cell.case.config, name): seconds for cell in cells for name, seconds in cell.expected_step_seconds.items()}
    for cell in cells:
        for name in cell.contestants:
            if name not in cell.expected_step_seconds and (cell.case.config, name) in known:
                cell.expected_step_seconds[name] = known[cell.case.config, name]


def best_allocator(make_peer, names, case, data_sets, seconds):
    """The one of `names` with which DDP is fastest: the better of two interleaved runs each."""
    best = {}
    for _ in range(2):
        for name in names:
            expected = 0.1 if name not in best else best[name]
            figures = make_peer(name).run(case, data_sets.root, *plan(expected, seconds), measure_communication=False)
            best[name] = min(best.get(name, figures["step_seconds"]), figures["step_seconds"])
    for name, step_seconds in best.items():
        print(f"  DDP on {case.key} with {name}: {1e3 * step_seconds:.2f} ms/step", flush=True)
    return min(best, key=best.get)
