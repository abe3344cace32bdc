"""How fast do the trajectories approach the minimisers, and is that rate more than noise?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from node_oc.diagnosis.turnpike import check_curve
from node_oc.errors import DataError

Law = Literal["exponential", "algebraic", "not resolved"]
SETTLED = 3.0  # times the floor: there at least two thirds of a value are decay
CLEARLY = 0.5  # the algebraic law is named where its squared residuals are below this share of the exponential's


@dataclass(frozen=True)
class Decay:
    """A fit of C exp(-mu t) to one curve over depth.

    Attributes:
        law: "exponential" where the interval of mu is above 0; "algebraic" where it is too, but a power of time
            fits clearly better; "not resolved" where it is not, or where there are too few points.
        rate: mu, per unit of time; None with too few points.
        low, high: its confidence interval.
        constant: C, the fit at layer 0.
        r2: R^2 of the logarithms; None where they do not vary.
        power: p of the algebraic fit c (t - t_0 + h_0)^-p to the same points.
        power_r2: its R^2.
        window: the layers fitted, first and last.
        sentence: the verdict in words.
    """

    law: Law
    rate: float | None
    low: float | None
    high: float | None
    constant: float | None
    r2: float | None
    power: float | None
    power_r2: float | None
    window: tuple[int, int]
    sentence: str

    @property
    def resolved(self) -> bool:
        """Whether the decay is exponential and its rate above its own noise."""
        return self.law == "exponential"


def window(values: Sequence[float]) -> int:
    """The number of layers before the curve has reached its floor (our definition).

    The curve is taken up to its least value, which leaves out a leaving arc. Its floor level is the largest value
    in the last quarter of that arc, and the window ends before the first layer that is within it: one that decays to
    the end keeps three quarters. A curve that is there for more than half of the arc has settled, and a layer within
    three times its floor is more floor than decay: the window ends before those.
    """
    arc = int(np.argmin(values)) + 1
    floor = max(0.0, *values[arc - math.ceil(arc / 4) : arc])
    first = next(k for k, value in enumerate(values) if value <= floor)
    return first if 2 * first >= arc else next(k for k, value in enumerate(values) if value <= SETTLED * floor)


def decay(
    values: Sequence[float], t: Sequence[float] | None = None, confidence: float = 0.95, name: str = "excess"
) -> Decay:
    """Fit C exp(-mu t) by least squares on the logarithms, over the layers before the floor.

    With stage costs, error and controls decay like C exp(-mu t) with C and mu independent of T, without them only
    O(1/T) is known (Geshkovski and Zuazua, Acta Numerica 2022; Esteve et al., arXiv 2008.02491). The fit, its
    window and the comparison with a power of time are ours. The interval of mu is the one of a straight line
    with independent normal errors, m - 2 degrees of freedom: neighbouring layers are not independent, and a floor
    bends the line, so it is the noise of the fit and less than that of the rate.

    Args:
        values: mean excess, or distance, k = 0..N.
        t: the time of each layer, k = 0..N; k itself if None.
        confidence: of the interval.
        name: what the sentence calls the values.

    Raises:
        DataError: no layers, a value that is not finite, or not one time a layer, rising.
    """
    check_curve(f"{name} over depth", values, t)
    times = np.arange(len(values), dtype=float) if t is None else np.asarray(t, dtype=float)
    if len(values) > 1 and not (np.diff(times) > 0).all():
        raise DataError(f"times of {name}", got=times.tolist(), expected="rising times",
                        do="Give DepthGrid.t of the network.")  # fmt: skip
    m = window(values)
    span = (0, max(m - 1, 0))
    if m == 0 and values[-1] > values[0]:
        told = f"No decay: the {name} is least at layer 0 and ends at {values[-1]:.3g}, from {values[0]:.3g}."
        return Decay("not resolved", None, None, None, None, None, None, None, span, told)
    if m < 3:
        told = (f"Decay rate not resolved: {m or 'no'} layer{'s' * (m != 1)} before the {name} reaches its floor, "
                "a fit needs three.")  # fmt: skip
        return Decay("not resolved", None, None, None, None, None, None, None, span, told)
    x, y = times[:m] - times[0], np.log(np.asarray(values[:m], dtype=float))
    slope, at_zero, squares, r2 = _line(x, y)
    half = float(student.ppf((1 + confidence) / 2, m - 2)) * math.sqrt(
        squares / (m - 2) / float(((x - x.mean()) ** 2).sum())
    )
    exponent, _, power_squares, power_r2 = _line(np.log(x + times[1] - times[0]), y)
    rate, low, high = -slope, -slope - half, -slope + half
    constant = math.exp(at_zero)
    law: Law = "not resolved"
    if low > 0 and r2 is not None:
        law = "algebraic" if power_squares < CLEARLY * squares else "exponential"
    over = f"over layers 0 to {m - 1}"
    interval = f"[{low:.3g}, {high:.3g}]"
    fit = "" if r2 is None else f", R^2 {r2:.3f}"
    if law == "exponential":
        told = (f"Exponential decay: the {name} falls like {constant:.3g} exp(-{rate:.3g} t), rate in {interval}{fit}, "
                f"{over}.")  # fmt: skip
    elif law == "algebraic":
        told = (f"Decay, but hardly exponential: {over} a power of time, t^-{-exponent:.2g}, fits the {name} better "
                f"(R^2 {power_r2:.3f}) than rate {rate:.3g} in {interval} does (R^2 {r2:.3f}).")  # fmt: skip
    else:
        told = f"Decay rate not resolved: {rate:.3g} in {interval} {over}, which does not exclude 0."
    if high < 0:
        first = "No decay" if values[-1] >= values[0] else "Decay rate not resolved"
        told = f"{first}: the {name} grows {over}, at rate {-rate:.3g} in [{-high:.3g}, {-low:.3g}]."
    return Decay(law, rate, low, high, constant, r2, -exponent, power_r2, span, told)


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float, float | None]:
    """Slope, intercept, sum of squared residuals and R^2 of a straight line."""
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    squares, whole = float(((dy - slope * dx) ** 2).sum()), float(dy @ dy)
    r2 = 1 - squares / whole if whole > 1e-24 * len(y) else None
    return slope, float(y.mean() - slope * x.mean()), squares, r2
