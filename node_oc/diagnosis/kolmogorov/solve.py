"""The backward Kolmogorov equation of a limit SDE, solved on three grids and two domains."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import torch

from node_oc.diagnosis.kolmogorov.checks import Intervals, box, check_domain, check_states, numbers
from node_oc.diagnosis.kolmogorov.coefficients import coefficients
from node_oc.diagnosis.kolmogorov.grid import Array, Box, Grid
from node_oc.diagnosis.kolmogorov.march import March, Terminal
from node_oc.diagnosis.kolmogorov.reach import reach
from node_oc.diagnosis.kolmogorov.value import ValueFunction, richardson
from node_oc.discretization.limit import LimitSDE
from node_oc.errors import ConfigError

COURANT = 2.0  # cells that the drift crosses in a step of time, at most
LEAST = 64  # steps of time over the depth
MOST = 20_000  # so many are enough for any drift: the method is stable with fewer
FAR = 1e-4  # of the range of v: a domain error that asks for a wider domain, where none was given
WIDENINGS = 4
SPOTS = {1: 65, 2: 17}  # along an axis of the region, where solutions are compared
NEGLIGIBLE = 0.01  # of the range of v: a domain error that is no reason to refuse
ROUNDING = 1e-10  # of the range of v: below it differences of grids tell nothing


def value_function(
    sde: LimitSDE, terminal: Terminal, region: Intervals, *, points: int | None = None, steps: int | None = None,
    smooth: bool = True, domain: Intervals | None = None, seed: int = 0,
) -> ValueFunction:  # fmt: skip
    """v(t, x) = E[phi(X_T) | X_t = x] in one or two state dimensions: v_t + b.grad v + (1/2) tr(a grad^2 v) = 0.

    The backward Kolmogorov equation, by finite differences of second order in space and time, however degenerate the
    noise; see :class:`node_oc.diagnosis.kolmogorov.layer.Layer`. Training a noisy network is control of it (theory:
    "Stochastic training as SDE", arXiv 1812.00174, whose formulas could not be read: these are our derivation). It is
    solved on the grid, on those of a half and a quarter of its nodes and steps for an error estimate, and on a wider
    domain.

    Args:
        sde: from :func:`node_oc.limit_sde`, Ito or Stratonovich, states of one or two entries.
        terminal: phi, states (n, d) before the head to numbers (n,).
        region: where v(0, x) is asked for: (low, high), or one such pair for each of two dimensions.
        points: nodes along an axis, of a number 4 m + 1; 513 in one dimension, 97 in two.
        steps: of time in every layer, a multiple of 4. By default as many as the drift needs to cross no more than two
            cells in one.
        smooth: whether phi is. With kinks or jumps the march is damped at its beginning; the order may still be lost.
        domain: a box like the region, in which the equation is not changed. By default one around some paths, widened
            until v no longer depends on it.
        seed: of these paths.

    Raises:
        ShapeError: states of more than two entries, or another number than the region has.
        ConfigError: a region or domain that is empty, numbers of nodes or steps that cannot be halved twice, or a
            domain that is too small.
        DataError: phi or the field is not finite on the grid.
        DivergenceError: paths leave the finite numbers.
    """
    where = box("region", region)
    check_states(sde, d := len(where))
    points = numbers(d, points, steps)
    found = reach(sde, where, seed)
    core = found.core() if domain is None else box("domain", domain)
    check_domain(where, core)
    spots = _spots(where)
    for left in reversed(range(1 if domain is not None else 1 + WIDENINGS)):
        grid = Grid.over(core, points)
        counts = _steps(sde, grid) if steps is None else (steps,) * sde.network.depth
        fine, middle, coarse = (_march(sde, terminal, grid, counts, times, smooth) for times in (1, 2, 4))
        half, wide = middle.solve(), March(sde, terminal, middle.grid.wider(), middle.steps, smooth)
        seen = middle.grid.read(half[0], spots)
        moved = float(np.abs(wide.grid.read(wide.solve()[0], spots) - seen).max())
        span = max(float(np.ptp(seen)), ROUNDING * float(np.abs(half).max()))
        if moved <= FAR * span or not left:
            break
        core = wide.grid.core
    values, quarter = fine.solve(), coarse.solve()
    late = grid.read(values[0], spots) - seen
    order = _order(late, seen - coarse.grid.read(quarter[0], spots), float(np.abs(values).max()))
    error = float(np.abs(late).max()) / richardson(order)
    if moved > max(error, NEGLIGIBLE * span):
        raise ConfigError("domain", got=f"one on which v is {moved:.2g} off a wider one's, where v spans {span:.2g}",
                          expected="one that nearly no path leaves", do="Give a wider domain=, or leave it out; if it "
                          "was left out, the noise has heavy tails or phi grows.")  # fmt: skip
    best = grid.read(values[0], spots)
    over = max(float(best.max() - values[-1].max()), float(values[-1].min() - best.min()), 0.0)
    return ValueFunction(
        np.array([*accumulate((0.0, *sde.network.h))]), grid.axes, core, where, values, half[0], error, order, moved,
        (float(best.min()), float(best.max())), over, found, fine,
    )  # fmt: skip


def _march(sde: LimitSDE, terminal: Terminal, grid: Grid, counts: tuple[int, ...], times: int, smooth: bool) -> March:
    """On a half or a quarter of the nodes and steps of time."""
    return March(sde, terminal, grid.coarser(times), tuple(m // times for m in counts), smooth)


def _spots(region: Box) -> Array:
    """States (m, d) in the region at which solutions are compared."""
    lines = [np.linspace(low, high, SPOTS[len(region)]) for low, high in region]
    return np.stack([part.ravel() for part in np.meshgrid(*lines, indexing="ij")], 1)


def _steps(sde: LimitSDE, grid: Grid) -> tuple[int, ...]:
    """Steps of time in each layer: the drift crosses two cells at most in each, as far as the core goes."""
    like = next(sde.parameters(), torch.zeros((), dtype=torch.float64))
    low, high = np.array(grid.core).T
    nodes = grid.nodes[((grid.nodes >= low) & (grid.nodes <= high)).all(1)]
    spacing, least = torch.tensor(grid.spacing), LEAST / sde.network.depth
    wanted = []
    for k, h in enumerate(sde.network.h):
        speed = 0.0
        if k in sde.network.awake:
            with torch.no_grad():
                b = coefficients(sde, k, 0.5, torch.from_numpy(nodes).to(like))[0].double().cpu()
            speed = float((b.abs() / spacing).nan_to_num(0.0, 0.0, 0.0).max())
        wanted.append(max(h * speed / COURANT, least))
    shrink = min(1.0, MOST / sum(wanted))
    return tuple(4 * math.ceil(shrink * m / 4) for m in wanted)


def _order(late: Array, early: Array, scale: float) -> float:
    """log2 of the ratio of two changes, in mean squares; nan where they are rounding."""
    sizes = [float(np.square(each).mean() ** 0.5) for each in (early, late)]
    return math.log2(sizes[0] / sizes[1]) if min(sizes) > ROUNDING * scale else math.nan
