"""What a gradient method differentiates: s J of a batch, eager or compiled."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from node_oc.config import TrainingSection
from node_oc.discretization.controls import Controls
from node_oc.discretization.driver import TIME, Driver
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise
from node_oc.errors import ConfigError
from node_oc.problem.ocp import Problem
from node_oc.problem.regulariser import regularised
from node_oc.trajectory.neural_sde import NeuralSDE
from node_oc.trajectory.rollout import rollout
from node_oc.trajectory.segments import Segmented
from node_oc.trajectory.solution import Solution
from node_oc.trajectory.solver import Gradient, Solver, Statistics

REPEATS = 10  # calls of which the median is a step's time


def solver_of(options: TrainingSection) -> Solver | None:
    """The adaptive solver that the options ask for; None for the table.

    Raises:
        ConfigError: options that exclude each other.
    """
    adaptive = options.solver != "table"
    for wrong, name, expected in (
        (options.adjoint and not adaptive, "adjoint", "an adaptive solver with it"),
        (options.adjoint and options.gradient_checkpointing, "adjoint", "no gradient_checkpointing beside it"),
        (options.compile and adaptive, "compile", "a table with it: an adaptive solver's steps are not known before"),
        (options.driver != "time" and adaptive, "driver", "time with an adaptive solver, which cannot follow noise"),
        (options.driver != "time" and options.compile, "compile", "no noise with it"),
        (options.driver_explicit and options.driver == "time", "driver_explicit", "a driver other than time"),
        (options.driver_explicit and options.gradient_checkpointing, "driver_explicit", "no gradient_checkpointing"),
        (options.driver_explicit and options.precision == "bf16-mixed", "driver_explicit", "32-true or 64-true"),
    ):
        if wrong:
            raise ConfigError(f"training.{name}", got=getattr(options, name), expected=expected,
                              do="Leave one of the two out.")  # fmt: skip
    if options.solver == "table":
        return None
    gradient: Gradient = (
        "adjoint" if options.adjoint else "checkpoint" if options.gradient_checkpointing else "backprop"
    )
    return Solver(options.solver, options.tolerance, options.tolerance, gradient)


def check_paths(problem: Problem, options: TrainingSection) -> None:
    """Raise ConfigError under options with which no whole trajectory can be had, or a path cost not be annealed."""
    wrong = [name for name in ("compile", "gradient_checkpointing", "driver_explicit") if getattr(options, name)]
    wrong += ["solver"] * (options.solver != "table")
    if problem.path_costs and wrong:
        raise ConfigError(f"training.{wrong[0]}", got=f"{getattr(options, wrong[0])} with {problem.path_costs[0]!r}",
                          expected="a whole rollout by a table, not compiled", do="Leave one out.")  # fmt: skip


class Scaled(nn.Module):
    """s J as a module's forward, so that a distribution library can wrap and synchronise it.

    Args:
        network: what is rolled out; the paths of a neural SDE are solved instead.
        problem: what is minimised.
        controls: where the gradients of the analytic path go; the network's parameters if None.
        cuts: where the rollout is cut into segments to save memory; in one piece if None.
        solver: what solves the ODE between the points of the grid; the table steps over it if None.

    Attributes:
        driver: what drives the steps of the update that is under way.
        probes: the signs that estimate the explicit regulariser of this update, which is then added; None for none.
        statistics: what the solver did for the last batch; None with a table.
    """

    def __init__(
        self,
        network: Network,
        problem: Problem,
        controls: Controls | None,
        cuts: tuple[int, ...] | None,
        solver: Solver | None = None,
    ) -> None:
        super().__init__()
        self.network, self.problem, self.controls, self.cuts = network, problem, controls, cuts
        self.solver = solver
        self.driver: Driver = TIME
        self.probes: Noise | None = None
        self.generator: torch.Generator | None = None  # of the update that is under way
        self.statistics: Statistics | None = None

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """s (J + R) less the price, J, its terminal cost, and R, which is 0 without probes.

        The last three have no gradient. J is that of the network without noise, R not in it.
        """
        added: Tensor | None = None
        if self.probes is not None:
            objective, layers = regularised(self.network, self.probes, self.problem, x, y, self.generator)
            added = layers.sum()
        elif self.solver is not None:
            solution = Solution(self.network, x, self.solver)
            self.statistics = solution.statistics
            objective = self.problem.evaluate(solution, y)
        elif isinstance(self.network, NeuralSDE):
            path = self.network.path(x, cast(Noise, self.driver).source)
            objective = self.problem.evaluate(path, y, self.generator)
        elif self.cuts is None:
            trajectory = rollout(self.network, x, driver=self.driver, controls=self.controls)
            objective = self.problem.evaluate(trajectory, y, self.generator)
        else:
            segmented = Segmented(self.network, x, self.cuts, driver=self.driver, controls=self.controls)
            objective = self.problem.evaluate(segmented, y)
        return (
            self.problem.scale(self.network) * (objective.smooth if added is None else objective.smooth + added),
            objective.total.detach(),
            objective.terminal.detach(),
            objective.terminal.new_zeros(()) if added is None else added.detach(),
        )


class Unstacked(nn.Module):
    """The same, its controls rows of their stacks in the eyes of autograd: what is compiled.

    Compiled code has the general path, whose derivative the compiler finds; here that ends at the stacks too.
    """

    def __init__(self, scaled: Scaled, controls: Controls) -> None:
        super().__init__()
        self.scaled, self.controls = scaled, controls
        name = {id(p): name for name, p in scaled.named_parameters()}
        self.names = [[name[id(p)] for p in members] for members in controls.members]

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As of :class:`Scaled`."""
        rows: dict[str, Tensor] = {}
        for names, stack in zip(self.names, self.controls.stacks, strict=True):
            rows |= dict(zip(names, stack.unbind(), strict=True))
        return torch.func.functional_call(self.scaled, rows, (x, y))


