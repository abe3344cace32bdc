"""What a control can be as a function of depth: a combination of J functions of s = t/T in [0, 1]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from node_oc.errors import ConfigError


@dataclass(frozen=True)
class Basis(ABC):
    """u(t) = sum_j phi_j(t/T) c_j with coefficients c_j shaped as u, j = 0..J-1.

    Attributes:
        size: number J of functions.

    Raises:
        ConfigError: a size that the basis cannot have.
    """

    size: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size < 1:
            raise ConfigError("size of a basis", got=self.size, expected="a whole number, at least 1",
                              do="Correct the number.")  # fmt: skip

    @abstractmethod
    def values(self, s: Tensor) -> Tensor:
        """phi_j(s), (J,), at one place s in [0, 1]; of the dtype of s, with a gradient in it where it is smooth."""

    @property
    def breaks(self) -> tuple[float, ...]:
        """Places inside (0, 1) at which u jumps: a solver must stop there."""
        return ()

    @property
    def constant(self) -> bool:
        """Whether u does not depend on s between two breaks."""
        return False


@dataclass(frozen=True)
class Piecewise(Basis):
    """Constant on J intervals, of the same length by default; J = 1 is one control for all of the depth.

    Attributes:
        ends: where pieces end inside (0, 1), ascending, J - 1 of them; j/J if empty.

    Raises:
        ConfigError: another number of ends, or ends that do not ascend inside (0, 1).
    """

    ends: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ends", tuple(self.ends) or tuple(j / self.size for j in range(1, self.size)))
        if len(self.ends) != self.size - 1 or not all(a < b for a, b in pairwise((0.0, *self.ends, 1.0))):
            raise ConfigError("ends of pieces", got=list(self.ends), expected=f"{self.size - 1} of them, ascending "
                              "between 0 and 1", do="Leave them out for equal pieces.")  # fmt: skip

    def values(self, s: Tensor) -> Tensor:
        piece = sum(((s >= end).to(s.dtype) for end in self.ends), torch.zeros_like(s))
        return (torch.arange(self.size, device=s.device) == piece).to(s.dtype)

    @property
    def breaks(self) -> tuple[float, ...]:
        return self.ends

    @property
    def constant(self) -> bool:
        return True


@dataclass(frozen=True)
class Polynomial(Basis):
    """Legendre polynomials on [0, 1], of degree 0..J-1: orthogonal in the mean square, so u_0 is the mean of u."""

    def values(self, s: Tensor) -> Tensor:
        z = 2 * s - 1
        p = [torch.ones_like(z), z]
        for n in range(1, self.size - 1):  # (n+1) P_{n+1} = (2n+1) z P_n - n P_{n-1}
            p.append(((2 * n + 1) * z * p[n] - n * p[n - 1]) / (n + 1))
        return torch.stack(p[: self.size])


@dataclass(frozen=True)
class Chebyshev(Basis):
    """Chebyshev polynomials of the first kind on [0, 1], of degree 0..J-1."""

    def values(self, s: Tensor) -> Tensor:
        z = 2 * s - 1
        p = [torch.ones_like(z), z]
        for n in range(1, self.size - 1):  # T_{n+1} = 2 z T_n - T_{n-1}
            p.append(2 * z * p[n] - p[n - 1])
        return torch.stack(p[: self.size])


@dataclass(frozen=True)
class Fourier(Basis):
    """1, cos 2 pi s, sin 2 pi s, cos 4 pi s, ..: u has the period T.

    Raises:
        ConfigError: an even J.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2 == 0:
            raise ConfigError("size of a Fourier basis", got=self.size, expected="an odd number: 1, and pairs of "
                              "cosine and sine", do=f"Use {self.size + 1}.")  # fmt: skip

    def values(self, s: Tensor) -> Tensor:
        waves = [torch.ones_like(s)]
        for n in range(1, (self.size + 1) // 2):
            waves += [torch.cos(2 * math.pi * n * s), torch.sin(2 * math.pi * n * s)]
        return torch.stack(waves)


@dataclass(frozen=True)
class Wavelet(Basis):
    """1, and a wavelet psi of PyWavelets on all of [0, 1], on its halves, quarters, ..: J = 1, 2, 4, 8, ..

    Between the nodes of PyWavelets' table psi is a cubic spline. The smoother the wavelet, the longer an adaptive
    solver's steps: "mexh" and "gaus2" are smooth, "db4" is not.

    Attributes:
        name: as PyWavelets calls it: "mexh", "gaus2", "db8", "sym5", ..

    Raises:
        ConfigError: PyWavelets is not installed, or does not know the wavelet; a size that is no power of two.
    """

    name: str = "mexh"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size & (self.size - 1):
            raise ConfigError("size of a wavelet basis", got=self.size, expected="1, 2, 4, 8, ..: whole scales",
                              do=f"Use {1 << self.size.bit_length()}.")  # fmt: skip
        _spline(self.name)

    def values(self, s: Tensor) -> Tensor:
        if self.size == 1:
            return torch.ones_like(s)[None]
        spline = _spline(self.name).to(s)
        pieces = spline.shape[1]
        scales = [(2**level, m) for level in range(self.size.bit_length() - 1) for m in range(2**level)]
        scale, place = (s.new_tensor(part) for part in zip(*scales, strict=True))
        x = ((s * scale - place) * pieces).clamp(0, pieces)  # every psi has its support on its part of [0, 1]
        i = x.floor().clamp(max=pieces - 1).long()
        r, (a, b, c, d) = x - i, spline[:, i]
        return torch.cat([torch.ones_like(s)[None], ((a * r + b) * r + c) * r + d])


@lru_cache(maxsize=16)
def _spline(name: str) -> Tensor:
    """Coefficients (4, pieces) of the cubic spline through PyWavelets' table of psi, in units of one piece."""
    try:
        import pywt
    except ImportError as error:
        raise ConfigError("wavelet basis", got="no PyWavelets", expected="it, installed",
                          do="pip install PyWavelets, or use Chebyshev or Fourier.") from error  # fmt: skip
    known = pywt.wavelist()
    psi = pywt.DiscreteContinuousWavelet(name).wavefun(8)[-2] if name in known else None  # behind it the places
    if psi is None or psi.dtype.kind == "c":
        raise ConfigError("wavelet", got=repr(name), expected="a real wavelet of PyWavelets",
                          do="See pywt.wavelist(); mexh, gaus2 and db8 are among them.")  # fmt: skip
    return torch.as_tensor(CubicSpline(range(len(psi)), psi).c)


BASES: dict[str, type[Basis]] = {
    "piecewise": Piecewise, "polynomial": Polynomial, "chebyshev": Chebyshev, "fourier": Fourier, "wavelet": Wavelet,
}  # fmt: skip


def basis_spec(basis: Basis) -> dict[str, Any]:
    """JSON-able description of a basis."""
    kind = next((kind for kind, known in BASES.items() if type(basis) is known), None)
    if kind is None:
        raise ConfigError("basis", got=type(basis).__name__, expected=f"one of {sorted(BASES)} to be written to a file",
                          do="Keep the network in memory, or use one of these.")  # fmt: skip
    return {"kind": kind, **vars(basis)}


def basis_from(spec: dict[str, Any]) -> Basis:
    """The basis of a description. Raises ConfigError on an unknown kind."""
    fields = dict(spec)
    kind = fields.pop("kind", None)
    if kind not in BASES:
        raise ConfigError("basis", got=repr(kind), expected=f"one of {sorted(BASES)}", do="Correct the name.")
    return BASES[kind](**fields)
