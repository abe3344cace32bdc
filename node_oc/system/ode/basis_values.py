"""The functions of a basis at the places of a grid: computed once, and constants to a compiler."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from node_oc.system.ode.basis import Basis


def values_at(basis: Basis, s: float, like: Tensor) -> Tensor:
    """phi_j(s), (J,), computed in float64, with the type and on the device of another tensor."""
    if torch.compiler.is_compiling():
        return torch.tensor(_numbers(basis, s), dtype=like.dtype, device=like.device)
    return _cached_values(basis, s, like.dtype, like.device)


@torch.compiler.assume_constant_result  # a compiler cannot look into a cache, nor into another library
def _numbers(basis: Basis, s: float) -> tuple[float, ...]:
    return tuple(basis.values(torch.tensor(s, dtype=torch.float64)).tolist())


@lru_cache(maxsize=4096)
def _cached_values(basis: Basis, s: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a later call may want gradients
        return torch.tensor(_numbers(basis, s), dtype=dtype, device=device)
