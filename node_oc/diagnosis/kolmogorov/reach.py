"""Where paths of a limit SDE go: how large a domain has to be."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch

from node_oc.diagnosis.kolmogorov.coefficients import coefficients
from node_oc.diagnosis.kolmogorov.grid import Array, Box
from node_oc.discretization.limit import LimitSDE
from node_oc.errors import DivergenceError
from node_oc.seeds import derived_generator

SUBSTEPS = 8  # of Euler's method in a layer
STARTS = {1: 9, 2: 5}  # along each axis of the region, its ends among them
PATHS = 64  # from every start
ROOM = 0.1  # of its width, on either side of where paths go


@dataclass(frozen=True)
class Reach:
    """Some paths, by Euler's method: enough to choose a domain, not to estimate with.

    Attributes:
        t: times, (m,).
        paths: (m, paths, d); start by start, a start's own together.
        boxes: lower and upper ends of the states at t_0..t_N, (N + 1, d, 2).
    """

    t: Array
    paths: Array
    boxes: Array

    def core(self) -> Box:
        """A box around all states, with some room."""
        low, high = self.boxes[..., 0].min(0), self.boxes[..., 1].max(0)
        room = ROOM * (high - low)
        return tuple(zip((low - room).tolist(), (high + room).tolist(), strict=True))


@torch.no_grad()
def reach(sde: LimitSDE, region: Box, seed: int) -> Reach:
    """Paths from a grid of starts in the region.

    Raises:
        DivergenceError: a path that leaves the finite numbers.
    """
    d, generator = len(region), derived_generator(seed, "kolmogorov")
    ends = [np.linspace(low, high, STARTS[d]) for low, high in region]
    starts = np.stack([part.ravel() for part in np.meshgrid(*ends, indexing="ij")], 1).repeat(PATHS, 0)
    like = next(sde.parameters(), torch.zeros((), dtype=torch.float64))
    x = torch.from_numpy(starts).to(like)
    way, times, boxes = [starts], [0.0], [_box(starts)]
    for k, (h, t) in enumerate(zip(sde.network.h, accumulate((0.0, *sde.network.h)))):
        dt = h / SUBSTEPS
        for j in range(SUBSTEPS):
            b, a = coefficients(sde, k, j / SUBSTEPS, x)
            values, vectors = torch.linalg.eigh(a)
            xi = torch.randn(len(x), d, generator=generator).to(x)
            step = vectors @ ((dt * values.clamp_min(0)).sqrt() * xi)[..., None]
            x = x + dt * b + step[..., 0]
            if not bool(x.isfinite().all()):
                raise DivergenceError(f"paths in step {k}", got="numbers that are not finite", expected="finite states",
                                      do="The SDE explodes from this region: start elsewhere, or make the noise "
                                      "smaller.")  # fmt: skip
            way.append(x.double().cpu().numpy())
            times.append(t + (j + 1) * dt)
        boxes.append(_box(way[-1]))
    return Reach(np.array(times), np.stack(way), np.stack(boxes))


def _box(x: Array) -> Array:
    return np.stack([x.min(0), x.max(0)], -1)
