"""Longstaff and Schwartz: the value of continuing, regressed backwards on what the readouts show.

Our formulation; the formulas of arXiv 2506.16862 could not be read. The regression is that of Longstaff and Schwartz,
Review of Financial Studies 14 (2001), with a cost in place of a payoff.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from node_oc.policies.hinges import Hinges, fit_hinges
from node_oc.policies.lookahead import Costs
from node_oc.policies.readings import Readings, check_costs
from node_oc.policies.regressed import Regressed, guarded


def continuation(readings: Readings, cost: Costs, *, labels: bool = False) -> Regressed:
    """Stop at the first exit k with E[G_k - W_{k+1} | F_k] <= 0, found from the last exit backwards.

    W_{k+1} is what going on from k has cost each sample under the rules found for the exits behind. The difference of
    both is regressed as one quantity: what the full network gets wrong anyway cancels.

    Args:
        readings: of samples that the network was not trained on.
        cost: c of a layer, or of the way from each exit to the next, (E-1,); in units of loss.
        labels: whether losses are those of the labels, in place of those that the full network sees.

    Raises:
        ConfigError: negative or infinite costs.
        DataError: too few samples for a regression.
    """
    return continuations(readings, [cost], labels=labels)[0]


def continuations(
    readings: Readings, costs: Sequence[Costs], guards: Sequence[float] = (), *, labels: bool = False
) -> tuple[Regressed, ...]:
    """The same for several guards at the first of several costs, and then for each cost without a guard.

    All in one backward pass, for they share the factorised columns of every regression.

    Args:
        readings: see :func:`continuation`.
        costs: see :func:`continuation`.
        guards: see :class:`Regressed`.
        labels: see :func:`continuation`.
    """
    table, some = check_costs(readings, costs), list(guards)
    table = torch.cat([table[:1].expand(len(some), -1), table])  # (C, E-1)
    loss = (readings.losses if labels else readings.soft)[:, :, None]  # (E, n, 1)
    spent = torch.cat([table.new_zeros(len(table), 1), table.cumsum(1)], 1)  # up to each exit, (C, E)
    on = loss[-1] + spent[:, -1]
    found: list[list[Hinges]] = []
    for i in reversed(range(len(readings.exits) - 1)):
        stop, features = loss[i] + spent[:, i], readings.features[i]
        rules, expected = fit_hinges(features, stop - on)
        pays = expected <= 0
        if some:
            pays[:, : len(some)] &= guarded(features, torch.tensor(some)[:, None], readings.task).T
        on = torch.where(pays, stop, on)
        found.insert(0, rules)
    each = zip(*found) if found else [()] * len(table)
    return tuple(
        Regressed("continuation", readings.exits, tuple(rules), tuple(row.tolist()), guard, readings.task)
        for rules, row, guard in zip(each, table, [*some, *[None] * (len(table) - len(some))], strict=True)
    )
