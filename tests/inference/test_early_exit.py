"""Early exit returns what the full network says at the depth where the policy stops, whatever leaves the batch when."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from adopted_models import PreNormTransformer
from cases import DEPTH, SYSTEMS, inputs, network
from systems import decay, linear, randn, stir_
from torch import Tensor

import node_oc as oc
from node_oc.errors import ConfigError, ShapeError
from node_oc.inference import EarlyExit, Model
from node_oc.inference.watching import Watch, WatchOne
from node_oc.policies import FixedDepth, Policy, Threshold, exit_features, stopping_depths
from node_oc.problem.stopping import readout_features
from node_oc.trajectory import rollout

EXITS = tuple(range(DEPTH + 1))


@dataclass
class Lottery(Policy):
    """Stops a share of the samples at every exit, by digits of their entropy; remembers what it was asked."""

    share: float
    exits: tuple[int, ...] = EXITS
    task: Any = "classification"
    asked: list[tuple[int, float]] = field(default_factory=list)

    def stops(self, k: int, features: Tensor) -> Tensor:
        self.asked += [(k, float(value)) for value in features[:, 0]]
        return (features.sum(1) * 997).frac().abs() < self.share

    def spec(self) -> dict[str, Any]:
        return {}


def expected(net: oc.Network, policy: Policy, x: Any) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        readouts = rollout(net, x).readouts
    depths = stopping_depths(policy, readouts)
    return readouts[depths, torch.arange(len(depths))], depths


@pytest.mark.parametrize("name", ["dense-tanh", "dense-gelu-free"])
def test_a_copy_runs_on_its_own_weights(name: str) -> None:
    policy, x = Threshold("margin", 0.5, EXITS), inputs(24)
    early = EarlyExit(network(name).eval(), policy)
    other = copy.deepcopy(early)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.5)
    for one in (early, other):
        outputs, depths = expected(one.network, policy, x)
        found = one(x)
        assert torch.equal(found.depths, depths)
        torch.testing.assert_close(found.outputs, outputs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SYSTEMS)
def test_outputs_are_the_readouts_at_the_stopping_depths(name: str) -> None:
    net, x, policy = network(name).eval(), inputs(24), Lottery(0.4)
    outputs, depths = expected(net, policy, x)
    assert len(depths.unique()) > 2
    for drop_at in (None, (), (0, 2), (1,), (3,)):
        found = EarlyExit(net, policy, drop_at)(x)
        assert torch.equal(found.depths, depths)
        torch.testing.assert_close(found.outputs, outputs, rtol=1e-12, atol=1e-12)
    alone = [EarlyExit(net, policy)(row) for row in x[:8].split(1)]
    assert torch.equal(torch.cat([one.depths for one in alone]), depths[:8])
    torch.testing.assert_close(torch.cat([one.outputs for one in alone]), outputs[:8], rtol=1e-12, atol=1e-12)


def test_each_sample_is_asked_about_once_at_every_exit_until_it_stops() -> None:
    net, x, policy = network("dense-tanh").eval(), inputs(12), Lottery(0.4, (1, 2, 4))
    depths = EarlyExit(net, policy)(x).depths
    asked, policy.asked = policy.asked, []
    assert len(asked) == len(set(asked))
    assert [k for k, _ in asked].count(2) == int((depths > 1).sum())
    assert {k for k, _ in asked} == {1, 2}  # at N everything stops
    EarlyExit(net, policy, (2,))(x)
    assert [k for k, _ in policy.asked] == [1] * 12 + [2] * 12  # one look at both


@pytest.mark.parametrize("depth", EXITS)
def test_all_stop_at_once(depth: int) -> None:
    net, x = network("projecting").eval(), inputs(5)
    outputs, depths = EarlyExit(net, FixedDepth(depth, EXITS))(x)
    assert depths.tolist() == [depth] * 5
    torch.testing.assert_close(outputs, rollout(net, x).readouts[depth].detach(), rtol=1e-12, atol=1e-12)


def test_nothing_stops() -> None:
    net, x = network("conv-two-stages").eval(), inputs(5)
    outputs, depths = EarlyExit(net, Threshold("confidence", 1.1, EXITS))(x)
    assert depths.tolist() == [DEPTH] * 5
    torch.testing.assert_close(outputs, net(x).detach(), rtol=1e-12, atol=1e-12)


def test_no_layers_and_no_samples() -> None:
    x = randn(3, 2)
    outputs, depths = EarlyExit(decay(0, 2), Lottery(0.4, (0,)))(x)
    assert torch.equal(outputs, x)
    assert depths.tolist() == [0, 0, 0]
    for drop_at in (None, (), (2,)):
        outputs, depths = EarlyExit(network("dense-tanh"), Lottery(0.4), drop_at)(inputs(0))
        assert outputs.shape == (0, 3)
        assert depths.shape == (0,)
        assert depths.dtype == torch.int64


def test_a_stopped_sample_leaves_the_batch() -> None:
    net, sizes = network("field").eval(), []
    f = net.system.f
    net.system.f = lambda x: (sizes.append(len(x)), f(x))[1]
    depths = EarlyExit(net, Lottery(0.4))(inputs(24)).depths
    assert sizes == [int((depths > k).sum()) for k in range(DEPTH)]
    sizes.clear()
    EarlyExit(net, Lottery(0.4), {8: (), 32: (2,)})(inputs(24))  # the size next above
    assert sizes == [24, 24, *[int((depths > 2).sum())] * 2]


def test_sleeping_layers_are_passed_over() -> None:
    for name in ("dense-relu", "conv-two-stages"):
        net, x, policy = network(name).eval(), inputs(24), Lottery(0.4)
        net.set_awake((0, 3))
        outputs, depths = expected(net, policy, x)
        found = EarlyExit(net, policy)(x)
        assert torch.equal(found.depths, depths)
        torch.testing.assert_close(found.outputs, outputs, rtol=1e-12, atol=1e-12)


def test_training_mode_is_left_for_the_call_alone() -> None:
    net, x = network("adopted-post-activation"), inputs(6)
    outputs, _ = EarlyExit(net.train(), FixedDepth(2, EXITS))(x)
    assert net.training
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, rollout(net.eval(), x).readouts[2].detach(), rtol=1e-12, atol=1e-12)


class LastToken(PreNormTransformer):
    """Says one thing about a sequence."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return super().forward(ids, mask)[:, -1]


