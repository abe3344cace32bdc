"""What noise does to a trained network, where it can be said in closed form."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from systems import decay, randn, stir_

import node_oc as oc
from node_oc.diagnosis.noisy import Noisy, noisy, surely_later
from node_oc.errors import ConfigError
from node_oc.problem import SquaredError
from node_oc.report import noise_verdict


def test_one_linear_step_in_closed_form() -> None:
    """x (1 - h b) with a target of 0: J = ((1 - h)^2 + h^2 s^2) ||x||^2, the second term that of the noise."""
    net, x = oc.Network(decay(1, 3), oc.DepthGrid((0.25,))), randn(300, 3)
    problem = oc.Problem(SquaredError(), SquaredError(), stage_weight=0.0)
    part = oc.Part(x, torch.zeros_like(x))
    found = noisy(net, oc.gaussian(0.4), problem, part, "regression", passes=16)
    size = float(x.square().sum(1).mean())
    scale = found.objective / (0.75**2 * size)  # 1, or 1/2 where a squared error is halved
    assert found.metric == pytest.approx((size, 0.75**2 * size))
    exact = scale * 0.25**2 * 0.4**2 * size
    assert found.regulariser == pytest.approx(exact, rel=1e-5, abs=2 * found.regulariser_half)
    assert abs(found.excess - exact) < 2.5 * found.excess_half
    assert found.noisy_metric[-1] == pytest.approx(found.metric[-1] + found.excess / scale)
    assert found.passes_metric[-1] == pytest.approx(found.metric[-1], rel=1e-9)  # pairs cancel to rounding
    assert found.deviation == pytest.approx(0.25 * 0.4 * float(x.abs().mean()), rel=0.05)
    assert found.entry is None
    assert "no difference" in found.sentence
    assert "not small" not in found.sentence


def classified(noise: oc.Noise, passes: int) -> tuple[oc.Network, oc.Part, Noisy]:
    net = oc.Network(oc.DenseSystem(3, 2, depth=4, width=5, generator=torch.Generator().manual_seed(0))).double()
    stir_(net)
    part = oc.Part(randn(80, 3), torch.arange(80) % 2)
    found = noisy(net, noise, oc.Problem.classification(2), part, "classification", passes=passes, probes=2)
    return net, part, found


def test_without_variance_nothing_changes() -> None:
    net, part, found = classified(oc.branch_dropout(1.0), 4)
    right = (net(part.x).argmax(1) == part.y).double().mean()
    assert found.metric[-1] == pytest.approx(float(right))
    assert found.metric == found.noisy_metric == found.passes_metric
    assert (found.excess, found.regulariser, found.difference) == pytest.approx((0, 0, 0), abs=1e-12)
    assert found.entry == found.noisy_entry == found.passes_entry
    assert found.mutual_information == pytest.approx(0, abs=1e-12)


def test_the_passes_are_the_same_for_the_same_seed_and_tell_of_calibration() -> None:
    _, part, found = classified(oc.stochastic_depth(0.6, inverted=True), 6)
    again = classified(oc.stochastic_depth(0.6, inverted=True), 6)[2]
    assert found == again
    assert found.passes_calibration is not None
    assert found.mean_calibration is not None
    assert found.passes_calibration.samples == len(part)
    assert found.noisy_nll is not None
    assert found.noisy_nll > found.passes_calibration.nll  # Jensen: -log is convex
    assert found.mutual_information is not None
    assert found.mutual_information > 1e-3
    assert f"the network alone on {100 * found.metric[-1]:.2f} %" in found.sentence


def test_kinks_are_told_and_warn_no_further(recwarn: pytest.WarningsRecorder) -> None:
    net = oc.Network(oc.DenseSystem(3, 2, depth=1, width=3, activation="relu"))
    part = oc.Part(randn(20, 3).float(), torch.arange(20) % 2)
    found = noisy(net, oc.gaussian(0.3), oc.Problem.classification(2), part, "classification", passes=4, probes=2)
    assert found.kinks
    assert "(kinks not seen)" in found.sentence
    assert not [each for each in recwarn if issubclass(each.category, oc.NotSmoothWarning)]


def test_an_entry_moves_where_the_samples_settle_it() -> None:
    once = torch.tensor(
        [[0.0, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]], dtype=torch.float64
    )  # a quarter is lost in layer 1
    many = once.repeat(1, 100)
    assert not surely_later(once, 1, 2, 0.005)
    assert surely_later(many, 1, 2, 0.005)
    assert not surely_later(many, 1, 2, 0.25)
    assert not surely_later(many, 2, 2, 0.005)
    found = replace(classified(oc.branch_dropout(1.0), 4)[2], entry=4, noisy_entry=2)
    assert not found.entry_moves
    assert "enters at layer 2, not 4, which 80 samples do not settle" in found.sentence
    sure = replace(found, entry_moves=True)
    assert sure.sentence.endswith("enters at layer 2, not 4.")
    for moves, words in ((found, "80 samples do not settle."), (sure, "A noisy pass moves the entry: branch_dropout"),
                         (replace(found, noisy_entry=4), "No noise moves the layer of entry.")):  # fmt: skip
        network = {"name": "full", "noises": [asdict(moves)]}
        record = {"networks": [network], "task": "classification", "passes": 4, "samples": 80}
        assert words in noise_verdict(record)


def test_intervals_of_two_pairs_of_passes_hold_what_they_promise() -> None:
    """By Student's quantile; by that of a normal law, 1.96, seven in ten would."""
    net, x = oc.Network(decay(1, 3), oc.DepthGrid((0.25,))), randn(100, 3)
    problem = oc.Problem(SquaredError(), SquaredError(), stage_weight=0.0)
    part = oc.Part(x, torch.zeros_like(x))
    found = [
        noisy(net, oc.gaussian(0.4), problem, part, "regression", passes=4, seed=seed, probes=2) for seed in range(30)
    ]
    exact = found[0].objective * (0.25 * 0.4 / 0.75) ** 2
    assert sum(abs(one.excess - exact) <= one.excess_half for one in found) >= 26


@pytest.mark.parametrize("passes", [2, 5])
def test_pairs_of_passes_are_wanted(passes: int) -> None:
    with pytest.raises(ConfigError, match="even number"):
        classified(oc.branch_dropout(0.5), passes)
