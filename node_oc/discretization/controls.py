"""The controls of the awake steps, those of one role in one tensor: what is trained."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, ShapeError
from node_oc.system.field import Role


class Controls:
    """Stacked controls (n, ...) of a network's awake steps; until :meth:`release` its parameters are views of them.

    A training step then has one weight a role (W_in of all steps, b_in of all steps, ..) where it would have one a
    step: twenty layers are as few tensors for the optimiser and for autograd as one is.

    Args:
        network: its awake steps must stay what they are meanwhile.
        cuts: layers k at which a rollout is cut into segments; a stack belongs to one segment.

    Attributes:
        stacks: the leaves: one for each role of each run of steps between cuts and projections.
        members: the parameters that are views of each stack's rows.
        blocks: the groups of the steps: (indices into ``stacks``, the layers k of their rows).
        by_hand: whether the system knows its derivatives, asked once.

    Raises:
        ConfigError: steps that share a parameter.
    """

    def __init__(self, network: Network, cuts: Collection[int] = ()) -> None:
        self.stacks: list[Tensor] = []
        self.members: list[list[nn.Parameter]] = []
        self.blocks: list[tuple[list[int], tuple[int, ...]]] = []
        self._roles: dict[tuple[int, ...], list[Role]] = {}  # of no steps, where they are tied
        system = network.system
        self.by_hand = system.by_hand
        if system.tied:
            return  # one control for all steps is as few tensors already
        trained = [id(p) for k in network.awake for p in system.control(k)]
        if len(set(trained)) < len(trained):
            raise ConfigError("controls", got="steps that share a parameter", expected="controls of their own",
                              do="Give every step a copy.")  # fmt: skip
        for steps in (part for run in network.runs(cuts) for part in self._alike(network, run)):
            group = {id(p) for p in system.group(steps[0])}
            roles = [list(role) for role in zip(*(system.control(k) for k in steps), strict=True)]
            self.blocks.append(([len(self.stacks) + i for i, role in enumerate(roles) if id(role[0]) in group], steps))
            self._roles[steps] = [self._stack(role) for role in roles]

    @staticmethod
    def _alike(network: Network, run: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Neighbours with controls of the same shapes and the group in the same places: of our systems, all."""

        def shape(k: int) -> tuple[Any, ...]:
            group = {id(p) for p in network.system.group(k)}
            return tuple((p.shape, id(p) in group) for p in network.system.control(k))

        return [tuple(part) for _, part in itertools.groupby(run, key=shape)]

    def _stack(self, members: list[nn.Parameter]) -> Role:
        stack = torch.stack([p.detach() for p in members])
        rows = stack.unbind()
        for p, row in zip(members, rows, strict=True):
            p.data = row
        self.stacks.append(stack.requires_grad_())
        self.members.append(members)
        return Role(rows, stack)

    def of(self, steps: Sequence[int]) -> Sequence[Role]:
        """The roles of these steps.

        Raises:
            ShapeError: they are no run of the network that was stacked, with the same cuts.
        """
        if tuple(steps) not in self._roles:
            raise ShapeError(
                "steps of stacked controls", got=list(steps), expected=f"one of {list(self._roles)}",
                do="Stack them anew when steps wake or sleep, and with the cuts of the rollout.",
            )  # fmt: skip
        return self._roles[tuple(steps)]

    def leaves(self, steps: Sequence[int]) -> list[Tensor]:
        """The stacks that hold these steps, each once."""
        runs = {run: roles for run, roles in self._roles.items() if not set(run).isdisjoint(steps)}
        return [leaf for roles in runs.values() for role in roles for leaf in role.leaves]

    def instead(self, parameters: Iterable[nn.Parameter]) -> list[Tensor]:
        """What an optimiser is given for these parameters of the network: the stacks, and those that are in none."""
        inside = {p for members in self.members for p in members}
        return [*self.stacks, *(p for p in parameters if p not in inside)]

    def gather_(self) -> None:
        """Move the gradients that autograd left in the parameters themselves into those of the stacks."""
        for stack, members in zip(self.stacks, self.members, strict=True):
            if all(p.grad is None for p in members):
                continue
            gradient = torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in members])
            stack.grad = gradient if stack.grad is None else stack.grad.add_(gradient)
            for p in members:
                p.grad = None

    def release(self) -> None:
        """Give every parameter its own memory again."""
        for members in self.members:
            for p in members:
                p.data = p.data.clone()
        self._roles = {}  # who still holds these controls is refused