def test_masks_go_with_their_samples() -> None:
    ids = torch.randint(11, (24, 6), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(6) >= torch.arange(24)[:, None] % 6).long()  # padded on the left by 0..5 tokens
    model = LastToken().double()
    stir_(model)
    net = oc.Network(oc.adopt(model.eval(), {"ids": ids[:2], "mask": mask[:2]}))
    x, policy = {"ids": ids, "mask": mask}, Lottery(0.4, tuple(range(net.depth + 1)))
    outputs, depths = expected(net, policy, x)
    assert len(depths.unique()) > 2
    for drop_at in (None, (2,)):
        found = EarlyExit(net, policy, drop_at)(x)
        assert torch.equal(found.depths, depths)
        torch.testing.assert_close(found.outputs, outputs, rtol=1e-12, atol=1e-12)
    one = EarlyExit(net, policy)({"ids": ids[7:8], "mask": mask[7:8]})
    torch.testing.assert_close(one.outputs[0], outputs[7], rtol=1e-12, atol=1e-12)
    other = expected(net, policy, {"ids": ids, "mask": torch.ones_like(mask)})[0]
    assert not torch.allclose(other, outputs)  # the mask matters


def test_a_model_that_says_something_about_each_token_is_refused() -> None:
    for rows in (1, 2):
        with pytest.raises(ShapeError, match="one thing about each sample"):
            EarlyExit(decay(1, 2), Lottery(0.4, (0, 1)))(randn(rows, 6, 2))


