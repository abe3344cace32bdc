"""Rivals: sweeps and cuts return known answers at a known cost; influence has a closed form; a folder is resumed."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from systems import Field, Projecting, randn
from torch import Tensor

from node_oc import cli, pipeline, store
from node_oc.config import Config, SearchSection, TrainingSection
from node_oc.cropping import crop
from node_oc.data import Part, Split, spirals
from node_oc.discretization import Network
from node_oc.errors import ConfigError, StoreError
from node_oc.plots.rivals import rivals as rivals_picture
from node_oc.problem import Problem
from node_oc.record import sweep_work
from node_oc.search import Compared, DepthSearch, Protocol, Rival, Rivals, Sweeps, block_influence
from node_oc.system import ConvSystem, DenseSystem
from node_oc.system.build import spread
from node_oc.training.checkpoint import training_work

SAMPLES = 1000
OPTIONS = TrainingSection(epochs=60, batch=0, learning_rate=5e-3, min_updates=0)


@pytest.fixture(scope="module")
def split() -> Split:
    return spirals(turns=0.5, train=200, val=500, test=500)


def fresh(depth: int) -> Network:
    generator = torch.Generator().manual_seed(depth)
    return Network(
        DenseSystem(2, 2, depth=depth, width=4, hidden=8, lift="pad", head="coordinates", generator=generator)
    )


class Scripted(Protocol):
    """A protocol that trains nothing: networks are as good as a script says, by their depth."""

    accuracy: Mapping[int, float] = {}
    trained: list[str]

    def heal(self, network: Network, name: str, teacher: Tensor | None = None, share: float = 1 / 3) -> None:
        self.trained.append(name)

    def losses(self, network: Network) -> NDArray[np.float64]:
        wrong = round(SAMPLES * (1 - self.accuracy[network.depth]))
        return (np.arange(SAMPLES) < wrong).astype(float)


def scripted(split: Split, accuracy: Mapping[int, float], budget: float = 0.005, **changes: bool) -> Scripted:
    protocol = Scripted(Problem.classification(2), split, OPTIONS, SearchSection(budget=budget, **changes))
    protocol.accuracy, protocol.trained = accuracy, []
    return protocol


def trained(protocol: Scripted) -> list[int]:
    return [int(name.partition("-")[2]) for name in protocol.trained if name.startswith("plain")]


def steps_up(answer: int, depth: int) -> dict[int, float]:
    """Accuracies that rise with every layer up to the answer, and not after it."""
    return {m: 0.5 + 0.03 * min(m, answer) for m in range(depth + 1)}


@pytest.mark.parametrize(
    ("answer", "limit", "order"),
    [
        (6, 8, [1, 2, 4, 8, 6, 5]),  # the limit ends the doubling
        (6, 16, [1, 2, 4, 8, 16, 6, 5]),
        (5, 12, [1, 2, 4, 8, 12, 6, 5]),  # the last doubling stops at the limit
        (10, 12, [1, 2, 4, 8, 12, 10, 9]),  # what lies under a depth known to be too small is left alone
        (1, 16, [1, 2, 0]),  # where one layer is enough, perhaps none is needed
        (1, 1, [1, 0]),
        (2, 16, [1, 2, 4]),
        (3, 16, [1, 2, 4, 8, 3]),
        (4, 16, [1, 2, 4, 8, 3]),
    ],
)
def test_upwards_trains_exactly_what_it_should(split: Split, answer: int, limit: int, order: list[int]) -> None:
    protocol = scripted(split, steps_up(answer, 16))
    found = Sweeps(protocol, fresh, depth=16).upwards(limit)
    assert trained(protocol) == order
    assert found.depth == found.network.depth == answer
    assert found.work == pytest.approx(sum(order))
    assert found.trainings == tuple(f"plain-{m}" for m in order)


@pytest.mark.parametrize("answer", range(1, 17))
def test_upwards_works_as_much_as_the_report_estimates(split: Split, answer: int) -> None:
    found = Sweeps(scripted(split, steps_up(answer, 64)), fresh, depth=64).upwards()
    assert found.depth == answer
    assert found.work == pytest.approx(sweep_work(answer))


def test_upwards_stops_at_a_gain_within_the_budget_and_judges_by_the_best_seen(split: Split) -> None:
    accuracy = {1: 0.80, 2: 0.90, 3: 0.897, 4: 0.905, 8: 0.99}
    stops = scripted(split, accuracy, budget=0.005)
    assert Sweeps(stops, fresh, depth=8).upwards().depth == 2  # 4 gains no more than the budget, 8 stays unseen
    assert trained(stops) == [1, 2, 4]
    better = scripted(split, {1: 0.5, 2: 0.8, 4: 0.90, 8: 0.904, 3: 0.93}, budget=0.005)
    assert Sweeps(better, fresh, depth=8).upwards().depth == 3  # the best one is met while bisecting


def test_with_a_budget_of_zero_only_as_good_counts(split: Split) -> None:
    accuracy = {m: 0.9 + 0.001 * min(m, 3) for m in range(9)}
    found = Sweeps(scripted(split, accuracy, budget=0.0), fresh, depth=8)
    assert found.upwards().depth == found.sweep(range(1, 9)).depth == 3


def test_the_sweep_over_given_depths_is_the_smallest_within_the_budget_of_the_best(split: Split) -> None:
    protocol = scripted(split, {1: 0.90, 2: 0.951, 3: 0.948, 4: 0.94, 6: 0.953})
    sweeps = Sweeps(protocol, fresh, depth=6)
    found = sweeps.sweep([6, 1, 3, 2, 2])
    assert (found.depth, found.work) == (2, pytest.approx(12))
    assert sweeps.sweep([1, 3]).depth == 3
    assert sorted(trained(protocol)) == [1, 2, 3, 6]  # each once
    assert math.isnan(found.excess)
    assert not found.inside  # there is no reference yet


def test_excess_is_that_against_the_reference(split: Split) -> None:
    protocol = scripted(split, {**steps_up(2, 6), 6: 0.563})
    protocol.judge_by(fresh(6))
    sweeps = Sweeps(protocol, fresh)
    assert sweeps.layers == 6
    assert sweeps.plain(2).excess == pytest.approx(0.003)
    assert sweeps.plain(2).inside
    assert sweeps.plain(1).excess == pytest.approx(0.033)
    assert not sweeps.plain(1).inside
    assert sweeps.fresh_healed(3).work == pytest.approx(1.0)


@pytest.mark.parametrize("depths", [[], [-1], [1, 7]])
def test_depths_that_there_are_not_are_refused_before_training(split: Split, depths: list[int]) -> None:
    protocol = scripted(split, steps_up(2, 8))
    with pytest.raises(ConfigError):
        Sweeps(protocol, fresh, depth=6).sweep(depths)
    assert protocol.trained == []


def test_cuts_want_a_reference_and_a_depth_that_there_is(split: Split) -> None:
    protocol = scripted(split, steps_up(2, 8))
    with pytest.raises(ConfigError, match="judge_by"):
        Rivals(protocol, fresh)
    with pytest.raises(ConfigError, match="judge_by"):
        Rivals(protocol, fresh, depth=6).drop_last()
    assert protocol.trained == []
    protocol.judge_by(fresh(6))
    for way in (Rivals(protocol, fresh).drop_last, Rivals(protocol, fresh).block_influence):
        with pytest.raises(ConfigError, match=r"0\.\.6"):
            way(7)


def test_drop_last_is_the_crop_to_the_first_layers_found_by_bisection(split: Split) -> None:
    protocol = scripted(split, steps_up(3, 6))
    protocol.judge_by(fresh(6))
    found = Rivals(protocol, fresh).drop_last()
    assert (found.depth, found.steps) == (3, (0, 1, 2))
    assert protocol.trained == ["plain-6", "last-2", "last-4", "last-3"]
    assert found.work == pytest.approx(6 + (2 + 4 + 3) / 3)
    same = crop(fresh(6), depth=3)
    assert all(torch.equal(a, b) for a, b in zip(found.network.parameters(), same.parameters(), strict=True))


def test_a_single_cut_costs_the_deep_network_and_its_own_healing(split: Split) -> None:
    protocol = scripted(split, steps_up(3, 6))
    protocol.judge_by(fresh(6))
    rivals = Rivals(protocol, fresh)
    assert rivals.drop_last(2).work == pytest.approx(6 + 2 / 3)
    assert rivals.drop_last(0).steps == ()
    assert rivals.drop_last(6).network is rivals.plain(6).network  # nothing dropped, nothing healed
    assert protocol.trained == ["plain-6", "last-2", "last-0"]
    unhealed = scripted(split, steps_up(3, 6), heal=False)
    unhealed.judge_by(fresh(6))
    assert Rivals(unhealed, fresh).drop_last().work == pytest.approx(6)
    assert unhealed.trained == ["plain-6"]


def test_where_no_cut_is_inside_the_plain_network_stays_whole(split: Split) -> None:
    protocol = scripted(split, dict.fromkeys(range(7), 0.5) | {7: 0.9})
    protocol.judge_by(fresh(7))
    found = Rivals(protocol, fresh, depth=6).block_influence()
    assert (found.depth, found.steps, found.inside) == (6, tuple(range(6)), False)


def test_influence_of_a_turning_block_has_a_closed_form() -> None:
    """x + u J x has a cosine of 1 / sqrt(1 + u^2) with x; a block that stretches x has influence 0, a mirror 2."""
    turn = Network(Field(lambda x: torch.stack([-x[:, 1], x[:, 0]], 1), 3, 2).double())
    stretch = Network(Field(lambda x: x, 3, 2).double())
    part = Part(randn(50, 2), torch.zeros(50))
    for network, u, want in (
        (turn, (1.0, 0.0, -2.0), [1 - 0.5**0.5, 0.0, 1 - 0.2**0.5]),
        (stretch, (3.0, 0.0, -2.0), [0.0, 0.0, 2.0]),
    ):
        for parameter, value in zip(network.system.parameters(), u, strict=True):
            parameter.data.fill_(value)
        assert block_influence(network, part) == pytest.approx(want, abs=1e-12)


def test_a_block_that_does_nothing_has_exactly_no_influence() -> None:
    network = fresh(3)
    with torch.no_grad():
        for parameter in network.system.group(1):
            parameter.zero_()
    part = Part(torch.cat([torch.randn(20, 2), torch.zeros(1, 2)]), torch.zeros(21))
    influence = block_influence(network, part)
    assert influence[1] == 0
    assert min(influence[0], influence[2]) > 0
    network.set_awake([0, 1])
    assert block_influence(network, part)[2] == 0


def test_influence_is_measured_against_the_skip_where_it_projects() -> None:
    network = Network(Projecting((2, 3, 3), 2, torch.Generator().manual_seed(0)).double())
    with torch.no_grad():
        network.system.group(0)[0].zero_()
    part = Part(randn(30, 2), torch.zeros(30))
    influence = block_influence(network, part)
    assert influence[0] == 0
    assert influence[1] > 0
    with torch.no_grad():
        network.system.group(0)[0].fill_(1.0)
    assert block_influence(network, part)[0] > 0


def test_blocks_of_largest_influence_are_kept_in_their_order(split: Split) -> None:
    def quiet(depth: int) -> Network:
        network = fresh(depth)
        with torch.no_grad():
            for k, factor in enumerate((1e-3, 3.0, 1e-2, 5.0)[:depth]):
                network.system.group(k)[0].mul_(factor)
        return network

    protocol = scripted(split, steps_up(0, 4))
    protocol.judge_by(quiet(4))
    rivals = Rivals(protocol, quiet)
    assert [rivals.block_influence(m).steps for m in (1, 2, 3)] == [(3,), (1, 3), (1, 2, 3)]
    assert rivals.block_influence(2).network.depth == 2


def test_crops_are_healed_towards_what_they_were_cut_from(split: Split) -> None:
    class Asked(Scripted):
        def heal(self, network: Network, name: str, teacher: Tensor | None = None, share: float = 1 / 3) -> None:
            teachers[name] = teacher

    teachers: dict[str, Tensor | None] = {}
    protocol = Asked(Problem.classification(2), split, OPTIONS, SearchSection(distil=True))
    protocol.accuracy, reference = steps_up(2, 4), crop(fresh(6), depth=4)
    protocol.judge_by(reference)
    rivals = Rivals(protocol, fresh)
    rivals.drop_last(2)
    rivals.every_depth(reference, [1])
    rivals.fresh_healed(2)
    assert teachers["plain-4"] is None
    assert teachers["fresh-2"] is None
    assert torch.equal(teachers["last-2"], fresh(4)(split.train.x))  # type: ignore[arg-type]
    assert torch.equal(teachers["heal-1"], reference(split.train.x))  # type: ignore[arg-type]
    assert scripted(split, {}).teacher(reference) is None


def test_a_fresh_network_in_stages_has_its_blocks_where_the_cut_one_has_them(split: Split) -> None:
    def staged(depth: int) -> Network:
        return Network(ConvSystem((1, 1, 2), 2, channels=(2, 3), blocks=spread(depth, 2)))

    protocol = scripted(split, dict.fromkeys(range(9), 0.9))
    protocol.judge_by(staged(4))
    rivals = Rivals(protocol, staged)
    assert rivals.fresh_healed(2, (0, 1)).network.system.spec()["blocks"] == [2, 0]
    assert Rivals(protocol, staged).fresh_healed(2).network.system.spec()["blocks"] == [1, 1]
    compared = rivals.compare(rivals.ours(staged(4).keep([0, 1]), staged(4), []), [1])
    assert compared.rows[-1].network.system.spec()["blocks"] == [2, 0]


@pytest.mark.parametrize(("reference", "behind"), [(0.56, None), (0.553, 2), (0.555, None)])
def test_a_reference_that_is_worse_than_the_best_plain_network(
    split: Split, reference: float, behind: int | None
) -> None:
    """Plain networks of 2 layers and more have 0.56, and the budget is 0.005."""
    protocol = scripted(split, {**steps_up(2, 4), 5: reference})
    protocol.judge_by(fresh(5))
    rivals = Rivals(protocol, fresh, depth=4)
    found = rivals.compare(rivals.ours(fresh(2), fresh(4), []), [1, 2])
    assert (found.behind and found.behind.depth) == behind
    assert ("The reference is worse" in found.verdict) == (behind is not None)
    assert [row.depth for row in found.plain] == [1, 2, 4]


# -- the verdict ---------------------------------------------------------------------------------------------


def row(name: str, depth: int, work: float, inside: bool = True, loss: float = 0.1) -> Rival:
    return Rival(name, depth, None, fresh(0), loss, 0.0 if inside else 0.02, inside, work, 1.0, ())


def compared(*rows: Rival, behind: Rival | None = None, **more: object) -> Compared:
    fields = {"plain": [], "budget": 0.005, "samples": 1000, **more}
    return Compared([*rows], cuts=[], reference=row("reference", 8, 0.0), task="classification", behind=behind,
                    **fields)  # type: ignore[arg-type]  # fmt: skip


def test_the_verdict_names_the_fewest_layers_and_the_least_work() -> None:
    text = compared(row("ours", 2, 20), row("sweep, upwards", 3, 10), row("drop last", 8, 12, inside=False)).verdict
    assert "Fewest layers within the budget: 2 (ours), then 3 (sweep, upwards)." in text
    assert "Least work: sweep, upwards, 10.0 trainings of one layer for 3 layers; ours took 2.0 times that, 1.0" in text
    assert "Not within the budget of the reference: drop last (8 layers at +2.00 points, work 12.0)." in text
    assert "better idea" not in text


def test_the_verdict_says_when_a_sweep_was_the_better_idea() -> None:
    assert "better idea" in compared(row("ours", 2, 20), row("sweep, upwards", 2, 10)).verdict
    assert "better idea" not in compared(row("ours", 2, 9), row("sweep, upwards", 2, 10)).verdict
    assert "better idea" not in compared(row("ours", 2, 20), row("sweep, upwards", 2, 10, inside=False)).verdict
    assert "better idea" in compared(row("ours", 2, 20), row("sweep, every given depth", 2, 10)).verdict


def test_the_verdict_says_when_the_reference_is_worse_than_a_plain_network() -> None:
    text = compared(row("ours", 2, 20), behind=row("plain", 3, 3, loss=0.08)).verdict
    assert "worse than a plain network of 3 layers: 2.00 points on the 1000 points that select." in text
    assert "worse" not in compared(row("ours", 2, 20)).verdict


def test_where_the_reference_is_behind_all_are_judged_by_the_best_plain_network() -> None:
    ways = [row("ours", 1, 20, loss=0.36), row("sweep, upwards", 1, 3, loss=0.36), row("drop last", 4, 9, loss=0.102),
            row("fresh, healing epochs only", 1, 1, loss=0.36)]  # fmt: skip
    text = compared(*ways, behind=row("plain", 4, 4, loss=0.1)).verdict
    assert "Fewest layers within the budget: 4 (drop last)." in text
    assert "Not within the budget of the plain network of 4 layers: ours" in text
    assert "better idea" not in text
    assert "not the weights" not in text


def test_the_verdict_says_when_a_plain_network_of_our_depth_is_better() -> None:
    better = row("plain", 2, 2, loss=0.09)
    assert "our depth, 2 layers, is better: 1.00 points" in compared(row("ours", 2, 20), plain=[better]).verdict
    assert "our depth" not in compared(row("ours", 2, 20), plain=[replace(better, loss=0.096)]).verdict
    assert "our depth" not in compared(row("ours", 3, 20), plain=[better]).verdict


def test_the_verdict_says_what_the_samples_and_the_certificate_mean() -> None:
    assert "50 points cannot resolve a budget of 0.005" in compared(row("ours", 2, 20), samples=50).verdict
    assert "cannot resolve" not in compared(row("ours", 2, 20), samples=200).verdict
    assert "cannot resolve" not in compared(row("ours", 2, 20), samples=50, budget=0.0).verdict
    assert "held to its certificate" in compared(row("ours", 2, 20), certified=True).verdict


def test_a_cut_that_dropped_nothing_says_so() -> None:
    assert "for 8 layers, none dropped" in compared(row("ours", 2, 20), row("drop last", 8, 9)).verdict


def test_the_verdict_says_when_cut_weights_were_worth_nothing() -> None:
    fresh_row = row("fresh, healing epochs only", 2, 1)
    text = compared(row("ours", 2, 20), fresh_row).verdict
    assert "not the weights" in text
    assert "Least work: ours" in text  # somebody has to find the depth first
    assert "not the weights" not in compared(row("ours", 2, 20), replace(fresh_row, inside=False)).verdict


def test_the_verdict_does_without_a_work_that_nobody_knows() -> None:
    text = compared(row("ours", 2, math.nan), row("sweep, upwards", 3, 10)).verdict
    assert "Least work: sweep, upwards, 10.0 trainings of one layer for 3 layers." in text
    assert "What it cost is not known." in compared(row("ours", 2, math.nan)).verdict


# -- end to end ----------------------------------------------------------------------------------------------


def test_rivals_of_a_search_are_resumed_from_its_folder(split: Split, tmp_path: Path) -> None:
    calls: list[str] = []

    def go() -> Compared:
        search = DepthSearch(Problem.classification(2), split, OPTIONS, SearchSection(budget=0.05), fresh=fresh,
                             folder=tmp_path, progress=lambda name, *rest: calls.append(name))  # fmt: skip
        found = search.run(fresh(4))
        rivals = Rivals(search.protocol, fresh)
        ours = rivals.ours(found.network, found.source, training_work(tmp_path))
        again = rivals.every_depth(found.source, [c.depth for c in found.candidates])
        assert rivals.plain(1).network.system.spec()["row_norm"] == 0
        assert [row.excess for row in again] == [c.excess for c in found.candidates]  # read, not healed anew
        return rivals.compare(ours, [1, 2])

    first = go()
    names = set(calls)
    assert not any((tmp_path / "compare" / name).exists() for name in ("reference", f"plain-{first.rows[0].depth}"))
    calls.clear()
    second = go()
    assert calls == []
    assert second.verdict == first.verdict
    assert [replace(r, network=None) for r in second.rows] == [replace(r, network=None) for r in first.rows]
    assert {"plain-1", "plain-2", "plain-4", f"fresh-{first.rows[0].depth}"} <= names
    ours = first.rows[0]
    assert all(row.seconds > 0 for row in first.rows if row.depth)
    assert ours.work == pytest.approx(
        sum(e["layer_steps"] for e in training_work(tmp_path) if not e["training"].startswith("plain")) / 60
    )


# -- `node-oc compare` ---------------------------------------------------------------------------------------

SMALL = {
    "system.depth": 3, "data.train": 200, "data.val": 300, "data.test": 200, "data.turns": 0.5, "search.budget": 0.0,
    "training.epochs": 60, "training.min_updates": 0, "export.onnx": False, "export.torch_export": False,
    "search.plain": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a budget of zero, one half and no plain neighbour."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    pipeline.run(Config.preset("spirals", SMALL), folder, name="mine")
    return folder


def without_seconds(record: Any) -> Any:
    if isinstance(record, dict):
        times = ("seconds", "latency_ms")
        return {key: without_seconds(value) for key, value in record.items() if key not in times}
    if isinstance(record, str):
        return re.sub(r", [\d.]+ times by the clock", "", record)
    return [without_seconds(value) for value in record] if isinstance(record, list) else record


@pytest.fixture(scope="module")
def record(run: Path) -> dict[str, Any]:
    return pipeline.compare(run, [0, 1, 2])


def test_a_comparison_leaves_its_record_and_a_picture(run: Path, record: dict[str, Any]) -> None:
    assert json.loads((run / "compare.json").read_text()) == record
    assert (run / "compare.png").stat().st_size > 10_000
    report = json.loads((run / "report.json").read_text())
    rows = {row["name"]: row for row in record["rows"]}
    assert rows["ours"]["layers"] == report["depth"]["depth"]
    assert rows["ours"]["work"] == pytest.approx(report["effort"]["ours"])
    assert rows["ours"]["test"] == report["models"][1]["metric"]
    assert rows["sweep, every given depth"]["trainings"] == ["plain-0", "plain-1", "plain-2"]
    assert record["verdict"].startswith(("The reference is worse", "Fewest layers within the budget"))
    assert record["reference"]["excess"] == 0
    assert {p["layers"] for p in record["plain"]} >= {0, 1, 2, 3}
    assert all(row["inside"] == (row["excess"] <= 0) for row in record["rows"])


def test_a_finished_comparison_is_read_again(run: Path, record: dict[str, Any]) -> None:
    calls: list[str] = []
    again = pipeline.compare(run, [0, 1, 2], progress=lambda name, *rest: calls.append(name))
    assert {**again, "rows": None, "reference": None} == {**record, "rows": None, "reference": None}
    assert without_seconds(again) == without_seconds(record)  # latencies are measured anew
    assert calls == []


def test_an_interrupted_comparison_goes_on_to_the_same_numbers(
    run: Path, record: dict[str, Any], tmp_path: Path
) -> None:
    def stop(name: str, done: int, *rest: object) -> None:
        if name == "plain-2" and done == 20:
            raise KeyboardInterrupt

    folder = tmp_path / "again"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("compare*"))
    with pytest.raises(KeyboardInterrupt):
        pipeline.compare(folder, [0, 1, 2], progress=stop)
    assert not (folder / "compare.json").exists()
    assert without_seconds(pipeline.compare(folder, [0, 1, 2])) == without_seconds(record)


def test_only_a_finished_search_is_compared(tmp_path: Path) -> None:
    config = Config.preset("spirals", {**SMALL, "training.epochs": 2})
    with pytest.raises(StoreError, match="directory of a run"):
        pipeline.compare(tmp_path)
    pipeline.run(config, tmp_path / "fit", only_fit=True)
    with pytest.raises(StoreError, match="without a search"):
        pipeline.compare(tmp_path / "fit")
    about = store.read_json(tmp_path / "fit" / "run.json")
    store.write_json(tmp_path / "fit" / "run.json", {**about, "finished": False, "only_fit": False})
    with pytest.raises(StoreError, match="node-oc resume"):
        pipeline.compare(tmp_path / "fit")


@pytest.mark.parametrize("given", ["4", "-1", "1,,2", "two", "1.5", ""])
def test_depths_on_the_command_line(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["node-oc", "compare", str(run), "--depths", given])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert "depth" in capsys.readouterr().err


def test_the_command_shows_every_way_and_the_verdict(
    run: Path, record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "new" / "mine"
    words = ["node-oc", "compare", str(run), "--depths", "0, 1,2", "--out", str(out)]
    for code, extra in ((0, []), (1, []), (0, ["--overwrite"])):
        monkeypatch.setattr(sys, "argv", [*words, *extra])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert (end.value.code or 0) == code
    told = " ".join(capsys.readouterr().out.split())
    assert record["verdict"] in told
    assert all(row["name"].split()[0] in told for row in record["rows"])
    assert without_seconds(store.read_json(f"{out}.json")) == without_seconds(record)
    assert out.with_suffix(".png").exists()


def made_up(task: str = "classification") -> dict[str, Any]:
    name = "accuracy" if task == "classification" else "loss"

    def point(way: str, depth: int, value: float, inside: bool = True, work: float = 1.0) -> dict[str, Any]:
        test = {"name": name, "value": value, "low": value - 0.01, "high": min(1.0, value + 0.01)}
        return {"name": way, "layers": depth, "depth": depth, "test": test, "inside": inside, "work": work}

    return {
        "name": "made $up", "task": task, "N": 8, "reference": point("reference", 8, 0.99),
        "rows": [point("ours", 2, 0.98, work=12.0), point("sweep, upwards", 3, 0.985, False, 18.0),
                 point("drop last", 8, 0.985, False, 9.0), point("block influence", 4, 0.97, work=11.0),
                 point("fresh, healing epochs only", 2, 0.9, False, 0.7)],
        "plain": [point("plain", 1, 0.8, False), point("plain", 3, 0.985, False), point("plain", 8, 1.0)],
        "cuts": [point("block influence", 4, 0.97), point("drop last", 4, 0.9, False)],
        "candidates": [point("", 2, 0.98), point("", 1, 0.7, False)],
    }  # fmt: skip


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_picture_shows_the_numbers_of_the_record(task: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fig = rivals_picture(made_up(task))
        fig.draw_without_rendering()
    lines = {line.get_gid(): line for ax in fig.axes for line in ax.lines if line.get_gid()}
    curve = lines["curve ours"]
    assert np.round(curve.get_xdata()).tolist() == [1, 2]
    assert curve.get_ydata() == pytest.approx([30.0, 2.0] if task == "classification" else [0.7, 0.98])
    assert np.round(lines["curve drop last"].get_xdata()).tolist() == [4, 8]  # nothing dropped: the plain network
    assert np.round(lines["inside plain"].get_xdata()).tolist() == [8]
    assert {gid for gid in lines if gid.startswith("answer")} == {
        "answer ours", "answer plain", "answer drop last", "answer block influence"
    }  # fmt: skip
    widths = [bar.get_width() for bar in fig.axes[1].patches]
    assert widths == [12.0, 18.0, 9.0, 11.0, 0.7]
