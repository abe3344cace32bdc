"""What early exit gains on this machine, beside the full network and a network cut to one depth for all samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from node_oc.data.split import Scale
from node_oc.discretization.network import Network, evaluating
from node_oc.errors import ConfigError
from node_oc.inference.drops import measured_drops, repeated
from node_oc.inference.early_exit import EarlyExit
from node_oc.inference.inputs import rows_of
from node_oc.inference.scaled import Scaled
from node_oc.inference.turns import Clock, Spread, in_turns
from node_oc.policies import FixedDepth
from node_oc.trajectory.rollout import rollout

FULL, EARLY, PLAIN = "full", "early exit", "full, plain loop"
SINGLES = 50  # samples, one after the other, in one round at batch 1
BURST = 2048  # samples in one round at larger batches, at least: as in use, caches hold the way at hand
ROWS = 1024  # samples whose readouts at all depths are held at a time


@dataclass(frozen=True)
class Timed:
    """One way to run the network at one batch size.

    Attributes:
        batch: samples at once.
        way: "full" as it is called, "full, plain loop" as early exit runs its layers, "early exit", or "cut to k".
        ms: milliseconds of one call, over the rounds.
        gain: how many times as fast as "full" in the same round.
        depth: layers that a sample passes, in the mean.
        drop_at: of early exit, where stopped samples left the batch; None elsewhere and at batch 1.
    """

    batch: int
    way: str
    ms: Spread
    gain: Spread
    depth: float
    drop_at: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Paying:
    """Times of all ways, and what pays.

    Attributes:
        rows: every way at every batch size.
        threads: of torch.
        rounds: timed rounds.
        quality: accuracy, or mean squared error in regression, of each way on the samples given with a target; else
            empty.
        sentence: the recommendation.
    """

    rows: tuple[Timed, ...]
    threads: int
    rounds: int
    quality: dict[str, float]
    sentence: str

    def record(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def what_pays(
    early: EarlyExit, x: Any, y: Tensor | None = None, *, cut: int | None = None,
    batches: Sequence[int] = (1, 256, 4096), rounds: int = 15, choose: bool = True,
    clock: Clock = time.perf_counter,
) -> Paying:  # fmt: skip
    """Time full network, early exit and a fixed crop in turns, and say which of them pays on this machine.

    At batch 1 a round is up to 50 samples one after the other, so that easy and hard ones count as often as they come;
    at larger ones it is as many calls as hold 2,048 samples. Gains are ratios of times in the same round.

    Args:
        early: the model with its policy.
        x: inputs such as those to come.
        y: their targets: classes, or values in the units of what ``early`` returns.
        cut: depth k of the fixed crop; if None, the smallest that is as good on (x, y) as early exit is.
        batches: batch sizes.
        rounds: timed rounds.
        clock: what times are read from; ``time.process_time`` on a busy machine, where only one thread's is a time.
        choose: whether ``drop_at`` is chosen anew by :func:`measured_drops`; else early exit runs as it is.

    Raises:
        ConfigError: neither ``y`` nor ``cut``; or a crop at a depth that the network does not have.
    """
    network, found = early.network, early(x)
    mean, quality = float(found.depths.double().mean()), {}
    if y is not None:
        losses = torch.stack([_losses(out, y) for out in _readouts(early, x)])
        mine, by_depth = float(_losses(found.outputs, y).mean()), losses.mean(1).tolist()
        cut = next((k for k, loss in enumerate(by_depth) if loss <= mine), network.depth) if cut is None else cut
    if cut is None or not 0 <= cut <= network.depth:
        raise ConfigError("cut", got=cut, expected=f"a depth in 0..{network.depth}, or targets y to find it by",
                          do="Give one of the two.")  # fmt: skip
    shallow = f"cut to {cut}"
    if y is not None:
        sign = 1 if found.outputs.shape[1] == 1 else -1  # mean squared error, or accuracy from the share of errors
        quality = {FULL: by_depth[-1], EARLY: mine, shallow: by_depth[cut]}
        quality = quality if sign > 0 else {name: 1 - error for name, error in quality.items()}
    large = [b for b in batches if b > 1]
    ours = (
        EarlyExit(early.model, early.policy, measured_drops(early, x, large, clock=clock))
        if choose and large
        else early
    )
    plain = EarlyExit(early.model, FixedDepth(network.depth, (network.depth,), early.policy.task))
    ways: dict[str, tuple[nn.Module, float]] = {
        FULL: (early.model, network.depth), PLAIN: (plain, network.depth), EARLY: (ours, mean),
        shallow: (_cut(early.model, cut), cut),
    }  # fmt: skip
    with torch.inference_mode(), evaluating(early.model):
        rows = tuple(row for batch in batches for row in _timed(ours, x, batch, ways, rounds, clock))
    return Paying(rows, torch.get_num_threads(), rounds, quality, _sentence(rows, shallow, quality))


def _timed(
    ours: EarlyExit, x: Any, batch: int, ways: Mapping[str, tuple[nn.Module, float]], rounds: int, clock: Clock
) -> list[Timed]:
    system, count = ours.network.system, len(ours(x).depths)
    if batch > 1:
        several = [repeated(ours, x, batch)] * -(-BURST // batch)
    else:
        several = [rows_of(system, x, torch.tensor([i])) for i in range(min(SINGLES, count))]

    def running(module: nn.Module) -> Callable[[int], object]:
        return lambda _: [module(one) for one in several]

    times = in_turns({name: running(module) for name, (module, _) in ways.items()}, rounds, clock)
    drop_at = tuple(look[-1] for look in ours.looks(batch)) if batch > 1 else None
    return [
        Timed(batch, name, Spread.of([ms / len(several) for ms in times[name]]),
              Spread.of([full / ms for full, ms in zip(times[FULL], times[name], strict=True)]), float(depth),
              drop_at if name == EARLY else None)
        for name, (_, depth) in ways.items()
    ]  # fmt: skip


def _losses(outputs: Tensor, y: Tensor) -> Tensor:
    """0 or 1, or squared errors, of every sample."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] - y.reshape(-1)).double().square()
    return (outputs.argmax(1) != y).double()


