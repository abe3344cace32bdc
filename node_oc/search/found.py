"""What a search found: the networks that it trained, what each lost, and the answer."""

from __future__ import annotations

from dataclasses import dataclass

from node_oc.diagnosis.certificate import Certificate
from node_oc.diagnosis.loss import Budget
from node_oc.discretization.network import Network
from node_oc.problem.waking import Look
from node_oc.search.afford import Afforded
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
        steps: which steps of the full network it keeps; none where it was made anew, from an ODE.
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
class Window:
    """A stretch of growth at one depth.

    Attributes:
        name: of its training.
        role: "start"; "shallow" and "deep", the two of a trial; "grown", at a fixed price; "cut", asked afterwards;
            "refit", trained to the end.
        start: updates that its weights had seen before it.
        updates: in it.
        steps: awake, in the order in which they woke.
        woke: those of them that woke at its start.
        looks: what those promised that were looked at: the next one in each place where there was room.
        loss: mean loss on the selecting half at its end, at averaged weights.
        lost: mean paired loss there against the deep one of the trial, or against the reference; None where it was
            not compared.
        allowed: what of that is no loss: the budget, or its own standard error where that is larger.
    """

    name: str
    role: str
    start: int
    updates: int
    steps: tuple[int, ...]
    woke: tuple[int, ...]
    looks: tuple[Look, ...]
    loss: float
    lost: float | None = None
    allowed: float | None = None

    @property
    def enough(self) -> bool:
        """Whether it is as good as what it was compared with."""
        # With one sample of n lost the mean and its error are both 1/n: rounding must not decide.
        return self.lost is not None and self.allowed is not None and self.lost <= self.allowed + 1e-12


@dataclass(frozen=True)
class Growth:
    """How a network grew.

    Attributes:
        windows: in the order in which they were trained.
        looks: the last look at the steps that were next; empty where there was no room.
        price: lambda, to which their ratios are taken.
        fixed: whether that price decided what wakes; otherwise the budget did.
        stopped: why growth ended: "enough" (twice the layers gain no more than the budget), "nothing left" (the loss
            itself is within the budget), "no room" (all steps are awake), "price" (no sleeping step pays at it).
        limit: layers that there was room for.
        started: layers at the start.
        refitted: whether the answer is the refitted network; otherwise that was worse than the one it started from.
        look_work: what the looks cost, in layer-steps (the samples of one update through one layer).
        look_seconds: the same in seconds, of this process.
    """

    windows: tuple[Window, ...]
    looks: tuple[Look, ...]
    price: float
    fixed: bool
    stopped: str
    limit: int
    started: int
    refitted: bool
    look_work: float
    look_seconds: float


@dataclass(frozen=True)
class Found:
    """The answer: how deep does this network need to be?

    Attributes:
        reference: trained with price 0; everything is measured against it. Where the network grew: the deepest one
            that was tried, as it was then, at averaged weights.
        budget: what may be lost.
        priced: one entry per price tried, in rising order.
        source: the network whose first awake steps were the candidates, in stages those of each stage in turn.
        candidates: the healed ones, by depth.
        depth: steps selected; with ``certify`` the certified ones, N where nothing was certified.
        network: the network of that depth.
        selected: the smallest depth within the budget on the selecting half; differs from ``depth`` only with
            ``certify``.
        certified_depth: the smallest certified depth, or None.
        plain: a plain network of the depth found, trained for all epochs, or None.
        selecting, certifying: samples in the two halves of the validation data; 0 where nothing is certified.
        growth: how the network grew, or None where a deep one was cut.
        afforded: what a budget of FLOPs or latency left, or None where there was none. The depth is then the largest
            one that it pays for, within the budget of accuracy or not: see its candidate.
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
    growth: Growth | None = None
    afforded: Afforded | None = None
