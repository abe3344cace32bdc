"""Any loss of torch as a cost: one value a sample, whatever its reduction was."""

from __future__ import annotations

import pytest
import torch
from systems import randn
from torch import Tensor, nn
from torch.nn import functional as F

from node_oc.errors import ShapeError
from node_oc.problem import TorchLoss

Z, Y = randn(3, 5, 4), randn(5, 4, seed=1)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_module_of_any_reduction_gives_the_mean_over_outputs(reduction: str) -> None:
    loss = nn.L1Loss(reduction=reduction)
    torch.testing.assert_close(TorchLoss(loss)(Z, Y), (Z - Y).abs().mean(-1))
    assert loss.reduction == reduction  # the user's own module is left alone


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), F.cross_entropy], ids=["module", "function"])
def test_cross_entropy_takes_classes(loss: nn.Module) -> None:
    classes = torch.tensor([0, 3, 1, 2, 0])
    expected = -Z.log_softmax(-1)[:, range(5), classes]
    torch.testing.assert_close(TorchLoss(loss)(Z, classes), expected)


def test_a_function_of_one_value_a_sample_is_taken_as_it_is() -> None:
    torch.testing.assert_close(TorchLoss(lambda z, y: (z - y).norm(dim=1))(Z, Y), (Z - Y).norm(dim=-1))


@pytest.mark.parametrize(
    "loss",
    [F.mse_loss, lambda z, y: (z - y).abs().mean(0), lambda z, y: (z - y).sum()[None]],
    ids=["mse_loss", "over-samples", "one"],
)
@pytest.mark.parametrize("layers", [1, 3])
def test_a_function_that_mixes_samples_raises(loss: object, layers: int) -> None:
    with pytest.raises(ShapeError, match=f"expected one value for each of {5 * layers} samples"):
        TorchLoss(loss)(Z[:layers], Y)


def test_a_module_that_hides_its_reduction_raises() -> None:
    class Hidden(nn.Module):
        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return F.huber_loss(z, y)

    with pytest.raises(ShapeError, match='reduction = "none"'):
        TorchLoss(Hidden())(Z, Y)


def test_its_least_value_is_unknown_so_excess_is_the_cost() -> None:
    cost = TorchLoss(nn.HuberLoss())
    assert cost.least is None
    assert torch.equal(cost.excess(Z, Y), cost(Z, Y))
