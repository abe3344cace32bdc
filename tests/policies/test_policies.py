"""Features of readouts, and policies that read them: closed forms, files, what is refused."""

from __future__ import annotations

import json
import math

import pytest
import torch

from node_oc import FixedDepth, Policy, Threshold, policy_from, readout_features, stopping_depths
from node_oc.errors import ConfigError, ShapeError, StoreError
from node_oc.policies import all_exits

N = 4
# One sure logit that grows by a layer: the first sample from the start, the second from layer 3, the third never.
READOUTS = torch.zeros(N + 1, 3, 3)
READOUTS[:, 0, 1] = torch.tensor([5.0, 6.0, 7.0, 8.0, 9.0])
READOUTS[3:, 1, 2] = 6.0


def test_features_in_closed_form() -> None:
    """Logits (a, 0, 0): p = e^a / (e^a + 2)."""
    a = 1.5
    p, q = math.exp(a) / (math.exp(a) + 2), 1 / (math.exp(a) + 2)
    entropy = -p * math.log(p) - 2 * q * math.log(q)
    now, flat = torch.tensor([[0.0, a, 0.0]], dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    assert readout_features(now)[0].tolist() == pytest.approx([entropy, a, p, 0, 0, 0])
    changes = [entropy - math.log(3), a, p - 1 / 3]
    assert readout_features(now, flat)[0].tolist() == pytest.approx([entropy, a, p, *changes])
    assert readout_features(now, flat, "regression")[0].tolist() == pytest.approx([a, a])


def test_features_of_all_layers_at_once_and_in_half_precision() -> None:
    z = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))
    together = readout_features(z[1:], z[:-1])
    assert torch.equal(together, torch.stack([readout_features(a, b) for a, b in zip(z[1:], z[:-1], strict=True)]))
    assert readout_features(z.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("exits", "depths"), [(range(N + 1), [0, 3, 4]), ((1, 2, 4), [1, 4, 4]), ((4,), [4, 4, 4])])
@pytest.mark.parametrize("policy", [("entropy", 0.2), ("confidence", 0.9)])
def test_a_sample_stops_at_the_first_exit_that_is_sure(
    policy: tuple[str, float], exits: tuple[int, ...], depths: list[int]
) -> None:
    assert stopping_depths(Threshold(*policy, exits=tuple(exits)), READOUTS).tolist() == depths  # type: ignore[arg-type]


def test_a_fixed_depth_is_the_same_for_all() -> None:
    assert stopping_depths(FixedDepth(2, (0, 2, 4)), READOUTS).tolist() == [2, 2, 2]


def test_a_regression_stops_where_its_output_rests() -> None:
    outputs = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 2.0]])[..., None]
    assert stopping_depths(Threshold("change", 0.1, (0, 1, 2, 3)), outputs).tolist() == [2, 3]


@pytest.mark.parametrize("policy", [FixedDepth(2, (0, 2, 4)), Threshold("confidence", 0.9, (1, 2, 4)),
                                    Threshold("change", 0.9, (1, 4))])  # fmt: skip
def test_a_policy_is_read_back_from_json(policy: Policy) -> None:
    assert policy_from(json.loads(json.dumps(policy.spec()))) == policy


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "oracle"},
        {},
        {"kind": "fixed", "depth": 9, "exits": [1, 4]},
        {"kind": "fixed", "exits": [1, 4]},
        {"kind": "threshold", "quantity": "margin", "value": 1.0, "exits": [1.5, 4]},
        {"kind": "fixed", "depht": 1, "exits": [1]},
        {"kind": "fixed", "depth": 1, "exits": [1], "task": "ranking"},
        {"kind": ["fixed"], "depth": 1, "exits": [1]},
        None,
        ["fixed"],
    ],
)
def test_a_file_that_describes_no_policy_is_refused(spec: dict) -> None:
    with pytest.raises(StoreError):
        policy_from(spec)


def test_exits_that_the_model_does_not_have_are_refused() -> None:
    assert all_exits(4) == (0, 1, 2, 3, 4)
    assert all_exits(4, [1, 2]) == (1, 2, 4)
    for exits in ([1, 9], [-1, 2], [2, 1], [1, 1]):
        with pytest.raises(ConfigError):
            all_exits(4, exits)
    for exits in ((1, 9), (1, 2)):
        with pytest.raises(ConfigError, match="depth 4"):
            stopping_depths(Threshold("entropy", 0.1, exits), READOUTS)
    with pytest.raises(ConfigError):
        FixedDepth(3, (1, 4))
    with pytest.raises(ConfigError):
        Threshold("surprise", 0.1, (1, 4))  # type: ignore[arg-type]
    with pytest.raises(ShapeError):
        stopping_depths(FixedDepth(4, (4,)), READOUTS[0])


def test_readouts_that_do_not_match_are_refused() -> None:
    with pytest.raises(ConfigError, match="regression"):
        readout_features(torch.zeros(5, 1))
    with pytest.raises(ShapeError):
        readout_features(READOUTS, READOUTS[:1])
