"""Four models of the zoo, small, with all of its checks (make zoo has the others); and that those see what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import node_oc as oc
from experiments.zoo.checks import Result, check, crops, outputs_unchanged, readouts
from experiments.zoo.models import GPT2, TEXT, TOKENS, ZOO, Entry, register
from node_oc.system.adopt.weights import Weights

SMALL = (
    Entry("torchvision:resnet18", (2, 3, 32, 32), 8, "2+2+2+2 blocks"),
    Entry("timm:convnextv2_atto", (2, 3, 32, 32), 4, "1+1+1+1 blocks",
          {"num_classes": 3, "depths": [1, 1, 1, 1], "dims": [4, 8, 8, 16]}),
    Entry("hf:GPT2LMHeadModel", TOKENS, 2, "1 layer of attention and MLP", {**GPT2, "n_layer": 1}),
    Entry("hf:BertForSequenceClassification", TOKENS, 2, "1 layer of attention and MLP",
          {**TEXT, "num_hidden_layers": 1, "num_labels": 3}),
)  # fmt: skip
WRITTEN = next(entry for entry in ZOO if entry.name == "zoo-residual-mlp")


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


@pytest.fixture(autouse=True)
def _fast_path() -> Any:
    before = torch.backends.mha.get_fastpath_enabled()
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.parametrize("entry", SMALL, ids=lambda entry: entry.name)
@pytest.mark.filterwarnings("ignore")
def test_a_model_of_the_zoo_is_found_unchanged_read_cut_saved_and_exported(entry: Entry) -> None:
    onnx = entry.name.startswith("hf:Bert")  # it takes most of the time; `make zoo` does it for all
    result = check(entry, onnx=onnx)
    assert result.wrong == []
    assert {"readouts", "training mode", *(["ONNX"] if onnx else [])} <= set(result.numbers)


def test_the_zoo_has_every_model_once_with_the_reason_for_its_number() -> None:
    assert len({entry.name for entry in ZOO}) == len(ZOO) == 22
    assert all(entry.why and entry.branches > 3 for entry in ZOO)


@cache
def _written() -> tuple[nn.Module, oc.AdoptedSystem]:
    model = WRITTEN.make()
    return model, oc.adopt(model, WRITTEN.input(2))


System = oc.AdoptedSystem
HEADS, SPLIT, SUBSYSTEM, ONLY = System.heads, System.split, System.subsystem, Weights.only


def _other_rounding(system: oc.AdoptedSystem, k: int, c: float, x: torch.Tensor) -> Any:
    skipped, added = SPLIT(system, k, c, x)
    return skipped, added * (1 + 1e-6)


def _another_tensor(system: oc.AdoptedSystem, steps: Any) -> oc.AdoptedSystem:
    small = SUBSYSTEM(system, steps)
    nn.init.zeros_(next(iter(small.parameters())))
    return small


@pytest.mark.parametrize(("name", "broken", "seen"), [
    ("heads", lambda system, states, **count: HEADS(system, states, **count) * 1.001, "readouts: "),
    ("heads", lambda system, states, **count: HEADS(system, states.flip(0), **count), "readouts: "),
    ("split", _other_rounding, "the pieces give other outputs than the model"),
    ("subsystem", lambda system, steps: SUBSYSTEM(system, range(1, len(steps) + 1)), "other outputs than with zero"),
    ("only", lambda weights, names: ONLY(weights, weights._owner), "unused parameters are left"),
    ("subsystem", _another_tensor, "other names or tensors than the model's"),
])  # fmt: skip
def test_the_checks_see_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: Callable[..., Any], seen: str
) -> None:
    model, system = _written()
    monkeypatch.setattr(Weights if name == "only" else System, name, broken)
    result, given = Result("broken"), WRITTEN.input(3)
    outputs_unchanged(result, model, system, given)
    readouts(result, WRITTEN, model, system, given)
    crops(result, WRITTEN, model, system, given)
    assert any(seen in sentence for sentence in result.wrong), result.wrong


def test_the_checks_count() -> None:
    assert check(replace(WRITTEN, branches=6), onnx=False).wrong == ["5 branches, not 6: 5 blocks"]
