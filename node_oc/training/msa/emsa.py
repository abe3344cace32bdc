"""E-MSA: every layer minimises its own Hamiltonian, augmented by how far the sweeps would stop being true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from node_oc.config import TrainingSection
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError, DivergenceError
from node_oc.problem.ocp import Problem
from node_oc.problem.sweeps import LIFT, Sweeps
from node_oc.training.info import Info, awake_parameters
from node_oc.training.msa.spheres import Spheres, held_rows
from node_oc.training.objective import Compilation, Scaled
from node_oc.trajectory.neural_sde import NeuralSDE

EXCLUDED = {
    "compile": False, "gradient_checkpointing": False, "solver": "table", "driver": "time", "driver_explicit": False,
    "adjoint": False, "devices": 1, "precision": ("32-true", "64-true"),
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """Parameters that the same layers depend on: minimised together, with the sum of those layers' Hamiltonians.

    Of a system with controls of its own one block is u_k and its layer is k. Lift and head are controls at the ends.
    With stage costs the head is read in every layer; a shared control, or a trained horizon, is in every step too.

    Attributes:
        layers: -1 (lift), 0..N-1, N (head).
        parameters: what is minimised over.
    """

    layers: tuple[int, ...]
    parameters: tuple[nn.Parameter, ...]

    @property
    def name(self) -> str:
        """For messages."""
        return "the lift" if self.layers == (LIFT,) else "layer " + ", ".join(map(str, self.layers))


def blocks_of(sweeps: Sweeps, parameters: list[nn.Parameter]) -> list[Block]:
    """The blocks of some parameters, in the order of their first layers; what no layer depends on is in none.

    Args:
        sweeps: of any batch: which layer depends on what is seen in its graph.
        parameters: what is trained.
    """
    layers: dict[nn.Parameter, list[int]] = {p: [] for p in parameters}
    for k in range(LIFT, sweeps.network.depth + 1):
        for p, slope in zip(parameters, sweeps.slopes(k, parameters)[1], strict=True):
            if slope is not None:
                layers[p].append(k)
    alike: dict[tuple[int, ...], list[nn.Parameter]] = {}
    for p, ks in layers.items():
        if ks:
            alike.setdefault(tuple(ks), []).append(p)
    return [Block(ks, tuple(members)) for ks, members in sorted(alike.items(), key=lambda item: item[0])]


class EMSA:
    """Extended method of successive approximations, for real controls (Li, Chen, Tai, E, JMLR 2018, arXiv 1710.09513).

    One update: a forward sweep, a costate sweep, then every block minimises

        Ham_k(x_k, p_{k+1}, u) + (rho/2) ||x_{k+1} - f(x_k, u)||^2 + (rho/2) ||p_k - grad_x Ham_k(x_k, p_{k+1}, u)||^2

    over its u along the old states and costates, the other blocks at their old values, by some iterations of L-BFGS
    with a strong Wolfe line search. Only a decrease is accepted. rho = 0 is the basic MSA, which may diverge. The
    squares are of one sample alone, averaged: p is the gradient of a batch mean, a sample's costate is B times its row,
    and one rho serves every batch size. With f = x + h F it acts on h F: the paper's rho, on F, is h times ours.

    At the old controls the penalties have no slope, so that the first gradient of every block is that of J.

    Args:
        network: what is trained; its sleeping steps are left alone.
        problem: what is minimised; J itself and not s J.
        options: ``emsa_rho`` (0 where ``method`` is "msa") and ``emsa_iterations``; learning rate and clip have no say.
        fabric: devices and precision.

    Attributes:
        compilation: None.
        objective: how J of a rollout is evaluated.

    Raises:
        ConfigError: options or problems that it has no rule for: a price, path costs, noise, dropout, an adaptive
            solver, drawn depths, compiling, checkpointing, several devices, discrete weights.
    """

    def __init__(self, network: Network, problem: Problem, options: TrainingSection, fabric: Fabric) -> None:
        _check(network, problem, options)
        self.network, self.problem, self.options, self.fabric = network, problem, options, fabric
        self.rho = 0.0 if options.method == "msa" else options.emsa_rho
        self.objective = Scaled(network, problem, None, None)
        self.compilation: Compilation | None = None
        self._trained = [p for p in awake_parameters(network) if p.requires_grad]
        self.held = held_rows(network.system)
        self.blocks: list[Block] = []

    def step(self, index: int, x: Tensor, y: Tensor, rows: tuple[int, int, int] | None = None) -> Info:
        """Update number ``index`` on one batch; x (B, ...), y (B,) or (B, K). ``rows`` is None: there is one device.

        Raises:
            DivergenceError: a state, a costate, or what a block found is not finite.
        """
        if self.network.system.coupled:  # running statistics count a batch once, here
            with torch.no_grad():
                self.network(x)
        sweeps = Sweeps(self.network, self.problem, x, y)
        self.blocks = self.blocks or blocks_of(sweeps, self._trained)
        square, found, scale = 0.0, [], self.problem.scale(self.network)
        for block in self.blocks:
            new, slope = self._minimised(sweeps, block)
            found.append(new)
            square += slope**2
        for block, new in zip(self.blocks, found, strict=True):  # at once: each was found with the others as they were
            _assign(block.parameters, new)
        self.network.system.constrain_()
        total, terminal = float(sweeps.objective.total), float(sweeps.objective.terminal)
        return Info(total, terminal, scale * math.sqrt(square), 0.0, len(self.network.awake))

    def _minimised(self, sweeps: Sweeps, block: Block) -> tuple[list[Tensor], float]:
        """New values of a block, and the norm of dJ/du at the old ones; the network has the old ones again."""
        old = [p.detach().clone() for p in block.parameters]
        admissible = Spheres([self.held.get(id(p)) for p in block.parameters], old)
        optimizer = torch.optim.LBFGS(
            block.parameters, max_iter=self.options.emsa_iterations, history_size=self.options.emsa_iterations,
            max_eval=3 * self.options.emsa_iterations, line_search_fn="strong_wolfe",
        )  # fmt: skip
        first: list[Tensor] = []  # value, and norm of the gradient

        def augmented() -> Tensor:
            """Its value at the admissible point that the parameters stand for, and its gradient in them."""
            with admissible.projected(block.parameters) as tangent:
                value, raw = self._sum(sweeps, block)
                slopes = tangent(raw)
            if not bool(torch.isfinite(value)):  # a line search does not come back from there
                raise self._diverged(block, f"a Hamiltonian of {float(value)}")
            for p, slope in zip(block.parameters, slopes, strict=True):
                p.grad = slope.contiguous()  # a view of it is what L-BFGS takes
            if not first:
                first.extend((value, torch.cat([slope.flatten() for slope in slopes]).norm()))
            return value

        try:
            optimizer.step(augmented)
            with admissible.projected(block.parameters):
                new = [p.detach().clone() for p in block.parameters]
            value = augmented()
        finally:
            _assign(block.parameters, old)
            for p in block.parameters:
                p.grad = None
        if not all(bool(torch.isfinite(each).all()) for each in new):
            raise self._diverged(block, "controls that are not finite")
        return (new if value <= first[0] else old), float(first[1])

    def _diverged(self, block: Block, got: str) -> DivergenceError:
        return DivergenceError(
            f"training.method={self.options.method}, {block.name}",
            got=f"{got} on the way to its minimum, rho = {self.rho:g}", expected="finite numbers",
            do="Raise training.emsa_rho; the basic MSA (rho = 0) has nothing that holds it. The last good checkpoint "
            "is kept.",
        )  # fmt: skip

    def _sum(self, sweeps: Sweeps, block: Block) -> tuple[Tensor, list[Tensor]]:
        """Value and gradients of the augmented Hamiltonians of a block's layers."""
        each = [sweeps.slopes(k, block.parameters, self.rho) for k in block.layers]
        gradients = [torch.zeros_like(p) for p in block.parameters]
        for _, slopes in each:
            gradients = [g if slope is None else g + slope for g, slope in zip(gradients, slopes, strict=True)]
        return torch.stack([value for value, _ in each]).sum(), gradients

    def close(self) -> None:
        """Nothing was changed that has to be changed back."""

    def state(self) -> dict[str, Any]:
        """Nothing is carried from one update to the next but the controls."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state`."""


