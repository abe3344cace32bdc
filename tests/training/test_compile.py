"""One graph for a whole training, without breaks, equal to the eager one; what it cost and gained."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch._dynamo

from node_oc.config import TrainingSection
from node_oc.data import spirals
from node_oc.discretization import HEUN, Controls, DepthGrid, Network
from node_oc.errors import ConfigError
from node_oc.problem import Problem
from node_oc.record.compilation import compilation
from node_oc.system import ConvSystem, DenseSystem
from node_oc.training import Plan, fit
from node_oc.training.checkpoint import training_work
from node_oc.training.objective import Compilation, Scaled, Unstacked, compiled

PART = spirals(train=32, val=4, test=4).train


def networks() -> list[Network]:
    return [
        Network(DenseSystem(2, 2, depth=3, width=3, hidden=4), DepthGrid((0.5, 0.3, 1.0)), HEUN, awake=[0, 2]),
        Network(ConvSystem((1, 1, 2), 2, channels=(2, 3), blocks=(1, 1))),
    ]


@pytest.mark.parametrize("which", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_compiled_training_is_the_eager_one_in_one_graph(which: int, tmp_path: Path) -> None:
    ends = []
    for on in (False, True):
        net = networks()[which].double()
        options = TrainingSection(batch=8, compile=on, precision="64-true", checkpoint_seconds=0)
        problem = Problem.classification(2).priced(0.05)
        torch._dynamo.utils.counters.clear()
        with torch._dynamo.config.patch(error_on_recompile=True):
            fit(net, problem, PART, options, plan=Plan("a", updates=9), folder=tmp_path / f"{on}" / "a")
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        assert graphs == (1 if on else 0)
        assert not torch._dynamo.utils.counters["graph_break"]
        ends.append(net.state_dict())
        (work,) = training_work(tmp_path / f"{on}")
        assert (work["compilation"] is not None) == on
    for key, p in ends[0].items():
        torch.testing.assert_close(ends[1][key], p, rtol=1e-9, atol=1e-10)
    assert work["compilation"]["seconds"] > 0
    assert compilation([work])["graphs"] == 1


def test_a_compiled_gradient_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The eager objective stands for the compiled one, with a terminal cost that counts twice."""
    net, x, y = networks()[0], PART.x[:8], PART.y[:8]
    controls = Controls(net)
    eager = Scaled(net, Problem.classification(2), controls, None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: None)
    monkeypatch.setattr(Unstacked, "forward", lambda self, x, y: tuple(1.01 * v for v in eager(x, y)))
    with pytest.raises(ConfigError, match=r"training.compile: got a gradient that differs by 1.0e-02 of its norm"):
        compiled(eager, controls, x, y)
    monkeypatch.setattr(Unstacked, "forward", lambda self, x, y: eager(x, y))
    assert compiled(eager, controls, x, y)[1].seconds < 1


def test_when_compiling_pays() -> None:
    assert Compilation(3.0, 5.0, 2.0).pays_after == pytest.approx(1000)
    assert math.isinf(Compilation(3.0, 2.0, 2.0).pays_after)


def entry(updates: int, seconds: float, eager: float, compiled: float) -> dict[str, object]:
    cost = {"seconds": seconds, "eager": eager, "compiled": compiled}
    return {"training": f"t{updates}", "updates": updates, "compilation": cost}


def test_the_sentence_of_a_run() -> None:
    assert compilation([{"training": "a", "updates": 5, "compilation": None}]) is None
    told = compilation([entry(9000, 10.0, 5.0, 3.0), entry(1000, 8.0, 2.0, 3.0)])
    assert (told["graphs"], told["seconds"], told["won"]) == (2, 18.0, pytest.approx(17.0))
    assert "pays after 5,000 updates" in told["sentence"]
    assert "Over all 10,000 updates it cost 1 s" in told["sentence"]
    assert "pays never" in compilation([entry(10, 1.0, 2.0, 3.0)])["sentence"]
    assert "it saved 8 s" in compilation([entry(9000, 10.0, 5.0, 3.0)])["sentence"]
    json.dumps(told)
