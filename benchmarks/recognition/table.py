"""Writes the comparison as Markdown, from cached results alone: nothing is measured here."""

import shlex

from recognition.cells import make_cells, read_results
from recognition.experiment import (BASELINES, COLUMN, COLUMN_GROUPS, CONDITIONS, CROP_FRAMES, DEFAULT_STEPS,
                                    GLOBAL_BATCH, MODELS, PROJECT, ROW_TITLES, SEEDS, TRAINED_MODELS,
                                    size_overrides, warmup_steps)
from recognition.goals import all_goals

# Written by hand: why a goal does not hold, and what was tried. Becomes the last section.
REMARKS = PROJECT / "benchmarks" / "recognition" / "remarks.md"
ROWS = TRAINED_MODELS + tuple(model for model in MODELS if model not in TRAINED_MODELS) + BASELINES


def row_title(row):
    return ROW_TITLES.get(row, row)


def cell_text(cell):
    if cell is None:
        return "-"
    value = f"{100 * cell.value:.2f}"
    return value if cell.low is None else f"{value} ({100 * cell.low:.1f}-{100 * cell.high:.1f})"


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def distinct(results, key):
    return sorted({result["provenance"][key] for seeds in results.values() for result in seeds})


def command(experiment):
    words = [".venv/bin/python", "benchmarks/recognition.py"]
    if experiment.validate:
        words.append("--validate")
    if experiment.tag:
        words += ["--tag", experiment.tag]
    for model, key, value in experiment.extra:
        words += ["--set", f"{model}:{key}={value}"]
    if experiment.steps != DEFAULT_STEPS:
        words += ["--steps", str(experiment.steps)]
    return shlex.join(words)


def head(experiment, results, cells):
    trials = {cell.count for (_, key), cell in cells.items() if COLUMN[key].eer}
    counts = {cell.count for (_, key), cell in cells.items() if not COLUMN[key].eer}
    scored = f"{' or '.join(map(str, sorted(counts))) or 'no'} utterances"
    what = ("a validation part of the training split (15 % of each speaker's utterances, which do not train; the test "
            "split is not read)" if experiment.validate else "the test split")
    dates = distinct(results, "date")
    crops = f"{CROP_FRAMES[0]} to {CROP_FRAMES[1]} frames"
    return [
        "# Recognition of real speech",
        "",
        "Thirty speakers of the Arabic Speech Commands data set (CC BY 4.0; Ghandoura, Hjabo and Al Dakkak, 2021), some",
        "70 utterances of 1.5 to 4 s each to train on, 40 log-mels.",
        f"Scored: {what}, {scored}.",
        f"All trained models see {experiment.steps * GLOBAL_BATCH} crops: {experiment.steps} steps of {GLOBAL_BATCH},",
        f"each step's crops of one random length from {crops} (10 ms each; boss's are part of its",
        "recipe, `configs/boss.yaml`), warm-up",
        f"{warmup_steps(experiment.steps)} steps, then cosine to 0. Nothing is validated while training: the last",
        "checkpoint is the one that is scored.",
        "",
        f"Command: `{command(experiment)}`  ",
        f"Hardware: {'; '.join(distinct(results, 'hardware')) or '-'}; one thread a training  ",
        f"Commit: {', '.join(distinct(results, 'commit')) or '-'}  ",
        f"Date: {' to '.join(dict.fromkeys((dates[0], dates[-1]))) if dates else '-'}",
        "",
        f"Figures are per cent, the mean over seeds {', '.join(map(str, SEEDS))}, with a 95 % interval: the wider of",
        "Student's t over the seeds, and Wilson's binomial interval of the seeds' utterances pooled. Pooling counts one",
        "utterance scored by three models as three, so intervals tell models apart on these utterances rather than",
        "foretell others. LDA and SVM on whole utterances draw nothing but their folds and have one run. An EER has the",
        "first interval only, for its trials share utterances. `-`: not measured.",
        "",
        "LDA and SVM see the mean and the deviation of each mel over the excerpt that is scored (without its mean: the",
        f"deviations). They are trained on whole utterances, or on four random excerpts of {crops} of",
        "each; their hyperparameters are cross-validated on the training split. Noise is added to the audio, at the",
        "stated ratio of the powers over the whole utterance; the speech keeps its level. Trials are all pairs of the",
        f"six speakers' utterances{', ' if trials else ''}{' or '.join(map(str, sorted(trials)))}.",
        "",
    ]


def models_section(experiment, results):
    rows = []
    for row in MODELS:
        runs = [result for (name, _), seeds in results.items() if name == row for result in seeds]
        parameters = {result["parameters"] for result in runs if "parameters" in result}
        seconds = [result["seconds"] for result in runs]
        sizes = size_overrides(row, experiment.steps) if row in TRAINED_MODELS else {}
        tried = {key: value for model, key, value in experiment.extra if model == row}
        rows.append((row_title(row), str(max(parameters)) if parameters else "-",
                     f"{sum(seconds) / len(seconds) / 60:.1f} min" if seconds else "-", str(len(runs)),
                     " ".join(f"{key}={value}" for key, value in {**sizes, **tried}.items()) or "none"))
    return ["## Models", "",
            *markdown_table(("", "parameters", "training time", "trainings", "sizes changed from configs/"), rows), ""]


def baselines_section(results):
    rows = []
    for row in BASELINES:
        # Of the first seed; the others' folds and excerpts may choose a neighbour in the grid.
        chosen = [results[row, condition][0]["hyperparameters"] if (row, condition) in results else {}
                  for condition in CONDITIONS]
        rows.append((row_title(row), *(" ".join(f"{key}={value}" for key, value in values.items()) or "-"
                                       for values in chosen)))
    return ["Hyperparameters that cross-validation chose, first seed:", "", *markdown_table(("", *CONDITIONS), rows), ""]


def columns_section(cells):
    lines = []
    for title, keys in COLUMN_GROUPS:
        rows = [(row_title(row), *(cell_text(cells.get((row, key))) for key in keys)) for row in ROWS]
        lines += [f"## {title}", "", *markdown_table(("", *(COLUMN[key].title for key in keys)), rows), ""]
    return lines


def goals_section(cells):
    lines = ["## Goals", "",
             "Errors are 1 - accuracy, or the EER. `no room`: the weaker model errs on fewer than one utterance in 200.",
             ""]
    for goal, checks in all_goals(cells):
        if all(verdict == "-" for _, _, verdict in checks):
            lines += [f"### {goal}: not measured", ""]
            continue
        judged = [verdict for _, _, verdict in checks if verdict not in ("-", "no room", "no interval")]
        held = sum(not verdict.startswith("NO") for verdict in judged)
        lines += [f"### {goal}: {held} of {len(judged)} hold", "",
                  *markdown_table(("", "figures", "holds"), checks), ""]
    return lines


def write(experiment, output, is_current):
    results = read_results(experiment, ROWS, is_current)
    cells = make_cells(results)
    lines = (head(experiment, results, cells) + columns_section(cells) + models_section(experiment, results)
             + baselines_section(results) + goals_section(cells))
    if REMARKS.is_file() and not experiment.validate:
        lines += ["## Remarks", "", REMARKS.read_text()]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(lines).rstrip() + "\n")
