"""`diagnose --hamiltonian`: its table, its JSON, and which problem and price it asks about."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from systems import zero_

from node_oc import cli, pipeline, store
from node_oc.config import Config
from node_oc.discretization import TABLEAUS
from node_oc.exporting import save_model
from node_oc.inference import Model

SETS = ["system.depth=3", "system.width=4", "system.hidden=4", "training.epochs=1", "training.min_updates=0",
        "training.threads=1", "data.train=50", "data.val=20", "data.test=30"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that fitted alone; its priced network has a sleeping layer."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    config = Config.load("spirals", SETS)
    pipeline.run(config, folder, only_fit=True)
    network, split = pipeline.read_network(folder), pipeline.load_split(config)
    save_model(Model.of(network, split), folder / "cropped")
    zero_(network.system, 1)
    network.set_awake([0, 2])
    save_model(Model.of(network, split), folder / "priced")
    return folder


def diagnose(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["node-oc", "diagnose", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    return capsys.readouterr().out


def test_a_table_with_a_row_a_layer_and_a_sentence(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without = diagnose(monkeypatch, capsys, run, "--which", "priced")
    out = diagnose(monkeypatch, capsys, run, "--which", "priced", "--hamiltonian")
    assert out.startswith(without)
    table = out[len(without) :]
    for word in ("Hamiltonian", "||p_k||", "stationarity", "gap", "ratio", "1 (idle)", "stage weight 1", "price 0."):
        assert word in table
    assert sum(line.startswith("│") for line in table.splitlines()) == 4
    assert "1 of 3 layers idle: at price 0, zero minimises the Hamiltonian for 0 of them, and not for layer 1" in table


def test_the_price_is_that_of_the_shortest_network_inside_the_budget(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = [(0.03, 3, True), (9.0, 2, True), (7.0, 2, True), (99.0, 1, False)]
    entries = [{"price": p, "awake": list(range(n)), "inside": inside} for p, n, inside in prices]
    store.write_json(run / "report.json", {"prices": entries, "verdict": ""})
    try:
        found = json.loads(diagnose(monkeypatch, capsys, run, "--which", "priced", "--hamiltonian", "--json"))
        plain = json.loads(diagnose(monkeypatch, capsys, run, "--which", "cropped", "--hamiltonian", "--json"))
    finally:
        (run / "report.json").unlink()
    principle = found["hamiltonian"]
    assert principle["price"] == 7.0
    assert principle["gap"][1] == principle["residual"][1] == 0
    assert principle["ratio"][1] < 1
    assert principle["sentence"] == "1 of 3 layers idle: at price 7, zero minimises the Hamiltonian for 1 of them."
    assert plain["hamiltonian"]["price"] == 0  # cropped networks are trained for the terminal cost
    assert plain["hamiltonian"]["gap"] == ["inf"] * 3
    assert "hamiltonian" not in json.loads(diagnose(monkeypatch, capsys, run, "--json"))


def test_a_price_of_the_configuration_is_kept(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config.load("spirals", [*SETS, "problem.price=0.25", "problem.stage_weight=0.5", "system.table=midpoint"])
    monkeypatch.setattr(pipeline, "read_config", lambda folder: config)
    network = pipeline.read_network(run, "priced")
    network.table = TABLEAUS["midpoint"]
    monkeypatch.setattr(pipeline, "read_network", lambda folder, which: network)
    out = diagnose(monkeypatch, capsys, run, "--hamiltonian")
    assert "stage weight 0.5, energy 0 and price 0.25" in out
    assert "not computed" in out
