"""Early exit in one ONNX file: the same depths and outputs as in torch, without node_oc."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from systems import randn, stir_

import node_oc as oc
from node_oc.errors import ConfigError, StoreError
from node_oc.exporting import exits, export_exits
from node_oc.inference import EarlyExit, Model
from node_oc.policies import Threshold


def early() -> tuple[EarlyExit, torch.Tensor]:
    net = oc.Network(oc.DenseSystem(2, 3, depth=4, width=4, hidden=5))
    stir_(net)
    scale = oc.Scale(torch.tensor([10.0, -1.0]), torch.tensor([2.0, 0.5]))
    model = Model(net, scale, None, {"task": "classification", "classes": ["a", "b", "c"], "features": ["p", "q"]})
    return EarlyExit(model, Threshold("confidence", 0.65, (1, 3, 4))), scale.undo(randn(300, 2)).float()


@pytest.mark.long  # torch.onnx.export takes seconds a block
def test_one_graph_stops_the_same_rows_at_the_same_depths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, x = early()
    blocks = exits.onnx_blocks(ours, x)
    monkeypatch.setattr(exits, "onnx_blocks", lambda *_: blocks)  # made once: exporting takes seconds
    path = tmp_path / "exits.onnx"
    assert max(export_exits(ours, x, path).values()) <= 1e-5
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    depths = ours(x).depths
    assert set(depths.tolist()) == {1, 3, 4}
    for rows in (x, x[depths == 1], x[depths == 4], x[:1], x[depths == 3][:2]):
        y, depth = session.run(None, {"x": rows.numpy()})
        found = ours(rows)
        assert depth.tolist() == found.depths.tolist()
        torch.testing.assert_close(torch.from_numpy(y), found.outputs, rtol=1e-5, atol=1e-5)
    other = EarlyExit(ours.model, Threshold("confidence", 0.7, (1, 3, 4)))
    assert max(exits.check_exits_file(other, x, path).values()) == float("inf")  # rows that stop elsewhere
    monkeypatch.setattr(exits, "PARITY", -1.0)
    with pytest.raises(StoreError, match="relative difference"):
        export_exits(ours, x, path)
    assert not path.exists()


def test_branches_that_read_the_inputs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, x = early()
    monkeypatch.setattr(type(ours.network), "given", lambda self, _: oc.Network(self.system))
    with pytest.raises(ConfigError, match="branches that read the inputs"):
        export_exits(ours, x, tmp_path / "exits.onnx")
