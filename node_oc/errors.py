"""Exceptions that teach: what came, what was expected, what to do."""

from __future__ import annotations

from functools import partial
from typing import Any


class NodeOCError(Exception):
    """Base of every error that node_oc raises on purpose.

    Args:
        what: the thing that is wrong, named as the user knows it ("column 'age'", "depth").
        got: what came.
        expected: what would have been right.
        do: the next thing to try, as one sentence.
    """

    def __init__(self, what: str, *, got: object, expected: object, do: str) -> None:
        self.what, self.got, self.expected, self.do = what, got, expected, do
        super().__init__(f"{what}: got {got}, expected {expected}. {do}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are built again from their message alone, which this one cannot be: a process pool would break.
        return partial(type(self), got=self.got, expected=self.expected, do=self.do), (self.what,)


class ConfigError(NodeOCError, ValueError):
    """A configuration key or value that does not exist or is out of range."""


class DataError(NodeOCError, ValueError):
    """Data that cannot be read, or that a network cannot be trained on."""


class ShapeError(NodeOCError, ValueError):
    """A tensor of the wrong shape, a depth outside 0..N, a readout of too low a rank."""


class AdoptError(NodeOCError, TypeError):
    """A model that cannot be seen as a residual system."""


class StoreError(NodeOCError, OSError):
    """A file that is truncated, altered, of another configuration, or that cannot be written."""


class DivergenceError(NodeOCError, ArithmeticError):
    """Training left the finite numbers."""
