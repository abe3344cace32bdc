"""Early exit that pays: samples that a policy stops leave the batch, and no later layer is computed for them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from node_oc.discretization.network import Network, evaluating
from node_oc.errors import ConfigError, ShapeError
from node_oc.inference.inputs import rows_of
from node_oc.inference.scaled import Scaled
from node_oc.inference.steps import Reader, Step, plain_steps
from node_oc.inference.watching import Watch, WatchOne
from node_oc.policies import Policy, check_exits
from node_oc.system.adopt import AdoptedSystem
from node_oc.system.base import System

DropAt = Sequence[int] | Mapping[int, Sequence[int]]


class Exited(NamedTuple):
    """What early exit returns, in the order of the inputs.

    Attributes:
        outputs: the readout at each sample's stopping depth, (B, K): logits, or targets in their units.
        depths: the layers k that each sample passed, int64 (B,).
    """

    outputs: Tensor
    depths: Tensor


class EarlyExit(nn.Module):
    """A network that stops each sample where a policy says so; what it returns is the full network's readout there.

    The policy is asked about a sample at its exits in order until it stops, and the answer does not depend on
    ``drop_at``: that is only where the batch is looked at. There the readouts of all exits passed since the last look
    are computed in one head call, and stopped samples leave the batch; between two looks they go on with it. Looking
    costs a head, some features and a copy of the live states, so that looking everywhere need not be the fastest:
    :func:`node_oc.inference.measured_drops` chooses. A batch of one is asked at every exit.

    Computes in evaluation mode and in ``torch.inference_mode``. Layers may change their values afterwards, but must not
    be exchanged, nor get hooks.

    Args:
        model: a :class:`node_oc.Model` on raw features, a network or a system on its inputs.
        policy: when a sample stops; its exits are depths k of the network.
        drop_at: exits at which stopped samples are dropped; or batch size -> exits, of which those of the size nearest
            from above count, the largest where there is none. Every exit if None.

    Raises:
        ConfigError: a policy of another depth than the network's, or ``drop_at`` with what is no exit.
        ShapeError: an adopted model whose states do not have their samples along dimension 0.
    """

    def __init__(self, model: Scaled | Network | System, policy: Policy, drop_at: DropAt | None = None) -> None:
        super().__init__()
        self.model: Scaled | Network = Network(model) if isinstance(model, System) else model
        self.policy = policy
        self.exits = check_exits(policy.exits, self.network.depth)
        system = self.network.system
        if isinstance(system, AdoptedSystem) and not system.plan.by_sample:
            raise ShapeError("states of the adopted model", got="rows that are no samples",
                             expected="samples along dimension 0", do="Samples cannot leave its batch.")  # fmt: skip
        self._reader, self._steps = Reader(self.network), plain_steps(self.network)
        self.drop_at(drop_at)

    def __getstate__(self) -> dict[str, Any]:
        """Without the steps, which hold on to the layers: a copy makes those of its own."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_steps", "_reader")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._reader, self._steps = Reader(self.network), plain_steps(self.network)

    @property
    def network(self) -> Network:
        """What is stepped."""
        return self.model.network if isinstance(self.model, Scaled) else self.model

    def drop_at(self, drop_at: DropAt | None) -> None:
        """Choose the exits at which stopped samples are dropped, see the class.

        Args:
            drop_at: see the class.

        Raises:
            ConfigError: what is no exit.
        """
        by_size = drop_at if isinstance(drop_at, Mapping) else {1: self.exits if drop_at is None else drop_at}
        for chosen in by_size.values():
            if unknown := sorted(set(chosen) - set(self.exits)):
                raise ConfigError("drop_at", got=unknown, expected=f"exits of the policy: {list(self.exits)}",
                                  do="Samples can be dropped where they can stop.")  # fmt: skip
        if not by_size:
            raise ConfigError("drop_at", got="no batch size", expected="one at least", do="Leave it out.")
        self._sizes = sorted(by_size)
        self._looks = [_looks(self.exits, by_size[size]) for size in self._sizes]

    def looks(self, batch: int) -> list[tuple[int, ...]]:
        """The exits in groups that are looked at together, at the last of each, in a batch of this size."""
        return self._looks[min(bisect_left(self._sizes, batch), len(self._sizes) - 1)]

    @torch.inference_mode()
    def forward(self, x: Any) -> Exited:
        """Inputs of a batch to outputs and depths.

        Raises:
            ShapeError: readouts that are not one row a sample, as those of a language model.
        """
        with evaluating(self.network) if self.network.training else nullcontext():
            z = self.inputs(x)
            network = self.network.given(z)
            state = network.system.lift(z)
            found = self._one(network, state) if len(state) == 1 else self._batch(network, z, state)
        return Exited(self.model.in_units(found.outputs), found.depths) if isinstance(self.model, Scaled) else found

    def inputs(self, x: Any) -> Any:
        """The network's inputs of what the model takes."""
        return self.model.standardised(x) if isinstance(self.model, Scaled) else x

    def _one(self, network: Network, state: Tensor) -> Exited:
        steps, stops, watch, k = self.steps_of(network), self.policy.stops, None, 0
        for e in self.exits:
            for step in steps[k:e]:
                state = state if step is None else step(state)
            k, readout = e, self._reader(network, (e,), (state,))[0]
            if e == self.exits[-1]:
                break
            if watch is None:
                watch = WatchOne(self.policy.task, _classes(readout))
            if stops(e, watch.features(readout)).item():
                break
        _classes(readout)
        return Exited(readout, torch.tensor([k], device=state.device))

    def _batch(self, network: Network, z: Any, state: Tensor) -> Exited:
        steps, watch, k = self.steps_of(network), Watch(self.policy.task), 0
        rows = torch.arange(len(state), device=state.device)  # of the live samples
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for exits in self.looks(len(state)):
            states = []
            for e in exits:
                for step in steps[k:e]:
                    state = state if step is None else step(state)
                k = e
                states.append(state)
            stopped, gone, out, depth = self.look(network, exits, states, watch)
            if len(gone) or not len(rows):
                parts.append((rows[gone], out, depth))
            if len(gone) == len(rows):
                break
            if len(gone):
                left = stopped.logical_not().nonzero()[:, 0]
                state, rows = state[left], rows[left]
                watch.keep(left)
                if network is not self.network:
                    z = rows_of(network.system, z, left)
                    network = self.network.given(z)
                    steps = plain_steps(network)
        order, *found = (torch.cat(part) for part in zip(*parts, strict=True))
        return Exited(*(torch.empty_like(part).index_copy_(0, order, part) for part in found))

    def look(
        self, network: Network, exits: tuple[int, ...], states: Sequence[Tensor], watch: Watch
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One look at live samples at some exits: which stop, (n,); their numbers, outputs and depths.

        Args:
            network: bound to the samples' inputs.
            exits: depths k, successive exits.
            states: x_k at each, (n, ..).
            watch: what has been seen of the samples.
        """
        readouts = self._reader(network, exits, states)
        _classes(readouts[0])
        asked = exits[:-1] if exits[-1] == self.exits[-1] else exits
        features = watch.features(readouts[: len(asked)]) if asked else ()
        stops = [self.policy.stops(e, seen) for e, seen in zip(asked, features, strict=True)]
        if len(asked) < len(exits):
            stops.append(torch.ones(readouts.shape[1], dtype=torch.bool, device=readouts.device))
        depths = torch.tensor(exits, device=readouts.device)
        if len(stops) == 1:
            gone = stops[0].nonzero()[:, 0]
            return stops[0], gone, readouts[0][gone], depths.expand(len(gone))
        every = torch.stack(stops)
        stopped = every.any(0)
        gone = stopped.nonzero()[:, 0]
        first = every[:, gone].to(torch.uint8).argmax(0)
        return stopped, gone, readouts[first, gone], depths[first]

    def steps_of(self, network: Network) -> list[Step | None]:
        """The steps as functions of the state, of the network bound to some inputs."""
        return self._steps if network is self.network else plain_steps(network)


def _looks(exits: Sequence[int], drop_at: Sequence[int]) -> list[tuple[int, ...]]:
    looks, group = [], []
    for e in exits:
        group.append(e)
        if e in drop_at or e == exits[-1]:
            looks.append(tuple(group))
            group = []
    return looks


def _classes(readout: Tensor) -> int:
    if readout.dim() != 2:
        raise ShapeError("readout", got=tuple(readout.shape), expected="(samples, K)",
                         do="Only a model that says one thing about each sample can stop it early.")  # fmt: skip
    return readout.shape[1]
