"""Do all contestants compute the same? Without dropout, on a data set that is one batch of one crop each, there is
nothing left to chance: the losses of the first steps must agree, the first with the initial weights, the next ones with
what AdamW made of them.
"""

from performance.contestants import NOTEBOOK

STEPS = 3
DROPOUTS = {"transformer": ("model.dropout",), "conformer": ("model.attn_dropout", "model.ff_dropout", "model.conv_dropout")}
TOLERANCE = {"fp32": 2e-3, "bf16": 3e-2}  # relative
# With several ranks a Conformer's batch norms see the part of the batch that their rank happens to have: only the first
# loss can be compared, and that roughly.
TOLERANCE_BATCH_NORM = 0.2


class Disagreement(Exception):
    pass


def overrides(model_type):
    return {**{key: 0 for key in DROPOUTS[model_type]}, "schedule.warmup_steps": 0}


def check(contestants, case, data_sets, model_type):
    """{contestant: figures of its short run}. Raises Disagreement."""
    figures = {}
    for name, contestant in contestants.items():
        figures[name] = contestant.run(case, data_sets.root / f"check{case.batch}", 1, STEPS - 1, overrides(model_type),
                                       measure_communication=False)
    reference_name = NOTEBOOK if NOTEBOOK in figures else next(iter(figures))
    apart = model_type == "conformer" and case.ranks > 1
    count, tolerance = (1, TOLERANCE_BATCH_NORM) if apart else (STEPS, TOLERANCE[case.precision])
    reference = figures[reference_name]["losses"][:count]
    for name, figure in figures.items():
        losses = figure["losses"][:count]
        if any(not abs(a - b) <= tolerance * abs(b) for a, b in zip(losses, reference, strict=True)):
            raise Disagreement(f"{case.key}: {name} has losses {losses}, {reference_name} has {reference}")
    return figures
