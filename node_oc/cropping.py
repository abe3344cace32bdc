"""Cut a network at a depth, or drop its zero steps wherever they lie."""

from __future__ import annotations

from collections.abc import Sequence

from node_oc.discretization.network import Network
from node_oc.errors import ShapeError


def crop(network: Network, *, depth: int | None = None, steps: Sequence[int] | None = None) -> Network:
    """A shallower network, an ordinary ``nn.Module`` with copied weights.

    Args:
        network: what is cut; it is left as it is.
        depth: keep the first ``depth`` steps, 0..N.
        steps: keep these steps, in increasing order.

    With neither, the steps that sleep or are exactly zero are dropped, which changes no output bit (same
    batch, same thread count, eager mode).

    Raises:
        ShapeError: a depth outside 0..N, a step that the network does not have, or both arguments.
    """
    if depth is not None and steps is not None:
        raise ShapeError("crop", got="a depth and steps", expected="one of the two", do="Leave one out.")
    if depth is not None:
        if not 0 <= depth <= network.depth:
            raise ShapeError("depth", got=depth, expected=f"0..{network.depth} (layers)",
                             do="Choose a depth that the network has.")  # fmt: skip
        steps = range(depth)
    if steps is None:
        steps = awake_steps(network)
    if list(steps) != sorted(set(steps)):
        raise ShapeError("steps", got=list(steps), expected="increasing step indices without repeats",
                         do="Sort the steps.")  # fmt: skip
    return network.keep(steps)


def awake_steps(network: Network) -> list[int]:
    """Steps that do something: neither asleep nor exactly zero."""
    zero = set(network.zero_steps())
    return [k for k in network.awake if k not in zero]
