"""The drivers with a name: stochastic depth, branch dropout, two-point, Gaussian, shake-shake."""

from __future__ import annotations

import math
from dataclasses import replace

from node_oc.discretization.driver import Diffusion
from node_oc.discretization.law import Gaussian, TwoPoint, Uniform
from node_oc.discretization.noise import Noise, Per
from node_oc.errors import ConfigError


def stochastic_depth(
    survival: float = 0.8, *, decay: bool = False, inverted: bool = False, fresh: bool = False
) -> Noise:
    """Each sample passes branch k with probability p, or over it: b̄ = p f, covariance p (1 - p) f f^T.

    Args:
        survival: p in (0, 1].
        decay: let it fall linearly with depth, down to p in the last step.
        inverted: divide by p, so that the mean of a step is the step itself: what torchvision and timm do, and what
            :func:`node_oc.fit` asks for.
        fresh: see :class:`Noise`.

    Raises:
        ConfigError: a probability outside (0, 1].
    """
    law = TwoPoint(1.0, 0.0, survival)
    return Noise("stochastic_depth", (replace(law, upper=1 / survival) if inverted else law,), decays=decay,
                 fresh=fresh)  # fmt: skip


def branch_dropout(keep: float = 0.8, *, per: Per = "unit", fresh: bool = False) -> Noise:
    """Inverted dropout of the branch's output: b̄ = f, covariance (1 - p)/p diag(f_i^2).

    Args:
        keep: p in (0, 1].
        per: "unit", or "channel" for whole channels of an image's state, as ``Dropout2d``.
        fresh: see :class:`Noise`.

    Raises:
        ConfigError: a probability outside (0, 1].
    """
    law = TwoPoint(1.0, 0.0, keep)
    return Noise("branch_dropout", (replace(law, upper=1 / keep),), per, fresh=fresh)


def two_point(
    deviation: float = 0.5, *, p: float = 0.5, per: Per = "unit", root: bool = True, diffuses: Diffusion = "branch",
    fresh: bool = False,
) -> Noise:  # fmt: skip
    """Two-point (Bernoulli) noise, added to the step: sqrt(h) s xi, or h s xi, xi of mean 0 and variance 1.

    Args:
        deviation: s >= 0.
        p: probability of the upper value; symmetric at 1/2, else skewed.
        per, root, diffuses, fresh: see :class:`Noise`.

    Raises:
        ConfigError: a probability outside (0, 1), or a deviation that is negative or not finite.
    """
    law = TwoPoint.standard(p)
    return _added("two_point", replace(law, upper=deviation * law.upper, lower=deviation * law.lower), deviation, per,
                  root, diffuses, fresh)  # fmt: skip


def gaussian(
    deviation: float = 0.5, *, per: Per = "unit", root: bool = False, diffuses: Diffusion = "branch",
    fresh: bool = False,
) -> Noise:  # fmt: skip
    """Gaussian noise, added to the step: h s xi, or sqrt(h) s xi.

    Args:
        deviation: s >= 0. That of inverted dropout with keep probability p is sqrt((1 - p)/p).
        per, root, diffuses, fresh: see :class:`Noise`.

    Raises:
        ConfigError: a deviation that is negative or not finite.
    """
    return _added("gaussian", Gaussian(0.0, deviation), deviation, per, root, diffuses, fresh)


def shake_shake(*, fresh: bool = False) -> Noise:
    """h (a f1 + (1 - a) f2) with a uniform in [0, 1): b̄ = (f1 + f2)/2, covariance (f1 - f2)(f1 - f2)^T / 12.

    For a :class:`node_oc.PairedSystem` (Gastaldi, arXiv 1705.07485; the same a forward and backward).
    """
    return Noise("shake_shake", (Uniform(-0.5, 0.5),), diffuses="difference", fresh=fresh)


def _added(
    name: str, law: TwoPoint | Gaussian, deviation: float, per: Per, root: bool, diffuses: Diffusion, fresh: bool
) -> Noise:
    if not 0 <= deviation < math.inf:
        raise ConfigError(f"deviation of noise {name}", got=deviation, expected="a finite number >= 0",
                          do="Correct the number.")  # fmt: skip
    if not root and diffuses == "branch":  # a factor of the step, around 1
        law = (Gaussian(1.0, law.deviation) if isinstance(law, Gaussian) else
               replace(law, upper=1 + law.upper, lower=1 + law.lower))  # fmt: skip
    return Noise(name, (law,), per, root, diffuses, fresh)
