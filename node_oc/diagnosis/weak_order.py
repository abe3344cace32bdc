"""How well an SDE describes a noisy network: the error of a mean against the step size, and its slope."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from node_oc.diagnosis.exact import exact_errors
from node_oc.diagnosis.moments import Functional
from node_oc.diagnosis.paths import FrozenNoise, Paths, Torchsde
from node_oc.diagnosis.sampled import Sampling, sampled
from node_oc.diagnosis.straight import TELLS, Line, line, resolved
from node_oc.discretization.limit import limit_sde
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise
from node_oc.discretization.refine import refine
from node_oc.errors import ConfigError, DivergenceError, ShapeError
from node_oc.system.base import System

Verdict = Literal["holds", "lower", "not resolved"]
Method = Literal["moments", "monte carlo"]
NEAR = 0.2  # of the order: a slope so far below it is lower


@dataclass(frozen=True)
class WeakOrder:
    """Errors of a mean of the last state, noisy network against SDE, and the order that they show.

    Attributes:
        h: the largest step of each network, falling.
        errors: |E phi(x_N) - E phi(X(T))| of each h.
        noise: their standard errors; of exact moments what rounding makes.
        bias: how much the reference changed when its own step was halved; 0 where moments are exact.
        resolved: which errors are larger than noise and bias.
        slope, low, high: of log error against log h over those, with its interval; None if not resolved.
        confidence: of the interval, and of what is resolved.
        order: the one that was asked for.
        method: "moments" or "monte carlo".
        verdict: "holds" for a slope above order - 0.2, "lower", or "not resolved".
        sentence: the same in words.
    """

    h: tuple[float, ...]
    errors: tuple[float, ...]
    noise: tuple[float, ...]
    bias: tuple[float, ...]
    resolved: tuple[bool, ...]
    slope: float | None
    low: float | None
    high: float | None
    confidence: float
    order: int
    method: Method
    verdict: Verdict
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: for a record."""
        return asdict(self)


@torch.enable_grad()
def weak_order(
    network: Network | System, noise: Noise, functional: int | Functional, x: Tensor, *, order: Literal[1, 2] = 1,
    halvings: Sequence[int] = (1, 2, 3, 4, 5), against: Noise | None = None, samples: int = 4000,
    solver: Literal["own", "torchsde"] = "own", pieces: int = 2, confidence: float = 0.99,
    generator: torch.Generator | None = None, exact: bool | None = None,
) -> WeakOrder:  # fmt: skip
    """Refine h and fit the order at which a noisy network approaches its SDE weakly (our derivation).

    With m halvings every step becomes 2^m of size h/2^m with the same control, which is a function of time, and noise
    of the same law. Noise that enters as h b so gets weaker: each network is compared with the SDE of its own h. Where
    the branches are affine in the state and the functional is a polynomial of degree 1 to 4, both means are exact:
    see :mod:`node_oc.diagnosis.moments`. Elsewhere they are sampled, see :mod:`node_oc.diagnosis.sampling`.

    Args:
        network: with identity skips; a system alone is stepped by Euler. It is copied, in float64 and evaluation mode.
        noise: from :func:`node_oc.stochastic_depth` and its like; no draws are needed.
        functional: phi, last states (S, ...) in float64 to (S,), and differentiable; or n = 1..4 for all moments of
            degree n together, of affine branches: the error is then the norm of the difference of E x^{(x)n}.
        x: inputs (B, features); means are over noise and over these.
        order: of the SDE, see :func:`node_oc.limit_sde`.
        halvings: how often each step is halved, rising, from 0 on.
        against: another noise, whose SDE is the one to compare with; to see that a wrong limit shows.
        samples: pairs of mirrored paths of the SDE for each input; of the network there are 16 times as many.
        solver: of a sampled SDE: "own", see :class:`node_oc.diagnosis.paths.FrozenNoise`, or "torchsde".
        pieces: its steps in one step of the network, even; half as many show its bias.
        confidence: of intervals, two-sided.
        generator: where the draws come from; seeded with 0 if None. Exact moments take none.
        exact: True to insist on exact moments, False to sample; None takes them where they can be had.

    Raises:
        ConfigError: an order, noise, number or option that cannot be, or exact moments where there are none.
        ShapeError: a step whose skip is not the identity, no inputs, or a functional that does not give (S,).
        DivergenceError: means that are not finite.

    Warns:
        NotSmoothWarning: order 2 of a field that is not smooth, see :func:`node_oc.limit_sde`.
    """
    made = Network(network) if isinstance(network, System) else network
    made = copy.deepcopy(made).to("cpu", torch.float64).eval().requires_grad_(False)
    _check(halvings, samples, pieces, confidence, solver, functional)
    if not made.awake:
        raise ConfigError("awake steps", got="none", expected="at least one", do="Without a step there is no noise.")
    x = x.detach().cpu().double() if x.is_floating_point() else x.cpu()
    with torch.no_grad():
        start = made.given(x).system.lift(x)
    _check_functional(functional, start)
    noise = noise.on(made.system)
    against = noise if against is None else against.on(made.system)
    seed = int(torch.randint(2**62, (), generator=generator or torch.Generator().manual_seed(0)))
    rows = None if exact is False else exact_errors(made, noise, against, order, functional, start, halvings)
    if rows is None and (exact or isinstance(functional, int)):
        raise ConfigError("exact moments", got="branches that are not affine in the state, a functional that is no "
                          "polynomial of degree 1 to 4, or too many entries or draws", expected="small affine branches",
                          do="Give a function of the last states, and leave exact out.")  # fmt: skip
    method: Method = "monte carlo" if rows is None else "moments"
    if rows is None and not isinstance(functional, int):
        way: Paths = FrozenNoise() if solver == "own" else Torchsde(against.calculus(made.table))
        how = Sampling(way, pieces, samples, seed)
        rows = []
        for m, finer, mine, other in _halved(made, noise, against, halvings):
            sde = limit_sde(finer, other, order)
            rows.append((max(finer.h), *sampled(finer, mine, sde, functional, x, replace(how, level=m))))
    rows = rows or []
    bad = next((row[0] for row in rows if not all(map(math.isfinite, row))), None)
    if bad is not None:
        raise DivergenceError("weak order", got=f"a mean that is not finite at h = {bad:.4g}", expected="finite means",
                              do="Halve the steps more often.")  # fmt: skip
    return judged(*zip(*rows, strict=True), confidence=confidence, order=order, method=method)


