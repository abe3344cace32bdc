"""Raw features in, classes or units out."""

from __future__ import annotations

import pytest
import torch
from systems import decay, randn

from node_oc.data import Part, Scale, Split
from node_oc.discretization import DepthGrid, Network
from node_oc.errors import ShapeError
from node_oc.inference import Model
from node_oc.system import DenseSystem

SCALE = Scale(torch.tensor([10.0, -1.0], dtype=torch.float64), torch.tensor([2.0, 0.5], dtype=torch.float64))
CLASSES = {"task": "classification", "classes": ["cat", "dog"], "features": ["size", "weight"]}
RAW = torch.tensor([[14.0, -1.0], [10.0, 0.0], [8.0, -2.5]])  # standardised: (2, 0), (0, 2), (-1, -3)


def identity() -> Network:
    """Its outputs are its inputs."""
    return Network(decay(0, 2))


def test_features_are_standardised_and_classes_named() -> None:
    model = Model(identity(), SCALE, None, CLASSES)
    names, probabilities = model.predict(RAW)
    assert names == ["cat", "dog", "cat"]
    torch.testing.assert_close(model(RAW), torch.tensor([[2.0, 0.0], [0.0, 2.0], [-1.0, -3.0]]))
    torch.testing.assert_close(probabilities[:, 0], torch.sigmoid(torch.tensor([2.0, -2.0, 2.0])))


def test_probabilities_sum_to_one() -> None:
    model = Model(Network(DenseSystem(2, 2, depth=2)), SCALE, None, CLASSES)
    names, probabilities = model.predict(10 * randn(50, 2))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(50))
    assert [CLASSES["classes"][i] for i in probabilities.argmax(1)] == names
    assert not probabilities.requires_grad


def test_values_come_back_in_their_units() -> None:
    y_scale = Scale(torch.tensor([100.0]), torch.tensor([5.0]))
    net = Network(decay(1, 1), DepthGrid((0.5,)))  # half of its input
    model = Model(net, Scale(torch.zeros(1), torch.ones(1)), y_scale, {"task": "regression", "features": ["t"]})
    values, nothing = model.predict(torch.tensor([[0.0], [2.0], [-4.0]]))
    assert values == [100.0, 105.0, 90.0]
    assert nothing.shape == (3, 0)


@pytest.mark.parametrize("shape", [(3, 1), (3, 3), (2,), (1, 2, 2)])
def test_another_number_of_features_raises_and_names_the_columns(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \(samples, 2\)\. Give the columns \['size', 'weight'\]"):
        Model(identity(), SCALE, None, CLASSES).predict(torch.zeros(shape))


def test_a_large_offset_keeps_its_digits() -> None:
    """A time stamp: 1.7e9 seconds, of which the last one matters."""
    scale = Scale(torch.tensor([1.7e9, 0.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    model = Model(Network(DenseSystem(2, 2, depth=0, lift="pad", head="coordinates", width=2)), scale, None, CLASSES)
    x = torch.tensor([[1.7e9 + 3, 2.0], [1.7e9 + 1, 2.0]], dtype=torch.float64)
    assert model.predict(x)[0] == ["cat", "dog"]


def test_a_model_knows_the_names_of_its_split() -> None:
    part = Part(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
    split = Split(part, part, part, "classification", ("cat", "dog"), ("size", "weight"), SCALE)
    model = Model.of(identity(), split)
    assert model.meta == CLASSES
    assert model.predict(RAW)[0] == ["cat", "dog", "cat"]
    assert {"x_mean", "x_std"} == set(dict(model.named_buffers()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_type_is_taken(dtype: torch.dtype) -> None:
    model = Model(Network(DenseSystem(2, 2, depth=2)).to(dtype), SCALE, None, CLASSES)
    whole = torch.tensor([[14, -1], [8, -2]])
    assert model.dtype == dtype
    assert torch.equal(model(whole), model(whole.float()))
    assert torch.equal(model(whole), model(whole.double()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standardisation_keeps_the_digits_of_its_input(dtype: torch.dtype) -> None:
    """Against float64, for means and deviations of every size, also where x - mean has lost all but its last digits."""
    size = torch.arange(-8.0, 11.0, dtype=torch.float64).repeat_interleave(8)
    mean = 10**size * (1 + randn(len(size), seed=1).abs())
    features = {"task": "classification", "features": [str(i) for i in range(len(size))], "classes": []}
    network = Network(DenseSystem(len(size), len(size), depth=0, lift="pad", head="coordinates", width=len(size)))
    for share in (1e-7, 1e-4, 1.0, 1e4):
        std = share * mean * (1 + randn(len(size), seed=2).abs())
        x = (mean + std * randn(50, len(size), seed=3)).to(dtype)
        before = x.clone()
        z = Model(network, Scale(mean, std), None, features)(x).double()
        torch.testing.assert_close(z, (x.double() - mean) / std, rtol=3 * 2**-23, atol=0.0)
        assert torch.equal(x, before)
