"""Choose a policy for a target: a cost of a layer, a mean depth, or what may be lost."""

from __future__ import annotations

from collections.abc import Iterable

from node_oc.errors import ConfigError
from node_oc.policies.outcome import Outcome, follow
from node_oc.policies.policy import Policy
from node_oc.policies.readings import Readings

SHY = 1e-12


def check_target(cost: float | None, depth: float | None, loss: float | None) -> tuple[str, float]:
    """Name and value of the one target that is given; see :func:`fit_policy`.

    Raises:
        ConfigError: not exactly one target, or one that is negative or not finite.
    """
    given = [(name, value) for name, value in (("cost", cost), ("depth", depth), ("loss", loss)) if value is not None]
    if len(given) != 1:
        raise ConfigError("target", got=", ".join(name for name, _ in given) or "none",
                          expected="one of cost, depth, loss",
                          do="Say what a layer costs, how deep the mean may be, or what may be lost.")  # fmt: skip
    ((name, value),) = given
    if not 0 <= value < float("inf"):
        what, do = {
            "cost": ("cost of a layer", "With errors as loss, 0.001 pays a tenth of a point for a layer."),
            "depth": ("mean depth", "Say how many layers the mean may be."),
            "loss": ("loss against the full network", "0.005 is half a point; 0 loses nothing."),
        }[name]
        raise ConfigError(what, got=value, expected="a finite number >= 0", do=do)
    return name, value


def fit_policy(
    policies: Iterable[Policy], readings: Readings, *, cost: float | None = None, depth: float | None = None,
    loss: float | None = None,
) -> Outcome:  # fmt: skip
    """The best of some policies for one target, and what it comes to on the samples that chose it.

    Args:
        policies: of :func:`family`, of one or of several.
        readings: of samples on which the policies were not fitted.
        cost: c of a layer, in units of loss: the least mean loss + c depth.
        depth: layers: the least mean loss of those whose mean depth is at most this.
        loss: what may be lost against the full network, a share of errors, or in regression of its loss: the least
            mean depth of those that lose at most this.

    Raises:
        ConfigError: no policy, not exactly one target, one that is negative or not finite, or that no policy reaches.
    """
    check_target(cost, depth, loss)
    found = [follow(policy, readings) for policy in policies]
    if not found:
        raise ConfigError("policies", got="none", expected="one at least", do="Give family(name, readings).")
    if cost is not None:
        return min(found, key=lambda one: (one.cost(cost), one.depth))
    if depth is not None:
        reach = [one for one in found if one.depth <= depth + SHY]
        if not reach:
            nearest = min(one.depth for one in found)
            raise ConfigError("mean depth", got=depth, expected=f"at least {nearest:.3g}, the nearest reached",
                              do="Allow more layers, or an earlier exit.")  # fmt: skip
        return min(reach, key=lambda one: (one.loss, one.depth))
    allowed = float(loss or 0.0)
    reach = [one for one in found if one.excess <= allowed + SHY]
    if not reach:
        nearest = min(one.excess for one in found)
        raise ConfigError("loss against the full network", got=loss, expected=f"{nearest:.3g} or more, the nearest",
                          do="Allow more; 0 is the full network itself.")  # fmt: skip
    return min(reach, key=lambda one: (one.depth, one.excess))