@dataclass(frozen=True)
class Compilation:
    """What compiling one training cost, and what it gained.

    Attributes:
        seconds: of compilation, the first step forward and back.
        eager: milliseconds of one step forward and back without it, on the path that would have been taken.
        compiled: milliseconds of one step forward and back with it.
    """

    seconds: float
    eager: float
    compiled: float

    @property
    def pays_after(self) -> float:
        """Number of updates after which the time spent is won back; infinite where nothing is won."""
        gain = self.eager - self.compiled
        return 1e3 * self.seconds / gain if gain > 0 else math.inf


def compiled(eager: Scaled, controls: Controls, x: Tensor, y: Tensor) -> tuple[nn.Module, Compilation]:
    """One graph for a training's objective, checked and weighed against the eager one on a batch; no update is made.

    All batches of a training have one shape, so there is one graph for all of it. A break of the graph raises. Whatever
    this process has compiled before is forgotten, the caller's own graphs too: they are compiled again when called.

    Raises:
        ConfigError: the compiled gradient is another one. Compilers have bugs; this one must not go unseen.
    """
    # Graphs of earlier trainings, of other awake steps, are never called again; kept, they would use up torch's limit.
    torch.compiler.reset()
    module = Unstacked(eager, controls) if eager.controls else eager

    def step(module: nn.Module) -> tuple[float, Tensor]:
        """Milliseconds forward and back, and the gradient."""
        start = time.perf_counter()
        loss = module(x, y)[0]
        loss.backward()
        milliseconds = 1e3 * (time.perf_counter() - start)
        controls.gather_()
        trained = controls.instead(eager.parameters())
        gradient = torch.cat([p.grad.flatten() for p in trained if p.grad is not None])
        for p in trained:
            p.grad = None
        return milliseconds, gradient

    counted = {name: value.clone() for name, value in eager.named_buffers()}  # the batch counts once in a batch norm
    before = [step(eager) for _ in range(REPEATS + 2)][2:]
    module.compile(fullgraph=True, dynamic=False)
    first, gradient = step(module)
    wanted = before[0][1]
    error = float((gradient - wanted).norm() / wanted.norm().clamp_min(torch.finfo(wanted.dtype).tiny))
    lowest = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else wanted.dtype
    if not error <= (limit := math.sqrt(torch.finfo(lowest).eps)):
        raise ConfigError("training.compile", got=f"a gradient that differs by {error:.1e} of its norm",
                          expected=f"at most {limit:.1e}", do="Train without it: training.compile=false.")  # fmt: skip
    after = [step(module) for _ in range(REPEATS)]
    with torch.no_grad():
        for name, value in eager.named_buffers():
            value.copy_(counted[name])
    median = [statistics.median(ms for ms, _ in steps) for steps in (before, after)]
    return module, Compilation(first / 1e3, *median)
