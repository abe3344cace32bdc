"""When the samples of a run stop, as one JSON-able record: page and pictures come from it alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from node_oc import __version__
from node_oc.data.split import Split
from node_oc.policies import Guarantee, Outcome, Policy, Readings, follow, follow_oracle
from node_oc.record.paid import stopping_verdict

COSTS = np.geomspace(1e-5, 1.0, 40)
SHOWN = 12  # easiest and hardest samples each
LEAST_SIDE = 6  # pixels; a table of 16 columns is no picture


def make_stopping_record(
    name: str, which: str, layers: int, target: tuple[str, float, float | None],
    readings: tuple[Readings, Readings, Readings], families: Mapping[str, Sequence[Policy]],
    held: Mapping[str, Outcome | str], certain: Mapping[str, Guarantee | str | None], chosen: tuple[str, Outcome],
    by: str, rivals: Mapping[str, Outcome], paying: Mapping[str, Any] | None, split: Split,
) -> dict[str, Any]:  # fmt: skip
    """The record of a run that has learnt when to stop.

    Args:
        name: of the run.
        which: of its networks.
        layers: N.
        target: kind, value, and the confidence that was asked for.
        readings: of the half that fitted, of the half that chose, of the test samples.
        families: their policies.
        held: what was found best of each family on the second half, or why nothing was.
        certain: the guarantee of each family, why there is none, or None where nothing is guaranteed.
        chosen: family and policy taken, as it did on the second half.
        by: "validation" or "guarantee".
        rivals: other networks of the run on the test samples.
        paying: what early exit gains, see :func:`node_oc.inference.what_pays`; None where it was not timed.
        split: test samples and names.
    """
    fitting, holding, testing = readings
    family, best = chosen
    tested = follow(best.policy, testing)
    sure = certain[family]
    record = {
        "format": 1, "node_oc": __version__, "torch": torch.__version__, "name": name, "task": testing.task,
        "which": which, "layers": layers, "exits": list(testing.exits),
        "samples": {"fit": len(fitting), "choose": len(holding), "test": len(testing)},
        "target": {"kind": target[0], "value": target[1], "confidence": target[2]},
        "full": {"depth": float(layers), "loss": float(testing.losses[-1].mean())},
        "families": [_family(n, p, held[n], certain[n], testing) for n, p in families.items()],
        "oracle": [list(point) for point in follow_oracle(testing, COSTS.tolist())],
        "chosen": {"family": family, "by": by, "policy": best.policy.spec(), "held": _outcome(best),
                   "test": _outcome(tested), "guarantee": _guarantee(sure)},
        "histogram": torch.bincount(tested.depths.long(), minlength=layers + 1).tolist(),
        "rivals": {n: _outcome(one) for n, one in rivals.items()},
        "samples_shown": _shown(tested, testing, split), "paying": paying,
    }  # fmt: skip
    return {**record, "verdict": stopping_verdict(record)}


def _family(
    name: str, policies: Sequence[Policy], held: Outcome | str, sure: Guarantee | str | None, testing: Readings
) -> dict[str, Any]:
    curve = sorted({(one.depth, one.loss) for one in (follow(policy, testing) for policy in policies)})
    found = isinstance(held, Outcome)
    return {"name": name, "curve": [list(point) for point in curve],
            "held": _outcome(held) if isinstance(held, Outcome) else None, "why": None if found else held,
            "test": _outcome(follow(held.policy, testing)) if isinstance(held, Outcome) else None,
            "guarantee": _guarantee(sure)}  # fmt: skip


def _outcome(one: Outcome) -> dict[str, float]:
    """Numbers of one policy; the interval of what it loses is 95 %, paired."""
    d = (one.losses - one.reference).numpy()
    half = 1.96 * float(d.std(ddof=1)) / math.sqrt(len(d)) if len(d) > 1 else math.inf
    scale = 1.0 if one.task == "classification" else max(float(one.reference.mean()), 1e-300)
    return {"depth": one.depth, "loss": one.loss, "excess": one.excess, "low": (float(d.mean()) - half) / scale,
            "high": (float(d.mean()) + half) / scale}  # fmt: skip


def _guarantee(sure: Guarantee | str | None) -> dict[str, Any] | None:
    if sure is None:
        return None
    if isinstance(sure, str):
        return {"why": sure}
    return {"why": None, "loss": sure.loss, "confidence": sure.confidence, "test": sure.test, "tested": sure.tested,
            "n": sure.n, "needed": sure.needed, "held": _outcome(sure.outcome)}  # fmt: skip


def _shown(tested: Outcome, testing: Readings, split: Split) -> dict[str, Any] | None:
    """The samples that stop first and last, as images in 0..1; None where features are no square image."""
    x = split.test.x
    if x.dim() == 2:
        side = math.isqrt(x.shape[1])
        if side**2 != x.shape[1] or side < LEAST_SIDE:
            return None
        x = split.x_scale.undo(x).reshape(-1, side, side)
    elif x.dim() == 4:
        x = x.mean(1)
    else:
        return None
    margin = testing.features[0, :, 1] if testing.task == "classification" else -testing.features[0, :, 0]
    rank = tested.depths + 0.5 * (1 - margin.double().argsort().argsort() / max(1, len(margin)))  # ties: the less sure
    order = rank.argsort()
    return {"easiest": [_sample(i, x, tested, split) for i in order[:SHOWN].tolist()],
            "hardest": [_sample(i, x, tested, split) for i in order.flip(0)[:SHOWN].tolist()]}  # fmt: skip


def _sample(index: int, images: Tensor, tested: Outcome, split: Split) -> dict[str, Any]:
    image = images[index].double()
    low, high = float(image.min()), float(image.max())
    pixels = ((image - low) / (high - low if high > low else 1.0)).mul(255).round().int().tolist()
    label = split.classes[int(split.test.y[index])] if split.classes else ""
    return {"index": index, "pixels": pixels, "label": label, "depth": int(tested.depths[index]),
            "wrong": bool(tested.losses[index] > 0) if split.classes else False}  # fmt: skip
