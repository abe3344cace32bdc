"""torchdyn: its trajectory with Euler, and its adjoint with an integral loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torchdyn.core import NeuralODE

from benchmarks.workers import Built, Setup
from benchmarks.workers.torch_model import Model, Seen, Whole, train


def _times(model: Model) -> Tensor:
    return torch.arange(model.task.depth + 1, dtype=torch.float32, device=model.x.device)


def plain(setup: Setup) -> Built:
    """Stacked weights, ``trajectory``, one head call for each state, Adam as it comes."""
    model = Model(setup, listed=False)
    solver, times = NeuralODE(Whole(model), solver="euler", sensitivity="autograd"), _times(model)
    return train(model, lambda: model.cost(solver.trajectory(model.lift(), times), batched=False), fused=False)


def best(setup: Setup) -> Built:
    """A list of parameters, states as the field saw them, one head call for all of them, fused Adam."""
    model = Model(setup, listed=True, channels_last=True)
    field, times = Seen(model), _times(model)
    solver = NeuralODE(field, solver="euler", sensitivity="autograd")
    last = times[-1:]

    def objective() -> Tensor:
        field.begin()
        _, final = solver(model.lift(), times, save_at=last)
        return model.cost([*field.states, final[-1]], batched=True)

    return train(model, objective, fused=True)


def adjoint(setup: Setup) -> Built:
    """Its adjoint, the running cost as ``integral_loss``: no value of J, no d cost / d head but for the terminal one.

    A list of parameters does not work here: it takes a layer that is not called for a parameter of one entry.
    """
    model = Model(setup, listed=False)
    field, times = Whole(model), _times(model)

    def running(t: Tensor, x: Tensor) -> Tensor:
        return model.cost([x], batched=True)

    solver = NeuralODE(field, solver="euler", sensitivity="adjoint", integral_loss=running)
    return train(model, lambda: model.cost([solver(model.lift(), times)[1][-1]], batched=True), fused=True)


VARIANTS = {"plain": plain, "best": best, "adjoint": adjoint}
