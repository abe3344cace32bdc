"""Depth found while training: layers wake, two networks are trained side by side, the budget says which is enough."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lightning_fabric import Fabric

from node_oc.config import SearchSection, TrainingSection
from node_oc.cropping import crop
from node_oc.data.split import Split
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Problem, group_norms
from node_oc.problem.waking import Look
from node_oc.search.conclude import conclude, nearest
from node_oc.search.found import Candidate, Found, Growth, Window
from node_oc.search.protocol import Protocol, smallest
from node_oc.search.windows import Grown, Windows
from node_oc.training.active import SMALL
from node_oc.training.batches import training_updates
from node_oc.training.growing import check_zero_branch, in_turns, keeping, room
from node_oc.training.loop import Progress

START = 2  # steps awake at the start: one alone gets stuck, and stays so when others wake (spirals of three turns)
WINDOW = 0.1  # share of the updates of one training between two decisions
REFIT = 0.5  # share of them that the network of the depth found is trained on
LOOK_PRICE = 0.03  # lambda that ratios are taken to where no price is given


@dataclass
class GrowthSearch:
    """Finds the depth that a budget allows while it trains, from two layers upwards (our derivation).

    The network at twice the layers and the one without them are trained side by side on the same batches for a window.
    While the shallow one loses more than the budget, the deep one goes on, and twice as many layers wake. Then fewer
    are asked in the same way, by bisection, and the network of the smallest depth that is enough is refitted on the
    terminal cost.

    Attributes:
        problem: what is minimised while the network grows. With a ``group_price``, and ``auto`` off, that price decides
            which layers wake and which fall asleep.
        split: training, validation and test samples; the test part is never looked at.
        training: how every network is trained.
        search: budget, confidence, what to do.
        auto: whether the budget decides what wakes.
        fresh: makes an untrained network of a given depth, for the plain neighbour; None leaves that out.
        folder: where trainings keep their checkpoints; a search that is run again continues there.
        progress: see :func:`node_oc.fit`.
        fabric: see :func:`node_oc.fit`.
        protocol: refits and judges; :class:`node_oc.Rivals` take it over.

    Raises:
        ConfigError: a problem with a price of its own, and ``auto``; or neither; or ``search.distil``.
    """

    problem: Problem
    split: Split
    training: TrainingSection = field(default_factory=TrainingSection)
    search: SearchSection = field(default_factory=SearchSection)
    auto: bool = True
    fresh: Callable[[int], Network] | None = None
    folder: Path | None = None
    progress: Progress | None = None
    fabric: Fabric | None = None
    protocol: Protocol = field(init=False, repr=False)
    _looks: list[Look] = field(init=False, repr=False, default_factory=list)
    _left: set[int] = field(init=False, repr=False, default_factory=set)

    def __post_init__(self) -> None:
        if self.auto == bool(self.problem.group_price):
            raise ConfigError("problem.group_price", got=self.problem.group_price,
                              expected="0 with auto=True, a price > 0 with auto=False",
                              do="Let the budget decide (auto=True), or give a price.")  # fmt: skip
        self.protocol = Protocol(self.problem, self.split, self.training, self.search, self.folder, self.progress,
                                 self.fabric)  # fmt: skip
        self.fabric = self.protocol.fabric
        if self.search.distil:
            raise ConfigError("search.distil", got=True, expected="false where the network grows",
                              do="There is no finished network to heal towards; use search.way=cut.")  # fmt: skip
        self._updates = max(1, round(WINDOW * training_updates(self.training, len(self.split.train))))

    def run(self, network: Network) -> Found:
        """Grow a copy of the network, find the depth, refit.

        Args:
            network: untrained, all N steps awake: it starts with two of them, and N is the largest depth. Or a trained
                one of which some steps sleep, see :func:`node_oc.deepen`: it goes on from there.

        Raises:
            ShapeError: a sleeping step that is not nothing where its group is zero.
            ConfigError: a neural ODE whose steps share one control.
        """
        self.protocol.check_own_controls(network)
        self._windows = Windows(self.protocol, self.problem, self._updates, self.problem.group_price or LOOK_PRICE)
        self._looks, self._left = [], set()
        trained = len(network.awake) < network.depth
        # Of a network in stages the later ones first: a plain one of few layers has them there.
        first = network.awake if trained else in_turns(room(keeping(network, ()))[::-1], START)
        start = Grown(keeping(network, first), tuple(first))
        check_zero_branch(start.network, self.split.train.x[:64])
        if self.auto:
            shallow, deep, stopped = self._grow(start, network, trained)
            answer = shallow if stopped == "enough" else deep
            low = shallow.depth // 2
        else:
            deep, stopped = self._grow_at_price(start, network)
            answer, low = deep, 0
        reference = crop(deep.network, steps=sorted(deep.order))
        self.protocol.judge_by(reference)
        answer = self._shorten(answer, deep, low)
        tried: dict[int, Candidate] = {}
        for grown in (answer, deep):
            if grown.depth not in tried and not any(candidate.inside for candidate in tried.values()):
                tried[grown.depth] = self._refit(grown, deepest=grown.depth == deep.depth)
        selected = next((depth for depth, candidate in tried.items() if candidate.inside), None)
        chosen = nearest(tried) if selected is None else tried[selected]
        kept = self.search.heal and chosen.depth not in self._left
        windows = self._windows
        growth = Growth(
            tuple(windows.records), tuple(self._looks), windows.price, not self.auto, stopped, network.depth,
            start.depth, kept, windows.look_work, windows.look_seconds,
        )  # fmt: skip
        source = deep if chosen.depth == deep.depth else answer
        return conclude(self.protocol, reference, source.network, tried, selected, self.fresh, growth=growth)

    def _grow(self, start: Grown, born: Network, trained: bool) -> tuple[Grown, Grown, str]:
        """Trials of two depths until the shallow one is enough, or nothing is left to gain, or no room."""
        windows = self._windows
        if trained:
            shallow, deep = start, start.woken(self._next(start, "grow-0"), born)
        else:
            deep = windows.train(start, "grow-0-start", "start")
            shallow = deep.first(deep.depth // 2)
        for i in itertools.count(1):
            shallow = windows.train(shallow, f"grow-{i}-shallow", "shallow", f"grow-{i}")
            deep = windows.train(deep, f"grow-{i}-deep", "deep", f"grow-{i}")
            enough = windows.enough(f"grow-{i}-shallow", shallow, deep)
            steps = self._next(deep, f"grow-{i}")
            if enough:
                return shallow, deep, "enough"
            if windows.nothing_left(deep):
                return shallow, deep, "nothing left"
            if not steps:
                return shallow, deep, "no room"
            shallow, deep = deep, deep.woken(steps, born)
        raise AssertionError  # the loop has no end of its own

    def _next(self, grown: Grown, name: str) -> tuple[int, ...]:
        """As many steps as are awake, in turns where there is room in several places, the most promising first."""
        runs = room(grown.network)
        wanted = max(1, grown.depth)
        self._looks = self._windows.looks(grown, [run[0] for run in runs], name) if runs else []
        promise = {each.step: each.squared for each in self._looks}
        return tuple(in_turns(sorted(runs, key=lambda run: -promise.get(run[0], 0.0)), wanted))

    def _grow_at_price(self, grown: Grown, born: Network) -> tuple[Grown, str]:
        """Windows at a fixed price: steps that it sends to zero sleep, sleeping ones that pay at it wake, each once."""
        woken = set(grown.order)
        for i in itertools.count():
            grown = self._windows.train(grown, f"grow-{i}", "grown")
            norms = group_norms(grown.network).tolist()
            if small := [k for k in grown.order if norms[k] < SMALL]:
                looks = self._windows.looks(grown.without(small), small, f"sleep-{i}")
                grown = grown.without(each.step for each in looks if not each.pays)
            runs = [[k for k in run if k not in woken] for run in room(grown.network)]
            steps = in_turns(runs, max(1, grown.depth))
            self._looks = self._windows.looks(grown, steps, f"wake-{i}") if steps else []
            paying = sorted((each for each in self._looks if each.pays), key=lambda each: -each.ratio)
            if not paying:
                return grown, "no room" if grown.depth == born.depth else "price"
            grown = grown.woken(tuple(each.step for each in paying), born)
            woken |= set(grown.order)
        raise AssertionError

    def _shorten(self, answer: Grown, deep: Grown, low: int) -> Grown:
        """The fewest of its layers that are enough, each number asked with one window, by bisection above ``low``."""
        asked = {answer.depth: answer}

        def inside(depth: int) -> bool:
            asked[depth] = self._windows.train(answer.first(depth), f"cut-{depth}", "cut")
            return self._windows.enough(f"cut-{depth}", asked[depth], deep)

        return asked[smallest(inside, low or -1, answer.depth)]

    def _refit(self, grown: Grown, deepest: bool) -> Candidate:
        """Train on the terminal cost alone, learning rate to 0: the answer's cooling down.

        On noisy samples a whole training overfits, and the averaged network in the middle of growth is better: where
        the refit is worse than that beyond two standard errors it is left. So it is for the deepest network where the
        refit is outside the budget: as it grew it is the reference itself.
        """
        name, protocol, steps = f"refit-{grown.depth}", self.protocol, sorted(grown.order)
        candidate = protocol.attempt(grown.network, steps, name, None, REFIT)
        if self.search.heal:
            updates = max(1, round(REFIT * training_updates(self.training, len(self.split.train))))
            loss = float(protocol.losses(candidate.network).mean())
            self._windows.records.append(Window(name, "refit", grown.seen, updates, grown.order, (), (), loss,
                                                candidate.excess, protocol.budget.limit))  # fmt: skip
        if self._windows.worse(candidate.network, grown.network) or (deepest and not candidate.inside):
            inside = candidate.raw <= protocol.budget.limit
            network = crop(grown.network, steps=steps)
            self._left.add(grown.depth)
            candidate = replace(candidate, network=network, excess=candidate.raw, inside=inside)
        return candidate
