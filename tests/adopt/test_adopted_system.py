"""What adopting a model promises: the trunk, the batch norms on it, one set of parameters, cutting, files."""

from __future__ import annotations

import copy
import math
from functools import cache
from pathlib import Path

import pytest
import torch
from adopted_models import MODELS, PostActivation, PreActivation, PreNormTransformer, ResidualMLP, adopted
from torch import Tensor, nn
from torch.nn import functional as F

import node_oc as oc
from node_oc.cropping import first_steps
from node_oc.system.adopt.piece import norm_by_last

NAMES = list(MODELS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@cache
def _language() -> oc.AdoptedSystem:
    torch.manual_seed(0)
    ids = torch.zeros(2, 6, dtype=torch.long)
    return oc.adopt(PreNormTransformer().double().eval(), {"ids": ids, "mask": torch.ones_like(ids)})


def language() -> oc.AdoptedSystem:
    return copy.deepcopy(_language())


def x(batch: int = 5) -> Tensor:
    return torch.randn(batch, 2, generator=generator(1), dtype=torch.float64)


# -- what is found -----------------------------------------------------------------------------------------------


def test_branches_are_named_by_the_modules_that_they_live_in() -> None:
    assert [b.module for b in adopted("ResidualMLP", generator()).branches] == [f"blocks.{k}" for k in range(4)]
    assert [b.module for b in language().branches] == ["qkv.0", "mlp.0", "qkv.1", "mlp.1"]


def test_what_stands_on_the_trunk_belongs_to_the_skip() -> None:
    post, pre = adopted("PostActivation", generator()), adopted("PreActivation", generator())
    assert [b.skip for b in post.branches] == ["identity", "settling", "projection", "settling"]
    assert [b.skip for b in pre.branches] == ["identity", "identity", "projection", "identity"]
    # A state that has passed the ReLU is handed on by the next one, so both steps are of one stage.
    state = torch.randn(3, 5, dtype=torch.float64)
    once = post.double().skip(1, state)
    assert torch.equal(once, F.relu(state))
    assert first_steps(oc.Network(post), 2) == [0, 2]


def test_the_group_is_the_last_affine_map() -> None:
    groups = [b.group for b in adopted("ResidualMLP", generator()).branches]
    assert groups[0] == ("blocks.0.outer.weight", "blocks.0.outer.bias")
    assert groups[1] == ("blocks.1.scale",)  # a layer scale is one, and comes last
    post = adopted("PostActivation", generator())
    assert post.branches[0].group == ("blocks.0.bn2.weight", "blocks.0.bn2.bias")  # so is a batch norm


def test_a_held_scale_is_kept_and_biases_are_free() -> None:
    system = adopted("ResidualMLP", generator())
    block = system.model.blocks[0]
    rows, gain = block.inner.weight.norm(dim=1), block.norm.weight.norm()
    bias = block.inner.bias.detach().clone()
    system.constrain_()  # nothing is held yet
    system.hold_()
    with torch.no_grad():
        block.inner.weight.mul_(3)
        block.norm.weight.mul_(3)
        block.inner.bias.mul_(3)
        block.outer.weight.mul_(3)
    outer = block.outer.weight.detach().clone()
    system.constrain_()
    torch.testing.assert_close(block.inner.weight.norm(dim=1), rows)
    torch.testing.assert_close(block.norm.weight.norm(), gain)
    assert torch.equal(block.inner.bias, 3 * bias)
    assert torch.equal(block.outer.weight, outer)  # the group is what the price is about
    system.release_()
    with torch.no_grad():
        block.inner.weight.mul_(3)
    system.constrain_()
    torch.testing.assert_close(block.inner.weight.norm(dim=1), 3 * rows)


# -- the model stays its owner's ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_same_parameters_same_keys_same_outputs_to_the_bit(name: str) -> None:
    model = MODELS[name]().double().eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    system = oc.adopt(model, torch.zeros(2, 2, dtype=torch.float64))
    assert list(system.state_dict()) == list(before)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert {id(p) for p in system.parameters()} == {id(p) for p in model.parameters()}
    assert torch.equal(system(x()), model(x()))
    assert torch.equal(oc.Network(system)(x()), model(x()))
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    assert torch.equal(oc.Network(system)(x()), model(x()))
    system.load_state_dict(before)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", NAMES)
def test_training_mode_is_the_models_own(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name](**({"drop": 0.3} if name == "ResidualMLP" else {})).double()
    system = oc.adopt(model, torch.zeros(2, 2, dtype=torch.float64))
    other = copy.deepcopy(model).train()
    model.train()  # its owner may switch it, and the system follows
    torch.manual_seed(1)
    mine = oc.Network(system)(x())
    torch.manual_seed(1)
    torch.testing.assert_close(mine, other(x()), rtol=0, atol=0)
    for key, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key  # running statistics and counters too
    assert system.noisy == (name == "ResidualMLP")
    assert system.coupled == (name in ("PostActivation", "PreActivation"))


def test_masks_reach_the_branches_and_each_rollout_keeps_its_own() -> None:
    system, mask = language(), torch.ones(3, 6, dtype=torch.long)
    mask[0, 2:] = 0
    ids = torch.randint(0, 11, (3, 6), generator=generator())
    network = oc.Network(system)
    first = oc.rollout(network, {"ids": ids, "mask": mask})
    second = oc.rollout(network, {"ids": ids, "mask": torch.ones_like(mask)})
    one, two = system.model(ids, mask), system.model(ids, torch.ones_like(mask))
    assert not torch.allclose(one, two)
    torch.testing.assert_close(first.readouts[-1], one, rtol=1e-12, atol=1e-12)  # read after the second was rolled out
    torch.testing.assert_close(second.readouts[-1], two, rtol=1e-12, atol=1e-12)
    small = oc.crop(system, steps=[0, 3])
    torch.testing.assert_close(small(ids=ids[:, :4], mask=mask[:, :4]).shape, torch.Size([3, 4, 11]))
    with pytest.raises(oc.ConfigError, match="no input at hand"):
        system.branch(0, first.states[0])


def test_inputs_go_by_their_names_and_not_by_their_order() -> None:
    system, mask = language(), torch.ones(3, 6, dtype=torch.long)
    mask[0, 2:] = 0
    ids = torch.randint(0, 11, (3, 6), generator=generator())
    network = oc.Network(system)
    turned = oc.rollout(network, {"mask": mask, "ids": ids}).final
    assert torch.equal(turned, oc.rollout(network, {"ids": ids, "mask": mask}).final)
    small = oc.crop(system, depth=2)
    assert torch.equal(small(mask=mask, ids=ids), small(ids=ids, mask=mask))
    for wrong in ({"ids": ids}, {"ids": ids, "mask": mask, "labels": ids}, (ids,), (ids, mask, ids)):
        with pytest.raises(oc.ShapeError, match="example input"):
            oc.rollout(network, wrong)


# -- batch norms on the trunk ---------------------------------------------------------------------------------------


def test_earlier_depths_are_normalised_by_the_statistics_of_the_last() -> None:
    stacked = torch.randn(4 * 6, 3, generator=generator(), dtype=torch.float64) * 3 + 1
    norm = nn.BatchNorm1d(3, dtype=torch.float64)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    by_hand, mine = copy.deepcopy(norm), copy.deepcopy(norm)
    found = norm_by_last(stacked, mine.weight, mine.bias, mine.running_mean, mine.running_var, 0.1, 1e-5, 4, True)
    torch.testing.assert_close(found[-6:], by_hand(stacked[-6:]), rtol=1e-12, atol=1e-12)
    mean, var = stacked[-6:].mean(0), stacked[-6:].var(0, correction=0)
    expected = (stacked - mean) / (var + 1e-5).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mine.running_mean, by_hand.running_mean)
    torch.testing.assert_close(mine.running_var, by_hand.running_var)


