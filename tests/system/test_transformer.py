"""The Transformer: branches by hand, padding that changes nothing, the price that is not evaded, files with masks."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from systems import randn, stir_
from torch import Tensor
from torch.nn import functional as F

from node_oc.config import TrainingSection
from node_oc.cropping import crop, deepen
from node_oc.data import Part
from node_oc.discretization import Network
from node_oc.errors import ConfigError, DataError, ShapeError
from node_oc.exporting import export_onnx
from node_oc.inference import EarlyExit
from node_oc.measuring import branch_flops
from node_oc.policies import Threshold, stopping_depths
from node_oc.problem import Problem
from node_oc.problem.ocp import group_norms
from node_oc.system import Patches, System, TokenIds, TokenVectors, TransformerSystem
from node_oc.system.transformer import Tokens
from node_oc.training import Plan, fit
from node_oc.training.active import sparsify
from node_oc.trajectory import rollout

SIZES = {"steps": 4, "width": 8, "heads": 2, "hidden": 6}
LENGTHS = (5, 2, 1, 4, 3)
SEQUENCES = {"ids": TokenIds(9, 6), "vectors": TokenVectors(3, 6)}
every_sequence = pytest.mark.parametrize("name", SEQUENCES)


def system(tokens: Tokens, **changes: object) -> TransformerSystem:
    made = TransformerSystem(tokens, 3, **SIZES | changes).double()  # type: ignore[arg-type]
    stir_(made)
    return made


def sequences(name: str, long: int = 6) -> Tensor:
    """Five samples of unequal length, padded."""
    mask = torch.arange(long) < torch.tensor(LENGTHS)[:, None]
    if name == "ids":
        return (1 + torch.arange(5 * 6).view(5, 6)[:, :long] * 7 % 8) * mask
    return randn(5, 6, 3)[:, :long].masked_fill(~mask[..., None], math.nan)


def normed(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()


# -- what it computes ------------------------------------------------------------------------------------------


def test_patches_are_squares_of_the_image_row_by_row() -> None:
    image, tokens = torch.arange(2 * 4 * 6).float().view(1, 2, 4, 6), Patches((2, 4, 6), 2)
    split, _ = tokens.split(image.flatten(1))
    assert split.shape == (1, tokens.length, tokens.size) == (1, 6, 8)
    for place, (row, column) in enumerate(itertools.product(range(0, 4, 2), range(0, 6, 2))):
        assert torch.equal(split[0, place], image[0, :, row : row + 2, column : column + 2].flatten())
    assert torch.equal(tokens.split(image)[0], split)


def test_attention_by_hand() -> None:
    """Token by token and head by head: softmax(q k / sqrt(d)) v over the tokens that are no padding."""
    made = system(SEQUENCES["vectors"])
    state, step = made.lift(sequences("vectors")), made.steps[0]
    q, k, v = (normed(state) @ step.inner.weight.T).chunk(3, -1)
    wanted = torch.zeros_like(state)
    for b, length in enumerate(LENGTHS):
        for i, (head, size) in itertools.product(range(length), [(h, 4) for h in range(2)]):
            part = slice(head * size, (head + 1) * size)
            scores = torch.stack([q[b, i, part] @ k[b, j, part] for j in range(length)]) / math.sqrt(size)
            wanted[b, i, part] = scores.softmax(0) @ v[b, :length, part]
        wanted[b, :length] = wanted[b, :length] @ step.outer.weight.T + step.outer.bias
    torch.testing.assert_close(made.branch(0, state), wanted, rtol=1e-12, atol=1e-13)


def test_an_mlp_and_the_head_by_hand() -> None:
    made = system(Patches((1, 2, 3)))
    state, step = made.lift(randn(4, 6)), made.steps[1]
    added = F.gelu(normed(state) @ step.inner.weight.T + step.inner.bias) @ step.outer.weight.T + step.outer.bias
    torch.testing.assert_close(made.branch(1, state), added, rtol=1e-12, atol=1e-13)
    read = normed(state).mean(1) @ made.reading.weight.T + made.reading.bias
    torch.testing.assert_close(made.head(state), read, rtol=1e-12, atol=1e-13)
    # Multiply-adds count two: 6 tokens, width 8, hidden 6.
    assert branch_flops(made, randn(1, 6)) == (2 * 6 * (4 * 64 + 2 * 6 * 8), 2 * 6 * 2 * 48) * 2


# -- padding ---------------------------------------------------------------------------------------------------


@every_sequence
def test_a_sample_does_not_depend_on_its_padding_nor_on_its_batch(name: str) -> None:
    made, x = system(SEQUENCES[name]), sequences(name)
    whole = rollout(made, x)
    for b, length in enumerate(LENGTHS):
        for alone in (x[b : b + 1, :length], x[b : b + 1, : max(LENGTHS)], x[[b, 1 - b]]):
            torch.testing.assert_close(
                rollout(made, alone).readouts[:, 0], whole.readouts[:, b], rtol=1e-12, atol=1e-13
            )
        for state in whole.states:
            assert bool((state[b, length:] == 0).all())
            assert bool((state[b, :length] != 0).all())
    # Rows that are dropped on the way take their masks with them.
    some = made.branch(2, whole.states[2][[4, 1]])
    torch.testing.assert_close(some, made.branch(2, whole.states[2])[[4, 1]], rtol=1e-12, atol=1e-13)


@every_sequence
def test_padding_has_no_gradient_and_makes_none_that_is_not_finite(name: str) -> None:
    made = system(SEQUENCES[name])
    x = sequences(name)
    if name == "vectors":
        x.requires_grad_()
    trajectory = rollout(made, x)
    Problem.classification(3).evaluate(trajectory, torch.arange(5) % 3).smooth.backward()
    assert all(bool(p.grad.isfinite().all()) for p in made.parameters())
    if name == "vectors":
        assert torch.equal(x.grad == 0, x.isnan())
    else:
        assert bool((made.lifting.weight.grad[0] == 0).all())


def test_a_token_with_one_nan_is_no_padding() -> None:
    x = sequences("vectors")
    x[0, 1, 2] = math.nan
    assert Network(system(SEQUENCES["vectors"]))(x).isnan()[:, 0].tolist() == [True, False, False, False, False]


def test_a_system_is_fitted_to_sequences() -> None:
    """Whether a 3 occurs: no mean of the tokens without attention or MLP would be asked for more."""
    g = torch.Generator().manual_seed(0)
    x = torch.randint(1, 9, (400, 6), generator=g) * (torch.arange(6) < torch.randint(1, 7, (400, 1), generator=g))
    part = Part(x, (x == 3).any(1).long())
    net = Network(TransformerSystem(SEQUENCES["ids"], 2, **SIZES))  # type: ignore[arg-type]
    fit(net, Problem.classification(2), part, TrainingSection(learning_rate=1e-2), plan=Plan(updates=150))
    right = rollout(net, x).readouts.argmax(-1) == part.y
    assert float(right[-1].double().mean()) > 0.98


@every_sequence
def test_stopped_samples_leave_the_batch_with_their_masks(name: str) -> None:
    made, x = system(SEQUENCES[name]), sequences(name)
    readouts = rollout(made, x).readouts
    middle = float(readouts.detach().softmax(-1).amax(-1).median())
    policy = Threshold("confidence", middle, tuple(range(5)))
    depths = stopping_depths(policy, readouts)
    assert len(depths.unique()) > 2
    found = EarlyExit(Network(made), policy)(x)
    assert torch.equal(found.depths, depths)
    torch.testing.assert_close(found.outputs, readouts[depths, torch.arange(5)], rtol=1e-12, atol=1e-13)


# -- the group and the price -----------------------------------------------------------------------------------


def test_a_trunk_that_shrinks_would_change_nothing_but_the_price_so_its_scale_is_fixed() -> None:
    free = system(SEQUENCES["vectors"], row_norm=0.0)
    x, net = sequences("vectors"), Network(free)
    stir_(free, size=3.0)  # so that the eps of the norms is nothing
    before, price = net(x), group_norms(net).sum()
    with torch.no_grad():
        for p in [*free.lifting.parameters(), *(p for k in range(4) for p in free.group(k))]:
            p.mul_(0.1)
    torch.testing.assert_close(net(x), before, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(group_norms(net).sum(), price / 10)
    for name, tokens in SEQUENCES.items():
        held = system(tokens)
        held.constrain_()
        rows = [held.lifting.weight / (math.sqrt(8) if name == "ids" else 1), held.steps[0].inner.weight[16:],
                held.steps[1].inner.weight]  # fmt: skip
        for w in rows:
            torch.testing.assert_close(w.norm(dim=1), torch.ones(len(w)).double(), rtol=1e-14, atol=0)
        queries = held.steps[0].inner.weight[:16].clone()
        held.constrain_()
        assert torch.equal(held.steps[0].inner.weight[:16], queries)
        held.release_()
        stir_(held)
        loose = held.steps[1].inner.weight.clone()
        held.constrain_()
        assert torch.equal(held.steps[1].inner.weight, loose)
        assert held.spec()["row_norm"] == 0


def test_a_price_puts_steps_to_sleep_and_they_are_cut_without_a_trace() -> None:
    net, x = Network(TransformerSystem(SEQUENCES["ids"], 2, **SIZES)), sequences("ids")  # type: ignore[arg-type]
    part = Part(x, torch.tensor([0, 1, 0, 1, 0]))
    problem = Problem.classification(2).priced(3.0)
    found = sparsify(net, problem, part, TrainingSection(learning_rate=1e-2, batch=0), updates=150, name="priced")
    assert len(found.awake) < net.depth
    assert set(net.zero_steps()) >= set(range(net.depth)) - set(found.awake)
    small = crop(net)
    assert small.system.spec()["steps"] == [net.system.kinds[k] for k in range(4) if k not in net.zero_steps()]
    assert torch.equal(small(x), net(x))


# -- more and fewer steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "places", "kinds"),
    [(4, [4, 4], "amamam"), (4, [0], "aamam"), (4, [1], "ammam"), (4, [2, 2, 2], "amamaam"),
     (0, [0, 0, 0], "ama"), (3, [3], "amam")],
)  # fmt: skip
def test_a_new_step_is_of_the_other_kind_than_the_one_before(steps: int, places: list[int], kinds: str) -> None:
    made = system(Patches((1, 1, 2)), steps=steps).insert(places, torch.Generator().manual_seed(0))
    assert "".join(kind[0] for kind in made.kinds) == kinds
    assert made.spec()["steps"] == list(made.kinds)


def test_a_deepened_network_computes_the_same() -> None:
    net = Network(system(SEQUENCES["ids"]))
    deeper = deepen(net, 9)
    assert torch.equal(deeper(sequences("ids")), net(sequences("ids")))
    assert deeper.system.kinds[-1] == "attention"
    assert [p.dtype for p in deeper.parameters()] == [torch.float64] * len(list(deeper.parameters()))


# -- files -----------------------------------------------------------------------------------------------------


@every_sequence
def test_sequences_travel_with_their_masks_and_without_a_token_they_raise_or_read_the_bias(name: str) -> None:
    made, x = system(SEQUENCES[name]), sequences(name)
    net = Network(made)
    again = Network.from_spec(net.spec()).double()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))
    dims = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=1, max=6)}
    program = torch.export.export(net, (x[:2, :5].contiguous(),), dynamic_shapes={"x": dims}).module()
    torch.testing.assert_close(program(x), net(x), rtol=1e-12, atol=1e-13)
    x[2] = 0 if name == "ids" else math.nan
    with pytest.raises(DataError, match="nothing but padding in row 2, expected at least one token"):
        net(x)
    assert torch.equal(program(x)[2], made.reading.bias)


def test_onnx_knows_the_mask(tmp_path: Path) -> None:
    net = Network(system(SEQUENCES["vectors"], steps=2)).float()
    assert max(export_onnx(net, sequences("vectors").float(), tmp_path / "it.onnx").values()) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    made, x = system(SEQUENCES["vectors"]), sequences("vectors")
    whole = made.head(rollout(made, x).last)
    half = Network(made.to(dtype))(x.to(dtype))
    assert half.dtype == dtype
    torch.testing.assert_close(half.double(), whole, rtol=0.1, atol=0.1)


# -- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: system(Patches((1, 4, 4), 3)), ShapeError, "3 on an image of 4 x 4, expected a divisor"),
        (lambda: system(Patches((1, 4, 4), 2), heads=3), ShapeError, "3 with width 8"),
        (lambda: system(Patches((1, 4, 4)), steps=["mlp", "lstm"]), ConfigError, "got lstm"),
        (lambda: system(Patches((1, 4, 4)), steps=-1), ConfigError, "got -1, expected at least 0"),
        (lambda: system(Patches((1, 4, 4)), activation="sine"), ConfigError, "'sine'"),
        (lambda: system(Patches((1, 0, 4))), ConfigError, r"\[1, 0, 4\] in patches of 1"),
        (lambda: TransformerSystem({"kind": "words"}, 3), ConfigError, "'words', expected one of"),
        (lambda: TokenIds(4, 3, padding=4), ConfigError, r"an id, 0..3, or None"),
        (lambda: system(SEQUENCES["ids"]).lift(torch.full((2, 6), 9)), DataError, "9 to 9, expected 0..8"),
        (lambda: system(SEQUENCES["ids"]).lift(torch.full((2, 6), 0.5)), DataError, "fractions"),
        (lambda: system(SEQUENCES["ids"]).lift(torch.ones(2, 7).long()), ShapeError, "got 7, expected at most 6"),
        (lambda: system(Patches((1, 1, 2))).affine_readout(), ShapeError, "logit distance"),
    ],
)  # fmt: skip
def test_bad_input_teaches(make: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()  # type: ignore[operator]


def test_without_padding_attention_is_spared_the_mask() -> None:
    made = system(TokenIds(9, 6, padding=None))
    assert bool(made.head(made.lift(torch.zeros(2, 6).long())).isfinite().all())
    with_mask, without = (TransformerSystem(TokenVectors(3, 6, padded), 3).double() for padded in (True, False))
    without.load_state_dict(with_mask.state_dict())
    x = randn(4, 6, 3)
    torch.testing.assert_close(Network(without)(x.flatten(1)), Network(with_mask)(x), rtol=1e-12, atol=1e-13)
    assert isinstance(with_mask, System)
