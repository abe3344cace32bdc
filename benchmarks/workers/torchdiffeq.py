"""torchdiffeq: backpropagation through its Euler solver, and its continuous adjoint."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torchdiffeq import odeint, odeint_adjoint

from benchmarks.workers import Built, Setup
from benchmarks.workers.torch_model import Model, Piecewise, Seen, Whole, train


def _times(model: Model) -> Tensor:
    return torch.arange(model.task.depth + 1, dtype=torch.float32, device=model.x.device)


def plain(setup: Setup) -> Built:
    """As one writes it at first: stacked weights, one head call for each state, Adam as it comes."""
    model = Model(setup, listed=False)
    field, times = Whole(model), _times(model)
    return train(model, lambda: model.cost(odeint(field, model.lift(), times, method="euler"), batched=False),
                 fused=False)  # fmt: skip


def best(setup: Setup, channels_last: bool = True) -> Built:
    """A list of parameters, one head call for all states, fused Adam, images in channels_last or not."""
    model = Model(setup, listed=True, channels_last=channels_last)
    field, times = Whole(model), _times(model)
    return train(model, lambda: model.cost(odeint(field, model.lift(), times, method="euler"), batched=True),
                 fused=True)  # fmt: skip


def seen(setup: Setup, channels_last: bool = True) -> Built:
    """The same, with the states as the field saw them: the solver is asked for x_N alone.

    Its own tensor of all states is written in place, which costs a copy of all of them for each state in backward.
    """
    model = Model(setup, listed=True, channels_last=channels_last)
    field, times = Seen(model), _times(model)[[0, -1]]

    def objective() -> Tensor:
        field.begin()
        final = odeint(field, model.lift(), times, method="euler", options={"step_size": 1.0})[-1]
        return model.cost([*field.states, final], batched=True)

    return train(model, objective, fused=True)


def adjoint(setup: Setup) -> Built:
    """The continuous adjoint with Euler; a solver that runs backwards looks its layer up one too late."""
    model = Model(setup, listed=True)
    field, times = Whole(model), _times(model)
    return train(model, lambda: model.cost(odeint_adjoint(field, model.lift(), times, method="euler"), batched=True),
                 fused=True)  # fmt: skip


def dopri5(setup: Setup) -> Built:
    """The continuous adjoint with dopri5 at 1e-5, on a field that is piecewise constant in t."""
    model = Model(setup, listed=True)
    field, times = Piecewise(model), _times(model)

    def objective() -> Tensor:
        return model.cost(odeint_adjoint(field, model.lift(), times, method="dopri5", rtol=1e-5, atol=1e-5),
                          batched=True)  # fmt: skip

    return train(model, objective, fused=True)


VARIANTS = {
    "plain": plain, "best": best, "best NCHW": partial(best, channels_last=False), "seen": seen,
    "seen NCHW": partial(seen, channels_last=False), "adjoint": adjoint, "dopri5": dopri5,
}  # fmt: skip
