"""Prediction by noisy passes: closed forms, the same bits for the same seed, no dependence on chunks."""

from __future__ import annotations

import math

import pytest
import torch
from systems import decay, randn, stir_

import node_oc as oc
from node_oc.diagnosis.uncertainty import driven, entropy_of, monte_carlo, passes
from node_oc.discretization.rows import BLOCK, RowNoise
from node_oc.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(branches: int = 1) -> oc.Network:
    pair = [oc.DenseSystem(4, 3, depth=3, width=5, hidden=6, generator=seeded(i)) for i in range(2)]
    net = oc.Network(pair[0] if branches == 1 else oc.PairedSystem(*pair)).double()
    stir_(net)
    return net


NOISES = [oc.stochastic_depth(0.7, inverted=True), oc.stochastic_depth(0.7, decay=True, inverted=True),
          oc.branch_dropout(0.7), oc.two_point(0.5, p=0.3), oc.gaussian(0.5, per="channel")]  # fmt: skip


def test_one_linear_step_has_a_closed_form() -> None:
    net, x = oc.Network(decay(1, 2), oc.DepthGrid((0.25,))), randn(40, 2)
    noise, S = oc.gaussian(0.8, per="unit"), 100
    found = monte_carlo(net, x, noise, "regression", samples=S, generator=seeded(), antithetic=True)
    torch.testing.assert_close(found.mean, 0.75 * x, rtol=1e-12, atol=1e-12)  # the mirrored half cancels to the bit
    spread = found.deviation / (0.25 * 0.8 * x.abs())
    assert abs(float(spread.mean()) - 1) < 5 / math.sqrt(2 * S * 80 / 2)
    assert found.entropy is None
    assert found.mutual_information is None


def test_two_passes_by_hand() -> None:
    net, x = dense(), randn(7, 4)
    one, two = (out.softmax(1) for out in passes(net, x, NOISES[0], 2, seeded(3)))
    found = monte_carlo(net, x, NOISES[0], samples=2, generator=seeded(3))
    torch.testing.assert_close(found.mean, (one + two) / 2)
    torch.testing.assert_close(found.deviation, (one - two).abs() / math.sqrt(2))
    torch.testing.assert_close(found.expected_entropy, (entropy_of(one) + entropy_of(two)) / 2)
    torch.testing.assert_close(found.entropy, entropy_of((one + two) / 2))
    assert found.mutual_information is not None
    assert (found.mutual_information >= 0).all()
    assert found.mutual_information.max() > 1e-3


def test_without_variance_the_passes_are_the_network() -> None:
    net, x = dense(), randn(7, 4)
    found = monte_carlo(net, x, oc.branch_dropout(1.0), samples=3, generator=seeded())
    torch.testing.assert_close(found.mean, net(x).softmax(1))
    assert float(found.deviation.abs().max()) < 1e-12
    assert found.mutual_information is not None
    assert float(found.mutual_information.max()) < 1e-12


def test_entropy() -> None:
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    torch.testing.assert_close(entropy_of(p), torch.tensor([0.0, math.log(2)]))


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.name)
def test_the_same_seed_gives_the_same_bits_in_chunks_of_any_size(noise: oc.Noise) -> None:
    net, x = dense(), randn(BLOCK + 90, 4)
    whole = monte_carlo(net, x, noise, samples=2, generator=seeded(5), chunk=len(x))
    again = monte_carlo(net, x, noise, samples=2, generator=seeded(5), chunk=len(x))
    assert torch.equal(whole.mean, again.mean)
    for chunk in (177, BLOCK) if noise is NOISES[0] else (177,):
        parts = monte_carlo(net, x, noise, samples=2, generator=seeded(5), chunk=chunk)
        torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-12, atol=1e-13)  # BLAS rounds by batch size
    other = monte_carlo(net, x, noise, samples=2, generator=seeded(6), chunk=len(x))
    assert not torch.allclose(whole.mean, other.mean)
    fewer = monte_carlo(net, x[:300], noise, samples=2, generator=seeded(5))
    torch.testing.assert_close(fewer.mean, whole.mean[:300], rtol=1e-12, atol=1e-13)


def test_the_draws_of_a_row_are_the_same_to_the_bit() -> None:
    noise, x = RowNoise(oc.gaussian(1.0, per="unit"), 7), randn(700, 5)
    whole = noise.increment(1, 0, 0.5, x)
    assert isinstance(whole, torch.Tensor)
    for first, end in ((0, 10), (250, 260), (511, 700), (699, 700)):
        part = RowNoise(noise.noise, 7, first).increment(1, 0, 0.5, x[first:end])
        assert torch.equal(part, whole[first:end])
    assert whole.flatten().unique().numel() == whole.numel()  # no block repeats another one


def test_noise_of_a_pass_is_that_of_a_driver() -> None:
    """RowNoise on the general path of a rollout is what the passes do."""
    net, x = dense(), randn(5, 4)
    noise = RowNoise(NOISES[1], 3).on(net.system)
    torch.testing.assert_close(driven(net, x, noise), oc.rollout(net, x, driver=noise).final, rtol=1e-12, atol=1e-12)


def test_two_branches_shake() -> None:
    net, x = dense(2), randn(6, 4)
    found = monte_carlo(net, x, oc.shake_shake(), samples=30, generator=seeded(), antithetic=True)
    assert float((found.mean - net(x).softmax(1)).detach().abs().max()) < 0.08
    with pytest.raises(ConfigError, match="two"):
        monte_carlo(dense(), x, oc.shake_shake(), samples=2, generator=seeded())


@pytest.mark.parametrize(("samples", "antithetic"), [(0, False), (1, False), (3, True)])
def test_numbers_of_passes_that_will_not_do(samples: int, antithetic: bool) -> None:
    with pytest.raises(ConfigError, match="samples"):
        monte_carlo(dense(), randn(2, 4), NOISES[0], samples=samples, generator=seeded(), antithetic=antithetic)


def test_dropout_in_the_modules_is_off_and_comes_back() -> None:
    net = dense().train()
    monte_carlo(net, randn(2, 4), NOISES[0], samples=2, generator=seeded())
    assert net.training


def test_no_rows_have_no_predictions() -> None:
    for noise in NOISES:
        found = monte_carlo(dense(), randn(7, 4)[:0], noise, samples=2, generator=seeded())
        assert found.mean.shape == (0, 3)
        assert found.entropy is not None
        assert found.entropy.shape == (0,)
