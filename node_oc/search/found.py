"""What a search found: the networks that it trained, what each lost, and the answer."""

from __future__ import annotations

from dataclasses import dataclass

from node_oc.diagnosis.certificate import Certificate
from node_oc.diagnosis.loss import Budget
from node_oc.discretization.network import Network
from node_oc.training.active import Sparse


@dataclass(frozen=True)
class Priced:
    """A network trained at one price: what slept, and what that cost before healing.

    Attributes:
        sparse: price, awake steps and optimality ratios.
        network: the network, all N steps, the sleeping ones exactly zero.
        loss: mean loss on the selecting half.
        excess: mean paired loss against the reference there; inside the budget where <= its limit.
        inside: whether it is.
    """

    sparse: Sparse
    network: Network
    loss: float
    excess: float
    inside: bool


@dataclass(frozen=True)
class Candidate:
    """A cropped and healed network.

    Attributes:
        depth: number of steps M.
        steps: which steps of the full network it keeps.
        network: healed, an ordinary module.
        raw: mean paired loss on the selecting half before healing.
        excess: after healing.
        inside: whether the healed one is within the budget on the selecting half.
        certificate: from the other half, where the fixed sequence reached this candidate.
    """

    depth: int
    steps: tuple[int, ...]
    network: Network
    raw: float
    excess: float
    inside: bool
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Found:
    """The answer: how deep does this network need to be?

    Attributes:
        reference: trained with price 0; everything is measured against it.
        budget: what may be lost.
        priced: one entry per price tried, in rising order.
        source: the network whose first awake steps were the candidates.
        candidates: the healed ones, by depth.
        depth: steps selected; with ``certify`` the certified ones, N where nothing was certified.
        network: the network of that depth.
        selected: the smallest depth within the budget on the selecting half; differs from ``depth`` only with
            ``certify``.
        certified_depth: the smallest certified depth, or None.
        plain: a plain network of the depth found, trained for all epochs, or None.
        selecting, certifying: samples in the two halves of the validation data; 0 where nothing is certified.
    """

    reference: Network
    budget: Budget
    priced: list[Priced]
    source: Network
    candidates: list[Candidate]
    depth: int
    network: Network
    selected: int
    certified_depth: int | None
    plain: Network | None
    selecting: int
    certifying: int
