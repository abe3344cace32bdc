"""The plane in which states of many entries are looked at: what the readout sees most of."""

from __future__ import annotations

import torch
from torch import Tensor

from node_oc.discretization.network import Network
from node_oc.errors import ShapeError
from node_oc.problem.cost import RANK


def readout(network: Network) -> tuple[Tensor, Tensor] | None:
    """C (K, D) and b (K,) in float64 of a readout C x + b; None where it is not affine in the state."""
    try:
        weight, bias = network.system.affine_readout()
    except ShapeError:
        return None
    return weight.detach().double().cpu(), bias.detach().double().cpu()


@torch.no_grad()
def principal_plane(network: Network, states: Tensor, classify: bool) -> tuple[Tensor, Tensor, float]:
    """Origin (D,), orthonormal directions (D, 2) and the share of the states' variance that they show, 0 to 1.

    Two entries are the coordinates themselves, from 0. Of more, the directions are the first two principal ones of the
    states as the readout sees them: of x - mean, projected to the row space of P C, P = I - 11'/K (of C in regression).
    Where the readout sees one direction alone (two classes), or none, the rest are the first principal directions of
    what is left of the states; so too where the readout is not affine. The origin is their mean. (Our choice.)

    Args:
        network: whose readout it is.
        states: (n, D), float64.
        classify: whether logits matter up to a constant alone.
    """
    width, mean = states.shape[1], states.mean(0)
    if width == 2:
        return torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64), 1.0
    off = states - mean
    found = readout(network)
    weight = states.new_zeros(1, width) if found is None else found[0]
    rows = row_space(weight - weight.mean(0) if classify else weight)
    basis = rows @ _principal(off @ rows)
    if basis.shape[1] < 2:
        rest = off - (off @ basis) @ basis.T
        basis = torch.linalg.qr(torch.cat([basis, _principal(rest)], 1))[0][:, :2]
    basis = basis[:, :2]
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))  # a sign that does not depend on the SVD
    basis = basis * largest.sign()
    whole = float(off.square().sum())
    return mean, basis, float((off @ basis).square().sum()) / whole if whole else 1.0


def row_space(matrix: Tensor) -> Tensor:
    """Orthonormal columns (D, r) that span the rows of a matrix (K, D) of rank r."""
    _, sizes, directions = torch.linalg.svd(matrix, full_matrices=False)
    return directions[: int((sizes > RANK * sizes[0].clamp_min(1e-300)).sum())].T


def _principal(off: Tensor) -> Tensor:
    """The first two principal directions (D, at most 2) of rows whose mean is zero."""
    return torch.linalg.svd(off, full_matrices=False)[2][:2].T
