"""What is compared: models, conditions, columns, sizes and folders. Nothing here runs anything."""

import dataclasses
import json
import pathlib

PROJECT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = PROJECT / "benchmarks" / "recognition" / "results"

SEEDS = (1, 2, 3)
DEFAULT_STEPS = 2000
GLOBAL_BATCH = 32
WARMUP_STEPS = 200
LEARNING_RATE = 1e-3
CROP_FRAMES = (32, 128)  # shortest and longest random crop of a step; boss's are those of its configuration
NOISES = ("white", "babble")
SNRS_DB = (10, 5, 0)

TRAINED_MODELS = ("simple", "medium", "medium-224", "hard", "boss")
PYTORCH_MODEL = "simple-pytorch"
MODELS = TRAINED_MODELS + (PYTORCH_MODEL,)
BASELINES = ("lda", "lda-excerpts", "svm", "svm-excerpts")
ROW_TITLES = {
    "lda": "LDA",
    "lda-excerpts": "LDA, trained on excerpts",
    "svm": "SVM",
    "svm-excerpts": "SVM, trained on excerpts",
    PYTORCH_MODEL: "simple in PyTorch",
}

# Condition: the data set that it trains on, and whether each excerpt's mean is taken off first.
CONDITIONS = {
    "full": ("full", False),
    "mean": ("full", True),
    "eight": ("eight", False),
    "heldout": ("heldout-train", False),
}


def size_overrides(model, steps):
    """Sizes with which a configuration meant for GPUs and 70,000 steps finishes on two CPU cores."""
    conformer = {"model.dim": 80, "model.depth": 3, "model.heads": 4, "model.dim_head": 20,
                 "model.conv_kernel_size": 15}
    return {
        "simple": {},
        "medium": {},
        "medium-224": {},
        "hard": conformer,
        # The run is shorter, so the margin is there earlier, and the average of the weights reaches back less far.
        "boss": {**conformer, "model.dim": 128, "model.dim_head": 32, "loss.margin_warmup_steps": steps // 2,
                 "train.ema_decay": 0.99},
    }[model]


def warmup_steps(steps):
    return min(WARMUP_STEPS, steps // 2)


def training_overrides(model, condition, seed, steps):
    """The whole of what differs from configs/<model>.yaml, save for the paths. The number of utterances seen and
    the schedule are the same for all models, the lengths of crops for all but boss."""
    _, mean_removed = CONDITIONS[condition]
    overrides = {
        **size_overrides(model, steps),
        "run.seed": seed,
        "data.valid_split": "none",  # no validation: the last checkpoint is the one that is scored
        "schedule.total_steps": steps,
        "schedule.warmup_steps": warmup_steps(steps),
        "train.global_batch": GLOBAL_BATCH,
        "train.threads": 1,
        "train.device": "cpu",
        "train.log_every": 50,
        "checkpoint.every": 500,
        "checkpoint.keep": 1,
    }
    if model != "boss":
        overrides["data.min_crop_frames"], overrides["data.crop_frames"] = CROP_FRAMES
    if mean_removed:
        overrides["data.normalize"] = "mean"
    return overrides


@dataclasses.dataclass(frozen=True)
class Column:
    key: str
    title: str
    condition: str  # which training it is measured on
    data_set: str  # which data set is scored
    frames: int  # only the first so many of each utterance; 0: all
    eer: bool = False  # equal error rate of trials, instead of accuracy


def _columns():
    columns = []
    for condition, lengths in (("full", (0, 128, 64, 32)), ("mean", (0, 128, 64, 32)), ("eight", (0, 64))):
        for frames in lengths:
            title = f"{frames} frames" if frames else "whole"
            key = f"{condition}-{frames or 'whole'}"
            columns.append(Column(key, title, condition, CONDITIONS[condition][0], frames))
    for noise in NOISES:
        for snr in SNRS_DB:
            columns.append(Column(f"{noise}-{snr}", f"{noise} {snr} dB", "full", f"{noise}-{snr}", 0))
    columns.append(Column("eer", "EER", "heldout", "heldout", 0, eer=True))
    return tuple(columns)


COLUMNS = _columns()
COLUMN = {column.key: column for column in COLUMNS}

COLUMN_GROUPS = (
    ("Accuracy as is, on whole utterances and on their first frames",
     ("full-whole", "full-128", "full-64", "full-32")),
    ("Accuracy with each excerpt's mean removed before anything sees it",
     ("mean-whole", "mean-128", "mean-64", "mean-32")),
    ("Accuracy with eight training utterances a speaker", ("eight-whole", "eight-64")),
    ("Accuracy with white noise on the scored audio only", tuple(f"white-{snr}" for snr in SNRS_DB)),
    ("Accuracy with babble (four other speakers) on the scored audio only",
     tuple(f"babble-{snr}" for snr in SNRS_DB)),
    ("Equal error rate on six speakers held out of training (lower is better)", ("eer",)),
)

# Accuracies on the same test split of reference runs in PyTorch, one seed: 2,000 steps, batch 32, crops of 32-128
# frames, warm-up 200, then cosine, AdamW 1e-3. Order: whole, first 128, 64, 32 frames. Those of boss are a Conformer's
# with attentive-statistics pooling, batch norm, AAM-softmax and a frequency mask.
PYTORCH_FIGURES = (
    ("simple", "full", (0.982, 0.971, 0.922, 0.802)),
    ("medium", "full", (0.993, 0.980, 0.942, 0.855)),
    ("hard", "full", (1.000, 0.987, 0.971, 0.864)),
    ("simple", "mean", (0.978, 0.920, 0.817, 0.633)),
    ("hard", "mean", (0.998, 0.989, 0.951, 0.817)),
    ("boss", "mean", (1.000, 0.996, 0.980, 0.829)),
)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Where things are and how long to train. With `validate`, a part of the training split is scored, and the test
    split is never read; such results lie in a folder of their own."""

    audio: pathlib.Path
    work: pathlib.Path
    programs: pathlib.Path
    validate: bool = False
    tag: str = ""
    steps: int = DEFAULT_STEPS
    jobs: int = 2
    extra: tuple = ()  # (model, key, value): overrides being tried, only with validate

    @property
    def root(self):
        return self.work / "validate" if self.validate else self.work

    @property
    def data_sets(self):
        return self.root / "data"

    @property
    def runs(self):
        return self.root / (f"runs-{self.tag}" if self.tag else "runs")

    @property
    def scored_split(self):
        return "validation" if self.validate else "test"

    def split_of(self, column):
        return "heldout" if column.eer else self.scored_split

    def run_dir(self, condition, model, seed):
        return self.runs / condition / model / f"seed{seed}"

    def results(self, condition, model, seed):
        """Where a finished result is kept: in the project, for the runs are hours of work; of what is only tried out,
        in the run's folder."""
        if self.validate or self.steps != DEFAULT_STEPS:
            return self.run_dir(condition, model, seed) / "finished.json"
        return RESULTS / condition / model / f"seed{seed}.json"


def read_json(path, default=None):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return default


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)
