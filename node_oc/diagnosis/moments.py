"""Exact moments of a noisy network and of its SDE, where the branches are affine in the state (our derivation).

With y = (1, x), one step is y_{k+1} = R y_k, R random and independent of y_k, so that E y_{k+1}^{(x)n} is
E[R^{(x)n}] E y_k^{(x)n}, (x) being the tensor product.
The linear SDE dy = A y dt + sum_j G_j y dW_j has d/dt E y^{(x)n} = L E y^{(x)n} with
L = sum_i A_(i) + sum_{i<l} sum_j G_j(i) G_j(l), a subscript in brackets being the place in the tensor product.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from node_oc.discretization.grid import DepthGrid
from node_oc.discretization.held import Held, places
from node_oc.discretization.limit import LimitSDE
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise, shape_of
from node_oc.discretization.step import step
from node_oc.system.paired import PairedSystem

Functional = Callable[[Tensor], Tensor]

DEGREE = 4  # of the moments
LARGEST = 1500  # entries of a moment
ATOMS = 50_000  # combinations of values of the draws of one step
AFFINE = 1e-10  # relative error of what counts as affine, or as a polynomial


@dataclass(frozen=True)
class Polynomial:
    """sum_i coefficient_i prod(y[index_i]) of y = (1, x).

    Attributes:
        degree: n <= 4.
        indices: of each monomial, n places of y; (terms, n).
        coefficients: (terms,).
    """

    degree: int
    indices: Tensor
    coefficients: Tensor

    def mean(self, moment: Tensor) -> float:
        """Its expectation, from E y^{(x)n}, (d+1, .., d+1)."""
        return float(self.coefficients @ moment[self.indices.unbind(1)])


def polynomial(functional: Functional, shape: Sequence[int]) -> Polynomial | None:
    """The functional as a polynomial of degree 1 to 4 in a state of this shape; None where it is none, or too large."""
    d, generator = math.prod(shape), torch.Generator().manual_seed(0)
    for n in range(1, DEGREE + 1):
        indices = torch.tensor(list(itertools.combinations_with_replacement(range(d + 1), n)))
        if (d + 1) ** n > LARGEST:
            return None
        x = 2 * torch.randn(4 * len(indices) + 8, d, generator=generator, dtype=torch.float64)
        terms = _augmented(x)[:, indices].prod(-1)
        with torch.no_grad():
            values = functional(x.unflatten(1, tuple(shape)))
        half = len(indices) * 2
        found = torch.linalg.lstsq(terms[:half], values[:half, None]).solution[:, 0]
        if float((terms @ found - values).abs().max()) <= AFFINE * float(values.abs().max()):
            return Polynomial(n, indices, found)
    return None


def is_affine(network: Network, shape: Sequence[int]) -> bool:
    """Whether every awake branch is affine in a state of this shape and constant within its step, to rounding."""
    system = network.system
    if system.varies_within_steps:
        return False
    generator = torch.Generator().manual_seed(0)
    x, y = (4 * torch.randn(16, *shape, generator=generator, dtype=torch.float64) for _ in range(2))
    points = torch.cat([x + y, x, y, torch.zeros_like(x)])
    for k in network.awake:
        with torch.no_grad():
            parts = system.pair(k, points) if isinstance(system, PairedSystem) else (system.branch(k, points),)
        for both, one, other, zero in (part.chunk(4) for part in parts):
            if float((both - one - other + zero).abs().max()) > AFFINE * float(both.abs().max()):
                return False
    return True


def starting(x: Tensor, n: int) -> Tensor:
    """E y_0^{(x)n} of the starts x (B, ...), ((d+1)^n,)."""
    return _power(_augmented(x.flatten(1))[:, :, None], n)[:, :, 0].mean(0)


def thinned(network: Network, parts: int) -> Network:
    """The network with every step so many times smaller, to be taken that often: branches are constant in a step."""
    own = network.untied()
    return Network(own.system, DepthGrid(tuple(h / parts for h in network.h)), own.table, own.awake)


def network_moment(
    network: Network, noise: Noise, moment: Tensor, n: int, shape: Sequence[int], parts: int = 1
) -> Tensor | None:
    """E y_N^{(x)n} from E y_0^{(x)n}, every step being taken ``parts`` times with draws of its own each time.

    None where a step has too many combinations of draws to go through.
    """
    before: tuple[Tensor, Tensor] | None = None
    for k in network.awake:
        maps = step_maps(network, noise, k, n, shape)
        if maps is None:
            return None
        if before is None or not all(map(torch.equal, maps, before)):
            chunk, before = max(1, 2**22 // len(moment) ** 2), maps
            pieces = zip(maps[0].split(chunk), maps[1].split(chunk), strict=True)
            transfer = torch.stack([torch.tensordot(w, _power(r, n), 1) for w, r in pieces]).sum(0)
        for _ in range(parts):
            moment = transfer @ moment
    return moment


def step_maps(network: Network, noise: Noise, k: int, n: int, shape: Sequence[int]) -> tuple[Tensor, Tensor] | None:
    """Weights (W,) and maps R (W, d+1, d+1) of step k, whose weighted sums of R^{(x)n} are their expectations.

    From the code of the step itself: it is taken from 0 and from the unit vectors, with the atoms of the law as draws.
    """
    d, table, law = math.prod(shape), network.table, noise.law(k)
    mine = [place for place in places(network, noise) if place[0] == k]
    one = shape_of(noise.per, torch.zeros(1, *shape))[1:]
    # In one draw a step is of degree 1 where each stage has its own, else of as many as there are stages.
    values, weights = law.atoms(n * (1 if noise.fresh else table.stages))
    numbers = math.prod(one) * len(mine)
    if len(values) ** numbers > ATOMS:
        return None
    chosen = torch.tensor(list(itertools.product(range(len(values)), repeat=numbers)))
    b, weight = (torch.tensor(each, dtype=torch.float64)[chosen] for each in (values, weights))
    starts = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()
    x = starts.repeat(len(chosen), 1).unflatten(1, tuple(shape))
    drawn = b.unflatten(1, (len(mine), *one)).repeat_interleave(d + 1, 0)
    with torch.no_grad():
        after = step(network.system, table, k, x, network.grid.h[k],
                     Held(noise, {place: drawn[:, i] for i, place in enumerate(mine)}))[0]  # fmt: skip
    return weight.prod(1), _map(after.flatten(1).unflatten(0, (len(chosen), d + 1)), 1.0)


def sde_moment(sde: LimitSDE, moment: Tensor, n: int, shape: Sequence[int], parts: int = 1) -> Tensor:
    """E y(T)^{(x)n} from E y(0)^{(x)n}, every step being ``parts`` times as long as its own h."""
    before: tuple[float, Tensor, Tensor] | None = None
    for k in sde.network.awake:
        (a, g), h = coefficients(sde, k, shape), sde.network.h[k]
        if before is None or before[0] != h or not (torch.equal(before[1], a) and torch.equal(before[2], g)):
            transfer, before = torch.linalg.matrix_exp(parts * h * generator(a, g, n, sde.sde_type)), (h, a, g)
        moment = transfer @ moment
    return moment


def generator(a: Tensor, g: Tensor, n: int, calculus: str) -> Tensor:
    """L of d/dt E y^{(x)n} = L E y^{(x)n}, for dy = a y dt + sum_j g_j y dW_j; ((d+1)^n, (d+1)^n).

    Args:
        a: (d+1, d+1).
        g: (J, d+1, d+1).
        n: degree.
        calculus: "ito", or "stratonovich": then a has sum_j g_j^2 / 2 in addition.
    """
    if calculus == "stratonovich":
        a = a + (g @ g).sum(0) / 2
    parts = [_placed({i: a}, n) for i in range(n)]
    parts += [_placed({i: each, m: each}, n) for each in g for i, m in itertools.combinations(range(n), 2)]
    return torch.stack(parts).sum(0)


def coefficients(sde: LimitSDE, k: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Matrices a (d+1, d+1) and g (J, d+1, d+1) of an affine SDE in step k, from its own drift and diffusion."""
    d = math.prod(shape)
    starts = torch.cat([torch.zeros(1, d), torch.eye(d)]).double().unflatten(1, tuple(shape))
    with torch.no_grad():
        drift, spread = sde.drift(k, 0.0, starts), sde.diffusion(k, 0.0, starts)
    g = [_map((spread * mask).flatten(1)[None], 0.0)[0] for mask in masks(sde.noise, starts[:1])]
    return _map(drift.flatten(1)[None], 0.0)[0], torch.stack(g)