def test_wrong_exits_raise() -> None:
    net = network("dense-tanh")
    with pytest.raises(ConfigError, match="no exit at 6"):
        EarlyExit(net, Lottery(0.4, (1, 6)))
    with pytest.raises(ConfigError, match=r"the last of them 4"):
        EarlyExit(net, Lottery(0.4, (1, 3)))
    with pytest.raises(ConfigError, match=r"drop_at.*\[2, 7\].*exits of the policy: \[1, 4\]"):
        EarlyExit(net, Lottery(0.4, (1, 4)), (1, 2, 7))
    with pytest.raises(ConfigError, match="no batch size"):
        EarlyExit(net, Lottery(0.4), {})


# -- features ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_features_are_those_of_the_policy_however_they_are_computed(task: Any, classes: int) -> None:
    readouts = 3 * randn(5, 200, classes)
    readouts[1, 0] = 0.0  # all alike: the two largest are equal
    whole, watch = exit_features(readouts, task), Watch(task)
    looks = torch.cat([watch.features(readouts[:2]), watch.features(readouts[2:3]), watch.features(readouts[3:])])
    torch.testing.assert_close(looks, whole, rtol=1e-10, atol=1e-12)
    for row in (0, 7):
        one = WatchOne(task, classes)
        found = torch.cat([one.features(readout[row : row + 1]) for readout in readouts])
        torch.testing.assert_close(found, whole[:, row], rtol=1e-10, atol=1e-12)
    few = readout_features(readouts[1, :5], readouts[0, :5], task)  # computed another way than many
    torch.testing.assert_close(few, whole[1, :5], rtol=1e-10, atol=1e-12)


def test_what_is_watched_leaves_with_its_sample() -> None:
    readouts, watch = randn(2, 6, 3), Watch("classification")
    watch.features(readouts[:1])
    watch.keep(torch.tensor([5, 2]))
    torch.testing.assert_close(watch.features(readouts[1:, [5, 2]]), exit_features(readouts)[1:, [5, 2]])


# -- a model -------------------------------------------------------------------------------------------------


def test_a_model_stops_early_in_its_own_units_and_says_how_deep(tmp_path: Path) -> None:
    scale = oc.Scale(torch.tensor([10.0, -1.0]), torch.tensor([2.0, 0.5]))
    net = oc.Network(oc.DenseSystem(2, 3, depth=4, width=4, hidden=5))
    stir_(net)
    policy = Threshold("confidence", 0.7, EXITS)
    meta = {"task": "classification", "classes": ["a", "b", "c"], "features": ["p", "q"]}
    model = Model(net, scale, None, {**meta, "stopping": {"policy": policy.spec()}})
    raw = scale.undo(inputs(24, torch.float32))
    labels, probabilities, depths = model.predict_early(raw)
    outputs, where = expected(net, policy, scale.apply(raw).float())
    assert depths == where.tolist()
    assert len(set(depths)) > 1
    assert labels == ["abc"[i] for i in outputs.argmax(1)]
    torch.testing.assert_close(probabilities, outputs.softmax(1), rtol=1e-5, atol=1e-6)
    oc.save_model(model, tmp_path / "model")
    assert oc.load_model(tmp_path / "model").predict_early(raw)[2] == depths
    with pytest.raises(ConfigError, match=r"never learnt when to stop.*node-oc stop RUN"):
        Model(net, scale, None, meta).predict_early(raw)
    with pytest.raises(ShapeError, match="features"):
        model.predict_early(raw[:, :1])


def test_values_stop_early_in_their_units() -> None:
    scale = oc.Scale(torch.zeros(1), torch.ones(1))
    net = oc.Network(linear(*[-0.5 * torch.eye(1, dtype=torch.float64)] * 4))  # halves its value at every layer
    policy = Threshold("change", 0.3, EXITS)
    model = Model(net, scale, oc.Scale(torch.tensor([100.0]), torch.tensor([8.0])),
                  {"task": "regression", "features": ["t"], "stopping": {"policy": policy.spec()}})  # fmt: skip
    values, _, depths = model.predict_early(torch.tensor([[1.0], [0.4], [-16.0]]))
    assert depths == [2, 1, 4]
    assert values == pytest.approx([102.0, 101.6, 92.0])
