"""Diminishing returns: increments that shrink like r^k, a penalty that makes them, and the depth that they bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from node_oc.errors import ConfigError, ShapeError
from node_oc.problem.cost import Cost, CrossEntropy, SoftCrossEntropy
from node_oc.problem.path_cost import PathCost
from node_oc.system.base import System
from node_oc.trajectory.rollout import Trajectory


@dataclass(frozen=True)
class DiminishingReturns(PathCost):
    """Mean over samples of sum_k relu(||F_{k+1}|| - r ||F_k||), times a weight (theory: our formulation).

    F_k is what the awake step number k adds to the state, step size included. Where it is 0, ||F_k|| <= r^k ||F_0||.
    Pairs between which the shape of the state changes are left out: their norms are of different spaces.

    Attributes:
        rate: r, 0 < r < 1.
        weight: of the penalty in J, > 0, in units of the cost per unit of a state.

    Raises:
        ConfigError: a rate or a weight out of range; when called, skips with batch norm while training.
    """

    rate: float = 0.5
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1 or not 0 < self.weight < math.inf:
            raise ConfigError("diminishing returns", got=f"rate {self.rate}, weight {self.weight}",
                              expected="0 < rate < 1 and a weight > 0", do="Correct them.")  # fmt: skip

    def __call__(self, trajectory: Trajectory, target: Tensor) -> Tensor:
        """The penalty of a batch, scalar; targets are not looked at."""
        norms = increment_norms(trajectory)
        shapes = [trajectory.states[k + 1].shape for k in trajectory.network.awake]
        terms = [(after - self.rate * before).relu() for (before, after), (a, b) in
                 zip(pairwise(norms), pairwise(shapes), strict=True) if a == b]  # fmt: skip
        return self.weight * torch.stack(terms).sum(0).mean() if terms else trajectory.last.new_zeros(())


def increment_norms(trajectory: Trajectory) -> tuple[Tensor, ...]:
    """||F_k|| of every sample, (B,), for each awake step in turn.

    Raises:
        ConfigError: skips with batch norm while training, which would count the batch again.
    """
    network, states = trajectory.network, trajectory.states
    if network.system.own_statistics and not all(map(network.system.is_identity, network.awake)):
        raise ConfigError("increments", got="skips with batch norm, while training", expected="skips without",
                          do="Train without problem.returns.")  # fmt: skip
    added = (states[k + 1] - network.system.skip(k, states[k]) for k in network.awake)
    return tuple(f.flatten(1).norm(dim=1) for f in added)


def loss_lipschitz(system: System, cost: Cost) -> float:
    """Lipschitz constant of x -> L(C x + b, y), over all states and classes, for the Euclidean norm (our derivation).

    The gradient is C^T (softmax(z) - q_y). Its norm is convex in softmax(z), hence largest at a corner e_j of the
    simplex: max over j and y of ||C_j - sum_i q_yi C_i||, C_j the rows, q_y = e_y for cross-entropy. Corners are
    approached as logits grow, so no smaller constant holds everywhere.

    Args:
        system: with an affine readout.
        cost: cross-entropy, plain or soft.

    Raises:
        ShapeError: a readout that is not affine.
        ConfigError: another cost; a squared error has no Lipschitz constant.
    """
    weight = system.affine_readout()[0].detach().double()
    q = torch.eye(len(weight), dtype=torch.float64, device=weight.device)
    if isinstance(cost, SoftCrossEntropy):
        q = cost.targets(torch.arange(len(weight), device=weight.device), torch.float64)
    elif not isinstance(cost, CrossEntropy):
        raise ConfigError("cost", got=f"{cost!r}", expected="CrossEntropy or SoftCrossEntropy",
                          do="Give a constant of your own that holds on the states that are reached.")  # fmt: skip
    return float(torch.cdist(weight, q @ weight).max())


@dataclass(frozen=True)
class ReturnsBound:
    """A depth at which each sample has stopped, whatever rule is optimal.

    Attributes:
        cost: c of a layer.
        lipschitz: of readout and loss.
        rate: the least r with ||F_k|| <= r^k ||F_0|| on every sample and awake step; inf where F_0 = 0 and others not.
        first: ||F_0||, the largest of all samples.
        norms: ||F_k|| of awake steps, means over the samples.
        depth: the first k with Lip ||F_0|| r^k / (1 - r) <= c, whatever N; None where r >= 1, which bounds nothing.
        depths: of every sample, (B,): the first k with Lip (||F_k|| + .. + ||F_{N-1}||) <= c; of this network, sharper.
    """

    cost: float
    lipschitz: float
    rate: float
    first: float
    norms: tuple[float, ...]
    depth: int | None
    depths: Tensor

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        own = f"by the increments of this network, samples stop no later than {int(self.depths.max())}, "
        own += f"{float(self.depths.double().mean()):.1f} on average"
        if self.depth is None:
            return f"Returns do not diminish geometrically (r = {self.rate:.3g}): no bound for every N; {own}."
        bound = f"no sample goes on beyond {self.depth} layers, whatever N"
        return f"Returns diminish with r = {self.rate:.3g}: {bound}; {own}."


def returns_bound(trajectory: Trajectory, layer: float, lipschitz: float) -> ReturnsBound:
    """How deep an optimal rule can go at all, from how the increments shrink (theory, section 4: our derivation).

    With identity skips the loss falls by at most Lip (||F_k|| + ..) <= Lip ||F_0|| r^k / (1 - r) from k on, and going
    on costs c at least. So where that is at most c it is best to stop, for every rule and every information.

    Args:
        trajectory: of samples, in evaluation mode. Its depths count awake steps.
        layer: c > 0, cost of a layer in units of the loss.
        lipschitz: of the loss as a function of the state, see :func:`loss_lipschitz`.

    Raises:
        ConfigError: a cost or a constant that is not positive.
        ShapeError: awake steps whose skip is not the identity: a skip may change the loss too.
    """
    network = trajectory.network
    if not (0 < layer < math.inf and 0 < lipschitz < math.inf):
        raise ConfigError("bound on the depth", got=f"cost {layer} a layer, Lipschitz constant {lipschitz}",
                          expected="two finite numbers > 0", do="Without a cost of depth nothing stops.")  # fmt: skip
    if not all(map(network.system.is_identity, range(network.depth))):
        raise ShapeError("skips", got="one that is not the identity", expected="identities",
                         do="The bound is one for each stage alone: ask for a system of one stage.")  # fmt: skip
    if not network.awake:
        still = torch.zeros(len(trajectory.last), dtype=torch.int64)
        return ReturnsBound(layer, lipschitz, 0.0, 0.0, (), 0, still)
    norms = torch.stack([n.detach().double() for n in increment_norms(trajectory)])
    tails = norms.flip(0).cumsum(0).flip(0)  # (n, B)
    depths = (lipschitz * tails > layer).sum(0)  # tails fall with k
    first, largest = norms[0].max(), norms[1:].amax(1)
    roots = (largest / first).pow(1 / torch.arange(1, len(norms)).to(norms))
    rate = max([0.0, *torch.where(largest == 0, 0.0, roots).tolist()])
    depth = None
    if rate < 1:
        rest, depth = lipschitz * float(first) / (1 - rate), 0
        if rest > layer:
            depth = math.ceil(math.log(layer / rest) / math.log(rate)) if rate > 0 else 1
    return ReturnsBound(layer, lipschitz, rate, float(first), tuple(norms.mean(1).tolist()), depth, depths)
