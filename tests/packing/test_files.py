"""Packed models: the same model back to the bit; what is altered, or no packed model, is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models_of_weights import chain, model_of

from node_oc import store
from node_oc.errors import ConfigError, StoreError
from node_oc.exporting import load_model, save_model
from node_oc.inference import Model
from node_oc.packing import PACKED, load_packed, packed_weights, save_packed
from node_oc.system.conv import ConvSystem
from node_oc.system.discrete import DiscreteResidualSystem

KEY = "network.system.steps.1.layer.weight"


def same(one: Model, other: Model) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(
    "model",
    [chain(), chain("binary"), chain(share=0.0), chain(share=1.0), chain(layers=("4C3", "MP2", "9"), features=16),
     model_of(DiscreteResidualSystem(12, 3, depth=2, width=6, hidden=5))],
    ids=["ternary", "binary", "empty", "full", "conv", "residual"],
)  # fmt: skip
def test_the_same_model_to_the_bit(model: Model, tmp_path: Path) -> None:
    files = save_packed(model, tmp_path / "p")
    assert [file.name for file in files] == ["p.safetensors", "p.json"]
    for again in (load_packed(tmp_path / "p"), load_model(tmp_path / "p")):
        assert same(model, again)
        assert again.network.spec() == model.network.spec()
        assert again.meta == model.meta
        assert not again.training
    save_packed(again, tmp_path / "q")
    assert (tmp_path / "p.safetensors").read_bytes() == (tmp_path / "q.safetensors").read_bytes()


def test_weights_in_training_are_written_as_they_are_now(tmp_path: Path) -> None:
    model = chain()
    layer: Any = model.get_submodule(KEY.removesuffix(".weight"))
    relaxed = layer.relax_(torch.float32)
    with torch.no_grad():
        relaxed.neg_()
    save_packed(model, tmp_path / "p")
    assert torch.equal(load_packed(tmp_path / "p").state_dict()[KEY], relaxed.to(torch.int8))


def test_the_file_is_small(tmp_path: Path) -> None:
    model = chain(share=0.1, layers=("300", "300"))
    save_packed(model, tmp_path / "p")
    save_model(model, tmp_path / "m")
    weights = sum(packed.data.numel() for packed in packed_weights(model).values())
    numbers = sum(w.numel() for k, w in model.state_dict().items() if k in packed_weights(model))
    assert weights < numbers * 4 / 25
    int8, packed = ((tmp_path / f"{name}.safetensors").stat().st_size for name in "mp")
    assert int8 - packed > 0.9 * (numbers - weights)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    files = save_packed(chain(), tmp_path / "p")
    data = bytearray(files[0].read_bytes())
    data[-1] ^= 1
    files[0].write_bytes(data)
    for read in (load_packed, load_model):
        with pytest.raises(StoreError, match=r"does not match p\.json"):
            read(tmp_path / "p")


def write(path: Path, model: Model, change: Any) -> None:
    """A packed file with a checksum that is right, and something in it that is not."""
    packed = packed_weights(model)
    packed[KEY] = change(packed[KEY])
    tensors = {**model.state_dict(), **{key: each.data for key, each in packed.items()}}
    store.save_model(path, tensors, {**model.description(), PACKED: {k: p.description() for k, p in packed.items()}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: replace(p, nonzero=p.nonzero + 1), f"packed weights of {KEY}"),
        (lambda p: replace(p, data=torch.full_like(p.data, 255)), f"packed weights of {KEY}"),
        (lambda p: replace(p, coding="zip"), f"packed weights of {KEY}: got a coding 'zip'"),
        (lambda p: replace(p, shape=(10, 10), coding="two bits", nonzero=0, data=torch.zeros(25, dtype=torch.uint8)),
         "do not belong together"),
        (lambda p: replace(p, nonzero=None), "without int"),
    ],
    ids=["count", "pattern", "coding", "shape", "no count"],
)  # fmt: skip
def test_bits_without_meaning_behind_a_right_checksum(change: Any, said: str, tmp_path: Path) -> None:
    write(tmp_path / "p", chain(), change)
    with pytest.raises(StoreError) as caught:
        load_packed(tmp_path / "p")
    assert said in str(caught.value)


def test_ternary_weights_in_a_binary_network_are_refused(tmp_path: Path) -> None:
    other = packed_weights(chain(share=0.5))[KEY]
    write(tmp_path / "p", chain("binary"), lambda p: other)
    with pytest.raises(StoreError, match="outside of"):
        load_packed(tmp_path / "p")


def test_what_is_not_packed(tmp_path: Path) -> None:
    save_model(chain(), tmp_path / "m")
    with pytest.raises(StoreError, match="a model that is not packed"):
        load_packed(tmp_path / "m")
    real = model_of(ConvSystem((1, 4, 3), 3, channels=(2,), blocks=(1,), generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ConfigError, match="no discrete layers in it"):
        save_packed(real, tmp_path / "r")
    assert not (tmp_path / "r.json").exists()


def test_the_json_says_what_the_bits_are(tmp_path: Path) -> None:
    model = chain()
    save_packed(model, tmp_path / "p")
    said = json.loads((tmp_path / "p.json").read_text())["meta"][PACKED][KEY]
    weight = model.state_dict()[KEY]
    assert said == {"values": "ternary", "coding": "sparse", "shape": [30, 40], "nonzero": int(weight.count_nonzero())}
