"""What drives a step: time, or noise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Driver(ABC):
    """What a branch is multiplied by: x_{k+1} = S_k(x_k) + (increment) F_k(x_k, u_k).

    An increment is a pure function of its arguments: asked twice, it answers with the same bits. So noise is drawn by
    layer from a seed of the driver's own, and a sweep that takes a step again meets the same noise.
    """

    @abstractmethod
    def increment(self, k: int, stage: int, h: float, x: Tensor) -> float | Tensor:
        """The increment of one evaluation of the branch.

        Args:
            k: layer index 0..N-1.
            stage: evaluation 0..s-1 of the table within step k.
            h: step size h_k, in units of time.
            x: the state behind the skip, at which the branch is evaluated: for its shape and device.

        Returns:
            A number, or a tensor that broadcasts to the shape of x and has no gradient.
        """


class Time(Driver):
    """No noise: the increment is the step size."""

    def increment(self, k: int, stage: int, h: float, x: Tensor) -> float:
        return h


TIME = Time()
