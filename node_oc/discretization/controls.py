"""The controls of the awake steps, those of one role in one tensor: what is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from node_oc.discretization.network import Network
from node_oc.errors import ShapeError
from node_oc.system.field import Role


class Controls:
    """Stacked controls (n, ...) of a network's awake steps; until :meth:`release` its parameters are views of them.

    A training step then has one weight a role (W_in of all steps, b_in of all steps, ..) where it would have one a
    step: twenty layers are as few tensors for the optimiser and for autograd as one is.

    Args:
        network: its awake steps must stay what they are meanwhile.

    Attributes:
        stacks: one leaf for each role and shape.
        blocks: the group of each step, stacked: (indices into ``stacks``, the layers k of their rows).
    """

    def __init__(self, network: Network) -> None:
        found: dict[tuple[int, torch.Size], list[tuple[int, nn.Parameter]]] = {}
        for k in network.awake:
            for i, p in enumerate(network.system.control(k)):
                found.setdefault((i, p.shape), []).append((k, p))
        self.stacks: list[Tensor] = []
        self.members = [[p for _, p in members] for members in found.values()]
        self._place: dict[tuple[int, int], tuple[int, int]] = {}
        blocks: dict[tuple[int, ...], list[int]] = {}
        for index, ((i, _), members) in enumerate(found.items()):
            stack = torch.stack([p.detach() for _, p in members])
            for row, (k, p) in enumerate(members):
                p.data = stack[row]
                self._place[k, i] = index, row
            self.stacks.append(stack.requires_grad_())
        for k in network.awake:
            group = {id(p) for p in network.system.group(k)}
            mine = [i for i, p in enumerate(network.system.control(k)) if id(p) in group]
            blocks.setdefault(tuple(self._place[k, i][0] for i in mine), []).append(k)
        self.blocks = list(blocks.items())

    def of(self, steps: Sequence[int]) -> list[Role]:
        """The roles of these steps, which must be of one shape and neighbours among the awake ones."""
        roles: list[Role] = []
        i = 0
        while (steps[0], i) in self._place:
            (index, first), (same, last) = self._place[steps[0], i], self._place[steps[-1], i]
            stack = self.stacks[index]
            if index != same or last - first + 1 != len(steps):
                raise ShapeError(f"steps {list(steps)}", got="of several shapes, or with others between them",
                                 expected="neighbours of one shape among the awake steps",
                                 do="Ask for the steps of one run.")  # fmt: skip
            roles.append(stack if len(steps) == len(stack) else stack[first : last + 1])
            i += 1
        return roles

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
