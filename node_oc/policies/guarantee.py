"""A guarantee: what a policy loses against the full network, bounded at a confidence level at finite sample size.

Learn then Test (Angelopoulos et al., arXiv 2110.01052) with a fixed sequence from conservative to aggressive; its test
is the betting bound of :mod:`node_oc.diagnosis.certificate`, or the exact binomial one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from node_oc.diagnosis import Budget
from node_oc.diagnosis.certificate import log_capital
from node_oc.errors import ConfigError, DataError
from node_oc.policies.outcome import Outcome, follow
from node_oc.policies.policy import Policy
from node_oc.policies.readings import Readings

Test = Literal["binomial", "betting"]  # where both go as far, the one that needs fewer samples


@dataclass(frozen=True)
class Guarantee:
    """The most aggressive policy of a family that is known to lose little.

    Attributes:
        outcome: of that policy on the samples that tested it.
        loss: what it loses at most against the full network, in expectation over new samples,
        confidence: with this confidence, over the draw of the samples that tested it.
        test: "betting" (:func:`node_oc.upper_limit`), or "binomial", on the samples that only the full network has
            right: exact where it never errs when the policy is right, and careful otherwise.
        tested: how many policies were tested.
        n: samples that tested.
        needed: samples that a test needs at least, see :func:`needed`.
    """

    outcome: Outcome
    loss: float
    confidence: float
    test: Test
    tested: int
    n: int
    needed: int


def needed(loss: float, confidence: float = 0.95, test: Test = "binomial") -> int:
    """Samples without one disagreement with the full network that would do: with fewer no policy can be tested.

    Args:
        loss: what may be lost against the full network, in (0, 1).
        confidence: of the guarantee.
        test: see :class:`Guarantee`.

    Raises:
        ConfigError: numbers out of range.
    """
    _check(loss, confidence)
    high = math.ceil(math.log1p(-confidence) / math.log1p(-loss))
    if test == "binomial":
        return high
    while log_capital(np.zeros(1), np.full(1, float(high)), loss, 1.0) < -math.log1p(-confidence):
        high = math.ceil(high * 1.01)
    return high


def guarantee(
    policies: Sequence[Policy], readings: Readings, loss: float, confidence: float = 0.95,
    rehearsal: Readings | None = None, test: Test = "betting",
) -> Guarantee:  # fmt: skip
    """Test the policies of a family one after another until the first fails; the one before it is known to be good.

    The chance that the policy returned loses more than ``loss`` in expectation is at most 1 - confidence, whatever the
    samples are: the order is fixed before they are seen, and each test has that level. The full network loses nothing.

    Args:
        policies: from conservative to aggressive, as of :func:`family`; not fitted on these samples.
        readings: of samples that are exchangeable with those to come, and fitted and chose nothing.
        loss: what may be lost against the full network: a share of errors; in regression, a share of its loss, where
            both losses are cut at its 99.9 % quantile, see :class:`node_oc.diagnosis.Budget`.
        confidence: of the guarantee.
        rehearsal: other samples, those that fitted, say: what :func:`rehearse` makes of them is what is tested.
        test: where there is no rehearsal; in regression always by bets.

    Raises:
        DataError: fewer samples than a test needs; it says how many.
        ConfigError: no policy, an unknown test, or numbers out of range.
    """
    _check(loss, confidence)
    if not policies:
        raise ConfigError("policies", got="none", expected="a family, the most conservative first",
                          do="Give family(name, readings).")  # fmt: skip
    if test not in get_args(Test):
        raise ConfigError("test", got=repr(test), expected=" or ".join(get_args(Test)), do="Correct the name.")
    order = list(policies)
    if rehearsal is not None:
        order, test = rehearse(policies, rehearsal, loss, confidence)
    test = test if readings.task == "classification" else "betting"
    budget = Budget.against(loss, readings.task, (rehearsal or readings).losses[-1].numpy())
    least = needed(loss, confidence, test)
    if len(readings) < least:
        raise DataError("samples for a guarantee", got=len(readings),
                        expected=f"at least {least:,} for a loss of {loss:g} at a confidence of {confidence:g}",
                        do="Give more held-out samples, allow more loss, or ask without a guarantee.")  # fmt: skip
    index, outcome = _last(order, readings, budget, 1 - confidence, test)
    return Guarantee(outcome, loss, confidence, test, min(index + 2, len(order)), len(readings), least)


def rehearse(
    policies: Sequence[Policy], readings: Readings, loss: float, confidence: float = 0.95
) -> tuple[list[Policy], Test]:
    """What is tested, and how, settled on other samples than those that will test.

    Policies are ordered by mean depth, the deepest first; those that a shallower one outdoes in loss are left out. The
    test is the one that goes further on these samples.

    Args:
        policies: see :func:`guarantee`.
        readings: of samples that will not test: those that fitted, say.
        loss: see :func:`guarantee`.
        confidence: see :func:`guarantee`.
    """
    order = _frontier(policies, readings)
    if readings.task == "regression":
        return order, "betting"
    budget = Budget.against(loss, readings.task, readings.losses[-1].numpy())
    reached = {t: _last(order, readings, budget, 1 - confidence, t)[0] for t in get_args(Test)}
    return order, max(reached, key=lambda t: reached[t])


def _frontier(policies: Sequence[Policy], readings: Readings) -> list[Policy]:
    """By mean depth, the deepest first, without those that a shallower one outdoes in loss or equals."""
    found = sorted((follow(policy, readings) for policy in policies), key=lambda one: (one.depth, one.loss))
    kept: list[Outcome] = []
    for one in found:  # from shallow to deep: a deeper one must lose less
        if not kept or one.loss < kept[-1].loss:
            kept.append(one)
    kept = kept if found[-1] in kept else [*kept, found[-1]]
    return [one.policy for one in reversed(kept)]


def _last(
    policies: Sequence[Policy], readings: Readings, budget: Budget, alpha: float, test: Test
) -> tuple[int, Outcome]:
    """The last policy before the first that fails its test, at level alpha each."""
    best = 0, follow(policies[0], readings)
    for index, policy in enumerate(policies[1:], 1):
        outcome = follow(policy, readings)
        if not _passes(budget.paired(outcome.losses.numpy(), outcome.reference.numpy()), budget, alpha, test):
            break
        best = index, outcome
    return best


def _passes(d: NDArray[np.float64], budget: Budget, alpha: float, test: Test) -> bool:
    """Whether "E[d] is over the budget" is rejected at level alpha."""
    if test == "binomial":
        return bool(binom.cdf((d > 0).sum(), len(d), budget.limit) <= alpha)
    values, counts = np.unique(d, return_counts=True)
    return log_capital(values, counts.astype(np.float64), budget.limit, budget.range[1]) >= -math.log(alpha)


def _check(loss: float, confidence: float) -> None:
    if not 0 < loss < 1 or not 0 < confidence < 1:
        raise ConfigError("guarantee", got=f"a loss of {loss} at a confidence of {confidence}",
                          expected="both in (0, 1)", do="0.005 is half a point; 0.95 is usual.")  # fmt: skip
