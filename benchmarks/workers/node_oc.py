"""node_oc: the rollout's fast path, its general path, compiled, with sleeping layers, and its whole update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.task import BODY, Arrays, asleep, with_zero_branches
from benchmarks.workers import ADAM, Built, Setup
from benchmarks.workers.torch_model import finish
from node_oc import ConvSystem, DenseSystem, Network, Problem, TrainingSection, rollout
from node_oc.discretization.controls import Controls
from node_oc.training.info import awake_parameters
from node_oc.training.loop import make_fabric
from node_oc.training.memory import keep_freed_memory
from node_oc.training.method import Method
from node_oc.training.objective import Scaled, Unstacked


def network(setup: Setup, dtype: torch.dtype = torch.float32, row_norm: float = 0.0) -> Network:
    """The task's network with the task's weights, on its device."""
    task, arrays = setup.task, setup.arrays
    if task.kind == "dense":
        system: Any = DenseSystem(task.width, task.classes, depth=task.depth, width=task.width, hidden=task.hidden,
                                  lift="pad", row_norm=row_norm)  # fmt: skip
    else:
        system = ConvSystem((task.colours, task.side, task.side), task.classes, channels=(task.width,),
                            blocks=(task.depth,), row_norm=row_norm)  # fmt: skip
    system.to(setup.device, dtype)
    with torch.no_grad():
        for name, parameters in _parameters(system).items():
            for p, value in zip(parameters, arrays[name] if name in BODY else [arrays[name]], strict=True):
                p.copy_(torch.tensor(value))
    return Network(system)


def _parameters(system: Any) -> dict[str, list[nn.Parameter]]:
    """The system's own parameters by the names of the task."""
    found = {name: [step.get_parameter(name) for step in system.steps] for name in BODY}
    found |= {"head.weight": [system.reading.weight], "head.bias": [system.reading.bias]}
    if isinstance(system, ConvSystem):
        found |= {"lift.weight": [system.lifting.weight], "lift.bias": [system.lifting.bias]}
    return found


def gradient(net: Network, scale: float = 1.0) -> Arrays:
    """The gradient that backward left, divided by a scale; zeros where it left none."""
    found: Arrays = {}
    for name, parameters in _parameters(net.system).items():
        each = [(torch.zeros_like(p) if p.grad is None else p.grad).detach().cpu().numpy() / scale for p in parameters]
        found[name] = np.stack(each) if name in BODY else each[0]
    return found


def spread(controls: Controls) -> None:
    """Give every parameter the gradient that arrived in its stack."""
    for stack, members in zip(controls.stacks, controls.members, strict=True):
        if stack.grad is not None:
            for p, g in zip(members, stack.grad, strict=True):
                p.grad = g


class _Ready:
    """Network, problem and batch of a task, on its device; some layers asleep."""

    def __init__(self, setup: Setup, dtype: torch.dtype = torch.float32, row_norm: float = 0.0,
                 sleeping: Sequence[int] = ()) -> None:  # fmt: skip
        task, arrays = setup.task, setup.arrays
        self.network = network(setup, dtype, row_norm)
        self.network.set_awake(set(range(task.depth)) - set(sleeping))
        self.problem = Problem.classification(task.classes, task.eps)
        self.x = torch.tensor(arrays["x"], device=setup.device, dtype=dtype).flatten(1)
        self.y = torch.tensor(arrays["y"], device=setup.device)

    def fast(self, controls: Controls | None = None) -> Tensor:
        """J by the path that the rollout takes by itself."""
        return self.problem.evaluate(rollout(self.network, self.x, controls=controls), self.y).smooth

    def general(self) -> Tensor:
        """J by autograd through every step."""
        return self.problem.evaluate(rollout(self.network, self.x, analytic=False), self.y).smooth


