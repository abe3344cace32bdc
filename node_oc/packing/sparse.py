"""Networks that leave the zeros of their ternary weights out where that is faster: chosen by measurement, on a CPU."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from node_oc.errors import ConfigError
from node_oc.inference import Model
from node_oc.packing.files import discrete_layers
from node_oc.packing.ways import WAYS, Dense
from node_oc.system.discrete import DiscreteLinear
from node_oc.system.discrete.chain import ChainBlock
from node_oc.system.discrete.residual import DiscreteBranch

LEAST = 1.1  # times as fast as dense: less is not worth another path, and may be noise
BURST = 2e-3  # seconds: short calls are timed several at a time
DENSE = "dense"
NORMS = {"layer": "norm", "inner": "inner_norm", "outer": "outer_norm"}  # what stands behind what in our blocks


@dataclass(frozen=True)
class Speed:
    """Ways to do the same thing, timed in turns.

    Attributes:
        name: of the layer; "all layers" for the whole model.
        batch: samples in a call.
        milliseconds: median time of a call, by way.
        way: the one that was chosen.
        ratio: how many times as fast it is as dense: the median over the turns; 1 where it is dense.
    """

    name: str
    batch: int
    milliseconds: dict[str, float]
    way: str
    ratio: float


@dataclass(frozen=True)
class Sparse:
    """What :func:`sparse_model` made.

    Attributes:
        model: outputs equal to those of the model that it was made from, to rounding; to be called, not to be saved.
        layers: the ways of every linear ternary layer and the one that was chosen, in the order of the layers.
        whole: the model as it is now beside the same with every layer dense.
    """

    model: Model
    layers: tuple[Speed, ...]
    whole: Speed


@torch.no_grad()
def sparse_model(model: Model, batch: int = 1, *, turns: int = 21, least: float = LEAST) -> Sparse:
    """A copy of a model in which every ternary linear layer takes the way that is fastest here, for this batch size.

    A batch norm behind the layer is folded into it. Every way is timed in turns with the dense float32 product, with
    torch's current number of threads; where none is ``least`` times as fast, the layer stays dense, and so does the
    whole model where its layers together are not. Convolutions and binary layers have no path without zeros.

    Args:
        model: with discrete layers, on the CPU.
        batch: samples in a call.
        turns: timed turns.
        least: how many times as fast as dense a way must be to be taken.

    Raises:
        ConfigError: a model on another device; a batch or turns below 1.
    """
    if batch < 1 or turns < 1:
        raise ConfigError("batch and turns", got=(batch, turns), expected="at least 1", do="Correct the numbers.")
    if model.x_mean.device.type != "cpu":
        raise ConfigError("sparse path", got=f"a model on {model.x_mean.device}", expected="one on the CPU",
                          do="Move it with model.cpu(): nothing was measured elsewhere.")  # fmt: skip
    dense = copy.deepcopy(model).eval()
    mixed = copy.deepcopy(model).eval()
    layers = []
    for name, layer in list(discrete_layers(model)):
        if not isinstance(layer, DiscreteLinear):
            for each in (dense, mixed):  # the cast to float once, and not in every call
                each.get_submodule(name).relax_(model.dtype).requires_grad_(False)  # type: ignore[operator]
            continue
        norm = _norm_behind(model, name)
        weight, shift = _folded(layer, model.get_submodule(norm) if norm else None, model.dtype)
        way, speed = DENSE, None
        if layer.values == "ternary":
            speed = time_layer(weight, shift, name, batch, turns, least)
            layers.append(speed)
            way = speed.way
        for each, made in ((dense, Dense(weight, shift)), (mixed, WAYS[way](weight, shift))):
            each.set_submodule(name, made)
            if norm:
                each.set_submodule(norm, nn.Identity())
    x = torch.randn(batch, len(model.meta["features"]), dtype=model.dtype, generator=torch.Generator().manual_seed(0))
    times = in_turns({DENSE: dense, "sparse": mixed}, x, turns)
    whole = _choose("all layers", batch, times, least)
    return Sparse(mixed if whole.way == "sparse" else dense, tuple(layers), whole)


def time_layer(weight: Tensor, shift: Tensor, name: str, batch: int, turns: int = 21, least: float = LEAST) -> Speed:
    """Every way to multiply by a matrix, in turns, and the fastest.

    Args:
        weight: (K, D), floating point.
        shift: (K,).
        name: of the layer.
        batch: samples in a call.
        turns: timed turns.
        least: see :func:`sparse_model`.
    """
    x = torch.randn(batch, weight.shape[1], dtype=weight.dtype, generator=torch.Generator().manual_seed(0))
    return _choose(name, batch, in_turns({key: way(weight, shift) for key, way in WAYS.items()}, x, turns), least)


@torch.no_grad()
def in_turns(modules: Mapping[str, nn.Module], x: Tensor, turns: int) -> dict[str, list[float]]:
    """Milliseconds of a call of each module in each turn, so that a slow moment of the machine hits all alike.

    With one thread it is processor time, so that a busy neighbour does not count at all.
    """
    bursts: dict[str, int] = {}
    times: dict[str, list[float]] = {name: [] for name in modules}
    for name, module in modules.items():
        module(x)  # memory and kernels are set up here
        bursts[name] = max(1, min(50, math.ceil(BURST / max(_seconds(module, x, 1), 1e-7))))
    for _ in range(turns):
        for name, module in modules.items():
            times[name].append(1e3 * _seconds(module, x, bursts[name]))
    return times


def _norm_behind(model: nn.Module, name: str) -> str | None:
    """The name of the batch norm that a layer of ours hands its output to; None where nobody knows."""
    above, _, last = name.rpartition(".")
    known = isinstance(model.get_submodule(above), (ChainBlock, DiscreteBranch))
    return f"{above}.{NORMS[last]}" if known else None


def _folded(layer: DiscreteLinear, norm: nn.Module | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """W and b of the layer with the batch norm behind it in evaluation mode: s W and t, where that is y -> s y + t."""
    weight = layer.used(torch.empty(0, dtype=dtype)).detach()
    if norm is None:
        return weight, weight.new_zeros(len(weight))
    shift, both = norm(weight.new_zeros(1, len(weight))), norm(weight.new_ones(1, len(weight)))
    return (both - shift).t() * weight, shift[0]


def _seconds(module: nn.Module, x: Tensor, calls: int) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(calls):
        module(x)
    return (clock() - start) / calls


def _choose(name: str, batch: int, times: Mapping[str, list[float]], least: float) -> Speed:
    ratios = {way: median(a / b for a, b in zip(times[DENSE], each, strict=True)) for way, each in times.items()}
    medians = {way: median(each) for way, each in times.items()}
    best = max(ratios, key=lambda way: ratios[way])
    way = best if min(ratios[best], medians[DENSE] / medians[best]) >= least else DENSE
    return Speed(name, batch, medians, way, ratios[way])
