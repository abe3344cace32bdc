"""What each layer takes, against numbers by hand."""

from __future__ import annotations

import json
from math import ceil, inf

import pytest
from models_of_weights import chain, model_of

from node_oc.packing import Row, packed_weights, summarise
from node_oc.report import speed_sentences
from node_oc.system.dense import DenseSystem


def test_rows_by_hand() -> None:
    model = chain(share=0.5, layers=("40",))
    told = summarise(model)
    assert [row.name for row in told.rows] == [
        "raw units", "steps.0.layer", "steps.0.norm", "steps.1.layer", "steps.1.norm",
    ]  # fmt: skip
    standard, layer, norm = told.rows[:3]
    # Mean and deviation of 12 features in float64.
    assert (standard.values, standard.shape, standard.coding) == ("real", (24,), "float64")
    assert (standard.packed, standard.float32, standard.bits, standard.ratio) == (192, 96, 64.0, 0.5)
    # 40 x 12 weights: a bitmap and signs.
    m = int(model.state_dict()["network.system.steps.0.layer.weight"].count_nonzero())
    assert (layer.values, layer.shape, layer.coding) == ("ternary", (40, 12), "bitmap")
    assert layer.nonzero == m / 480
    assert layer.packed == ceil((480 + m) / 8)
    assert layer.bits == 8 * layer.packed / 480
    assert layer.float32 == 1920
    assert layer.ratio == 1920 / layer.packed
    # Gain, offset, mean and variance of 40 units, and a count of batches in 64 bits.
    assert (norm.shape, norm.packed, norm.float32, norm.coding) == ((161,), 4 * 160 + 8, 644, "float32")
    assert told.discrete.packed == sum(len(p.data) for p in packed_weights(model).values())
    assert told.total.packed == sum(row.packed for row in told.rows)
    assert told.total.shape == (24 + 480 + 161 + 120 + 13,)
    assert told.total.float32 == 4 * told.total.shape[0]


def test_binary_takes_a_bit_and_a_real_model_takes_what_it_takes() -> None:
    layer = summarise(chain("binary", layers=("40",))).rows[1]
    assert (layer.coding, layer.nonzero, layer.packed, layer.bits, layer.ratio) == ("bits", 1.0, 60, 1.0, 32.0)
    real = summarise(model_of(DenseSystem(12, 3, depth=1)))
    assert {row.values for row in real.rows} == {"real"}
    assert real.discrete == Row("discrete", "", (0,), "", 0.0, 0.0, 0, 0)
    assert real.discrete.ratio == inf


def test_the_record_is_json_and_needs_no_speeds() -> None:
    record = summarise(chain()).record()
    assert json.loads(json.dumps(record)) == record
    assert record["speeds"] == []
    assert record["layers"][1]["ratio"] == pytest.approx(record["layers"][1]["float32"] / record["layers"][1]["packed"])


def speed(name: str, batch: int, way: str, ratio: float) -> dict[str, object]:
    return {"name": name, "batch": batch, "milliseconds": {"dense": 2.0, way: 2.0 / ratio}, "way": way, "ratio": ratio}


def test_sentences_on_speeds() -> None:
    layer = "network.system.steps.{}.layer"
    speeds = [
        speed(layer.format(0), 1, "dense", 1.0), speed("all layers", 1, "dense", 1.0),
        speed(layer.format(0), 256, "bags", 4.0), speed(layer.format(1), 256, "dense", 1.0),
        speed("all layers", 256, "sparse", 2.5),
    ]  # fmt: skip
    assert speed_sentences(speeds) == [
        "At a batch of 1 no path without the zeros is faster: every layer stays dense.",
        "At a batch of 256 the model without its zeros is 2.5 times as fast as dense float32 (times as fast by layer: "
        "steps.0.layer 4.0; 1 stays dense).",
    ]
