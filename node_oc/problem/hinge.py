"""The squared hinge: a cost of signs, which stops to pull where a margin of 1 is reached."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from node_oc.errors import DataError
from node_oc.problem.cost import Cost


class SquaredHinge(Cost):
    """Mean over the K classes of max(0, 1 - s_i z_i)^2, with s_i = 1 for the true class and -1 for the others (code).

    Least (0) on the set of readouts with a margin of 1 in every class: z_c >= 1, all others <= -1. Of a mean over
    classes, so that slopes do not depend on K.

    Raises:
        DataError: when called, with targets that are no class indices.
    """

    least = 0.0

    def __repr__(self) -> str:
        return "SquaredHinge()"

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        if target.dim() != 1 or target.is_floating_point():
            raise DataError("targets of a squared hinge", got=f"shape {tuple(target.shape)}, {target.dtype}",
                            expected="class indices (B,)", do="Encode the labels, or choose another cost.")  # fmt: skip
        signs = 2 * F.one_hot(target, readout.shape[-1]).to(readout.dtype) - 1
        return F.relu(1 - signs * readout).square().mean(-1)
