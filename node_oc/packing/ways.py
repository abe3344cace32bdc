"""Ways to multiply by a matrix that is mostly zeros, on a CPU; each with a scale and a shift of its rows folded in."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Way(nn.Module, ABC):
    """Inputs (B, D) to W x + b, (B, K).

    Args:
        weight: W (K, D), in the type of the inputs.
        shift: b (K,).
    """

    shift: Tensor

    def __init__(self, weight: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.hold(weight)

    @abstractmethod
    def hold(self, weight: Tensor) -> None:
        """Keep the matrix in the form that this way wants."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """W x + b of each row of x; more dimensions than two are taken for one."""


class Dense(Way):
    """The matrix as it is."""

    weight: Tensor

    def hold(self, weight: Tensor) -> None:
        self.register_buffer("weight", weight.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight, self.shift)


class Rows(Way):
    """torch's CSR with 32-bit indices, a sample at a time: for small batches."""

    matrix: Tensor

    def hold(self, weight: Tensor) -> None:
        self.register_buffer("matrix", _csr(weight))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.matrix).add_(self.shift)


class Columns(Way):
    """torch's CSR times the transposed batch, all samples at once: MKL's product."""

    matrix: Tensor

    def hold(self, weight: Tensor) -> None:
        self.register_buffer("matrix", _csr(weight))

    def forward(self, x: Tensor) -> Tensor:
        return (self.matrix @ x.flatten(1).t()).add_(self.shift[:, None]).t()


class Bags(Way):
    """A row of the result is a weighted sum of rows of the transposed batch: torch's embedding bag, for large batches.

    The result is a view with the samples innermost, which the next layer of this kind reads as it is.
    """

    bounds: Tensor
    columns: Tensor
    values: Tensor

    def hold(self, weight: Tensor) -> None:
        matrix = _csr(weight)
        self.register_buffer("bounds", matrix.crow_indices())
        self.register_buffer("columns", matrix.col_indices())
        self.register_buffer("values", matrix.values())

    def forward(self, x: Tensor) -> Tensor:
        rows = F.embedding_bag(self.columns, x.flatten(1).t().contiguous(), self.bounds, mode="sum",
                               per_sample_weights=self.values, include_last_offset=True)  # fmt: skip
        return rows.add_(self.shift[:, None]).t()


WAYS: dict[str, type[Way]] = {"dense": Dense, "csr, by sample": Rows, "csr, by batch": Columns, "bags": Bags}
"""Every way by its name; all but the first leave the zeros out."""


def _csr(weight: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        matrix = weight.to_sparse_csr()
    return torch.sparse_csr_tensor(matrix.crow_indices().int(), matrix.col_indices().int(), matrix.values(),
                                   weight.shape, check_invariants=False)  # fmt: skip
