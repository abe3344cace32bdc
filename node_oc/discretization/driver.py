"""What drives a step: time, or noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor

from node_oc.system.base import System

Diffusion = Literal["branch", "difference", "second"]


class Driver(ABC):
    """What a branch is multiplied by: x_{k+1} = S_k(x_k) + (increment) F_k(x_k, u_k).

    An increment is a pure function of its arguments: asked twice, it answers with the same bits. So noise is drawn by
    layer from a seed of the driver's own, and a sweep that takes a step again meets the same noise.
    """

    @property
    def diffusion(self) -> Diffusion:
        """What an increment multiplies: the branch; or, of a system with two, their difference or the second one.

        In the last two cases the branch itself is driven by time, and the increment is that of the noise alone.
        """
        return "branch"

    def on(self, system: System) -> Driver:
        """The driver for the steps of this system; itself where it is the same for all.

        Raises:
            ConfigError: a driver that this system cannot take.
        """
        return self

    @abstractmethod
    def increment(self, k: int, stage: int, h: float | Tensor, x: Tensor) -> float | Tensor:
        """The increment of one evaluation of the branch.

        Args:
            k: layer index 0..N-1.
            stage: evaluation 0..s-1 of the table within step k.
            h: step size h_k, in units of time; a scalar tensor where the horizon is trained.
            x: the state behind the skip, at which the branch is evaluated: for its shape and device.

        Returns:
            A number, or a tensor that broadcasts to the shape of x; it has no gradient but that of h.
        """


class Time(Driver):
    """No noise: the increment is the step size."""

    def increment(self, k: int, stage: int, h: float | Tensor, x: Tensor) -> float | Tensor:
        return h


TIME = Time()