def judged(
    h: Sequence[float], errors: Sequence[float], noise: Sequence[float], bias: Sequence[float], *,
    confidence: float = 0.99, order: int = 1, method: Method = "monte carlo",
) -> WeakOrder:  # fmt: skip
    """The verdict on errors that were measured.

    Args:
        h, errors, noise, bias, confidence, order, method: see :class:`WeakOrder`.
    """
    seen = resolved(errors, noise, bias, confidence)
    kept = [i for i, yes in enumerate(seen) if yes]
    points, sizes, noises, biases = ([each[i] for i in kept] for each in (h, errors, noise, bias))
    fit = line(points, sizes, noises, biases, confidence)
    clear = fit is not None and fit.half_width < TELLS
    verdict: Verdict = "not resolved" if fit is None or not clear else "holds" if fit.slope > order - NEAR else "lower"
    slope, low, high = (fit.slope, fit.low, fit.high) if fit is not None and clear else (None, None, None)
    return WeakOrder(
        tuple(h), tuple(map(abs, errors)), tuple(noise), tuple(bias), seen, slope, low, high, confidence, order, method,
        verdict, _sentence(fit, clear, points, len(h), confidence, order, method),
    )  # fmt: skip


def _sentence(
    fit: Line | None, clear: bool, kept: Sequence[float], points: int, confidence: float, order: int, method: str
) -> str:
    how = "exact moments" if method == "moments" else "Monte Carlo"
    if fit is None:
        return (f"Not resolved: {len(kept) or 'none'} of {points} errors {'is' if len(kept) == 1 else 'are'} larger "
                f"than {'rounding' if method == 'moments' else 'their noise'}, a slope needs three.")  # fmt: skip
    over = f"over {len(kept)} of {points} step sizes, {min(kept):.3g} to {max(kept):.3g}, {how}"
    interval = f"{fit.slope:.3f}, {confidence:.4g} interval [{fit.low:.3f}, {fit.high:.3f}]"
    if not clear:
        return f"Not resolved: a slope of {interval} does not tell one order from another, {over}."
    if fit.slope <= order - NEAR:
        return f"LOWER than order {order}: slope {interval}, {over}."
    return f"Order {order} holds: slope {interval}, {over}."


def _halved(
    network: Network, noise: Noise, against: Noise, halvings: Sequence[int]
) -> Iterator[tuple[int, Network, Noise, Noise]]:
    """Each number of halvings with its network, and the noises on it: a part of a step has the law of that step."""
    origin = list(range(network.depth))
    for m in range(max(halvings) + 1):
        if m in halvings:
            mine, other = (each if len(each.laws) == 1 else replace(each, laws=tuple(each.laws[k] for k in origin))
                           for each in (noise, against))  # fmt: skip
            yield m, network, mine, other
        if m < max(halvings):
            network, origin = refine(network), [k for k in origin for _ in range(2)]


def _check(
    halvings: Sequence[int], samples: int, pieces: int, confidence: float, solver: str, functional: int | Functional
) -> None:
    if list(halvings) != sorted(set(halvings)) or len(halvings) == 0 or halvings[0] < 0:
        raise ConfigError("halvings", got=list(halvings), expected="rising integers from 0 on",
                          do="(1, 2, 3, 4, 5) for five step sizes.")  # fmt: skip
    if samples < 4 or pieces < 2 or pieces % 2:
        raise ConfigError("samples and pieces", got=f"{samples} and {pieces}",
                          expected="4 or more, and an even number", do="Correct them.")  # fmt: skip
    if not 0 < confidence < 1:
        raise ConfigError("confidence", got=confidence, expected="a number in (0, 1)", do="0.99 is usual.")
    if solver not in ("own", "torchsde"):
        raise ConfigError("solver", got=repr(solver), expected="own or torchsde", do="Name one of the two.")
    if isinstance(functional, int) and functional not in (1, 2, 3, 4):
        raise ConfigError("functional", got=functional, expected="a moment of degree 1, 2, 3 or 4, or a function",
                          do="Give a function of the last states.")  # fmt: skip


def _check_functional(functional: int | Functional, start: Tensor) -> None:
    if not len(start):
        raise ShapeError("inputs", got="none", expected="(B, features), B >= 1", do="Give one at least.")
    if isinstance(functional, int):
        return
    with torch.enable_grad():
        value: Any = functional(start.clone().requires_grad_())
    if not isinstance(value, Tensor) or value.shape != start.shape[:1] or value.dtype != torch.float64:
        got = f"{tuple(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError("functional", got=got, expected=f"({len(start)},), float64: one number a state",
                         do="Reduce over the entries of a state, not over states.")  # fmt: skip
    if not value.requires_grad:
        raise ConfigError("functional", got="one without a gradient", expected="a differentiable one",
                          do="Smooth it: a sigmoid in place of a step.")  # fmt: skip
