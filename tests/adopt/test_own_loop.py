"""Stage costs and price in loops that are not ours: plain PyTorch, and the Trainer of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adopted_models import ResidualMLP, SharedLoop, adopted
from torch import Tensor, nn

import node_oc as oc
from node_oc.errors import ConfigError

PROBLEM = oc.Problem.classification(3, stage_weight=0.7)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def system() -> oc.AdoptedSystem:
    return adopted("ResidualMLP", generator()).double()


def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    g = generator(1)
    for _ in range(count):
        x = torch.randn(16, 2, generator=g, dtype=torch.float64)
        yield x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


# -- the cost ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", [PROBLEM, replace(PROBLEM, energy=0.1), PROBLEM.terminal_only()])
def test_the_cost_is_the_scaled_objective_of_a_rollout(problem: oc.Problem) -> None:
    network = oc.Network(system())
    cost = oc.StageCost(network.system, problem)
    x, y = next(batches(1))
    expected = problem.scale(network) * problem.evaluate(oc.rollout(network, x), y).smooth
    for batch in (((x, y),), (x, y), ([x, y],)):
        torch.testing.assert_close(cost(*batch), expected, rtol=1e-14, atol=0)
    assert cost.objective is not None
    assert cost.objective.stage.shape == (4,)


def test_a_batch_may_be_a_dict_with_labels_and_needs_a_target() -> None:
    class Named(ResidualMLP):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    x, y = next(batches(1))
    cost = oc.StageCost(oc.adopt(Named().double().eval(), {"x": x}), PROBLEM)
    torch.testing.assert_close(cost({"labels": y, "x": x}), cost({"x": x}, y), rtol=0, atol=0)
    for batch in (x, {"x": x}):
        with pytest.raises(ConfigError, match="Pass the target"):
            cost(batch)


# -- the price -------------------------------------------------------------------------------------------------------


def test_a_step_of_the_price_is_the_proximal_map_in_the_metric_of_the_gradient() -> None:
    network, eta, price = oc.Network(system()), 0.05, 0.3
    problem = PROBLEM.priced(price)
    cost = oc.StageCost(network, problem)
    optimizer = torch.optim.SGD(network.parameters(), eta)
    prices = oc.Price(cost, optimizer)
    cost(next(batches(1))).backward()
    optimizer.step()
    groups = [network.system.group(k) for k in range(4)]
    before = [torch.cat([p.detach().flatten() for p in group]) for group in groups]
    roots = [torch.cat([p.grad.flatten() for p in group]).square().mean().sqrt() for group in groups]  # type: ignore[union-attr]
    prices.step()
    for group, u, root in zip(groups, before, roots, strict=True):
        threshold = eta * problem.scale(network) * price / (root + 1e-8)  # h = 1
        expected = u * (1 - threshold / u.norm()).clamp_min(0)
        torch.testing.assert_close(torch.cat([p.flatten() for p in group]), expected, rtol=1e-10, atol=1e-12)


def test_a_plain_loop_with_a_high_price_makes_groups_zero_and_sleeping_ones_stay_so() -> None:
    torch.manual_seed(0)
    model = ResidualMLP(drop=0.1).double()
    names, held = list(model.state_dict()), {id(p) for p in model.parameters()}
    found = oc.adopt(model, torch.zeros(2, 2).double())
    cost = oc.StageCost(found, PROBLEM.priced(0.3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)  # the user's own parameters
    price = oc.Price(cost, optimizer)
    model.train()
    asleep: set[int] = set()
    gone: tuple[int, ...] = ()
    for step, batch in enumerate(batches(150)):
        optimizer.zero_grad()
        cost(batch).backward()
        optimizer.step()
        gone = price.step()
        assert asleep <= set(gone)
        if step == 100:
            asleep = set(range(4)) - set(price.sleep())
            assert asleep
    assert set(gone) == asleep
    for k in asleep:
        assert all((p == 0).all() for p in found.group(k))
    model.eval()
    assert list(model.state_dict()) == names == list(found.state_dict())
    assert {id(p) for p in model.parameters()} == held
    x, _ = next(batches(1))
    small = oc.crop(found)
    assert small.depth == 4 - len(asleep)
    assert torch.equal(small(x), model(x))


def test_sleeping_branches_stay_zero_where_the_price_alone_would_not_keep_them_there() -> None:
    found = system()
    cost = oc.StageCost(found, PROBLEM.priced(1e-9))
    optimizer = torch.optim.Adam(found.parameters(), lr=0.01)
    price = oc.Price(cost, optimizer)
    awake: tuple[int, ...] = (0, 1, 2, 3)
    for step, batch in enumerate(batches(6)):
        optimizer.zero_grad(set_to_none=False)  # so that the optimiser's momentum moves them
        cost(batch).backward()
        optimizer.step()
        assert set(price.step()) == set(range(4)) - set(awake)
        if step == 2:
            norms = [torch.cat([p.detach().flatten() for p in found.group(k)]).norm() for k in range(4)]
            awake = price.sleep(below=float(torch.stack(norms).median()) + 1e-9)
            assert len(awake) == 2


def test_without_a_price_the_same_loop_keeps_every_branch() -> None:
    found = system()
    cost, optimizer = oc.StageCost(found, PROBLEM), torch.optim.AdamW(found.parameters(), lr=0.01)
    first = last = torch.zeros(())
    for step, batch in enumerate(batches(60)):
        optimizer.zero_grad()
        last = cost(batch)
        first = last.detach() if step == 0 else first
        last.backward()
        optimizer.step()
    assert float(last.detach()) < 0.8 * float(first)
    assert oc.Network(found).zero_steps() == ()


def test_a_price_needs_one_and_branches_of_their_own() -> None:
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    with pytest.raises(ConfigError, match="group_price > 0"):
        oc.Price(oc.StageCost(system(), PROBLEM), sgd)
    shared = oc.adopt(SharedLoop().eval(), torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="shared parameters"):
        oc.Price(oc.StageCost(shared, PROBLEM.priced(1.0)), sgd)


# -- the Trainer of transformers -------------------------------------------------------------------------------------


class Sequences(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Tokens that count up from a random one, the padding at the end of some of them without a label."""

    def __init__(self, count: int = 64, length: int = 8, vocabulary: int = 13) -> None:
        start = torch.randint(0, vocabulary, (count, 1), generator=generator())
        self.ids = (start + torch.arange(length)) % vocabulary
        self.mask = torch.ones_like(self.ids)
        self.mask[::3, 5:] = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        labels = self.ids[i].masked_fill(self.mask[i] == 0, -100)
        return {"labels": labels, "attention_mask": self.mask[i], "input_ids": self.ids[i]}


