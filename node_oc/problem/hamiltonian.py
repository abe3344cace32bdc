"""The Hamiltonian of every layer: how far its control is from stationary, and from the minimum."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DataError
from node_oc.problem.costate import costate_sweep, step_hamiltonian
from node_oc.problem.group_minimum import GroupHamiltonian
from node_oc.problem.ocp import Problem
from node_oc.problem.optimality import all_awake
from node_oc.problem.slopes import relaxed
from node_oc.system.base import System
from node_oc.trajectory.rollout import rollout

PROBED = 64  # samples on which a branch is tested for linearity in its group
NUDGE = 1e-6  # length of the move that measures a gradient along the admissible set


@dataclass(frozen=True)
class Hamiltonians:
    """Ham_k = h_k [gamma l(x_k) + r(u_k)] + p_{k+1} . x_{k+1}(x_k, u_k) of every layer, means over all samples.

    Attributes:
        price: lambda, of the problem that was asked about.
        value: Ham_k, k = 0..N-1.
        costate: ||p_k|| of one sample alone, its mean, k = 0..N.
        residual: stationarity: distance of 0 to the subdifferential of Ham_k in u_k on the admissible set,
            k = 0..N-1. Of inner weights that are kept at fixed norms only the gradient along them counts.
        gap: Ham_k less its least value over the group, the inner weights as they are, k = 0..N-1; inf where it
            has none, None where it is not computed: several stages, or a branch not linear in one.
            The energy of a sleeping step's inner weights, which it would pay awake, is not in it.
        ratio: the optimality ratio, see :func:`node_oc.optimality_ratios`, k = 0..N-1; empty without a price.
        zero: the idle steps, whose group is exactly zero.
        waking: those of them for which zero is not the minimum: some small group has a smaller Ham_k.
        discrete: what other discrete weights W of a step would lower Ham_k by, to first order: sum of G W + |G| with
            their slopes G, the best of a set being -sign G, k = 0..N-1; empty where no step has such weights.
    """

    price: float
    value: tuple[float, ...]
    costate: tuple[float, ...]
    residual: tuple[float, ...]
    gap: tuple[float | None, ...]
    ratio: tuple[float, ...]
    zero: tuple[int, ...]
    waking: tuple[int, ...]
    discrete: tuple[float, ...] = ()

    @property
    def sentence(self) -> str:
        """What they say about idle layers, in words."""
        zero, depth = len(self.zero), len(self.value)
        if not zero:
            return f"None of the {depth} layers is idle."
        known = all(self.gap[k] is not None for k in self.zero)
        does = "minimises" if known else "is a stationary point (the minimum is not computed) of"
        right = zero - len(self.waking)
        text = (
            f"{zero} of {depth} layers idle: at price {self.price:g}, zero {does} the Hamiltonian for {right} of them"
        )
        if self.waking:
            names = ", ".join(map(str, self.waking))
            text += f", and not for layer{'s' * (len(self.waking) > 1)} {names}, which would pay for being awake"
        return text + "."


def hamiltonians(network: Network, problem: Problem, batches: Iterable[tuple[Tensor, Tensor]]) -> Hamiltonians:
    """Hamiltonian, stationarity and gap of every layer, over all samples of the batches.

    An optimal u_k is a stationary point of Ham_k, and a minimiser where the set of (x_{k+1}, cost) that u_k can
    reach is convex (Halkin); so both gaps are told. With one stage a step and a branch linear in its group, which
    is tried out, the least value over the group has a closed form: :class:`GroupHamiltonian`. An idle layer's
    gap is 0 exactly where its optimality ratio is at most 1 (our derivation).

    Args:
        network: any network, whose sleeping steps have a zero group; it is not changed.
        problem: whose J, group price included, the costates and Hamiltonians belong to.
        batches: (x, target) pairs on the network's device; each counts with its number of samples.

    Raises:
        DataError: no samples.
        ConfigError: a sleeping step whose group is not zero; control energy of controls that vary within a step.
        DivergenceError: a state or costate that is not finite; its layer is named.
    """
    network = network.untied()
    if problem.energy and network.system.varies_within_steps:
        raise ConfigError("problem.energy", got=f"{problem.energy} on controls that vary within a step",
                          expected="0 there", do="Ask at energy = 0, or use constant controls.")  # fmt: skip
    system, depth, zero = network.system, network.depth, network.zero_steps()
    if stray := [k for k in range(depth) if k not in network.awake and k not in zero]:
        raise ConfigError(f"step {stray[0]}", got="asleep, with a group that is not zero", expected="a zero group",
                          do="Zero its group, or wake it with set_awake.")  # fmt: skip
    groups = [system.group(k) for k in range(depth)]
    ids = {id(p) for group in groups for p in group}
    inner = [[p for p in system.control(k) if id(p) not in ids] for k in range(depth)]
    controls = [[*group, *rest] for group, rest in zip(groups, inner, strict=True)]
    layers = [system.discrete(k) for k in range(depth)]
    like = next(network.parameters(), torch.zeros(()))
    with relaxed([layer for each in layers for layer in each], like.dtype) as leaves:
        rest = iter(leaves)
        weights = [[next(rest) for _ in each] for each in layers]
        asked: list[list[Tensor]] = [[*control, *each] for control, each in zip(controls, weights, strict=True)]
        value, costate, slopes, linear = _means(network, problem, batches, asked)
        discrete = [
            sum(float((g * w.detach() + g.abs()).sum()) for g, w in zip(found[len(control) :], each, strict=True))
            for found, control, each in zip(slopes, controls, weights, strict=True)
        ]
        slopes = [found[: len(control)] for found, control in zip(slopes, controls, strict=True)]
    residual, gap, ratio, over = [], [], [], []
    for k, h in enumerate(network.h):
        u = _flat(groups[k])
        slope = _flat(slopes[k][: len(groups[k])]) / h
        part = GroupHamiltonian(slope, problem.energy, problem.group_price)
        residual.append(h * part.stationarity(u))
        gap.append(h * part.gap(u) if linear[k] else None)
        ratio.append(part.ratio(u))
        over.append(part.over)
        value[k] += h * problem.group_price * float(u.norm())
        if k in network.awake:  # as J counts it
            value[k] += h * problem.energy * sum(float(p.detach().double().square().sum()) for p in controls[k])
            for p, g in zip(controls[k], slopes[k], strict=True):
                g.add_(p.detach(), alpha=2 * h * problem.energy)
    free = [(k, p, g) for k in range(depth) for p, g in zip(controls[k], slopes[k], strict=True) if id(p) not in ids]
    along = tangents(system, [p for _, p, _ in free], [g for _, _, g in free])
    for (k, _, _), g in zip(free, along, strict=True):
        residual[k] = math.hypot(residual[k], float(g.norm()))
    return Hamiltonians(
        problem.group_price, tuple(value), costate, tuple(residual), tuple(gap),
        tuple(ratio) if problem.group_price else (), zero, tuple(k for k in zero if over[k]),
        tuple(discrete) if leaves else (),
    )  # fmt: skip


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([p.detach().double().flatten() for p in tensors] or [torch.zeros(0, dtype=torch.float64)])


def _means(
    network: Network, problem: Problem, batches: Iterable[tuple[Tensor, Tensor]], controls: list[list[Tensor]]
) -> tuple[list[float], tuple[float, ...], list[list[Tensor]], list[bool]]:
    """Over all samples: step Hamiltonians, costate norms, slopes in the controls in float64; which are linear."""
    depth = network.depth
    slopes = [[torch.zeros_like(p, dtype=torch.float64) for p in control] for control in controls]
    value, costate = [0.0] * depth, torch.zeros(depth + 1, dtype=torch.float64)
    linear: list[bool] = []
    samples = 0
    with all_awake(network):
        for x, target in batches:
            with torch.no_grad():
                trajectory = rollout(network, x)
            sweep = costate_sweep(trajectory, problem, target)
            costate += len(x) * sweep.norms.double().cpu()
            linear = linear or [linear_in_group(network, k, trajectory.states[k][:PROBED]) for k in range(depth)]
            for k, control in enumerate(controls):
                with torch.enable_grad():
                    ham = step_hamiltonian(network, problem, k, trajectory.states[k], sweep.p[k + 1], target)
                for slope, g in zip(slopes[k], torch.autograd.grad(ham, control), strict=True):
                    slope.add_(g, alpha=len(x))
                value[k] += len(x) * ham.item()
            samples += len(x)
    if not samples:
        raise DataError("batches", got="no samples", expected="at least one (x, target) pair",
                        do="A generator can be read once: make it anew.")  # fmt: skip
    means = [[slope / samples for slope in each] for each in slopes]
    return [v / samples for v in value], tuple((costate / samples).tolist()), means, linear


@torch.no_grad()
def linear_in_group(network: Network, k: int, x: Tensor) -> bool:
    """Whether x_{k+1} is affine in the group of step k: one stage, and F(a + b) = F(a) + F(b) for random groups.

    Args:
        network: it is not changed.
        k: layer index 0..N-1.
        x: states x_k to try it on, (B, ...).
    """
    group = network.system.group(k)
    if network.table.stages > 1 or not group:
        return False
    before = [p.clone() for p in group]
    generator = torch.Generator().manual_seed(0)
    a, b = ([torch.randn(p.shape, generator=generator).to(p) for p in group] for _ in range(2))
    branches = []
    try:
        for one in (a, b, [u + v for u, v in zip(a, b, strict=True)]):
            for p, new in zip(group, one, strict=True):
                p.copy_(new)
            branches.append(network.system.branch(k, x))
    finally:
        for p, old in zip(group, before, strict=True):
            p.copy_(old)
    error, size = (branches[2] - branches[0] - branches[1]).abs().max(), torch.stack(branches).abs().max()
    return bool(error <= math.sqrt(torch.finfo(x.dtype).eps) * size)


@torch.no_grad()
def tangents(system: System, controls: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Gradients in some controls along the admissible set: what is left where rows are kept at a fixed norm.

    Measured by the constraint itself: a small move against the gradient and back into the set (projected gradient).

    Args:
        system: whose ``constrain_`` counts; it is not changed.
        controls: parameters of the system.
        gradients: one of each, in float64.
    """
    twin = copy.deepcopy(system).double()
    twin.constrain_()
    place = dict(zip(map(id, system.parameters()), twin.parameters(), strict=True))
    moved = [place[id(p)] for p in controls]
    before = [p.clone() for p in moved]
    sizes = [NUDGE / max(float(g.norm()), 1e-300) for g in gradients]
    for p, g, size in zip(moved, gradients, sizes, strict=True):
        p.sub_(size * g)
    twin.constrain_()
    return [(old - p) / size for old, p, size in zip(before, moved, sizes, strict=True)]
