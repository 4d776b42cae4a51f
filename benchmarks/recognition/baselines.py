"""LDA and an SVM on the mean and the deviation of each mel over the excerpt that is scored.

Where the mean is taken off first, the deviations are all that is left. The plain rows train on whole utterances; the
excerpt rows train on random excerpts of 32 to 128 frames, as the trained models do, and so are their fairer peers on
short excerpts. Hyperparameters come from cross-validation on the training split, with the excerpts of an utterance kept
together; a seed draws the excerpts and the folds.
"""

import time

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from recognition import data_sets, provenance
from recognition.experiment import COLUMNS, CONDITIONS, CROP_FRAMES, read_json, write_json
from recognition.shards import equal_error_rate, match_speakers, read_split

EXCERPTS_AN_UTTERANCE = 4
FOLDS = 4
GRIDS = {
    "lda": [{"lineardiscriminantanalysis__solver": ["svd"]},
            {"lineardiscriminantanalysis__solver": ["eigen"],
             "lineardiscriminantanalysis__shrinkage": ["auto", 0.001, 0.01, 0.1]}],
    "svm": [{"svc__kernel": ["linear"], "svc__C": [0.01, 0.1, 1]},
            {"svc__kernel": ["rbf"], "svc__C": [3, 30], "svc__gamma": [0.001, 0.003, 0.01]}],
}


def features(excerpts, mean_removed):
    # (N, T, n_mels) of any lengths -> (N, 2 n_mels), or (N, n_mels) where the mean is gone
    deviations = np.stack([x.std(0, dtype=np.float64) for x in excerpts])
    if mean_removed:
        return deviations
    return np.concatenate([np.stack([x.mean(0, dtype=np.float64) for x in excerpts]), deviations], 1)


def random_excerpts(frames, random):
    excerpts, groups = [], []
    for i, utterance in enumerate(frames):
        for _ in range(EXCERPTS_AN_UTTERANCE):
            length = min(random.integers(CROP_FRAMES[0], CROP_FRAMES[1] + 1), len(utterance))
            start = random.integers(len(utterance) - length + 1)
            excerpts.append(utterance[start:start + length])
            groups.append(i)
    return excerpts, np.array(groups)


def fit(model, train, mean_removed, seed):
    """The classifier with the hyperparameters of the best cross-validated accuracy."""
    kind, _, on_excerpts = model.partition("-")
    if on_excerpts:
        excerpts, groups = random_excerpts(train.frames, np.random.default_rng(seed))
    else:
        excerpts, groups = train.frames, np.arange(len(train.frames))
    labels = train.labels[groups]
    classifier = LinearDiscriminantAnalysis() if kind == "lda" else SVC(decision_function_shape="ovr")
    search = GridSearchCV(make_pipeline(StandardScaler(), classifier), GRIDS[kind],
                          cv=StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed))
    search.fit(features(excerpts, mean_removed), labels, groups=groups)
    return search.best_estimator_, {key.rpartition("__")[2]: value for key, value in search.best_params_.items()}


def embeddings(classifier, values):
    """What trials compare: LDA's projection, or the SVM's score for each training speaker."""
    return classifier.decision_function(values) if isinstance(classifier[-1], SVC) else classifier.transform(values)


def measure(experiment, column, classifier, train, mean_removed):
    scored = read_split(experiment.data_sets / column.data_set, experiment.split_of(column))
    values = features([x[:column.frames or None] for x in scored.frames], mean_removed)
    if column.eer:
        eer, trials = equal_error_rate(embeddings(classifier, values), scored.labels)
        return {"eer": eer, "trials": trials}
    right = classifier.predict(values) == match_speakers(train, scored)
    return {"accuracy": float(right.mean()), "utterances": len(right)}


def run_baseline(experiment, model, condition, seed):
    data_set, mean_removed = CONDITIONS[condition]
    path = experiment.results(condition, model, seed)
    prints = {column.key: data_sets.fingerprint(experiment, column.data_set)
              for column in COLUMNS if column.condition == condition}
    made_of = {"train": data_sets.fingerprint(experiment, data_set), "columns": prints}
    if (read_json(path) or {}).get("made_of") == made_of:
        return
    start = time.monotonic()
    train = read_split(experiment.data_sets / data_set, "train")
    classifier, chosen = fit(model, train, mean_removed, seed)
    columns = {column.key: measure(experiment, column, classifier, train, mean_removed)
               for column in COLUMNS if column.condition == condition}
    seconds = time.monotonic() - start
    write_json(path, {"made_of": made_of, "hyperparameters": chosen, "columns": columns, "seconds": seconds,
                      "provenance": provenance.now()})
    print(f"{condition}/{model}/seed{seed}: {chosen}, {seconds:.0f} s", flush=True)


def run_baselines(experiment, models, conditions, seeds):
    for seed in seeds:
        for model in models:
            # Without excerpts nothing but the folds is drawn: one seed says it all.
            if "excerpts" not in model and seed != 1:
                continue
            for condition in conditions:
                run_baseline(experiment, model, condition, seed)