def masks(noise: Noise, x: Tensor) -> Tensor:
    """For each Brownian motion j the entries of a state x (B, ...) that it moves, as ones: (J, 1, ...)."""
    one = shape_of(noise.per, x[:1])
    return torch.eye(math.prod(one), dtype=x.dtype, device=x.device).unflatten(1, one).expand(-1, 1, *x.shape[1:])


def _augmented(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x[:, :1]), x], 1)


def _map(images: Tensor, one: float) -> Tensor:
    """Augmented matrices (W, d+1, d+1) of affine maps, from their values at 0 and at the unit vectors (W, d+1, d)."""
    first = torch.zeros_like(images[:, :, :1])
    first[:, 0] = one
    zero = images[:, :1]
    return torch.cat([first, torch.cat([zero, images[:, 1:] - zero], 1)], 2).mT


def _power(r: Tensor, n: int) -> Tensor:
    """r^{(x)n} of each of a batch of matrices (W, a, b)."""
    whole = r
    for _ in range(n - 1):
        whole = torch.einsum("wab,wcd->wacbd", whole, r).flatten(3, 4).flatten(1, 2)
    return whole


def _placed(matrices: dict[int, Tensor], n: int) -> Tensor:
    """The tensor product of n matrices: those given, and the identity elsewhere."""
    size = len(next(iter(matrices.values())))
    eye = torch.eye(size, dtype=torch.float64)
    return reduce(torch.kron, [matrices.get(i, eye).contiguous() for i in range(n)])
