"""What is checked of a model: found, unchanged, read at every depth, cut, saved, exported."""

from __future__ import annotations

import copy
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import node_oc as oc
from experiments.zoo.models import Entry
from node_oc.exporting import export_onnx

TOLERANCE = 1e-5  # relative, of float32, for sums in another order: several depths go through a head together
ONNX = 1e-4  # relative: another library computes
SEEN = 1e-4  # relative: what a branch does at least, so that the comparisons say something


@torch.no_grad()
def passes(system: oc.AdoptedSystem, x: Tensor) -> float:
    """Operations of a pass with the readouts of all depths, less those of N heads, in forward passes."""
    network = oc.Network(system)

    def operations(call: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            call()
        return counter.get_total_flops()

    trajectory = oc.rollout(network, x)
    head = operations(lambda: trajectory.final)
    whole = operations(lambda: oc.rollout(network, x).readouts)
    return (whole - system.depth * head) / operations(lambda: network(x))


@dataclass
class Result:
    """What came out for one model.

    Attributes:
        name: of the model.
        numbers: what was measured.
        wrong: what should not be, one sentence each; empty if all is right.
    """

    name: str
    numbers: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def expect(self, right: bool, otherwise: str) -> None:
        """Note a sentence if something is not right."""
        if not right:
            self.wrong.append(otherwise)

    def at_most(self, name: str, value: float, most: float) -> None:
        """Keep the largest of several differences, and note one that is too large or no number."""
        self.numbers[name] = max(value, self.numbers.get(name, 0.0))
        self.expect(value <= most, f"{name}: {value:.1e}, at most {most:.0e}")


def check(entry: Entry, onnx: bool = True) -> Result:
    """All checks of one model.

    Args:
        entry: which.
        onnx: whether to write an ONNX file too, which takes most of the time.
    """
    torch.backends.mha.set_fastpath_enabled(False)  # fused kernels that only an eager model takes: other rounding
    result, start = Result(entry.name), time.process_time()
    model, x = entry.make(), entry.input(3)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    before = time.process_time()
    system = oc.adopt(model, entry.input(2), source=entry.source)
    result.numbers |= {"branches": system.depth, "adopting": time.process_time() - before,
                       "parameters": sum(p.numel() for p in model.parameters())}  # fmt: skip
    result.expect(system.depth == entry.branches, f"{system.depth} branches, not {entry.branches}: {entry.why}")
    outputs_unchanged(result, model, system, x)
    training_unchanged(result, model, system, x)
    readouts(result, entry, model, system, x)
    result.numbers["passes"] = passes(system, x)
    crops(result, entry, model, system, x)
    small = oc.crop(system, steps=holed(system.depth))
    saved(result, small, x)
    if onnx:
        exported(result, small, entry.input(3))
    now = model.state_dict()
    result.expect(list(kept) == list(now) and all(torch.equal(kept[n], now[n]) for n in kept), "the model has changed")
    result.numbers["seconds"] = time.process_time() - start
    return result


@torch.no_grad()
def outputs_unchanged(result: Result, model: nn.Module, system: oc.AdoptedSystem, x: Tensor) -> None:
    """The model itself and its pieces one after the other: the same bits, and the same names."""
    expected = output(model(x))
    result.expect(torch.equal(expected, oc.Network(system).eval()(x)), "the pieces give other outputs than the model")
    result.expect(torch.equal(expected, output(system(x))), "the system gives other outputs than the model")
    result.expect(list(system.state_dict()) == list(model.state_dict()), "the system has other keys than the model")


def training_unchanged(result: Result, model: nn.Module, system: oc.AdoptedSystem, x: Tensor) -> None:
    """The same in training mode: dropout, stochastic depth and batch norms, from the same seed."""
    theirs, ours = copy.deepcopy(model).train(), copy.deepcopy(system).train()
    results = []
    for module in (theirs, oc.Network(ours)):
        torch.manual_seed(2)
        results.append(output(module(x)).detach())
    result.at_most("training mode", difference(results[1], results[0]), TOLERANCE)
    result.numbers["training mode to the bit"] = torch.equal(*results)
    statistics = ours.state_dict()
    worst = max((difference(statistics[n], b) for n, b in theirs.named_buffers() if "running" in n), default=0.0)
    result.at_most("running statistics", worst, TOLERANCE)


@torch.no_grad()
def readouts(result: Result, entry: Entry, model: nn.Module, system: oc.AdoptedSystem, x: Tensor) -> None:
    """All N+1 readouts beside the model with its last branches set to zero, one depth at a time."""
    got = oc.rollout(oc.Network(system).eval(), x).readouts
    least = math.inf
    for k in range(system.depth + 1):
        expected = without(entry, model, system, range(k), x)
        result.at_most("readouts", difference(got[k], expected), TOLERANCE)
        least = min(least, difference(got[k], got[k - 1]) if k else math.inf)
    result.numbers["least that a branch does"] = least
    result.expect(least > SEEN, f"a branch that does nothing: {least:.1e}, so the comparison of readouts says nothing")


@torch.no_grad()
def crops(result: Result, entry: Entry, model: nn.Module, system: oc.AdoptedSystem, x: Tensor) -> None:
    """Cut at several depths and with a hole: outputs to the bit, keys and tensors those of the model."""
    n, names = system.depth, dict(model.state_dict())
    for steps in ([0], list(range(n // 2)), list(range(n - 1)), holed(n), list(range(1, n))):
        small, expected = oc.crop(system, steps=steps), without(entry, model, system, steps, x)
        result.expect(torch.equal(output(small(x)), expected), f"cut to {steps}: other outputs than with zero branches")
        result.expect(torch.equal(oc.Network(small).eval()(x), expected), f"cut to {steps}: other outputs as a network")
        left = small.state_dict()
        same = all(name in names and torch.equal(value, names[name]) for name, value in left.items())
        result.expect(same, f"cut to {steps}: other names or tensors than the model's")
        gone = {p for b in system.branches if b.k not in steps and not b.shared for p in b.parameters}
        result.expect(not gone & set(left), f"cut to {steps}: unused parameters are left")
    if entry.shared:
        return
    zero = copy.deepcopy(system)
    for k in set(range(n)) - set(holed(n)):
        for p in zero.group(k):
            p.zero_()
    small = oc.crop(zero)  # whatever is zero
    result.expect([b.k for b in small.branches] == holed(n), "the branches that are zero are not those that were cut")
    result.expect(torch.equal(output(small(x)), output(zero(x))), "zero branches cut: other outputs")


@torch.no_grad()
def saved(result: Result, small: oc.AdoptedSystem, x: Tensor) -> None:
    """Written and read: the same tensors, the same bits."""
    with tempfile.TemporaryDirectory() as folder:
        oc.save_system(small, Path(folder) / "small")
        read = oc.load_system(Path(folder) / "small")
    result.expect(torch.equal(output(read(x)), output(small(x))), "read from a file: other outputs")
    result.expect(list(read.state_dict()) == list(small.state_dict()), "read from a file: other keys")


def exported(result: Result, small: oc.AdoptedSystem, x: Tensor) -> None:
    """ONNX with a free batch size, beside torch."""
    before = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        parity = export_onnx(small, x, Path(folder) / "small.onnx", batches=(1, 3), tolerance=math.inf)
    result.at_most("ONNX", max(parity.values()), ONNX)
    result.numbers["exporting"] = time.process_time() - before


@torch.no_grad()
def without(entry: Entry, model: nn.Module, system: oc.AdoptedSystem, steps: Sequence[int], x: Tensor) -> Tensor:
    """What a copy of the model returns with all branches but these set to zero; of a loop, one with as many rounds."""
    if entry.shared:
        shorter = entry.make(depth=len(steps))
        shorter.load_state_dict(model.state_dict())
        return output(shorter(x))
    zeroed = copy.deepcopy(model)
    parameters = dict(zeroed.named_parameters(remove_duplicate=False))
    for branch in system.branches:
        if branch.k not in steps:
            for name in branch.group:
                parameters[name].zero_()
    return output(zeroed(x))


def holed(depth: int) -> list[int]:
    """All but the middle third."""
    return [k for k in range(depth) if not depth // 3 <= k < max(depth // 3 + 1, 2 * depth // 3)]


def output(returned: Any) -> Tensor:
    """The readout in whatever a model returns."""
    return returned if isinstance(returned, Tensor) else returned.logits


def difference(value: Tensor, expected: Tensor) -> float:
    """The largest difference as a share of the largest entry; infinite where the shapes differ."""
    if value.shape != expected.shape:
        return math.inf
    return float((value - expected).abs().max() / expected.abs().max())