def test_the_trainer_of_transformers_trains_with_stage_costs_and_a_price(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=131, n_positions=8, n_embd=16, n_layer=2, n_head=2, use_cache=False,
                                     bos_token_id=0, eos_token_id=0)  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    names, held = list(model.state_dict()), {id(p) for p in model.parameters()}
    data = Sequences()
    example = {"input_ids": data.ids[:2], "attention_mask": data.mask[:2]}
    found = oc.adopt(model, example)
    assert found.depth == 4
    cost = oc.StageCost(found, oc.Problem.language(0.5).priced(0.5))

    losses: list[float] = []

    class Trainer(transformers.Trainer):  # type: ignore[name-defined, misc]
        loss_is_scaled_for_ga = False  # a mean over the sequences of a batch

        def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            loss = cost(inputs)
            losses.append(float(loss.detach()))
            return (loss, {}) if return_outputs else loss

    class Priced(transformers.TrainerCallback):  # type: ignore[name-defined, misc]
        price: oc.Price
        gone: tuple[int, ...] = ()

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.price = oc.Price(cost, given["optimizer"])

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.gone = self.price.step()
            if state.global_step == 0.7 * state.max_steps:
                self.price.sleep()

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=16, max_steps=20, learning_rate=1e-2, report_to=[],
        gradient_accumulation_steps=2, save_strategy="no", logging_steps=1, disable_tqdm=True, use_cpu=True,
        lr_scheduler_type="constant",
    )  # fmt: skip
    priced = Priced()
    trainer = Trainer(model=model, args=arguments, train_dataset=data, callbacks=[priced])
    before = float(trainer.compute_loss(model, next(iter(trainer.get_train_dataloader()))).detach())
    losses.clear()
    trainer.train()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    pairs = torch.tensor(losses).view(20, 2).mean(1)
    torch.testing.assert_close(torch.tensor([float(loss) for loss in logged]), pairs, rtol=1e-3, atol=1e-3)
    assert isinstance(cost.problem.draws, int)
    assert cost.objective is not None
    assert float(cost.objective.terminal.detach()) < 0.8 * before
    assert priced.gone
    assert set(range(4)) - set(priced.price.network.awake) <= set(priced.gone)
    for k in priced.gone:
        assert all((p == 0).all() for p in found.group(k))
    assert list(model.state_dict()) == names
    assert {id(p) for p in model.parameters()} == held
    model.eval()
    small = oc.crop(found)
    assert small.depth == 4 - len(priced.gone)
    batch = {"attention_mask": data.mask, "input_ids": data.ids}
    assert torch.equal(small(**example)["logits"], model(**example).logits)
    assert torch.equal(small(**batch)["logits"], model(**batch).logits)
