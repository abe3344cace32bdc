"""One-step look-ahead: stop at the first exit from which one step more is not worth its cost.

Our formulation; the formulas of arXiv 2506.16862 could not be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from node_oc.policies.hinges import fit_hinges
from node_oc.policies.readings import Readings, check_costs
from node_oc.policies.regressed import Regressed

Costs = float | Sequence[float]


def look_ahead(readings: Readings, cost: Costs, *, labels: bool = False) -> Regressed:
    """Stop at the first exit k with e_k - E[e_{k+1} | F_k] <= c_k, where e_k = E[L(yhat_k, Y) | F_k].

    The difference is regressed as one quantity, which has less noise than the difference of two regressions. Optimal in
    the monotone case, where a step that does not pay is never followed by one that does.

    Args:
        readings: of samples that the network was not trained on.
        cost: c of a layer, or of the way from each exit to the next, (E-1,); in units of loss.
        labels: whether losses are those of the labels, in place of those that the full network sees.

    Raises:
        ConfigError: negative or infinite costs.
        DataError: too few samples for a regression.
    """
    return look_aheads(readings, [cost], labels=labels)[0]


def look_aheads(
    readings: Readings, costs: Sequence[Costs], guards: Sequence[float] = (), *, labels: bool = False
) -> tuple[Regressed, ...]:
    """The same for several guards at the first of several costs, and then for each cost without a guard.

    Args:
        readings: see :func:`look_ahead`.
        costs: see :func:`look_ahead`.
        guards: see :class:`Regressed`.
        labels: see :func:`look_ahead`.
    """
    table = check_costs(readings, costs)
    loss = readings.losses if labels else readings.soft
    gains = [fit_hinges(f, (now - after)[:, None])[0][0]
             for f, (now, after) in zip(readings.features, pairwise(loss), strict=False)]  # fmt: skip

    def policy(row: Tensor, guard: float | None) -> Regressed:
        rules = tuple(replace(g, intercept=g.intercept - c) for g, c in zip(gains, row.tolist(), strict=True))
        return Regressed("look-ahead", readings.exits, rules, tuple(row.tolist()), guard, readings.task)

    return (*(policy(table[0], guard) for guard in guards), *(policy(row, None) for row in table))


def one_step_rule(costs: Sequence[Tensor], transitions: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The same rule where all expectations are known: whether to stop in each state, (S_k,) each, all True at N.

    Args:
        costs: e_k + c k of every state of level k; see :func:`node_oc.problem.stopping.snell_envelope`.
        transitions: see :func:`node_oc.problem.stopping.snell_envelope`.
    """
    ahead = [now <= p @ after for p, (now, after) in zip(transitions, pairwise(costs), strict=True)]
    return (*ahead, torch.ones_like(costs[-1], dtype=torch.bool))
