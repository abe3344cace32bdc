"""Discrete weights in the one training loop: an update is the rule, resumed to the bit, and nothing fails silently."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from node_oc.config import Config, TrainingSection
from node_oc.cropping import crop
from node_oc.data import Part, digits
from node_oc.discretization import Network
from node_oc.errors import ConfigError, DivergenceError, StoreError
from node_oc.pipeline.objects import make_network, make_problem
from node_oc.problem import CrossEntropy, Problem, SquaredHinge, TorchLoss, discrete_slopes
from node_oc.system import DiscreteResidualSystem, DiscreteSystem
from node_oc.training import Plan, fit
from node_oc.training.loop import make_fabric
from node_oc.training.method import Method
from node_oc.training.methods import make_method
from node_oc.training.msa import MSA, MovingAverage
from node_oc.training.msa.proposal import proposal_of
from node_oc.training.stage_cost import StageCost

SPLIT = digits(0)
PART = Part(SPLIT.train.x[:200], SPLIT.train.y[:200])
OPTIONS = TrainingSection(batch=50, learning_rate=1e-3, beta2=0.999, clip=0.0, msa_rho=0.25)
PLAIN = Problem(CrossEntropy(), CrossEntropy(), 0.0)
STAGE = Problem(CrossEntropy(), SquaredHinge(), 0.5)


def chain(values: str = "ternary") -> Network:
    return Network(DiscreteSystem(64, 10, layers=("24", "20"), values=values))


def residual(values: str = "ternary") -> Network:
    return Network(DiscreteResidualSystem(64, 10, depth=3, width=12, hidden=10, values=values))


def layers(net: Network) -> list[Tensor]:
    return [layer.weight.clone() for k in range(net.depth) for layer in net.system.discrete(k)]


@pytest.mark.parametrize("values", ["binary", "ternary"])
@pytest.mark.parametrize(("make", "problem"), [(chain, PLAIN), (residual, STAGE)])
def test_an_update_is_the_rule_on_the_slopes_of_the_hamiltonians(make: object, problem: Problem, values: str) -> None:
    """Whole tensors by definition, beside rows and blocks: mean first, then tau of the layer, then the minimiser."""
    net: Network = make(values).double().train()  # type: ignore[operator]
    options = OPTIONS.model_copy(update={"precision": "64-true", "msa_forget": 0.1, "msa_sparsity": 1e-5})
    method = make_method(net, problem, options, 6, False, make_fabric(options), epoch=2)
    assert isinstance(method, MSA)
    means = [m.clone() for m in method.means]
    x, y, changed = PART.x[:50].double(), PART.y[:50], 0
    for update in range(6):
        old = [w.detach().clone() for w in method.weights]
        slopes = [g for each in discrete_slopes(net, problem, x, y) for g in each]
        info = method.step(update, x, y)
        for (_, layer), m, g, w, new in zip(method.layers, means, slopes, old, method.weights, strict=True):
            MovingAverage(0.1, 0.95, 2).update_(m, g, update)
            wrong = w.sign() != (-m).sign()
            tau = 0.25 * float(m[wrong].abs().max()) if wrong.any() else 0.0
            rule = proposal_of(layer.values, 1e-5, "it")
            costs = torch.stack([rule.cost(torch.full_like(w, v), w, m, tau) for v in rule.values])
            best = torch.tensor(rule.values, dtype=torch.float64)[costs.argmin(0)]
            assert torch.equal(best, new.detach())
            changed += int((w != best).sum())
        assert info.nonzero == pytest.approx(sum(float(w.abs().sum()) for w in old) / sum(w.numel() for w in old))
    assert changed > 50
    for m, kept in zip(means, method.means, strict=True):
        torch.testing.assert_close(kept, m, rtol=1e-9, atol=1e-15)
    method.close()
    assert all(layer.relaxed is None for _, layer in method.layers)
    assert [torch.equal(w, v.detach()) for w, v in zip(layers(net), method.weights, strict=True)]


@pytest.mark.parametrize("values", ["binary", "ternary"])
def test_fit_learns_with_discrete_weights(values: str) -> None:
    cost = SquaredHinge() if values == "binary" else CrossEntropy()
    net = Network(DiscreteSystem(64, 10, layers=("64", "64"), values=values))
    fit(net, Problem(cost, cost, 0.0), SPLIT.train, OPTIONS, plan=Plan(updates=120, cosine=False))
    assert float((net(SPLIT.val.x).argmax(1) == SPLIT.val.y).float().mean()) > 0.9
    known = {"binary": {-1, 1}, "ternary": {-1, 0, 1}}[values]
    assert all(w.dtype == torch.int8 and set(w.unique().tolist()) <= known for w in layers(net))


@pytest.mark.parametrize(("make", "problem"), [(chain, PLAIN), (residual, STAGE.priced(0.01))])
def test_interrupted_at_any_update_resumes_to_the_same_bits(make: object, problem: Problem, tmp_path: Path) -> None:
    plan = Plan("p", updates=9, average=0.4)
    options = OPTIONS.model_copy(update={"checkpoint_seconds": 0.0})
    whole: Network = make()  # type: ignore[operator]
    start = layers(whole)
    average = fit(whole, problem, PART, options, plan=plan, folder=tmp_path / "whole")
    assert any(not torch.equal(a, b) for a, b in zip(start, layers(whole), strict=True))
    for stop in (1, 5, 8):

        def interrupt(name: str, done: int, updates: int, info: object, stop: int = stop) -> None:
            if done == stop:
                raise KeyboardInterrupt

        again: Network = make()  # type: ignore[operator]
        folder = tmp_path / f"stopped-{stop}"
        with pytest.raises(KeyboardInterrupt):
            fit(again, problem, PART, options, plan=plan, folder=folder, progress=interrupt)
        again = make()  # type: ignore[operator]
        resumed = fit(again, problem, PART, options, plan=plan, folder=folder)
        assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())
        assert all(torch.equal(resumed[k], v) for k, v in average.items())
        assert (folder / "history.jsonl").read_bytes() == (tmp_path / "whole" / "history.jsonl").read_bytes()
    line = json.loads((tmp_path / "whole" / "history.jsonl").read_text().splitlines()[-1])
    assert 0.3 < line["nonzero"] <= 1


def test_discrete_weights_are_part_of_what_a_checkpoint_is_of(tmp_path: Path) -> None:
    fit(chain(), PLAIN, PART, OPTIONS, plan=Plan(updates=1), folder=tmp_path)
    other = Network(DiscreteSystem(64, 10, layers=("24", "20"), generator=torch.Generator().manual_seed(7)))
    with pytest.raises(StoreError, match="discrete weights at the start differ"):
        fit(other, PLAIN, PART, OPTIONS, plan=Plan(updates=1), folder=tmp_path)


def test_a_residual_net_with_a_price_loses_steps_and_is_cropped_to_the_bit() -> None:
    net = Network(DiscreteResidualSystem(64, 10, depth=5, width=16, hidden=16, values="binary"))
    options = OPTIONS.model_copy(update={"learning_rate": 1e-2})
    fit(net, Problem.classification(10).priced(0.15), SPLIT.train, options, plan=Plan(updates=70, cosine=False))
    zero = net.zero_steps()
    assert 0 < len(zero) < 5
    small = crop(net)
    assert small.depth == 5 - len(zero)
    assert torch.equal(small(PART.x), net(PART.x))


def test_bfloat16_keeps_weights_in_their_set() -> None:
    net = chain()
    options = OPTIONS.model_copy(update={"precision": "bf16-mixed"})
    fit(net, PLAIN, PART, options, plan=Plan(updates=5))
    assert all(set(w.unique().tolist()) <= {-1, 0, 1} for w in layers(net))
    assert net(PART.x).dtype == torch.float32


def test_weights_put_back_from_outside_are_the_ones_in_use() -> None:
    net, kept = chain(), {}

    def stop(name: str, done: int) -> bool:
        if done == 2:
            kept.update(copy.deepcopy(net.state_dict()))
        if done == 6:
            net.load_state_dict(kept)
        return done == 6

    fit(net, PLAIN, PART, OPTIONS, plan=Plan(updates=9), stop=stop)
    assert all(torch.equal(v, kept[k]) for k, v in net.state_dict().items())


def test_sleeping_steps_keep_their_weights() -> None:
    net = residual()
    net.set_awake([0, 2])
    before = layers(net)
    fit(net, STAGE, PART, OPTIONS, plan=Plan(updates=8))
    kept = [torch.equal(a, b) for a, b in zip(before, layers(net), strict=True)]
    assert kept == [False, False, True, True, False, False]


# -- nothing silently -----------------------------------------------------------------------------------------


def test_gradients_alone_are_refused_for_discrete_weights() -> None:
    fabric = make_fabric(OPTIONS)
    with pytest.raises(ConfigError, match="gradients alone, with binary weights in step 0"):
        Method(chain("binary"), PLAIN, OPTIONS, 1, True, fabric)
    with pytest.raises(ConfigError, match="ternary weights in step 0"):
        StageCost(residual(), STAGE)


def test_a_layer_without_a_rule_is_named() -> None:
    net = chain()
    net.system.steps[1].layer.values = "quaternary"
    with pytest.raises(ConfigError, match="a DiscreteLinear of step 1: got the set 'quaternary'"):
        fit(net, PLAIN, PART, OPTIONS)


def test_a_loss_without_gradient_at_the_output_is_refused() -> None:
    class Accuracy(nn.Module):
        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return (z.argmax(1) != y).float()

    for problem in (Problem(TorchLoss(Accuracy()), CrossEntropy(), 0.0), Problem(TorchLoss(Accuracy()), CrossEntropy(),
                                                                               0.0, energy=0.1)):  # fmt: skip
        with pytest.raises(ConfigError, match="without a gradient in the output"):
            fit(chain(), problem, PART, OPTIONS)


def test_what_is_not_finite_is_named_by_its_layer() -> None:
    net = chain()
    with torch.no_grad():
        net.system.steps[1].norm.weight.fill_(torch.nan)
    with pytest.raises(DivergenceError, match="layer 2"):
        fit(net, PLAIN, PART, OPTIONS)
    method = make_method(chain().train(), PLAIN, OPTIONS, 1, False, make_fabric(OPTIONS))
    for weight in method.weights:
        weight.grad = torch.zeros_like(weight)
    method.weights[1].grad[3, 4] = torch.inf
    before = [w.detach().clone() for w in method.weights]
    with pytest.raises(DivergenceError, match="slopes of step 1"):
        method.update_discrete(0)
    assert all(torch.equal(a, b) for a, b in zip(before, method.weights, strict=True))


@pytest.mark.parametrize(("problem", "options", "message"), [
    (PLAIN.priced(0.1), {}, "problem.group_price: got 0.1 where no step can be nothing"),
    (PLAIN, {"compile": True}, "training.compile: got True with discrete weights"),
    (PLAIN, {"solver": "dopri5"}, "training.solver: got dopri5 with discrete weights"),
    (PLAIN, {"batch": 1}, "training.batch: got 1 with discrete weights"),
    (PLAIN, {"gradient_checkpointing": True}, "training.gradient_checkpointing: got True with batch norm"),
])  # fmt: skip
def test_what_discrete_weights_exclude(problem: Problem, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(chain(), problem, PART, OPTIONS.model_copy(update=options))


# -- by configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "ternary"])
def test_the_presets_are_the_published_settings(kind: str) -> None:
    config = Config.preset(f"mnist-{kind}", {"data.path": "anywhere"})
    net, problem = make_network(config, SPLIT), make_problem(config, SPLIT)
    assert [tuple(w.shape) for w in layers(net)] == [(2048, 64), (2048, 2048), (2048, 2048), (10, 2048)]
    assert {layer.values for k in range(4) for layer in net.system.discrete(k)} == {kind}
    assert problem == Problem(problem.terminal, problem.stage, 0.0)
    assert repr(problem.terminal) == ("SquaredHinge()" if kind == "binary" else "CrossEntropy()")
    t = config.training
    assert (t.batch, t.epochs, t.learning_rate, t.beta2, t.clip) == (100, 10, 1e-3, 0.999, 0.0)
    rho = {"binary": 0.5, "ternary": 0.25}[kind]
    assert (t.msa_rho, t.msa_forget, t.msa_decay, t.msa_sparsity) == (rho, 1e-3, 0.95, 1e-7)


@pytest.mark.parametrize(("given", "message"), [
    ({"problem.stage_weight": 1.0}, "problem.stage_weight"), ({"problem.price": 0.1}, "problem.price"),
    ({"training.compile": True}, "training.compile"), ({"training.devices": 2}, "training.devices"),
    ({"training.solver": "dopri5"}, "training.solver"), ({"problem.eps": 0.2}, "problem.eps"),
    ({"training.gradient_checkpointing": True}, "training.gradient_checkpointing"),
    ({"training.emsa_rho": 2.0}, r"training.emsa_rho: got a value with system.kind=discrete"),
    ({"training.method": "emsa"}, "training.method"),
    ({"system.width": 8}, "system.width"), ({"system.values": "quaternary"}, "system.values"),
])  # fmt: skip
def test_configurations_that_make_no_sense_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config.preset("mnist-ternary", {"data.path": "anywhere", **given})


def test_layers_of_another_kind_and_costs_of_regression_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"training.msa_rho: got a value with system.kind=dense"):
        Config.load("digits", {"training.msa_rho": 0.1})
    with pytest.raises(ConfigError, match=r"system\.layers"):
        Config.load("digits", {"system.layers": ["64"]})
    table = {"data.source": "table", "data.path": "a.csv", "data.target": "y", "data.task": "regression"}
    with pytest.raises(ConfigError, match=r"problem\.cost"):
        Config.load(None, {**table, "problem.cost": "squared_hinge"})


def test_a_residual_net_by_configuration() -> None:
    config = Config.load("digits", {"system": {"kind": "discrete_residual", "depth": 3, "width": 8, "hidden": 8,
                                               "values": "binary"}, "problem.cost": "cross_entropy"})  # fmt: skip
    net = make_network(config, SPLIT)
    assert (net.depth, {tuple(w.shape) for w in layers(net)}) == (3, {(8, 8)})
    assert repr(make_problem(config, SPLIT).stage) == "CrossEntropy()"
