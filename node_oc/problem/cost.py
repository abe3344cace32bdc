"""Stage and terminal costs of a readout, and the states at which they are least."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from node_oc.errors import ConfigError, DataError, ShapeError

SHORT = 32  # classes up to which a log-softmax is faster with the classes first
RANK = 1e-6  # singular values of a readout below this share of the largest count as zero


class Cost(ABC):
    """A cost of one readout against its target.

    Called with readouts (M, B, K) of M layers and targets (B,) or (B, K); returns the cost of every sample
    at every layer, (M, B).
    """

    @abstractmethod
    def __call__(self, readout: Tensor, target: Tensor) -> Tensor: ...

    @property
    @abstractmethod
    def least(self) -> float | None:
        """The least value over all readouts; None where it is unknown."""

    @property
    def parameters(self) -> Sequence[Tensor]:
        """What the cost itself has to be trained; nothing, as a rule."""
        return ()

    def excess(self, readout: Tensor, target: Tensor) -> Tensor:
        """Cost above its least value, (M, B); the cost itself where the least value is unknown."""
        return self(readout, target) - (self.least or 0.0)


class CrossEntropy(Cost):
    """-log softmax(z)_y, in nats: no minimiser, its infimum 0 is not attained (arXiv 2405.19013, Lemma 2)."""

    least = 0.0

    def __repr__(self) -> str:
        return "CrossEntropy()"

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        return each_sample(F.cross_entropy, readout, target)


class SoftCrossEntropy(Cost):
    """-sum_i q_i log softmax(z)_i in nats, with q_c = 1 - eps for the class c and eps/(K-1) elsewhere.

    It has an affine set of minimisers per class, X*_c (arXiv 2405.19013, Lemmas 3 and 5). In our form its
    least value is the entropy of q and the excess is KL(q || softmax z), zero exactly on z = log q + a 1.
    ``label_smoothing=alpha`` of torch is another parametrisation: eps = alpha (K-1)/K.

    Args:
        classes: K, at least 2.
        eps: mass off the true class, 0 < eps < (K-1)/K.

    Raises:
        ConfigError: K or eps out of range.
    """

    def __init__(self, classes: int, eps: float = 0.1) -> None:
        if classes < 2 or not 0 < eps < (classes - 1) / classes:
            raise ConfigError(
                "soft cross-entropy", got=f"{classes} classes, eps = {eps}",
                expected="at least 2 classes and 0 < eps < (K-1)/K",
                do="A single class needs no network; a larger eps no longer prefers the true class.",
            )  # fmt: skip
        self.classes, self.eps = classes, eps

    def __repr__(self) -> str:
        return f"SoftCrossEntropy(classes={self.classes}, eps={self.eps})"

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        z = readout.to(torch.promote_types(readout.dtype, torch.float32))
        q = self._table(z)
        if self.classes > SHORT:
            return -(z.log_softmax(-1) * q.index_select(0, target)).sum(-1)
        # Classes first: along a short last dimension a log-softmax takes ten times as long.
        return -(z.movedim(-1, 0).contiguous().log_softmax(0) * q.index_select(1, target)[:, None]).sum(0)

    @property
    def least(self) -> float:
        """Entropy of q: 0.544805 for K = 10, eps = 0.1."""
        off = self.eps / (self.classes - 1)
        return -(1 - self.eps) * math.log(1 - self.eps) - self.eps * math.log(off)

    @property
    def gap(self) -> float:
        """True logit less any other on the minimiser set: 4.394449 for K = 10, eps = 0.1."""
        return math.log((1 - self.eps) * (self.classes - 1) / self.eps)

    def targets(self, target: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """q of each sample, (B, K), from class indices (B,).

        Raises:
            DataError: a class index outside 0..K-1.
        """
        if len(target) and not 0 <= int(target.min()) <= int(target.max()) < self.classes:
            raise DataError("class indices", got=f"{int(target.min())}..{int(target.max())}",
                            expected=f"0..{self.classes - 1}", do="Encode the labels.")  # fmt: skip
        return self._table(torch.empty(0, dtype=dtype, device=target.device))[target]

    def _table(self, like: Tensor) -> Tensor:
        """q of every class, (K, K)."""
        q = like.new_full((self.classes, self.classes), self.eps / (self.classes - 1))
        return q.fill_diagonal_(1 - self.eps)

    def logit_residual(self, readout: Tensor, target: Tensor) -> Tensor:
        """P (z - log q) with P = I - 11'/K: what separates readouts (.., B, K) from the minimisers."""
        off = readout - self.targets(target, readout.dtype).to(readout.device).log()
        return off - off.mean(-1, keepdim=True)

    def logit_distance(self, readout: Tensor, target: Tensor) -> Tensor:
        """|| P (z - log q) ||, (.., B): distance of a readout from {log q + a 1} (our derivation)."""
        return self.logit_residual(readout, target).norm(dim=-1)

    def state_offset(self, x: Tensor, target: Tensor, readout: tuple[Tensor, Tensor]) -> Tensor:
        """(P C)^+ P (C x + b - log q): the shortest way from X*_y to the state (our derivation).

        Args:
            x: states (.., B, D).
            target: class indices (B,).
            readout: C (K, D) and b (K,) of the affine readout.

        Raises:
            ShapeError: rank(P C) < K - 1, so that some minimising logits are out of reach.
        """
        inverse = torch.linalg.pinv(self._centred(readout), rtol=RANK).T.to(x)
        return self.logit_residual(F.linear(x, *readout), target) @ inverse

    def _centred(self, readout: tuple[Tensor, Tensor]) -> Tensor:
        """P C (K, D) in float64, of rank K - 1."""
        centred = readout[0].double() - readout[0].double().mean(0)
        return _of_rank(centred, self.classes - 1, "K - 1", "the centred readout P C",
                        "Widen the state to K - 1 or more, or use the logit distance and the excess.")  # fmt: skip

    def state_distance(self, x: Tensor, target: Tensor, readout: tuple[Tensor, Tensor]) -> Tensor:
        """Distance of states (.., B, D) to X*_y, (.., B). See :meth:`state_offset`."""
        return self.state_offset(x, target, readout).norm(dim=-1)

    def project(self, x: Tensor, target: Tensor, readout: tuple[Tensor, Tensor]) -> Tensor:
        """The point of X*_y nearest to each state, (.., B, D). See :meth:`state_offset`."""
        return x - self.state_offset(x, target, readout)

    def dissipation_rate(self, distance: Tensor, readout: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """alpha of the distance, with excess >= alpha: convex, of class K-infinity (our derivation).

        Of a logit distance r it is (q_min/2) (sqrt(2) r - 1 + exp(-sqrt(2) r)) with q_min = eps/(K-1) where
        K >= 3, below the infimum (K = 10: 2 % at r = 0.1, 14 % at 1, 30 % at 8); where K = 2 the infimum itself.

        Args:
            distance: logit distances r; state distances d where a readout is given, for which r >= s d with s
                the smallest non-zero singular value of P C.
            readout: C (K, D) and b (K,) of the affine readout; see :meth:`state_offset`, also for its error.
        """
        s = 1.0 if readout is None else float(torch.linalg.svdvals(self._centred(readout))[self.classes - 2])
        r = math.sqrt(2) * s * distance
        if self.classes == 2:
            return torch.log1p(self.eps * torch.expm1(-r)) + self.eps * r
        return self.eps / (self.classes - 1) / 2 * (r + torch.expm1(-r))


class Distillation(Cost):
    """Cross-entropy against another network's logits: -sum_i softmax(t)_i log softmax(z)_i, in nats.

    The target is that network's output (B, K). Least at the entropy of softmax(t), where softmax(z) = softmax(t)
    (Hinton, Vinyals, Dean, arXiv 1503.02531, at temperature 1).
    """

    least = None

    def __repr__(self) -> str:
        return "Distillation()"

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        return -(target.softmax(-1) * readout.log_softmax(-1)).sum(-1)


class SquaredError(Cost):
    """||z - y||^2, summed over the K outputs; least (0) on the affine set {x: C x + b = y}."""

    least = 0.0

    def __repr__(self) -> str:
        return "SquaredError()"

    def __call__(self, readout: Tensor, target: Tensor) -> Tensor:
        difference = readout - target
        if difference.shape != readout.shape:  # (B, 1) and (B,) make (B, B)
            raise ShapeError("targets", got=tuple(target.shape), expected=f"{tuple(readout.shape[-2:])}, the outputs",
                             do="Give one number for each output: y[:, None] where there is one.")  # fmt: skip
        return difference.square().sum(-1)

    def state_distance(self, x: Tensor, target: Tensor, readout: tuple[Tensor, Tensor]) -> Tensor:
        """Distance of states (.., B, D) to {x: C x + b = y}, (.., B).

        Raises:
            ShapeError: rank(C) < K, so that some targets are out of reach.
        """
        inverse = torch.linalg.pinv(self._full(readout), rtol=RANK).T.to(x)
        return ((F.linear(x, *readout) - target) @ inverse).norm(dim=-1)

    def dissipation_rate(self, distance: Tensor, readout: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """alpha of the distance, with excess >= alpha: (s d)^2 (our derivation).

        Args:
            distance: ||z - y||, s = 1; state distances where a readout is given, s the least singular value of C.
            readout: C (K, D) and b (K,) of the affine readout; see :meth:`state_distance`, also for its error.
        """
        s = 1.0 if readout is None else float(torch.linalg.svdvals(self._full(readout))[-1])
        return (s * distance).square()

    def _full(self, readout: tuple[Tensor, Tensor]) -> Tensor:
        weight = readout[0].double()
        return _of_rank(weight, len(weight), "K", "the readout C", "Widen the state to K or more.")


def _of_rank(matrix: Tensor, least: int, symbol: str, what: str, do: str) -> Tensor:
    """The matrix (float64), unless its rank is too low by float32's tolerance: rounding is no direction."""
    rank = int(torch.linalg.matrix_rank(matrix, rtol=RANK))
    if rank < least:
        raise ShapeError(f"rank of {what}", got=rank, expected=f"{symbol} = {least}", do=do)
    return matrix


def each_sample(
    loss: Callable[..., Tensor], readout: Tensor, target: Tensor, **options: float
) -> Tensor:  # (M, B, K) -> (M, B)
    """Apply a loss of (samples, K) to all layers at once and keep one value a sample."""
    layers, batch = readout.shape[:2]
    if loss is F.cross_entropy:
        options = {"reduction": "none", **options}  # type: ignore[dict-item]
    repeated = target.repeat(layers, *(1,) * (target.dim() - 1))
    value = loss(readout.flatten(0, 1), repeated, **options)
    if value.dim() == 0 or len(value) != layers * batch:
        raise ShapeError(
            "value of a torch loss", got=tuple(value.shape), expected=f"one value for each of {layers * batch} samples",
            do='Give a loss with reduction = "none", or a loss module whose reduction can be set.',
        )  # fmt: skip
    return value.flatten(1).mean(1).view(layers, batch) if value.dim() > 1 else value.view(layers, batch)
