"""A model that is changed after it was adopted: what was traced does not follow, so it is refused, or it works."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from adopted_models import ResidualMLP
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import node_oc as oc

X = torch.linspace(-1, 1, 6).view(3, 2)


@cache
def _once() -> oc.AdoptedSystem:
    torch.manual_seed(0)
    return oc.adopt(ResidualMLP(depth=2).eval(), X)


def system() -> oc.AdoptedSystem:
    """A fresh copy; ``model`` in it is the model."""
    return copy.deepcopy(_once())


def readouts(given: oc.AdoptedSystem, x: Any = X) -> Tensor:
    return oc.rollout(given, x).readouts


def _hook(model: nn.Module) -> None:
    model.get_submodule("blocks.0.inner").register_forward_hook(lambda module, x, y: 2 * y)


def _pre_hook(model: nn.Module) -> None:
    model.blocks[1].register_forward_pre_hook(lambda module, x: (2 * x[0],))


def _backward_hook(model: nn.Module) -> None:
    model.blocks[1].register_full_backward_hook(lambda module, into, out: None)


def _replaced(model: nn.Module) -> None:
    model.blocks[0].inner = nn.Linear(5, 10)


def _added(model: nn.Module) -> None:
    model.blocks[0].add_module("more", nn.Linear(5, 5))


def _parametrised(model: nn.Module) -> None:
    spectral_norm(model.blocks[0].inner)


def _overridden(model: nn.Module) -> None:
    model.blocks[0].inner.forward = lambda x: torch.zeros(len(x), 10)


def _one_mode(model: nn.Module) -> None:
    model.blocks[0].norm.train(not model.training)


def _rate(model: nn.Module) -> None:
    model.drop.p = 0.5


CHANGES = [
    (_hook, r"module 'blocks\.0\.inner' of an adopted model: got a hook .* adopt the model again"),
    (_pre_hook, r"module 'blocks\.1' of an adopted model: got a hook"),
    (_backward_hook, r"module 'blocks\.1' of an adopted model: got a hook"),
    (_replaced, r"module 'blocks\.0' of an adopted model: got other modules in it .* adopt the model again"),
    (_added, r"module 'blocks\.0' of an adopted model: got other modules in it"),
    (_parametrised, r"module 'blocks\.0\.inner' of an adopted model: got other modules in it"),
    (_overridden, r"module 'blocks\.0\.inner' of an adopted model: got another forward"),
    (_one_mode, r"module 'blocks\.0\.norm' of an adopted model: got training=True, the model False"),
    (_rate, r"module 'drop' of an adopted model: got \{'p': 0\.5\} in it, when it was adopted \{'p': 0\.0\}"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_changed_after_adopting_is_refused(change: Callable[[nn.Module], None], said: str) -> None:
    whole, small = system(), oc.crop(system(), depth=1)
    change(whole.model)
    with pytest.raises(oc.AdoptError, match=said):
        readouts(whole)
    with pytest.raises(oc.AdoptError, match=said):
        oc.crop(whole, depth=1)
    if change is _hook:
        change(small.model)
        with pytest.raises(oc.AdoptError, match=said):
            small(X)


def test_a_hook_that_is_taken_away_again_is_none() -> None:
    whole = system()
    handle = whole.model.blocks[0].register_forward_hook(lambda module, x, y: 2 * y)
    handle.remove()
    assert torch.equal(readouts(whole), readouts(system()))


def test_a_hook_before_adopting_is_followed_and_a_backward_hook_refused() -> None:
    model = copy.deepcopy(system().model)
    _hook(model)
    torch.testing.assert_close(readouts(oc.adopt(model, X))[-1], model(X))
    _backward_hook(model)
    with pytest.raises(oc.AdoptError, match=r"module 'blocks\.1': got a backward hook.* loss\.backward"):
        oc.adopt(model, X)


def test_hooks_of_transformers_that_record_outputs_are_let_be() -> None:
    config = {"n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 11, "n_positions": 8, "use_cache": False}
    model = oc.make_model("hf:GPT2LMHeadModel", config).eval()
    ids = torch.arange(8).view(2, 4)
    language = oc.adopt(model, {"input_ids": ids})
    model(input_ids=ids, output_hidden_states=True)
    assert any(module._forward_hooks for module in model.modules())
    torch.testing.assert_close(readouts(language, {"input_ids": ids})[-1], model(input_ids=ids).logits)


# -- another type -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convert", [
    lambda system: system.bfloat16(), lambda system: system.half(), lambda system: system.to(torch.float16),
    lambda system: oc.Network(system).to(torch.bfloat16),
])  # fmt: skip
def test_a_16_bit_type_after_adopting_is_refused_and_nothing_is_converted(
    convert: Callable[[oc.AdoptedSystem], object],
) -> None:
    whole, before = system(), readouts(system())
    with pytest.raises(oc.AdoptError, match=r"got torch\.b?float16.* adopted in torch\.float32.* and adopt it again"):
        convert(whole)
    assert torch.equal(readouts(whole), before)


def test_a_model_that_its_owner_converts_is_refused_when_it_is_read() -> None:
    whole = system()
    whole.model.bfloat16()
    assert whole(X.bfloat16()).dtype == torch.bfloat16  # the model itself
    with pytest.raises(oc.AdoptError, match=r"got torch\.bfloat16.* adopted in torch\.float32"):
        readouts(whole, X.bfloat16())


def test_from_16_bits_there_is_no_way_back_and_files_keep_the_type(tmp_path: Path) -> None:
    source = oc.source_of("tests-ResidualMLP", [2, 2])
    low = oc.adopt(ResidualMLP().eval().bfloat16(), X.bfloat16(), source=source)
    with pytest.raises(oc.AdoptError, match=r"got torch\.float32.* adopted in torch\.bfloat16"):
        low.float()
    oc.save_system(oc.crop(low, depth=2), tmp_path / "low")
    again = oc.load_system(tmp_path / "low")
    assert torch.equal(again(X.bfloat16()), oc.crop(low, depth=2)(X.bfloat16()))


def test_float64_is_fine_and_so_is_the_way_back() -> None:
    whole = system()
    torch.testing.assert_close(readouts(whole.double(), X.double()).float(), readouts(system()))
    assert torch.equal(readouts(whole.float()), readouts(system()))
