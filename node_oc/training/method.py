"""Gradient and proximal-gradient methods: one update of the controls."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.discretization.controls import Controls
from node_oc.discretization.network import Network
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Problem
from node_oc.problem.regulariser import warn_kinks
from node_oc.seeds import derived_generator
from node_oc.training.draws import settled
from node_oc.training.driver import drawn, driving, probing
from node_oc.training.group_adam import GroupAdam
from node_oc.training.info import Info, awake_parameters
from node_oc.training.objective import Compilation, Scaled, check_paths, compiled, solver_of
from node_oc.trajectory.segments import cuts_of
from node_oc.trajectory.solver import Statistics


class Method:
    """Gradient method on the smooth part of s J; proximal-gradient where the problem has a price.

    Adam (fused) for all controls of awake steps, lift and head, or, with a price, :class:`GroupAdam` for the
    groups. The gradient norm is clipped at a multiple of its own running mean (decay 0.99): full-batch Adam
    otherwise has spikes that ruin deep networks (theory: "the optimiser was the fault").

    Args:
        network: what is trained; its sleeping steps are left alone.
        problem: what is minimised.
        options: learning rate, beta2, clip.
        steps: number of updates, for the schedule.
        cosine: whether the learning rate falls to 0 like a cosine; constant otherwise.
        fabric: devices, precision and distribution.

    Attributes:
        total: what an adaptive solver did in all updates so far.
        compilation: what ``options.compile`` cost and gained, from the first step on.
        discrete: whether it has a rule for discrete weights, which have no gradient.
    """

    discrete = False

    def __init__(
        self,
        network: Network,
        problem: Problem,
        options: TrainingSection,
        steps: int,
        cosine: bool,
        fabric: Fabric,
    ) -> None:
        layers = [(k, layer) for k in network.awake for layer in network.system.discrete(k)]
        if layers and not self.discrete:
            k, layer = layers[0]
            raise ConfigError("method", got=f"gradients alone, with {layer.values} weights in step {k}",
                              expected="a method with a rule for discrete weights",
                              do="Use fit, or make_method: they choose MSA.")  # fmt: skip
        if problem.group_price and network.system.tied:
            raise ConfigError(
                "problem.group_price",
                got=f"{problem.group_price} where all steps share their controls",
                expected="0 there, or controls of every step's own",
                do="Give every step its own with node_oc.discretize(network), or leave out the price.",
            )
        if problem.draws is not None and problem.stage_weight and options.compile:
            raise ConfigError("problem.draws", got="with training.compile", expected="one of the two",
                              do="Leave out one: other depths in each step would be another graph.")  # fmt: skip
        check_paths(problem, options)
        if options.compile and network.system.noisy:
            raise ConfigError("training.compile", got="True with dropout", expected="False there",
                              do="Leave it out: compiled, it draws other numbers.")  # fmt: skip
        if options.gradient_checkpointing and (network.system.coupled or network.system.noisy):
            raise ConfigError("training.gradient_checkpointing", got="True with batch norm or dropout in the model",
                              expected="False there", do="Leave it out: a second pass would count the batch twice, and "
                              "draw other numbers.")  # fmt: skip
        if problem.group_price:
            network.system.hold_()
        self.network, self.options, self.steps, self.cosine = network, options, steps, cosine
        self.fabric = fabric
        self.running_norm = math.nan
        self.total = Statistics()
        awake = awake_parameters(network)
        params = [p for p in awake if p.requires_grad]
        self._frozen = [p for p in awake if not p.requires_grad]
        self._check_frozen()
        trained = set(params)
        for p in network.parameters():
            p.requires_grad_(p in trained)
        solver = solver_of(options)
        cuts = cuts_of(network) if options.gradient_checkpointing and solver is None else None
        self.controls = Controls(network, cuts or ())
        # A distribution library looks for gradients in the network's own parameters.
        stacked = self.controls if fabric.world_size == 1 else None
        self.objective = Scaled(network, problem, stacked, cuts, solver)
        self.noise = driving(options, network)
        if self.noise is not None and options.driver_explicit:
            warn_kinks(network.system)
        self.module: Any = self.objective if options.compile else fabric.setup_module(self.objective)
        self.compilation: Compilation | None = None  # made at the first step: it wants a batch
        blocks: list[dict[str, Any]] = []
        if problem.group_price:
            price = problem.scale(network) * problem.group_price
            blocks = [
                {
                    "params": [self.controls.stacks[i] for i in stacks],
                    "thresholds": [price * network.h[k] for k in ks],
                }
                for stacks, ks in self.controls.blocks
                if stacks  # none where a branch has no group
            ]
        self.trained = self.controls.instead(params)
        grouped = {stack for block in blocks for stack in block["params"]}
        betas = (0.9, options.beta2)
        adam = torch.optim.Adam([p for p in self.trained if p not in grouped], options.learning_rate, betas, fused=True)
        plain: list[torch.optim.Optimizer] = [adam]
        if blocks:
            plain.append(GroupAdam(blocks, options.learning_rate, betas))
        self.optimizers: list[Any] = [fabric.setup_optimizers(optimizer) for optimizer in plain]

    def step(self, index: int, x: Tensor, y: Tensor, rows: tuple[int, int, int] | None = None) -> Info:
        """Update number ``index`` on one batch; x (B, D), y (B,) or (B, K).

        Where the batch is shared among devices, ``rows`` says which of it these are: (first, stride, all).

        Nothing is changed where J or a gradient is not finite: Info says so.
        """
        lr = self.options.learning_rate
        if self.cosine:
            lr *= 0.5 * (1 + math.cos(math.pi * index / self.steps))
        if self.options.compile and self.compilation is None:
            with self.fabric.autocast():
                module, self.compilation = compiled(self.objective, self.controls, x, y)
            self.module = self.fabric.setup_module(module)
        moment = self.objective.problem.at(index / max(1, self.steps - 1))
        self.objective.problem = settled(moment, self.network, x)
        if self.objective.problem.draws is not None:
            self.objective.generator = derived_generator(self.options.seed, "draws", index)
        if self.noise is not None and self.options.driver_explicit:
            self.objective.probes = probing(self.noise, self.options.seed, index, rows)
        else:
            self.objective.driver = drawn(self.noise, self.options.seed, index, rows)
        with self._dropout(index):
            loss, total, terminal, regulariser = self.module(x, y)
        self.check_loss(loss)
        self.fabric.backward(loss)
        self.controls.gather_()
        gradients = [p.grad for p in self.trained if p.grad is not None]
        norm, nonzero = float(torch.nn.utils.get_total_norm(gradients)), 0.0
        if not math.isfinite(norm):
            self.name_divergence(x, y)
        else:
            nonzero = self.update_discrete(index)
            self._clip(gradients, norm)
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
            self.network.system.constrain_()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        awake = len(self.network.awake)
        did = self.objective.statistics or Statistics()
        self.total = Statistics(*map(sum, zip(astuple(self.total), astuple(did), strict=True)))
        return Info(float(total), float(terminal), norm, lr, awake, **asdict(did), regulariser=float(regulariser),
                    nonzero=nonzero)  # fmt: skip

    def check_loss(self, loss: Tensor) -> None:
        """Before the backward pass: raise where there is nothing to differentiate."""

    def update_discrete(self, index: int) -> float:
        """After the backward pass, before the real parameters change: weights that have no gradient. None here.

        Returns:
            The share of them that is not zero; 0 where there are none.
        """
        return 0.0

    def name_divergence(self, x: Tensor, y: Tensor) -> None:
        """Where a gradient is not finite: raise with the layer's name where a method knows it."""

    @contextmanager
    def _dropout(self, index: int) -> Iterator[None]:
        """torch's own random numbers, for dropout: a function of the update, so that a resumed training has them."""
        if not self.network.system.noisy:
            yield
            return
        places = [] if self.fabric.device.type == "cpu" else [self.fabric.device]
        with torch.random.fork_rng(places):
            torch.manual_seed(
                derived_generator(self.options.seed, "noise", index, self.fabric.global_rank).initial_seed()
            )
            yield

    def _clip(self, gradients: list[Tensor], norm: float) -> None:
        if not self.options.clip:
            return
        if math.isnan(self.running_norm):
            self.running_norm = norm
        limit = self.options.clip * self.running_norm
        if norm > limit:
            torch._foreach_mul_(gradients, limit / norm)
        self.running_norm += 0.01 * (min(norm, limit) - self.running_norm)

    def close(self) -> None:
        """Leave the network as an ordinary module, parameters in memory of their own, frozen where they came so."""
        self.controls.release()
        self.network.requires_grad_(True)
        for p in self._frozen:
            p.requires_grad_(False)

    def _check_frozen(self) -> None:
        """Raise ConfigError where a frozen parameter would be one row of a stack that is trained."""
        system = self.network.system
        own = set() if system.tied else {p for k in self.network.awake for p in system.control(k)}
        for name, p in self.network.named_parameters():
            if not p.requires_grad and p in own:
                raise ConfigError(name, got="frozen, in the control of a step", expected="controls that are trained",
                                  do="Freeze lift, head, or the one control of a neural ODE.")  # fmt: skip

    def state(self) -> dict[str, Any]:
        """What an uninterrupted run carries from one update to the next, as a tree of tensors and numbers."""
        return {
            "running_norm": self.running_norm,
            "solver": list(astuple(self.total)),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.running_norm = state["running_norm"]
        self.total = Statistics(*state.get("solver", ()))  # a checkpoint from before there were solvers has none
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