@torch.no_grad()
def _readouts(early: EarlyExit, x: Any) -> Tensor:
    """yhat_0..yhat_N in the model's units, (N+1, n, K)."""
    system, count = early.network.system, len(early(x).depths)
    with evaluating(early.model):
        parts = [
            rollout(early.network, early.inputs(rows_of(system, x, rows))).readouts
            for rows in torch.arange(count).split(ROWS)
        ]  # fmt: skip
    out = torch.cat(parts, 1)
    return early.model.in_units(out) if isinstance(early.model, Scaled) else out


def _cut(model: Scaled | Network, depth: int) -> nn.Module:
    """The model with its first layers alone, for all samples."""
    if isinstance(model, Network):
        return model.keep(range(depth))
    y_scale = None if model.y_mean is None or model.y_std is None else Scale(model.y_mean, model.y_std)
    return Scaled(model.network.keep(range(depth)), Scale(model.x_mean, model.x_std), y_scale)


def _sentence(rows: Sequence[Timed], shallow: str, quality: Mapping[str, float]) -> str:
    """What to run, batch size by batch size."""
    said = []
    for batch in dict.fromkeys(row.batch for row in rows):
        gain = {row.way: row.gain for row in rows if row.batch == batch}
        first, second = sorted((EARLY, shallow), key=lambda way: -gain[way].median)
        one, other = gain[first], gain[second]
        ours, theirs = f"{gain[EARLY].median:.1f}", f"{gain[shallow].median:.1f}"
        if one.low <= 1:
            what = f"the full network (early exit {ours} times as fast, {shallow} {theirs})"
        elif one.low <= other.high:
            what = f"early exit or {shallow} alike ({ours} and {theirs} times as fast)"
        else:
            what = f"{first} ({one.median:.1f} times as fast as the full network; {second} {other.median:.1f})"
        said.append(f"at batch {batch} {what}")
    threads = torch.get_num_threads()
    sentence = f"What pays on this machine with {threads} thread{'s' * (threads != 1)}: {', '.join(said)}"
    if not quality:
        return f"{sentence}."
    return f"{sentence}; {', '.join(f'{name} is at {value:.4f}' for name, value in quality.items())}."