def test_batch_norm_by_the_last_has_the_gradient_of_its_formula() -> None:
    stacked = torch.randn(6, 2, generator=generator(), dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.rand(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.autograd.gradcheck(
        lambda s, w, b: norm_by_last(s, w, b, None, None, 0.1, 1e-5, 2, False), (stacked, weight, bias)
    )


@pytest.mark.parametrize("name", ["PostActivation", "PreActivation"])
@pytest.mark.parametrize("memory", [2**28, 1])
def test_running_statistics_see_the_networks_own_states_once(name: str, memory: int) -> None:
    system = adopted(name, generator()).double().train()
    system.memory = memory  # 1 byte: every depth is a chunk of its own
    alone = copy.deepcopy(system)
    readouts = oc.rollout(oc.Network(system), x()).readouts
    out = oc.Network(alone)(x())
    torch.testing.assert_close(readouts[-1], out, rtol=1e-12, atol=1e-12)
    readouts.sum().backward()  # a chunk that is computed again must not count again
    for (key, one), two in zip(alone.state_dict().items(), system.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12, msg=key)


@pytest.mark.parametrize("asked", [
    ["final", "readouts"], ["readouts", "final"], ["final", "final"], ["estimate", "final"], ["final", "estimate"],
])  # fmt: skip
def test_a_trajectory_counts_its_batch_once_whatever_is_read_of_it_and_when(asked: list[str]) -> None:
    system = adopted("PreActivation", generator()).double().train()
    alone = copy.deepcopy(system)
    out = oc.Network(alone)(x())
    trajectory = oc.rollout(oc.Network(system), x())
    for name in asked:
        if name == "estimate":
            trajectory.estimate(lambda readouts: readouts.square().mean(-1), (0, 2))
        else:
            read = getattr(trajectory, name)
            torch.testing.assert_close(read if name == "final" else read[-1], out, rtol=1e-12, atol=1e-12)
    for (key, one), two in zip(alone.state_dict().items(), system.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12, msg=key)


def test_the_output_of_a_trajectory_is_drawn_once() -> None:
    system = oc.adopt(nn.Sequential(ResidualMLP(), nn.Dropout(0.5)).double(), x())
    system.train()
    trajectory = oc.rollout(oc.Network(system), x())
    assert torch.equal(trajectory.final, trajectory.final)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [False, True])
def test_chunks_change_nothing(name: str, training: bool) -> None:
    system = adopted(name, generator()).double().train(training)
    small = copy.deepcopy(system)
    small.memory = 1
    found = []
    for each in (system, small):
        readouts = oc.rollout(oc.Network(each), x()).readouts
        readouts.square().sum().backward()
        found.append([readouts, *(p.grad for p in each.parameters())])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


# -- what it costs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ResidualMLP(depth=6), []),
        (PreActivation(widths=(5, 5, 5, 6, 6, 6)), [4]),
        # The ReLU after a sum: each state passes it once in each stage, all of them the projection.
        (PostActivation(widths=(5, 5, 5, 6, 6, 6)), [2, 1, 4, 5, 1]),
    ],
)
def test_readouts_of_all_depths_pass_each_skip_once(
    model: nn.Module, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = oc.adopt(model.eval(), torch.zeros(2, 2))
    passed: list[int] = []
    heads: list[int] = []
    skips, head = type(system).skips, type(system).heads
    monkeypatch.setattr(type(system), "skips", lambda s, k, z: passed.append(len(z)) or skips(s, k, z))
    monkeypatch.setattr(type(system), "heads", lambda s, z, **count: heads.append(len(z)) or head(s, z, **count))
    oc.rollout(oc.Network(system), x().float()).readouts  # noqa: B018
    assert heads == [7]
    assert passed == expected


# -- the theorem ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ResidualMLP", "PostActivation", "PreActivation"])
@pytest.mark.parametrize("kept", [[0, 1], [0, 2], [1, 2, 3], []])
def test_zero_branches_attain_the_bound_of_the_subresnet_theorem(name: str, kept: list[int]) -> None:
    """arXiv 2506.21453: J of the net with N - M zero branches is that of the M-layer net plus gamma (N - M) Lbar."""
    system = adopted(name, generator()).double()
    for k in set(range(4)) - set(kept):
        for p in system.group(k):
            nn.init.zeros_(p)
    network, gamma, energy = oc.Network(system), 0.7, 0.03
    cost = oc.CrossEntropy()
    problem = oc.Problem(cost, cost, gamma, energy)
    y = torch.tensor([0, 1, 2, 0, 1])
    whole = problem.evaluate(oc.rollout(network, x()), y)
    small = oc.crop(network)
    assert small.depth == len(kept)
    part = problem.evaluate(oc.rollout(small, x()), y)
    idle = [p for k in set(range(4)) - set(kept) for p in network.system.control(k)]
    waste = energy * sum(float(p.detach().square().sum()) for p in idle)  # inner weights of idle branches
    lbar = float(part.terminal)
    if kept == list(range(len(kept))):  # the theorem's own case: the zero branches are the last ones
        assert float(whole.total) == pytest.approx(
            float(part.total) + gamma * (4 - len(kept)) * lbar + waste, rel=1e-12
        )
    assert torch.equal(small(x()), network(x()))
    if kept:  # cut to nothing, the model itself is refused
        assert torch.equal(oc.crop(system)(x()), system(x()))


# -- cutting and files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ResidualMLP", "PostActivation", "PreActivation"])
@pytest.mark.parametrize("kept", [[0, 1], [0, 3], [1, 2]])
def test_a_cut_model_is_the_model_with_zero_branches_and_holds_nothing_else(name: str, kept: list[int]) -> None:
    system = adopted(name, generator()).double()
    small = oc.crop(system, steps=kept)
    zeroed = copy.deepcopy(system)
    for k in set(range(4)) - set(kept):
        for p in zeroed.group(k):
            nn.init.zeros_(p)
    assert torch.equal(small(x()), zeroed(x()))
    mine, theirs = small.state_dict(), system.state_dict()
    assert set(mine) < set(theirs)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    gone = [p for k in set(range(4)) - set(kept) for p in system.plan.branches[k].parameters]
    assert not set(gone) & set(mine)
    again = oc.crop(small, depth=1)
    assert torch.equal(again(x()), oc.crop(system, steps=kept[:1])(x()))
    program = torch.export.export(small, (x(4),), dynamic_shapes=(({0: torch.export.Dim("batch", min=1)},),))
    torch.testing.assert_close(program.module()(x(3)), small(x(3)))


def test_a_cut_model_can_be_fine_tuned(tmp_path: Path) -> None:
    small = oc.crop(adopted("PreActivation", generator()), depth=2)
    small.train()
    optimizer = torch.optim.SGD(small.parameters(), 0.1)
    y = torch.tensor([0, 1, 2, 0, 1])
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(small(x().float()), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]
    oc.save_system(small.eval(), tmp_path / "small")
    again = oc.load_system(tmp_path / "small")
    assert torch.equal(again(x().float()), small(x().float()))
    assert again.steps == small.steps == (0, 1)


def test_files_name_no_code_and_a_system_without_a_source_is_not_saved(tmp_path: Path) -> None:
    model = ResidualMLP().eval()
    with pytest.raises(oc.ConfigError, match="source"):
        oc.save_system(oc.adopt(model, torch.zeros(2, 2)), tmp_path / "a")
    system = oc.adopt(model, torch.zeros(2, 2), source=oc.source_of("adopted_models:ResidualMLP", [2, 2]))
    oc.save_system(system, tmp_path / "b")
    with pytest.raises(oc.StoreError, match="run no code"):
        oc.load_system(tmp_path / "b")
    assert torch.equal(oc.load_system(tmp_path / "b", model=ResidualMLP())(x().float()), model(x().float()))
    with pytest.raises(oc.StoreError):
        oc.load_system(tmp_path / "b", model=ResidualMLP(depth=3))


def test_moving_takes_everything_along() -> None:
    system = language()
    small = oc.crop(system, depth=2).to(torch.float32)
    assert {p.dtype for p in small.parameters()} == {torch.float32}
    ids = torch.zeros(2, 6, dtype=torch.long)
    assert small(ids=ids, mask=torch.ones_like(ids)).dtype == torch.float32


# -- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [ResidualMLP(drop=0.2), PostActivation(), PreActivation()])
def test_an_interrupted_training_goes_on_to_the_bit(model: nn.Module, tmp_path: Path) -> None:
    part = oc.Part(torch.randn(40, 2, generator=generator()), torch.arange(40) % 3)
    problem, options = oc.Problem.classification(3), oc.TrainingSection(epochs=3, batch=8, min_updates=0)
    network = oc.Network(oc.adopt(model, torch.zeros(2, 2)))
    other, whole = copy.deepcopy(network), copy.deepcopy(network)
    oc.fit(whole, problem, part, options)

    def stop(name: str, done: int, total: int, info: object) -> None:
        if done == 7:
            raise KeyboardInterrupt

    options = options.model_copy(update={"checkpoint_seconds": 0})
    with pytest.raises(KeyboardInterrupt):
        oc.fit(network, problem, part, options, folder=tmp_path, progress=stop)
    oc.fit(other, problem, part, options, folder=tmp_path)
    for key, value in whole.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    assert not whole.training
    assert math.isfinite(float(whole(part.x).sum()))


def test_what_a_second_pass_would_change_is_refused() -> None:
    part = oc.Part(torch.randn(8, 2), torch.arange(8) % 3)
    problem = oc.Problem.classification(3)
    dropping = oc.adopt(ResidualMLP(drop=0.2), torch.zeros(2, 2))
    for system in (dropping, adopted("PreActivation", generator())):
        network = oc.Network(system)
        with pytest.raises(oc.ConfigError, match="gradient_checkpointing"):
            oc.fit(network, problem, part, oc.TrainingSection(epochs=1, gradient_checkpointing=True))
    with pytest.raises(oc.ConfigError, match="compile"):
        oc.fit(oc.Network(dropping), problem, part, oc.TrainingSection(epochs=1, compile=True))


@pytest.mark.long
def test_compiled_training_is_training(tmp_path: Path) -> None:
    part = oc.Part(torch.randn(64, 2, generator=generator()), torch.arange(64) % 3)
    for make in (ResidualMLP, PreActivation, PostActivation):
        out = []
        for on in (False, True):
            torch.manual_seed(0)
            network = oc.Network(oc.adopt(make(), torch.zeros(2, 2)))
            options = oc.TrainingSection(epochs=3, batch=16, min_updates=0, compile=on)
            oc.fit(network, oc.Problem.classification(3), part, options)
            out.append(network(part.x))
        torch.testing.assert_close(
            *out, rtol=0, atol=0.03
        )  # Adam amplifies rounding; statistics that count more move by 0.1


def test_a_price_cannot_be_bought_off_by_a_smaller_trunk() -> None:
    """Where branches and head begin with a norm, stem, projections and last maps times c change no readout."""
    system = adopted("PreActivation", generator()).double()
    before = oc.rollout(oc.Network(system), x()).readouts
    system.hold_()
    stem, rows = system.model.lift.weight, system.model.lift.weight.norm(dim=1)
    down = next(m for m in system.model.down if isinstance(m, nn.Linear)).weight
    norms = down.norm(dim=1)
    with torch.no_grad():
        stem.mul_(0.2)
        down.mul_(0.2)
    system.constrain_()
    torch.testing.assert_close(stem.norm(dim=1), rows)
    torch.testing.assert_close(down.norm(dim=1), norms)
    torch.testing.assert_close(oc.rollout(oc.Network(system), x()).readouts, before)
    assert not set(system.plan.trunk) & {"head.weight", "norm.weight"}
    language = PreNormTransformer()
    language.head.weight = language.tokens.weight  # tied: the head would lose its scale too
    tied = oc.adopt(language, torch.zeros(2, 6, dtype=torch.long))
    assert set(tied.plan.trunk) == {"places.weight"}
