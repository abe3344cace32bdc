"""torchode: backpropagation through its Euler solver; every sample has a time of its own."""

from __future__ import annotations

import torch
import torchode
from torch import Tensor

from benchmarks.workers import Built, Setup
from benchmarks.workers.torch_model import Model, Seen, Whole, train


def _solver(field: Whole) -> torchode.AutoDiffAdjoint:
    term = torchode.ODETerm(field, with_stats=False)
    return torchode.AutoDiffAdjoint(torchode.Euler(term), torchode.FixedStepController())


def plain(setup: Setup) -> Built:
    """Stacked weights, the solution at t = 0..T, one head call for each state, Adam as it comes."""
    model = Model(setup, listed=False)
    solver, batch = _solver(Whole(model)), setup.task.batch
    times = torch.arange(model.task.depth + 1.0, device=model.x.device).expand(batch, -1).contiguous()
    step_size = torch.ones(batch, device=model.x.device)

    def objective() -> Tensor:
        problem = torchode.InitialValueProblem(y0=model.lift(), t_eval=times)
        return model.cost(solver.solve(problem, dt0=step_size).ys.unbind(1), batched=False)

    return train(model, objective, fused=False)


def best(setup: Setup) -> Built:
    """A list of parameters, states as the field saw them, one head call for all of them, fused Adam."""
    model = Model(setup, listed=True)
    field, batch = Seen(model), setup.task.batch
    solver = _solver(field)
    start = torch.zeros(batch, device=model.x.device)
    end, step_size = start + model.task.depth, start + 1

    def objective() -> Tensor:
        field.begin()
        problem = torchode.InitialValueProblem(y0=model.lift(), t_start=start, t_end=end)
        final = solver.solve(problem, dt0=step_size).ys[:, -1]
        return model.cost([*field.states, final], batched=True)

    return train(model, objective, fused=True)


VARIANTS = {"plain": plain, "best": best}
