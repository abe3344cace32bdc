"""Reading some of the depths: no bias, whatever is drawn; and how many cost as much as a plain step."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from adopted_models import PreNormTransformer, ResidualMLP, adopted
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import node_oc as oc
from node_oc.errors import ConfigError, ShapeError
from node_oc.training.draws import settled


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def classified(name: str, *, training: bool = False, asleep: tuple[int, ...] = ()) -> tuple[oc.Network, Tensor, Tensor]:
    network = oc.Network(adopted(name, generator()).double().train(training))
    network.set_awake(k for k in range(4) if k not in asleep)
    return network, torch.randn(5, 2, generator=generator(1), dtype=torch.float64), torch.arange(5) % 3


@cache
def _language() -> oc.AdoptedSystem:
    torch.manual_seed(0)
    ids = torch.zeros(2, 6, dtype=torch.long)
    return oc.adopt(PreNormTransformer(vocabulary=61).double().eval(), {"ids": ids, "mask": torch.ones_like(ids)})


def language(memory: int = 2**28) -> tuple[oc.Network, dict[str, Tensor], Tensor]:
    """Three sequences, one of them padded."""
    system = copy.deepcopy(_language())
    system.memory = memory
    ids = torch.randint(0, 61, (3, 6), generator=generator())
    mask = torch.ones_like(ids)
    mask[0, 3:] = 0
    return oc.Network(system), {"ids": ids, "mask": mask}, ids.masked_fill(mask == 0, -100)


CASES: dict[str, Callable[[], tuple[oc.Network, object, Tensor]]] = {
    "identity skips": lambda: classified("ResidualMLP"),
    "sleeping steps": lambda: classified("ResidualMLP", asleep=(1, 3)),
    "a projection between stages": lambda: classified("PreActivation"),
    "batch norms in training mode": lambda: classified("PostActivation", training=True),
    "padded sequences": language,
    "padded sequences in chunks": lambda: language(memory=1),
}


def problem(y: Tensor, draws: int | None = None) -> oc.Problem:
    whole = oc.Problem.classification(3, stage_weight=0.7) if y.dim() == 1 else oc.Problem.language(0.7)
    return replace(whole, draws=draws)


@pytest.mark.parametrize("name", CASES)
def test_the_mean_over_all_draws_is_the_whole_cost_and_so_is_its_gradient(name: str) -> None:
    network, x, y = CASES[name]()
    whole = problem(y)
    trajectory = oc.rollout(network, x)
    counted = trajectory.counted
    objective = whole.evaluate(trajectory, y)
    parameters = list(network.parameters())
    exact = torch.autograd.grad(objective.smooth, parameters, retain_graph=True, allow_unused=True)
    for draws in range(1, len(counted)):
        estimates = [
            trajectory.estimate(lambda readouts: whole.stage(readouts, y), drawn)
            for drawn in itertools.combinations(counted, draws)
        ]
        assert all(torch.allclose(end, objective.terminal, rtol=1e-12, atol=0) for _, end in estimates)
        running = torch.stack([each for each, _ in estimates]).mean(0)
        h = torch.tensor(network.grid.h, dtype=torch.float64)
        torch.testing.assert_close(running, h * objective.stage, rtol=1e-12, atol=1e-12)
        mean = torch.stack([end + 0.7 * each.sum() for each, end in estimates]).mean()
        torch.testing.assert_close(mean, objective.smooth, rtol=1e-12, atol=1e-12)
        found = torch.autograd.grad(mean, parameters, retain_graph=True, allow_unused=True)
        for one, two in zip(found, exact, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_every_set_of_depths_has_the_same_chance() -> None:
    network, x, _ = CASES["identity skips"]()
    trajectory, g, times = oc.rollout(network, x), generator(), 3000
    drawn = [trajectory.draw(2, g) for _ in range(times)]
    sets = list(itertools.combinations(range(4), 2))
    deviation = 4.9 * (times / 6 * 5 / 6) ** 0.5  # two-sided alpha = 1e-6 each
    assert all(abs(drawn.count(each) - times / 6) < deviation for each in sets)
    assert set(drawn) == set(sets)


def test_the_same_seed_gives_the_same_draw_and_evaluate_draws_by_it() -> None:
    network, x, y = CASES["identity skips"]()
    trajectory = oc.rollout(network, x)
    seen = {seed: problem(y, 2).evaluate(trajectory, y, generator(seed)).stage for seed in range(4)}
    for seed, stage in seen.items():
        assert torch.equal(problem(y, 2).evaluate(trajectory, y, generator(seed)).stage, stage)
        assert stage.count_nonzero() == 2
        whole = problem(y).evaluate(trajectory, y).stage
        torch.testing.assert_close(stage[stage > 0], 2 * whole[stage > 0], rtol=1e-12, atol=0)
    assert len({tuple(stage.tolist()) for stage in seen.values()}) > 1


@pytest.mark.parametrize("name", ["identity skips", "sleeping steps"])
def test_as_many_draws_as_depths_are_the_whole_cost_to_the_bit(name: str) -> None:
    network, x, y = CASES[name]()
    trajectory = oc.rollout(network, x)
    whole = problem(y).evaluate(trajectory, y)
    for draws in (len(trajectory.counted), 99):
        drawn = problem(y, draws).evaluate(trajectory, y, generator())
        assert torch.equal(drawn.smooth, whole.smooth)
        assert torch.equal(drawn.stage, whole.stage)
    assert torch.equal(problem(y, 1).evaluate(trajectory, y).smooth, whole.smooth)  # without a generator


def test_another_terminal_cost_is_there_with_every_draw() -> None:
    network, x, y = CASES["identity skips"]()
    split = replace(problem(y, 1), terminal=oc.CrossEntropy())
    trajectory = oc.rollout(network, x)
    for seed in range(3):
        terminal = split.evaluate(trajectory, y, generator(seed)).terminal
        torch.testing.assert_close(terminal, F.cross_entropy(network(x), y), rtol=1e-12, atol=0)


# -- how many ----------------------------------------------------------------------------------------------------


def flops(network: oc.Network, x: object, y: Tensor, what: oc.Problem) -> int:
    with FlopCounterMode(display=False) as counter:
        what.evaluate(oc.rollout(network, x), y, generator())
    return counter.get_total_flops()


def test_affordable_draws_are_as_many_as_cost_one_more_pass() -> None:
    network, x, y = language()
    m = oc.affordable_draws(network, x)
    assert m is not None
    assert 1 <= m < network.depth
    plain = flops(network, x, y, problem(y).terminal_only())
    assert flops(network, x, y, problem(y, m)) <= 2 * plain < flops(network, x, y, problem(y, m + 1))


@pytest.mark.parametrize(("outputs", "expected"), [(3, None), (1000, 1)])
def test_all_depths_where_the_head_is_cheap_and_one_where_it_costs_all(outputs: int, expected: int | None) -> None:
    system = oc.adopt(ResidualMLP(outputs=outputs).eval(), torch.zeros(2, 2))
    assert oc.affordable_draws(system, torch.zeros(5, 2)) == expected


def test_auto_is_settled_at_the_first_batch() -> None:
    network, x, y = language()
    auto = oc.Problem.language(0.5)
    assert auto.draws == "auto"
    number = oc.affordable_draws(network, x)
    assert settled(auto, network, x) == replace(auto, draws=number)
    assert settled(auto.terminal_only(), network, x) == auto.terminal_only()  # nothing to draw
    cost = oc.StageCost(network, auto, seed=3)
    loss = cost(x, y)
    assert cost.problem.draws == number
    assert torch.equal(loss, oc.StageCost(network, replace(auto, draws=number), seed=3)(x, y))
    assert cost.objective is not None
    assert cost.objective.stage.count_nonzero() == number
    with pytest.raises(ConfigError, match="affordable_draws"):
        auto.evaluate(oc.rollout(network, x), y, generator())


@pytest.mark.parametrize("draws", [0, -1, "all"])
def test_other_draws_are_refused(draws: object) -> None:
    with pytest.raises(ConfigError, match="at least 1 depth"):
        oc.Problem(oc.NextToken(), oc.NextToken(), draws=draws)  # type: ignore[arg-type]


def test_fit_draws_too_and_an_interrupted_one_goes_on_to_the_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    system = oc.adopt(PreNormTransformer(vocabulary=61).eval(), torch.zeros(2, 6, dtype=torch.long))
    ids = torch.randint(0, 61, (24, 6), generator=generator())
    part, auto = oc.Part(ids, ids), oc.Problem.language(0.5)
    options = oc.TrainingSection(epochs=2, batch=6, min_updates=0, checkpoint_seconds=0)
    whole, fixed, again = (oc.Network(copy.deepcopy(system)) for _ in range(3))
    oc.fit(whole, auto, part, options)
    oc.fit(fixed, replace(auto, draws=oc.affordable_draws(fixed, ids[:6])), part, options)

    def stop(name: str, done: int, total: int, info: object) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        oc.fit(copy.deepcopy(again), auto, part, options, folder=tmp_path, progress=stop)
    oc.fit(again, auto, part, options, folder=tmp_path)
    for p, one, two in zip(whole.parameters(), fixed.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, one)
        assert torch.equal(p, two)


# -- the loss of a language model ----------------------------------------------------------------------------------


def test_next_token_loss_is_that_of_transformers() -> None:
    loss_utils = pytest.importorskip("transformers.loss.loss_utils")
    logits = torch.randn(2, 4, 7, 5, generator=generator(), dtype=torch.float32)
    labels = torch.randint(0, 5, (4, 7), generator=generator(1))
    labels[1, 4:], labels[2, :3], labels[3, 2] = -100, -100, -100
    mine = oc.NextToken()(logits, labels)
    for depth, sequence in itertools.product(range(2), range(4)):
        z, y = logits[depth, sequence : sequence + 1], labels[sequence : sequence + 1]
        theirs = loss_utils.ForCausalLMLoss(z, y, vocab_size=5)
        torch.testing.assert_close(mine[depth, sequence], theirs, rtol=1e-6, atol=1e-6)
    # Theirs of a batch is a mean over its tokens, ours over its sequences; the same where all have equally many.
    tokens = (labels[:, 1:] != -100).sum(1)
    theirs = loss_utils.ForCausalLMLoss(logits[0], labels, vocab_size=5)
    torch.testing.assert_close((mine[0] * tokens).sum() / tokens.sum(), theirs, rtol=1e-6, atol=1e-6)
    full = torch.randint(0, 5, (4, 7), generator=generator(2))
    theirs = loss_utils.ForCausalLMLoss(logits[0], full, vocab_size=5)
    torch.testing.assert_close(oc.NextToken()(logits, full)[0].mean(), theirs, rtol=1e-6, atol=1e-6)


def test_next_token_loss_in_closed_form() -> None:
    labels = torch.tensor([[3, 1, 2], [-100, -100, -100]])
    sure = F.one_hot(torch.tensor([[1, 2, 0], [0, 0, 0]]), 4).double()[None] * 100
    torch.testing.assert_close(oc.NextToken()(sure, labels), torch.zeros(1, 2).double(), rtol=0, atol=1e-12)
    even = oc.NextToken()(torch.zeros(3, 2, 3, 4).double(), labels)
    torch.testing.assert_close(even, torch.tensor([[4.0, 1.0]]).double().log().expand(3, 2))
    with pytest.raises(ShapeError, match="token ids"):
        oc.NextToken()(torch.zeros(2, 3, 4), labels)
