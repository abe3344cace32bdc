"""Early stopping: when it says stop, and which weights it leaves."""

from __future__ import annotations

import torch

from node_oc.data import Part
from node_oc.discretization import Network
from node_oc.estimator.stopping import EarlyStopping
from node_oc.problem import SquaredError
from node_oc.system import DenseSystem


def held_loss(losses: list[float], patience: int, updates: int = 1) -> tuple[EarlyStopping, Network, list[bool]]:
    """A network without steps whose output is a constant: its square is the loss on one held-out zero."""
    network = Network(DenseSystem(1, 1, depth=0, width=1))
    stopping = EarlyStopping(network, SquaredError(), Part(torch.zeros(1, 1), torch.zeros(1, 1)), patience, updates)
    said = []
    for update, loss in enumerate(losses, 1):
        with torch.no_grad():
            network.system.reading.bias.fill_(loss**0.5)
        said.append(stopping("first", update))
        if said[-1]:
            break
    return stopping, network, said


def test_it_waits_for_a_lower_loss_and_puts_the_best_weights_back() -> None:
    stopping, network, said = held_loss([4.0, 1.0, 2.0, 0.25, 3.0, 0.25, 9.0], patience=2)
    assert said == [False] * 5 + [True]
    assert network.system.reading.bias.item() == 0.5
    torch.testing.assert_close(stopping.losses, [4.0, 1.0, 2.0, 0.25, 3.0, 0.25])


def test_a_training_that_ends_by_itself_is_restored_on_request() -> None:
    stopping, network, said = held_loss([4.0, 0.25, 1.0], patience=5)
    assert not any(said)
    assert network.system.reading.bias.item() == 1.0
    stopping.restore()
    assert network.system.reading.bias.item() == 0.5


def test_it_looks_a_hundred_times_in_a_training_and_each_training_is_judged_by_itself() -> None:
    stopping, network, _ = held_loss([1.0] * 9, patience=2, updates=400)
    assert len(stopping.losses) == 2  # updates 4 and 8
    with torch.no_grad():
        network.system.reading.bias.fill_(2.0)
    assert not stopping("second", 4)  # worse than the first training's best, but the best of its own
    assert not stopping("second", 8)
    assert stopping("second", 12)
    assert network.system.reading.bias.item() == 2.0
