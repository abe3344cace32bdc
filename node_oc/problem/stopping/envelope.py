"""What stopping costs, the Snell envelope by backward induction, and the oracle that sees the labels.

Our formulation; the formulas of arXiv 2506.16862 could not be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from node_oc.errors import ConfigError, DataError, ShapeError


def layer_costs(cost: float, depth: int, weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """The cost c_k of step k = 0..N-1 in units of loss, float64 (N,).

    Our formulation; the formulas of arXiv 2506.16862 could not be read.

    Args:
        cost: c, of a layer on average.
        depth: N.
        weights: what a layer takes, (N,), in any unit: FLOPs, as of :func:`node_oc.measuring.branch_flops`, or
            milliseconds; its share of their sum, times N, is its share of the cost. All alike if None.

    Raises:
        ConfigError: a cost or weight that is negative or not finite, weights that are all zero, or not N of them.
    """
    shares = torch.ones(depth, dtype=torch.float64) if weights is None else torch.as_tensor(weights).double()
    if shares.shape != (depth,) or not bool((shares >= 0).all()) or not 0 < float(shares.sum()) < torch.inf:
        raise ConfigError("weights of the layers", got=shares.tolist(),
                          expected=f"{depth} finite numbers >= 0, not all 0",
                          do="Give what each layer takes, in FLOPs or milliseconds.")  # fmt: skip
    if not 0 <= cost < torch.inf:
        raise ConfigError("cost of a layer", got=cost, expected="a finite number >= 0, in units of loss",
                          do="With errors as loss, 0.001 pays a tenth of a point for a layer.")  # fmt: skip
    return cost * shares * (depth / shares.sum())


def stopping_costs(losses: Tensor, cost: float | Sequence[float] | Tensor) -> Tensor:
    """G_k = L(yhat_k, y) + sum_{j<k} c_j, float64 (N+1, n): what stopping at k costs; L_k + c k for one c.

    Our formulation; the formulas of arXiv 2506.16862 could not be read.

    Args:
        losses: L(yhat_k, y) of every sample at k = 0..N, (N+1, n).
        cost: c of a layer, or c_k of each, (N,); in units of loss.

    Raises:
        ShapeError: losses that are no matrix.
        ConfigError: negative or infinite costs, or not N of them.
        DataError: losses that are not finite.
    """
    if losses.dim() != 2:
        raise ShapeError("losses", got=tuple(losses.shape), expected="(N + 1, n)",
                         do="Give the loss of every sample at every depth.")  # fmt: skip
    depth = len(losses) - 1
    each = torch.as_tensor(cost, dtype=torch.float64, device=losses.device)
    each = each.expand(depth) if each.dim() == 0 else each
    if each.shape != (depth,) or not bool(((each >= 0) & each.isfinite()).all()):
        raise ConfigError("cost of a layer", got=each.tolist()[:8],
                          expected=f"a finite number >= 0, or {depth} of them, in units of loss",
                          do="A negative cost would pay for layers that nobody needs.")  # fmt: skip
    if not bool(losses.isfinite().all()):
        raise DataError("losses", got="numbers that are not finite", expected="finite losses at every depth",
                        do="Look for the samples whose readouts left the finite numbers.")  # fmt: skip
    return losses.double() + torch.cat([each.new_zeros(1), each.cumsum(0)])[:, None]


def oracle(costs: Tensor) -> tuple[Tensor, Tensor]:
    """The least cost of each sample and the first depth where it is reached, (n,) each: for one who sees the labels.

    No stopping rule does better, on any sample. Our formulation; the formulas of arXiv 2506.16862 could not be read.

    Args:
        costs: G_k of every sample, (N+1, n); see :func:`stopping_costs`.
    """
    least, first = costs.min(0)
    return least, first


@dataclass(frozen=True)
class Envelope:
    """The Snell envelope on a finite tree or Markov chain: V_N = e_N, V_k = min(e_k, E[V_{k+1} | F_k]).

    Attributes:
        values: V_k of every state of level k, k = 0..N, (S_k,) each.
        continuations: E[V_{k+1} | F_k] of every state, k = 0..N-1.
        stops: whether it is optimal to stop there (where both are equal one stops), k = 0..N; all True at N.
        transitions: P_k, (S_k, S_{k+1}).
    """

    values: tuple[Tensor, ...]
    continuations: tuple[Tensor, ...]
    stops: tuple[Tensor, ...]
    transitions: tuple[Tensor, ...]

    def value(self, start: Tensor) -> float:
        """The least expected cost over all stopping rules, from a distribution over the states of level 0, (S_0,)."""
        return float(self.values[0] @ start)

    def stopping_law(self, start: Tensor) -> Tensor:
        """Probability that the optimal rule stops at k = 0..N, (N+1,); see :meth:`value`."""
        return torch.stack([arrived.sum() for arrived in _stopped(self.stops, self.transitions, start)])

    def expected_depth(self, start: Tensor) -> float:
        """E[tau] of the optimal rule, in layers; see :meth:`value`."""
        law = self.stopping_law(start)
        return float(law @ torch.arange(len(law), dtype=law.dtype))


def rule_value(stops: Sequence[Tensor], costs: Sequence[Tensor], transitions: Sequence[Tensor], start: Tensor) -> float:
    """Expected cost of any stopping rule on a finite tree or Markov chain, exact.

    Args:
        stops: whether it stops in each state of level k = 0..N, bool (S_k,) each, all True at N.
        costs: see :func:`snell_envelope`.
        transitions: see :func:`snell_envelope`.
        start: the distribution over the states of level 0, (S_0,).
    """
    return float(sum((there @ e for there, e in zip(_stopped(stops, transitions, start), costs, strict=True))))


def _stopped(stops: Sequence[Tensor], transitions: Sequence[Tensor], start: Tensor) -> list[Tensor]:
    """Probability to stop in each state of each level, (S_k,) each."""
    there, found = start, []
    for stop, p in zip(stops, [*transitions, None], strict=True):
        found.append(torch.where(stop, there, 0.0))
        there = there if p is None else torch.where(stop, 0.0, there) @ p
    return found


def snell_envelope(costs: Sequence[Tensor], transitions: Sequence[Tensor]) -> Envelope:
    """Backward induction, exact, on a Markov chain whose states may differ from level to level; a tree is one.

    Our formulation; the formulas of arXiv 2506.16862 could not be read.

    Args:
        costs: e_k = E[G_k | F_k] of every state of level k = 0..N, (S_k,) each; see :func:`stopping_costs`.
        transitions: probabilities from the states of level k to those of k+1, (S_k, S_{k+1}), k = 0..N-1.

    Raises:
        ShapeError: costs and transitions that do not match.
        DataError: rows that are no probabilities, or costs that are negative or not finite.
    """
    sizes = [(len(a), len(b)) for a, b in pairwise(costs)]
    if not costs or [tuple(p.shape) for p in transitions] != sizes:
        raise ShapeError("transitions", got=[tuple(p.shape) for p in transitions], expected=sizes,
                         do="Give (states of level k, states of level k + 1) for each k < N.")  # fmt: skip
    if any(not bool(((e >= 0) & e.isfinite()).all()) for e in costs):
        raise DataError("stopping costs", got="negative or infinite ones", expected="finite costs >= 0",
                        do="A loss is never negative, a layer never free of charge below 0.")  # fmt: skip
    if any(bool((p < 0).any()) or not torch.allclose(p.sum(1), p.new_ones(len(p)), atol=1e-6) for p in transitions):
        raise DataError("transitions", got="rows that are no probabilities", expected="rows >= 0 that sum to 1",
                        do="Divide each row by its sum.")  # fmt: skip
    values, stops = [costs[-1]], [torch.ones_like(costs[-1], dtype=torch.bool)]
    continuations: list[Tensor] = []
    for e, p in zip(reversed(costs[:-1]), reversed(transitions), strict=True):
        on = p @ values[0]
        continuations.insert(0, on)
        stops.insert(0, e <= on)
        values.insert(0, torch.minimum(e, on))
    return Envelope(tuple(values), tuple(continuations), tuple(stops), tuple(transitions))


def tree(observations: Tensor, costs: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor, list[Tensor]]:
    """The tree of what samples have shown so far: a finite population whose information is exactly known.

    Two samples are in one node of level k where all of their observations up to k agree, so that conditional
    expectations are means over a node, and :func:`snell_envelope` of the tree is the best that any rule which sees only
    the observations can do on this population.

    Args:
        observations: what is seen at k = 0..N, integers (N+1, n).
        costs: G_k of every sample, (N+1, n); see :func:`stopping_costs`.

    Returns:
        Costs and transitions for :func:`snell_envelope`, the distribution over the nodes of level 0, and the node of
        each sample at each level, (n,) each.
    """
    place = torch.zeros(observations.shape[1], dtype=torch.int64)
    places, means, transitions = [], [], []
    for k, (seen, cost) in enumerate(zip(observations, costs.double(), strict=True)):
        _, now = torch.stack([place, seen.to(place)]).unique(dim=1, return_inverse=True)
        count = now.bincount().double()
        means.append(torch.zeros_like(count).index_add_(0, now, cost) / count)
        if k:
            joint = torch.zeros(int(place.max()) + 1, len(count), dtype=torch.float64)
            joint.index_put_((place, now), torch.ones_like(cost), accumulate=True)
            transitions.append(joint / joint.sum(1, keepdim=True))
        places.append(now)
        place = now
    return means, transitions, places[0].bincount().double() / len(place), places
