"""What a call costs, by hand: peak memory, FLOPs of branches, and no more time than is given."""

from __future__ import annotations

import time

import pytest
import torch
from adopted_models import adopted
from torch import Tensor, nn

from node_oc.discretization import Network
from node_oc.measuring import branch_flops, count_flops, measure, peak_memory
from node_oc.system import DenseSystem


class Wide(nn.Module):
    """Four numbers, a thousand, four, as often as asked; the thousand are freed in between."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 1000, bias=False), nn.Linear(1000, 4, bias=False)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            y = self.up(x).relu_()  # in place: no memory of its own
            x = self.down(y)
            del y
        return x


def test_peak_memory_is_what_lives_at_once() -> None:
    x = torch.zeros(8, 4)
    wide, narrow = 8 * 1000 * 4, 8 * 4 * 4
    assert peak_memory(Wide(1), x) == wide + narrow
    assert peak_memory(Wide(2), x) == peak_memory(Wide(5), x) == wide + 2 * narrow  # the x before is still there
    assert peak_memory(nn.Identity(), x) == 0  # weights and input do not count
    assert peak_memory(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 2))), x) == 0  # nor do views


def test_a_measure_has_the_memory_of_each_batch() -> None:
    found = measure({"it": Wide(1)}, torch.zeros(3, 4), batches=(1, 7), calls=1)["it"]
    assert found.memory == {1: 4 * 1004, 7: 7 * 4 * 1004}


def test_branches_and_the_rest_are_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    dense = DenseSystem(3, 2, depth=4, width=5, hidden=7, generator=generator)
    assert branch_flops(dense, torch.zeros(2, 3)) == (2 * 2 * 5 * 7,) * 4
    system = adopted("ResidualMLP", generator)
    assert branch_flops(system, torch.zeros(2, 2)) == (2 * 2 * 5 * 10,) * 4
    assert count_flops(Network(system), torch.zeros(2, 2)) == 4 * 200 + 2 * (2 * 5 + 5 * 3)


def test_time_that_is_up_leaves_six_calls() -> None:
    calls = []

    class Slow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(time.sleep(0.002))
            return x

    found = measure({"it": Slow()}, torch.zeros(1, 3), batches=(1,), calls=40, seconds=0.0)["it"]
    assert len(calls) == 1 + 5 + 2  # warm-up, timed, and one each for FLOPs and memory
    assert found.latency[1].p50 == pytest.approx(2, rel=0.9)
    calls.clear()
    measure({"it": Slow()}, torch.zeros(1, 3), batches=(1,), calls=4, seconds=1e9)
    assert len(calls) == 10 + 4 + 2
