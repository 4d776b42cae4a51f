"""The goals of the comparison, checked by arithmetic: each gives (what was compared, verdict) lines."""

from recognition.experiment import COLUMN, COLUMNS, PYTORCH_FIGURES

# Where the weaker model errs on fewer than one utterance in 200, two figures cannot be told apart.
ROOM = 0.005
WHOLE_GOAL = 0.998
YES, NO, UNKNOWN = "yes", "NO", "-"
# Figures that are equal but for the rounding of a mean are equal.
TOLERANCE = 1e-9


def percent(value):
    return f"{100 * value:.2f} %"


def column_title(key):
    column = COLUMN[key]
    prefix = {"mean": "mean removed, ", "eight": "eight utterances, "}.get(column.condition, "")
    return prefix + column.title


def beats(cells, better, worse, key):
    first, second = cells.get((better, key)), cells.get((worse, key))
    if first is None or second is None:
        return None
    text = f"error {percent(first.error)} against {percent(second.error)}"
    if second.error < ROOM:
        return text, "no room"
    if first.low is None or second.low is None:
        return text, "no interval"
    apart = first.high < second.low if COLUMN[key].eer else first.low > second.high
    if apart:
        return text, YES
    return text, f"{NO} ({'better, intervals overlap' if first.error < second.error else 'not better'})"


def at_most_share(cells, key):
    boss, simple = cells.get(("boss", key)), cells.get(("simple", key))
    if boss is None or simple is None:
        return None
    share = 1 / 2 if COLUMN[key].frames == 32 else 1 / 4
    limit = share * simple.error
    return (f"error {percent(boss.error)}, at most {percent(limit)} (1/{round(1 / share)} of {percent(simple.error)})",
            YES if boss.error <= limit + TOLERANCE else NO)


def below_lda(cells, key):
    boss = cells.get(("boss", key))
    errors = [cells[row, key].error for row in ("lda", "lda-excerpts") if (row, key) in cells]
    if boss is None or not errors:
        return None
    verdict = YES if boss.error < min(errors) - TOLERANCE else NO
    if boss.error < TOLERANCE and min(errors) < TOLERANCE:
        verdict = "level (both without error)"
    return f"error {percent(boss.error)} against {percent(min(errors))} of the better LDA", verdict


def whole_utterances(cells):
    lines = []
    for model in ("boss", "hard"):
        cell = cells.get((model, "full-whole"))
        lines.append((model, *((percent(cell.value), YES if cell.value >= WHOLE_GOAL - TOLERANCE else NO) if cell
                               else (UNKNOWN, UNKNOWN))))
    return lines


def not_below_pytorch(cells):
    lines = []
    for model, condition, figures in PYTORCH_FIGURES:
        for length, figure in zip(("whole", "128", "64", "32"), figures):
            key = f"{condition}-{length}"
            cell = cells.get((model, key))
            text = f"{model}, {column_title(key)}"
            if cell is None:
                lines.append((text, UNKNOWN, UNKNOWN))
                continue
            verdict = YES if cell.value >= figure - TOLERANCE else NO
            if verdict == NO and cell.high >= figure:
                verdict = f"{NO} (the figure is within the interval)"
            lines.append((text, f"{percent(cell.value)} against {percent(figure)}", verdict))
    return lines


def all_goals(cells):
    """[(goal, [(column or model, figures, verdict)])]"""
    def by_column(check):
        return [(column_title(column.key), *(check(column.key) or (UNKNOWN, UNKNOWN))) for column in COLUMNS]

    return [
        ("hard beats medium-224, beyond the intervals", by_column(lambda key: beats(cells, "hard", "medium-224", key))),
        ("medium-224 beats simple, beyond the intervals",
         by_column(lambda key: beats(cells, "medium-224", "simple", key))),
        ("boss errs at most a quarter as often as simple (half, on 32 frames)",
         by_column(lambda key: at_most_share(cells, key))),
        ("boss errs less than LDA", by_column(lambda key: below_lda(cells, key))),
        (f"Whole utterances: at least {percent(WHOLE_GOAL)}", whole_utterances(cells)),
        ("Not below reference runs in PyTorch, one seed", not_below_pytorch(cells)),
    ]
