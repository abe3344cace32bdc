"""The estimators at their defaults beside those of scikit-learn at theirs, behind the same StandardScaler.

    python -m experiments.estimators.compare [classifiers] [regressors] [--again]

10 x 5-fold, stratified for classes, the same splits for everybody. Writes classifiers.json and regressors.json beside
this file after every cell, skips what is there unless --again is given, and puts the tables into README.md. Accuracy in
%, R^2 for numbers; seconds are CPU seconds of a fit on one thread, the median of all fits.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_circles,
    make_friedman1,
    make_moons,
)
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

import node_oc as oc

HERE = Path(__file__).parent
FOLDS, REPEATS, SEED = 5, 10, 0
Data = tuple[np.ndarray, np.ndarray]


def sine() -> Data:
    """300 points of sin(2 pi x) on [-1, 1], noise of deviation 0.2."""
    g = np.random.RandomState(0)
    x = g.uniform(-1, 1, (300, 1))
    return x, np.sin(2 * np.pi * x[:, 0]) + 0.2 * g.randn(300)


SETS: dict[str, dict[str, Callable[[], Data]]] = {
    "classifiers": {
        "iris": lambda: load_iris(return_X_y=True),
        "wine": lambda: load_wine(return_X_y=True),
        "breast cancer": lambda: load_breast_cancer(return_X_y=True),
        "digits": lambda: load_digits(return_X_y=True),
        "moons": lambda: make_moons(500, noise=0.3, random_state=0),
        "circles": lambda: make_circles(500, noise=0.2, factor=0.5, random_state=0),
    },
    "regressors": {
        "diabetes": lambda: load_diabetes(return_X_y=True),
        "friedman1": lambda: make_friedman1(500, noise=1.0, random_state=0),
        "sine": sine,
    },
}
MODELS: dict[str, dict[str, Callable[[int], Any]]] = {
    "classifiers": {
        "ResidualClassifier": lambda seed: oc.ResidualClassifier(random_state=seed),
        "NeuralODEClassifier": lambda seed: oc.NeuralODEClassifier(random_state=seed),
        "SVC": lambda seed: SVC(),
        "GradientBoostingClassifier": lambda seed: GradientBoostingClassifier(random_state=seed),
        "MLPClassifier": lambda seed: MLPClassifier(random_state=seed),
    },
    "regressors": {
        "ResidualRegressor": lambda seed: oc.ResidualRegressor(random_state=seed),
        "NeuralODERegressor": lambda seed: oc.NeuralODERegressor(random_state=seed),
        "SVR": lambda seed: SVR(),
        "GradientBoostingRegressor": lambda seed: GradientBoostingRegressor(random_state=seed),
        "MLPRegressor": lambda seed: MLPRegressor(random_state=seed),
    },
}
OURS = 2  # of the models, the first ones


def cell(task: str, data: Data, make: Callable[[int], Any]) -> dict[str, Any]:
    """One model on one set: scores of all folds, CPU seconds of a fit, depths."""
    x, y = data
    kind = RepeatedStratifiedKFold if task == "classifiers" else RepeatedKFold
    scores, seconds, depths = [], [], []
    for i, (train, test) in enumerate(kind(n_splits=FOLDS, n_repeats=REPEATS, random_state=SEED).split(x, y)):
        scaler = StandardScaler().fit(x[train])
        start = time.process_time()
        model = make(i).fit(scaler.transform(x[train]), y[train])
        seconds.append(time.process_time() - start)
        scores.append(float(model.score(scaler.transform(x[test]), y[test])))
        if hasattr(model, "depth_"):
            depths.append(model.depth_)
    out: dict[str, Any] = {"score": float(np.mean(scores)), "seconds": float(np.median(seconds)), "scores": scores}
    out["deviation over repeats"] = float(np.std(np.reshape(scores, (REPEATS, FOLDS)).mean(1), ddof=1))
    if depths:
        out |= {"depth": float(np.mean(depths)), "depths": [min(depths), max(depths)]}
    return out


def table(task: str, cells: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row a model, a column a set; what the README shows."""
    sets, models = list(SETS[task]), list(MODELS[task])
    factor, digits = (100, 2) if task == "classifiers" else (1, 3)
    lines = [f"| model | {' | '.join(sets)} | mean |", "|---" * (len(sets) + 2) + "|"]
    means = {m: factor * np.mean([cells[f"{m}, {s}"]["score"] for s in sets]) for m in models}
    for m in models:
        scores = [f"{factor * cells[f'{m}, {s}']['score']:.{digits}f}" for s in sets]
        lines.append(f"| {m} | {' | '.join(scores)} | {means[m]:.{digits}f} |")
    lines += ["", "Seconds of a fit; the depth that was left (mean, least and most over the folds):", ""]
    lines += [f"| model | {' | '.join(sets)} |", "|---" * (len(sets) + 1) + "|"]
    for m in models:
        told = []
        for s in sets:
            c = cells[f"{m}, {s}"]
            depth = f"; {c['depth']:.1f} ({c['depths'][0]} to {c['depths'][1]})" if "depth" in c else ""
            told.append(f"{c['seconds']:.2f}{depth}")
        lines.append(f"| {m} | {' | '.join(told)} |")
    lines.append("")
    rivals = models[OURS:]
    best = max(rivals, key=means.__getitem__)
    for m in models[:OURS]:
        under = {}
        for s in sets:
            highest = max(cells[f"{r}, {s}"]["score"] for r in rivals)
            under[s] = factor * (highest - cells[f"{m}, {s}"]["score"])
        worst = max(under, key=under.__getitem__)
        told = f"mean {means[m] - means[best]:+.{digits}f} against the best single rival ({best})"
        lines.append(f"- {m}: {told}; furthest under the best rival of a set: {under[worst]:.{digits}f}, {worst}.")
    return "\n".join(lines)


def main() -> None:
    """Fill the cells that are missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(SETS), help="classifiers, regressors, or both")
    parser.add_argument("--again", action="store_true", help="measure what is there too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # MLPs as they come: 200 passes are often too few
    readme = HERE / "README.md"
    for task in given.tasks:
        file = HERE / f"{task}.json"
        cells = {} if given.again or not file.exists() else json.loads(file.read_text())
        for s, load in SETS[task].items():
            for m, make in MODELS[task].items():
                if f"{m}, {s}" in cells:
                    continue
                cells[f"{m}, {s}"] = cell(task, load(), make)
                file.write_text(json.dumps(cells, indent=1) + "\n")
                print(s, m, {k: v for k, v in cells[f"{m}, {s}"].items() if k != "scores"}, flush=True)
        if readme.exists():
            before, _, after = readme.read_text().split(f"<!-- {task} -->\n")
            readme.write_text(f"<!-- {task} -->\n".join([before, f"\n{table(task, cells)}\n\n", after]))


if __name__ == "__main__":
    main()