def _train(ready: _Ready, objective: Callable[[], Tensor], controls: Controls | None = None,
           scale: float = 1.0, facts: Callable[[], dict[str, Any]] = dict) -> Built:  # fmt: skip
    """A variant from a function that computes s J; trained are the stacked controls, or each parameter by itself."""
    own = awake_parameters(ready.network)
    trained: Sequence[Tensor] = controls.instead(own) if controls else own
    adam = torch.optim.Adam(trained, **ADAM, fused=True)  # type: ignore[arg-type]

    def loss_and_gradient() -> tuple[float, Arrays]:
        adam.zero_grad()
        loss = objective()
        loss.backward()
        if controls:
            spread(controls)
        found = loss.item() / scale, gradient(ready.network, scale)
        adam.zero_grad()
        ready.network.zero_grad()
        return found

    def step() -> None:
        objective().backward()
        adam.step()
        adam.zero_grad()
        finish(ready.x)

    return Built(loss_and_gradient, step, facts)


def _stacked(ready: _Ready) -> Built:
    keep_freed_memory()  # as fit does
    controls = Controls(ready.network)
    return _train(ready, lambda: ready.fast(controls), controls)


def fast(setup: Setup) -> Built:
    """As node_oc trains: the analytic path, and the controls of all layers in one tensor a role."""
    return _stacked(_Ready(setup))


def separate(setup: Setup) -> Built:
    """The same path, with every layer's parameters by themselves, as ``rollout(network, x)`` has them."""
    ready = _Ready(setup)
    return _train(ready, ready.fast)


def general(setup: Setup) -> Built:
    """Autograd through every step, as for a system without a fast path."""
    ready = _Ready(setup)
    return _train(ready, ready.general)


def _compiled(setup: Setup, **options: Any) -> Built:
    ready = _Ready(setup)
    controls = Controls(ready.network)
    module = Unstacked(Scaled(ready.network, ready.problem, controls, None), controls)
    module.compile(fullgraph=True, dynamic=False, **options)

    def objective() -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return module(ready.x, ready.y)[0]

    def facts() -> dict[str, Any]:
        counters = torch._dynamo.utils.counters
        return {"graph_breaks": sum(counters["graph_break"].values()), "graphs": counters["stats"]["unique_graphs"]}

    return _train(ready, objective, controls, ready.problem.scale(ready.network), facts)


def compiled(setup: Setup) -> Built:
    """The general path as one compiled graph, as ``compile = true`` has it."""
    return _compiled(setup)


def graphs(setup: Setup) -> Built:
    """The same, replayed as CUDA graphs."""
    return _compiled(setup, mode="reduce-overhead")


def sleeping(setup: Setup) -> Built:
    """Fourteen of twenty layers asleep: their branches are zero, and they are neither computed nor trained."""
    layers = asleep(setup.task)
    return _stacked(_Ready(setup._replace(arrays=with_zero_branches(setup.arrays, layers)), sleeping=layers))


def update(setup: Setup) -> Built:
    """node_oc's own update: s J, clipping, Adam, the constraint on rows, and what it logs."""
    ready = _Ready(setup, row_norm=1.0)
    kind = "gpu" if setup.device == "cuda" else "cpu"
    options = TrainingSection(learning_rate=ADAM["lr"], beta2=ADAM["betas"][1], accelerator=kind)  # type: ignore[index, arg-type]
    method = Method(ready.network, ready.problem, options, 1, False, make_fabric(options))
    scale = ready.problem.scale(ready.network)

    def loss_and_gradient() -> tuple[float, Arrays]:
        loss, total, *_ = method.module(ready.x, ready.y)
        loss.backward()
        spread(method.controls)
        found = total.item(), gradient(ready.network, scale)
        for optimizer in method.optimizers:
            optimizer.zero_grad()
        ready.network.zero_grad()
        return found

    def step() -> None:
        method.step(0, ready.x, ready.y)
        finish(ready.x)

    return Built(loss_and_gradient, step)


def reference(setup: Setup, layers: tuple[int, ...] = ()) -> tuple[float, Arrays]:
    """J and its gradient in float64 by the general path; the branches of ``layers`` are zero, and computed."""
    ready = _Ready(setup._replace(arrays=with_zero_branches(setup.arrays, layers)), torch.float64)
    loss = ready.general()
    loss.backward()
    return loss.item(), gradient(ready.network)


VARIANTS = {"fast": fast, "separate": separate, "general": general, "compiled": compiled, "graphs": graphs,
            "asleep": sleeping, "update": update}  # fmt: skip