@torch.no_grad()
def _assign(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for p, value in zip(parameters, values, strict=True):
        p.copy_(value)


def _check(network: Network, problem: Problem, options: TrainingSection) -> None:
    """Raise ConfigError where E-MSA has no rule for what is asked."""
    system, name = network.system, f"training.method={options.method}"
    for key, plain in EXCLUDED.items():
        got = getattr(options, key)
        if got not in (plain if isinstance(plain, tuple) else (plain,)):
            raise ConfigError(f"training.{key}", got=f"{got} with {name}", expected=f"{plain}",
                              do="Leave one of the two out.")  # fmt: skip
    for wrong, what, expected in (
        (bool(problem.group_price), "problem.group_price", "0: its Hamiltonian has a kink, and L-BFGS wants none"),
        (bool(problem.path_costs), "problem.path_costs", "none: they are in no layer's Hamiltonian"),
        (problem.draws is not None and bool(problem.stage_weight), "problem.draws", "None: all depths are read"),
        (isinstance(network, NeuralSDE), "a neural SDE", "a network without noise of its own"),
        (any(system.discrete(k) for k in range(network.depth)), "discrete weights", "real ones: L-BFGS wants slopes"),
        (system.noisy, "dropout in the model", "none: each evaluation of a Hamiltonian would draw anew"),
        (system.own_statistics and bool(problem.stage_weight), "batch norm with stage costs", "problem.stage_weight=0"),
    ):
        if wrong:
            raise ConfigError(what, got=name, expected=expected, do="Leave training.method out.")
