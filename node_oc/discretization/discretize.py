"""From a neural ODE to the residual network that equals it on a grid."""

from __future__ import annotations

from collections.abc import Sequence

from node_oc.discretization.network import Network
from node_oc.discretization.tableau import Tableau
from node_oc.errors import ConfigError
from node_oc.system.base import as_number
from node_oc.system.ode import NeuralODE


def discretize(
    ode: NeuralODE | Network, steps: int | None = None, table: Tableau | None = None, *,
    times: Sequence[float] | None = None,
) -> Network:  # fmt: skip
    """The residual network whose steps are those of a table for a neural ODE, each with controls of its own.

    It computes what the table computes for the ODE, and is trained, diagnosed, cropped and exported like any other.

    Args:
        ode: the neural ODE, or a network of it; it is left as it is.
        steps: number N of equal steps; those of the ODE's own grid if None.
        table: how a step is taken; that of the network, Euler where only a system is given.
        times: t_0 = 0 .. t_N = T instead of equal steps, in units of time.

    Raises:
        ConfigError: another kind of network, steps and times together, or a step across a jump of the control.
    """
    system = ode.system if isinstance(ode, Network) else ode
    if not isinstance(system, NeuralODE):
        raise ConfigError("discretize", got=f"a {type(system).__name__}", expected="a neural ODE",
                          do="Its steps have controls of their own; node_oc.refine(network) makes more.")  # fmt: skip
    if steps is not None and times is not None:
        raise ConfigError("discretize", got="steps and times", expected="one of the two", do="Leave one out.")
    if steps is not None:
        if steps < 1:
            raise ConfigError("steps", got=steps, expected="at least 1", do="Correct the number.")
        end = as_number(system.pace) * system.times[-1]  # in float64, as the times are
        times = [end * k / steps for k in range(steps + 1)]
    default = Network(system) if not isinstance(ode, Network) else ode
    table = table or default.table
    return Network(system.unroll(times, sorted(set(table.c))), table=table)
