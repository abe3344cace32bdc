"""torchsde beside our own loops: Brownian motion with a seed of ours, and one layer at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torchsde import BrownianInterval, sdeint, sdeint_adjoint

from node_oc.discretization.limit import LimitSDE
from node_oc.discretization.noise import Source, shape_of
from node_oc.errors import ConfigError
from node_oc.seeds import derived_seed

TORCHSDE = {"euler": "ito", "milstein": "ito", "srk": "ito", "midpoint": "stratonovich", "heun": "stratonovich",
            "euler_heun": "stratonovich", "reversible_heun": "stratonovich",
            "log_ode": "stratonovich"}  # fmt: skip  # torchsde's methods, and the integral that they converge to
MARGIN = 1e-5  # of the horizon, beyond its end: in float32 a solver may ask a little later
ROUNDING = 1e-9  # of a substep, so that rounding makes no step more


def brownian(
    sde: LimitSDE, x: Tensor, draws: torch.Generator | Source, *, levy_area: str = "space-time"
) -> BrownianInterval:
    """Brownian motion for ``torchsde.sdeint(sde, y0, ts, bm=...)``, seeded by a generator of torch.

    Left to itself torchsde takes its seed from numpy's global state.

    Args:
        sde: its noise says how many motions a sample has, its grid how long they are.
        x: states (B, ...), or flattened ones (B, d): for their number, precision and device.
        draws: where the seed comes from: a generator, which moves on, or the source of a driver.
        levy_area: what torchsde approximates beside the increments; "foster" for its method log_ode.

    Raises:
        ConfigError: mirrored draws, which torchsde does not have.
    """
    source = Source.of(draws) if isinstance(draws, torch.Generator) else draws
    if source.mirrored:
        raise ConfigError("Brownian motion of torchsde", got="mirrored draws", expected="draws that are not",
                          do="Use our own loops for antithetic paths: node_oc.solve_sde.")  # fmt: skip
    state = x.unflatten(1, sde.shape) if sde.shape and x.dim() == 2 else x
    size = (len(x), math.prod(shape_of(sde.noise.per, state)[1:]))
    seed = source.seed if source.rows is None else derived_seed(source.seed, *source.rows)
    return BrownianInterval(0.0, sde.ts[-1] * (1 + MARGIN), size, x.dtype, x.device, seed,
                            levy_area_approximation=levy_area)  # fmt: skip


class OneLayer(LimitSDE):
    """One layer of a limit as an equation of its own: at its end, too, this layer and not the next.

    Args:
        sde: the limit of a network.
        k: the layer.
        shape: of one state.
    """

    def __init__(self, sde: LimitSDE, k: int, shape: Sequence[int]) -> None:
        super().__init__(sde.network, sde.noise, sde.order, shape)
        self.sde_type, self.k = sde.sde_type, k

    def place(self, t: float | Tensor) -> tuple[int, float]:
        """This layer, and the place in it."""
        start, end = self.ts[self.k], self.ts[self.k + 1]
        return self.k, min(max((float(t) - start) / (end - start), 0.0), 1.0)


def solve_by_torchsde(
    sde: LimitSDE, x: Tensor, draws: torch.Generator | Source, *, method: str | None = None, substeps: int = 1,
    adjoint: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """As :func:`node_oc.solve_sde`, by torchsde: layer by layer, since controls jump between two.

    Args:
        sde: the limit of a network.
        x: the state x_0, (B, ...).
        draws: as of :func:`brownian`.
        method: of torchsde; its own choice by default.
        substeps: of equal length, in each layer.
        adjoint: ``sdeint_adjoint``: solve backwards for the gradient, and keep the states between layers alone.

    Raises:
        ConfigError: the adjoint with Ito's integral and a motion for each unit. torchsde calls such noise diagonal and
            takes for granted that g_i depends on x_i alone, which in a network it does not: the gradient would be
            another one, without a word.
    """
    if adjoint and sde.sde_type == "ito" and sde.noise_type == "diagonal":
        raise ConfigError("adjoint", got="Ito's integral with noise in every unit", expected="Stratonovich's there: "
                          "torchsde's correction is that of a diffusion whose entry i depends on x_i alone",
                          do="Use sde.stratonovich(), or no adjoint.")  # fmt: skip
    motion = brownian(sde, x, draws, levy_area="foster" if method == "log_ode" else "space-time")
    shape, states, y = x.shape[1:], [x], x.flatten(1)
    for k, (start, end) in enumerate(pairwise(sde.ts)):
        if k in sde.network.awake:
            ts = torch.tensor([start, end], dtype=torch.float64, device=x.device)
            given: dict[str, Any] = {"bm": motion, "method": method, "dt": (end - start) / substeps * (1 + ROUNDING)}
            if adjoint:
                given["adjoint_params"] = sde.system.control(k)
            y = (sdeint_adjoint if adjoint else sdeint)(OneLayer(sde, k, shape), y, ts, **given)[-1]
        states.append(y.unflatten(1, shape))
    return tuple(states)
