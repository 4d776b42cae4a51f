"""From cached results to means with intervals: one cell of the table is a row (model) and a column over its seeds."""

import dataclasses
import math
import statistics

from scipy import stats

from recognition.experiment import BASELINES, COLUMNS, SEEDS, read_json

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Cell:
    value: float  # accuracy or EER, mean over seeds
    low: float  # of the interval; None where there is none
    high: float
    seeds: int
    count: int  # utterances or trials of one seed
    error: float  # 1 - accuracy, or the EER


def t_interval(values):
    """Student's t over seeds: what another seed would give."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return max(0.0, mean - half), min(1.0, mean + half)


def wilson_interval(share, count):
    """Wilson's interval of a binomial share of `count` trials."""
    z = stats.norm.ppf(0.5 + CONFIDENCE / 2)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def make_cell(column, figures):
    """figures: what each seed's measurement printed."""
    if column.eer:
        values = [figure["eer"] for figure in figures]
        low, high = t_interval(values) or (None, None)
        mean = statistics.fmean(values)
        return Cell(mean, low, high, len(values), figures[0].get("trials", 0), mean)
    values = [figure["accuracy"] for figure in figures]
    count = figures[0]["utterances"]
    mean = statistics.fmean(values)
    # Clipped to [0, 1], neither may look narrower than it is only because it leans on the edge; the wider one wins.
    intervals = [wilson_interval(mean, count * len(values)), t_interval(values)]
    low, high = max((i for i in intervals if i), key=lambda i: i[1] - i[0])
    return Cell(mean, low, high, len(values), count, 1 - mean)


def read_results(experiment, rows, is_current):
    """{(row, condition): [a finished result of each seed]}. is_current(row, condition, seed, result): whether a
    trained model's result is of today's recipe; others are left out."""
    found = {}
    for row in rows:
        for condition in dict.fromkeys(column.condition for column in COLUMNS):
            for seed in SEEDS:
                result = read_json(experiment.results(condition, row, seed))
                if result and (row in BASELINES or is_current(row, condition, seed, result)):
                    found.setdefault((row, condition), []).append(result)
    return found


def make_cells(results):
    """{(row, column key): Cell}; what was not measured is not in it."""
    cells = {}
    for (row, condition), seeds in results.items():
        for column in COLUMNS:
            if column.condition == condition:
                figures = [result["columns"][column.key] for result in seeds if column.key in result["columns"]]
                if figures:
                    cells[row, column.key] = make_cell(column, figures)
    return cells
