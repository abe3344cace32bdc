"""All of scikit-learn's estimator checks for all four estimators; those that skip are listed by name, with the reason.

And whether joblib's processes train the same as this one.

    python -m experiments.estimators.checks

Exits with 1 where a check fails.
"""

from __future__ import annotations

import os
import sys
import time
import warnings

os.environ["SCIPY_ARRAY_API"] = "1"  # scipy reads it when it is imported, so this stands before the imports below

from sklearn.datasets import load_iris
from sklearn.exceptions import SkipTestWarning
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

import node_oc as oc

ESTIMATORS = (oc.ResidualClassifier, oc.NeuralODEClassifier, oc.ResidualRegressor, oc.NeuralODERegressor)


def main() -> int:
    """Run the checks; returns how many failed."""
    failed = 0
    for kind in ESTIMATORS:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SkipTestWarning)  # told below
            results = check_estimator(kind(), on_fail=None, on_skip=None)
        count = {status: sum(r["status"] == status for r in results) for status in ("passed", "skipped", "failed")}
        told = ", ".join(f"{number} {status}" for status, number in count.items())
        print(f"{kind.__name__}: {told}, {time.perf_counter() - start:.0f} s", flush=True)
        for r in results:
            if r["status"] != "passed":
                print(f"  {r['status']}: {r['check_name']}: {r['exception']}")
        failed += count["failed"]
    failed += not same_in_other_processes()
    return failed


def same_in_other_processes() -> bool:
    """Whether joblib's processes train the same as this one."""
    x, y = load_iris(return_X_y=True)
    here, there = (cross_val_score(oc.ResidualClassifier(random_state=0), x, y, n_jobs=jobs) for jobs in (1, 2))
    same = bool((here == there).all())
    print(f"cross_val_score in two processes: {'the same' if same else f'{there}, here {here}'}")
    return same


if __name__ == "__main__":
    sys.exit(main() > 0)
