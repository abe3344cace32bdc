"""Ways that leave zeros out give what the dense one gives; the fastest is chosen, and only where it is faster."""

from __future__ import annotations

import pytest
import torch
from models_of_weights import chain, model_of
from torch import Tensor, nn

from node_oc.errors import ConfigError
from node_oc.inference import Model
from node_oc.packing import sparse, sparse_model
from node_oc.packing.ways import WAYS, Dense, Way
from node_oc.system.discrete import DiscreteResidualSystem


def inputs(batch: int, features: int = 12, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, features, dtype=dtype, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_is_the_matrix(way: str, batch: int, share: float) -> None:
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(9, 12, dtype=torch.float64, generator=generator)
    weight = weight * (torch.rand(9, 12, generator=generator) < share)
    shift = torch.randn(9, dtype=torch.float64, generator=generator)
    x = inputs(batch, dtype=torch.float64)
    made = WAYS[way](weight, shift)
    for given in (x, x.t().contiguous().t(), x.reshape(batch, 3, 4)):
        assert torch.allclose(made(given), x @ weight.t() + shift, rtol=1e-13, atol=1e-13)
    assert torch.equal(made(x), made(x))  # nothing is added to what is kept


def forced(monkeypatch: pytest.MonkeyPatch, fastest: str) -> None:
    """Timings by decree: that way takes 1 ms, a network whose layers take it too, everything else 10."""

    def timed(modules: dict[str, nn.Module], x: Tensor, turns: int) -> dict[str, list[float]]:
        for module in modules.values():
            module(x)
        return {name: [1.0 if name in (fastest, "sparse") else 10.0] * turns for name in modules}

    monkeypatch.setattr(sparse, "in_turns", timed)


def ways_of(model: Model) -> list[type[nn.Module]]:
    return [type(module) for module in model.modules() if isinstance(module, Way)]


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("kind", ["chain", "residual"])
def test_outputs_are_equal_to_rounding(way: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain() if kind == "chain" else model_of(DiscreteResidualSystem(12, 3, depth=2, width=6, hidden=5))
    model.double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    forced(monkeypatch, way)
    found = sparse_model(model, 7, turns=3)
    x = inputs(7, dtype=torch.float64)
    assert torch.allclose(found.model(x), model(x), rtol=1e-11, atol=1e-11)
    assert [speed.way for speed in found.layers] == [way] * len(found.layers)
    assert ways_of(found.model) == [WAYS[way]] * len(found.layers)
    assert len(found.layers) == (3 if kind == "chain" else 4)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_is_no_faster_stays_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(modules: dict[str, nn.Module], x: Tensor, turns: int) -> dict[str, list[float]]:
        return {name: [1.0 if name == "dense" else 0.95] * turns for name in modules}

    monkeypatch.setattr(sparse, "in_turns", timed)
    found = sparse_model(chain(), 4, turns=3)
    assert {speed.way for speed in (*found.layers, found.whole)} == {"dense"}
    assert {speed.ratio for speed in found.layers} == {1.0}
    assert set(ways_of(found.model)) == {Dense}


def test_layers_that_are_faster_alone_but_not_together_stay_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(modules: dict[str, nn.Module], x: Tensor, turns: int) -> dict[str, list[float]]:
        return {name: [1.0 if name in ("bags",) else 2.0] * turns for name in modules}

    monkeypatch.setattr(sparse, "in_turns", timed)
    found = sparse_model(chain(), 4, turns=3)
    assert {speed.way for speed in found.layers} == {"bags"}
    assert {speed.ratio for speed in found.layers} == {2.0}
    assert found.whole.way == "dense"
    assert set(ways_of(found.model)) == {Dense}


def test_binary_layers_and_convolutions_have_no_other_path() -> None:
    model = chain("binary")
    found = sparse_model(model, 3, turns=1)
    assert found.layers == ()
    assert torch.allclose(found.model(inputs(3)), model(inputs(3)), rtol=1e-4, atol=1e-4)
    conv = chain(layers=("4C3", "MP2", "9"), features=16)
    found = sparse_model(conv, 3, turns=1)
    assert [speed.name for speed in found.layers] == [f"network.system.steps.{k}.layer" for k in (1, 2)]
    assert torch.allclose(found.model(inputs(3, 16)), conv(inputs(3, 16)), rtol=1e-4, atol=1e-4)


def test_times_are_measured_in_turns() -> None:
    found = sparse_model(chain(), 2, turns=3)
    for speed in found.layers:
        assert set(speed.milliseconds) == set(WAYS)
        assert min(speed.milliseconds.values()) > 0
        assert speed.batch == 2


@pytest.mark.parametrize(("batch", "turns"), [(0, 3), (2, 0), (-1, 3)])
def test_numbers_below_one(batch: int, turns: int) -> None:
    with pytest.raises(ConfigError, match="batch and turns"):
        sparse_model(chain(), batch, turns=turns)


def test_another_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="one on the CPU"):
        sparse_model(chain().to("meta"), 2)
