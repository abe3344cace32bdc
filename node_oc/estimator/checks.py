"""The parameters of an estimator, checked when it is fitted: scikit-learn wants constructors that do not look."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, get_args

from sklearn.base import BaseEstimator

from node_oc.discretization.tableau import TABLEAUS
from node_oc.errors import ConfigError
from node_oc.system.field import Activation
from node_oc.trajectory.solver import Adaptive

WHOLE = {"depth": 1, "steps": 1, "width": 1, "hidden": 1, "epochs": 1, "min_updates": 0, "batch": 1, "full_batch": 0,
         "folds": 2, "n_iter_no_change": 1, "functions": 1}  # fmt: skip
"""Least values of whole numbers."""
RANGES = {"stage_weight": (0.0, math.inf), "price": (0.0, math.inf), "energy": (0.0, math.inf), "eps": (0.0, 1.0),
          "budget": (0.0, 1.0)}  # fmt: skip
"""Real numbers, low <= value < high."""
OPEN = {"learning_rate": (0.0, math.inf), "validation_fraction": (0.0, 1.0), "horizon": (0.0, math.inf),
        "tolerance": (0.0, math.inf)}  # fmt: skip
"""Real numbers, low < value < high."""
ADAPTIVE = get_args(Adaptive)
WORDS = {"activation": get_args(Activation), "solver": (*TABLEAUS, *ADAPTIVE),
         "driver": ("time", "stochastic_depth", "branch_dropout", "two_point", "gaussian"),
         "controls": ("piecewise", "constant", "polynomial", "chebyshev", "fourier")}  # fmt: skip


def check_parameters(estimator: BaseEstimator, partial: bool = False) -> None:
    """Raise ConfigError where a parameter is out of range, of another kind, or contradicts another one.

    Args:
        estimator: whose parameters are checked.
        partial: whether for one pass, which holds no rows out.
    """
    given = estimator.get_params(deep=False)
    for name, value in given.items():
        if value is None and (name == "budget" or (name == "price" and "controls" in given)):
            continue
        number = isinstance(value, Real) and not isinstance(value, bool)
        if name in WHOLE and not (isinstance(value, Integral) and number and int(value) >= WHOLE[name]):
            raise _wrong(name, value, f"a whole number, at least {WHOLE[name]}")
        if name in RANGES and not (number and RANGES[name][0] <= value < RANGES[name][1]):
            raise _wrong(name, value, f"a number, {RANGES[name][0]:g} <= {name} < {RANGES[name][1]:g}")
        if name in OPEN and not (number and OPEN[name][0] < value < OPEN[name][1]):
            raise _wrong(name, value, f"a number, {OPEN[name][0]:g} < {name} < {OPEN[name][1]:g}")
        if name == "keep" and not (number and 0 < value <= 1):
            raise _wrong(name, value, "a probability in (0, 1]")
        if name in WORDS and value not in WORDS[name]:
            raise _wrong(name, value, f"one of {WORDS[name]}")
    if given["early_stopping"] and given["budget"] is not None:
        raise ConfigError("early_stopping", got="True with a budget", expected="one of the two",
                          do="Both would judge by the same held-out rows: choose.")  # fmt: skip
    if (controls := given.get("controls", "piecewise")) != "piecewise":
        for name in ("price", "budget"):
            if given[name]:
                raise ConfigError(name, got=f"{given[name]} with controls={controls!r}", expected=f"{name}=None",
                                  do="Steps that share a control have no price or depth of their own.")  # fmt: skip
    if given.get("solver") in ADAPTIVE and given["budget"] is not None:
        raise ConfigError("budget", got=f"{given['budget']} with solver={given['solver']!r}", expected="a table",
                          do="What is judged must be what predicts: use heun, or no budget.")  # fmt: skip
    if given.get("solver") in ADAPTIVE and given["driver"] != "time":
        raise ConfigError("driver", got=f"{given['driver']!r} with solver={given['solver']!r}", expected="a table",
                          do="An adaptive solver cannot follow noise: use heun, or time.")  # fmt: skip
    if partial and given.get("solver") in ADAPTIVE:
        raise ConfigError("partial_fit", got=f"solver={given['solver']!r}", expected="a table",
                          do="What predicts must be what is trained on: use heun, or fit.")  # fmt: skip
    if partial and (given["early_stopping"] or given["budget"] is not None):
        raise ConfigError("partial_fit", got="early_stopping or a budget", expected="neither",
                          do="One pass holds no rows out: use fit.")  # fmt: skip


def _wrong(name: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(name, got=repr(value), expected=expected, do="Correct the parameter.")
