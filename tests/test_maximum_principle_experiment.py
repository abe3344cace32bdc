"""What the experiment on discrete weights computes beside training: roundings, the same networks, tables."""

from __future__ import annotations

import pytest
import torch

from experiments.maximum_principle.straight_through import THRESHOLD, Rounding, StraightThrough, network
from experiments.maximum_principle.tables import spread, table
from node_oc.system import DiscreteSystem


@pytest.mark.parametrize(("way", "rounded"), [("binary", [1.0, -1.0, 1.0, -1.0]), ("ternary", [1.0, -1.0, 0.0, 0.0])])
def test_rounding_forward_and_straight_through_backward(way: str, rounded: list[float]) -> None:
    w = torch.tensor([0.9, -0.6, 0.1, -0.0], requires_grad=True)  # mean size 0.4, threshold 0.28
    assert 0.1 < THRESHOLD * 0.4 < 0.6
    out = Rounding.apply(w, way)
    assert out.tolist() == rounded
    slope = torch.tensor([1.0, 2.0, -3.0, 4.0])
    out.backward(slope)
    assert torch.equal(w.grad, slope)


@pytest.mark.parametrize(("layers", "image"), [(("5", "4"), None), (("3C3", "MP2", "2C3", "6"), (1, 4, 4))])
def test_the_other_networks_are_the_discrete_ones_with_other_weights(
    layers: tuple[str, ...], image: tuple | None
) -> None:
    system = DiscreteSystem(16, 3, layers=layers, values="binary", image=image).train()
    other = network(layers, "binary", 16, image or (), 3).train()
    mine = [part for part in other.modules() if isinstance(part, StraightThrough)]
    for k, part in enumerate(mine):
        part.shadow.data = 0.3 * system.discrete(k)[0].weight.float()
    x = torch.randn(7, 16, generator=torch.Generator().manual_seed(0))
    state = system.lift(x)
    for k in range(system.depth):
        state = system.branch(k, state)
    torch.testing.assert_close(other(x), state)


def test_the_table_holds_every_way_and_the_spread_of_its_seeds() -> None:
    assert spread([97.5]) == "97.50"
    assert spread([97.5, 98.0, 97.0]) == "97.50 (97.00 to 98.00)"
    rows = [{"way": "ternary", "test": [90.0 + seed] * 10, "validation": [0.0] * 9 + [1.0], "nonzero": [0.1] * 10}
            for seed in range(2)]  # fmt: skip
    lines = table(rows, [{**rows[0], "way": "float"}]).splitlines()
    assert [line.count("|") for line in lines] == [lines[0].count("|")] * len(lines)
    assert sum("90.50 (90.00 to 91.00)" in line for line in lines) == 1
    assert sum("98.17" in line for line in lines) == 1
