"""What every cost promises: one value a sample and layer, each on its own, never below its least value."""

from __future__ import annotations

import pytest
import torch
from cases import COSTS, OUTPUTS, target
from systems import randn
from torch import Tensor

every_cost = pytest.mark.parametrize("name", COSTS)


def readouts(layers: int = 3, batch: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * randn(layers, batch, OUTPUTS).to(dtype)


@every_cost
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_value_a_sample_and_layer(name: str, dtype: torch.dtype) -> None:
    value = COSTS[name]()(readouts(dtype=dtype), target(name, dtype=dtype))
    assert value.shape == (3, 6)
    assert value.dtype == dtype


@every_cost
def test_layers_and_samples_do_not_mix(name: str) -> None:
    cost, z, y = COSTS[name](), readouts(), target(name)
    alone = [[cost(z[m : m + 1, i : i + 1], y[i : i + 1]).item() for i in range(6)] for m in range(3)]
    torch.testing.assert_close(cost(z, y), torch.tensor(alone).double(), rtol=1e-6, atol=1e-6)


@every_cost
def test_excess_is_the_cost_above_its_least_value(name: str) -> None:
    cost, z, y = COSTS[name](), readouts(), target(name)
    excess = cost.excess(z, y)
    assert (excess > 0).all()
    torch.testing.assert_close(cost(z, y) - excess, torch.full((3, 6), cost.least or 0.0).double())


@every_cost
def test_descent_comes_near_the_least_value_and_not_below(name: str) -> None:
    cost, y = COSTS[name](), target(name)
    z = readouts(1).requires_grad_()
    start = cost(z, y).mean().item()
    optimiser = torch.optim.LBFGS([z], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = cost(z, y).mean()
        value.backward()
        return value

    optimiser.step(closure)
    end = cost(z, y).mean().item()
    assert end < start
    if cost.least is not None:
        assert cost.least - 1e-12 <= end <= cost.least + 1e-3


@every_cost
def test_gradient_equals_finite_differences(name: str) -> None:
    cost, y = COSTS[name](), target(name)
    assert torch.autograd.gradcheck(lambda z: cost(z, y), readouts().requires_grad_())


@every_cost
def test_a_cost_names_itself(name: str) -> None:
    text = repr(COSTS[name]())
    assert text.endswith(")")
    assert " at 0x" not in text
