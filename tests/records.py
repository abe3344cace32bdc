"""A made-up but realistic record, as the end of a run writes it: for tests of pictures and reports."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def record(task: str = "classification", classes: int = 2, N: int = 20, M: int = 3) -> dict[str, Any]:
    """What report.json would hold; the pictures of the plane and of the minimisers have K = 2 only."""
    rng = np.random.default_rng(7)
    right = task == "classification"
    two = right and classes == 2
    worse = 1 if right else -1
    name, best = ("accuracy", 0.9987) if right else ("loss", 0.0131)
    names = [str(c) for c in range(classes)] if right else []

    def metric(value: float) -> dict[str, Any]:
        half = 1.96 * math.sqrt(max(value * (1 - value), 1e-9) / 10000)
        return {"name": name, "value": value, "low": value - half, "high": value + half}

    def model(label: str, layers: int, value: float) -> dict[str, Any]:
        ms = 0.03 + 0.031 * layers
        latency = {"1": {"p50": ms, "p95": 1.24 * ms}, "256": {"p50": 2.1 * ms, "p95": 2.9 * ms}}
        return {"name": label, "layers": layers, "parameters": 280 * layers, "flops": 512 * layers,
                "latency_ms": latency, "metric": metric(value)}  # fmt: skip

    limit = 0.005 if right else 0.0
    prices = [
        _price(N, 0.03, range(6), 0.0004), _price(N, 0.1, range(5), 0.0011), _price(N, 0.3, range(4), 0.0032),
        _price(N, 1.0, range(2), 0.1412),
    ]  # fmt: skip
    if not right:
        for price in prices:
            price["loss"], price["excess"] = 0.0131 + price["excess"], price["excess"] - 0.0009
    for price in prices:
        price["inside"] = price["excess"] <= limit
    certificate = {"mean": 0.0006, "limit": 0.00231, "budget": limit, "n": 5000, "needed": 5000, "holds": right}
    if not right:
        certificate.update(mean=-0.0004, limit=0.0008, needed=21000)
    candidates = [
        {"depth": 2, "raw": 0.361, "excess": 0.0164, "inside": False, "test": metric(best - worse * 0.0155),
         "certificate": None},
        {"depth": M, "raw": 0.0127, "excess": 0.0004 if right else -0.0004, "inside": True,
         "test": metric(best - worse * 0.0002), "certificate": certificate},
    ]  # fmt: skip
    full = _profile(rng, N, task, classes, two)
    cropped = {key: value[: M + 1] if isinstance(value, list) else value for key, value in full["test"].items()}
    control = [1.9 * math.exp(-0.55 * k) * (1 + 0.2 * rng.random()) if k < 6 else 0.0 for k in range(N)]
    return {
        "format": 1, "node_oc": "0.1.0", "torch": "2.13.0", "threads": 2, "name": "spirals" if two else "table",
        "config": {"data": {"source": "spirals" if two else "table", "seed": 0, "drop": []},
                   "system": {"depth": N, "width": 8, "lift": "pad" if two else "linear", "step": 1.0},
                   "problem": {"eps": 0.05, "stage_weight": 1.0, "price": "auto"},
                   "search": {"budget": 0.005, "confidence": 0.95, "certify": False, "heal": True}},
        "data": {"task": task, "classes": names, "features": 2 if two else 64, "train": 1000, "val": 10000,
                 "test": 10000},
        "growth": None,
        "verdict": f"{M} of {N} layers are enough: the cropped network is within the budget of the full one.",
        "depth": {"N": N, "depth": M, "selected": M, "certified": M if right else None,
                  "entry_accuracy": 4 if right else None, "entry_distance": 5},
        "models": [model("full", N, best), model("cropped", M, best - worse * 0.0002),
                   model("plain", M, best - worse * 0.0009)],
        "budget": {"budget": 0.005, "ceiling": 1.0, "limit": limit, "confidence": 0.95, "selecting": 5000,
                   "certifying": 5000},
        "prices": prices, "candidates": candidates, "disagreement": 0.0017 if right else None,
        "neighbour": 0.0002,
        "profile": {**full, "control": control, "cropped_test": cropped},
        "turnpike": {"found": True, "entry": 5, "exit": None, "level": 0.1,
                     "sentence": "The distance to the minimisers stays below 0.1 from k = 5 on."},
        "decay": {"law": "exponential", "rate": 0.9, "low": 0.8, "high": 1.0, "window": [0, 7],
                  "sentence": "Exponential decay: the excess falls like 0.5 exp(-0.9 t), rate in [0.8, 1]."},
        "counting": {"verdict": "holds", "objective": 0.81, "bound": 0.83, "other": "another network",
                     "sentence": "Counting bound holds: J is 0.81 above its least value, with another network 0.83."},
        "dissipation": {"strict": True, "least": 0.0001, "layer": 7,
                        "sentence": "Strictly dissipative on these trajectories, least residual 0.0001 at layer 7."},
        "calibration": [_calibration(name, passes) for name in ("full", "cropped") for passes in (None, 32)]
        if right else None,
        "plane": _plane(rng, N, M) if two else None,
        "minimisers": _minimisers(rng) if two else None,
        "portrait": _portrait(N) if two and N else None,
        "left_out": {} if two else {"portrait": "The states are maps and not vectors: no plane shows their field."},
        "parity": {"onnx": {"1": 1.2e-7, "7": 2.4e-7, "256": 3.1e-7}},
        "work": [{"training": "reference", "updates": 3000, "seconds": 20.13, "layer_steps": 60000},
                 {"training": "price-0.03", "updates": 600, "seconds": 4.4, "layer_steps": 12000},
                 {"training": "heal-3", "updates": 1000, "seconds": 1.61, "layer_steps": 3000},
                 {"training": "plain-3", "updates": 3000, "seconds": 4.71, "layer_steps": 9000}],
        "files": {"cropped.safetensors": "weights of the cropped network", "cropped.onnx": "the same as ONNX"},
    }  # fmt: skip


def adaptive(trainings: int = 2) -> dict[str, Any]:
    """Trained through an adaptive solver."""
    curves = [{"training": f"price-{i}", "epoch": [0.5 * e for e in range(1, 9)],
               "evaluations": [56 + 14 * i + (e > 4) * 12 for e in range(8)]} for i in range(trainings)]  # fmt: skip
    return {**record(), "solver": {"evaluations": 9000, "accepted": 700, "rejected": 30, "table_error": 0.01,
                                   "curves": curves, "sentence": "9,000 evaluations of the field."}}  # fmt: skip


def three_classes() -> dict[str, Any]:
    """Two features and three classes: the plane, but no pair of minimiser sets."""
    out = record()
    out["data"]["classes"] = ["a", "b", "c"]
    out["plane"]["regions"] = [[c if i % 3 else 2 for i, c in enumerate(grid)] for grid in out["plane"]["regions"]]
    out["plane"]["probability"] = [[max(p, 1 - p) for p in grid] for grid in out["plane"]["probability"]]
    out["minimisers"] = None
    return out


def bare(task: str = "classification") -> dict[str, Any]:
    """Everything that may be null is null, and nothing was tried."""
    out = record(task)
    out.update(plane=None, minimisers=None, portrait=None, prices=[], disagreement=None, parity={})
    out["depth"].update(depth=20, selected=20, certified=None, entry_accuracy=None, entry_distance=None)
    for candidate in out["candidates"]:
        candidate["certificate"] = None
    for part in ("train", "test"):
        out["profile"][part].update(least=None, distance=None, distance_name="")
    out["profile"]["cropped_test"] = None
    out["models"] = out["models"][:1]
    out["models"][0].update(latency_ms={}, flops=None)
    return out


def _calibration(name: str, passes: int | None) -> dict[str, Any]:
    """Not sure enough, as soft targets make it; nearer to the diagonal by passes."""
    bins = []
    for b in range(7, 14):
        sure, count = (b + 0.5) / 15, 10 * 2 ** (b - 6)
        right = min(1.0, sure + (0.06 if passes else 0.1))
        bins.append({"confidence": sure, "accuracy": right, "count": count, "low": right - 0.5 / math.sqrt(count),
                     "high": min(1.0, right + 0.5 / math.sqrt(count))})  # fmt: skip
    return {"network": name, "passes": passes, "ece": 0.06 if passes else 0.1, "low": 0.05, "high": 0.12,
            "chance": 0.011, "resolved": True, "ece_equal_counts": 0.08, "brier": 0.021, "nll": 0.11,
            "confidence": 0.88, "accuracy": 0.97, "bins": bins, "samples": 2540,
            "sentence": "ECE 0.1 (0.05 to 0.12); perfect calibration would show 0.011."}  # fmt: skip


def _price(N: int, price: float, awake: range, excess: float) -> dict[str, Any]:
    ratios = [1.0 if k in awake else 0.31 + 0.02 * k for k in range(N)]
    return {"price": price, "awake": list(awake), "zero": N - len(awake), "excess": excess, "inside": True,
            "loss": 0.0012 + excess, "ratios": ratios, "woken": []}  # fmt: skip


def _profile(rng: np.random.Generator, N: int, task: str, K: int, two: bool) -> dict[str, Any]:
    """Exponential decay to the minimisers, with a floor."""
    out: dict[str, Any] = {}
    k = np.arange(N + 1)
    least = 0.1985 if task == "classification" else 0.0
    start = 0.72 if two else math.log(max(K, 2))
    for part, scale in (("train", 1.0), ("test", 1.18)):
        wobble = 1 + 0.08 * rng.standard_normal(N + 1)
        excess = scale * ((start - least) * np.exp(-0.9 * k) + 2.2e-4) * wobble
        accuracy = 1 - (1 - 1 / max(K, 2)) * np.exp(-1.9 * np.maximum(k - 0.4, 0)) - 0.0011 * scale * (k < 18)
        accuracy = accuracy.round(4)
        metric = accuracy if task == "classification" else 0.9 * np.exp(-1.3 * k) + 0.0131
        out[part] = {
            "stage": (least + excess).tolist(), "least": least, "metric": metric.tolist(),
            "distance": (scale * (2.4 * np.exp(-0.6 * k) + 0.012) * wobble).tolist(),
            "distance_name": "state distance" if two else "logit distance",
            "increment": [1.3 * math.exp(-0.6 * j) if j < 6 else 0.0 for j in range(N)],
        }  # fmt: skip
    return out


def _spiral(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    label = np.arange(n) % 2
    t = 3 * np.pi * np.sqrt(rng.random(n))
    points = (1 - 2 * label)[:, None] * (t / (3 * np.pi))[:, None] * np.stack([np.cos(t), np.sin(t)], 1)
    return points, label


def _score(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """Lead of class 1: from a straight cut at k = 0 to the spirals."""
    r, phi = np.hypot(x, y), np.arctan2(y, x)
    target = -np.cos(phi - 3 * np.pi * r) * np.minimum(3.2, 9 * r)
    share = 1 - math.exp(-1.2 * k)
    return (1 - share) * (y - x) + share * target


def _plane(rng: np.random.Generator, N: int, M: int) -> dict[str, Any]:
    n, depths = 80, [*range(M + 1), N]
    gx, gy = np.meshgrid(np.linspace(-1.1, 1.1, n), np.linspace(-1.1, 1.1, n))
    scores = [_score(gx, gy, k).ravel() for k in depths]
    points, label = _spiral(rng, 120)
    gap, sign = 2.944, 2.0 * label - 1
    along = 2.2 * points.sum(1) + 0.2 * rng.standard_normal(120)
    end = np.stack([(along - sign * gap) / 2, (along + sign * gap) / 2], 1) + 0.05 * rng.standard_normal((120, 2))
    share = 1 - np.exp(-0.85 * np.arange(N + 1) ** 1.2)
    swing = (np.sin(2.2 * np.arange(N + 1)) * np.exp(-0.6 * np.arange(N + 1)))[:, None, None]
    turned = np.stack([-points[:, 1], points[:, 0]], 1)
    paths = points + share[:, None, None] * (end - points) + swing * turned
    return {
        "x": [-1.1, 1.1], "y": [-1.1, 1.1], "n": n, "depths": depths,
        "regions": [(s > 0).astype(int).tolist() for s in scores],
        "probability": [(1 / (1 + np.exp(-s))).tolist() for s in scores],
        "trajectories": paths.transpose(1, 0, 2).tolist(), "labels": label.tolist(), "coordinates": True,
        "gap": gap,
    }  # fmt: skip


def _portrait(N: int) -> dict[str, Any]:
    """Fields exp(-k) (target - x) to the lines x_1 = -2 and x_1 = 2, at 6 of N layers."""
    rng, side = np.random.default_rng(8), 9
    layers = sorted({round(float(k)) for k in np.geomspace(1, N, min(6, N))})
    label = np.arange(12) % 2
    start = rng.standard_normal((12, 1, 2))
    end = np.stack([4.0 * label - 2, 2 * rng.standard_normal(12)], 1)[:, None]
    paths = end + (start - end) * np.exp(-np.arange(N + 1))[:, None]
    spots = np.stack(np.meshgrid(np.linspace(-3, 3, side), np.linspace(-6, 6, side)), -1).reshape(-1, 2)
    field = np.stack([np.where(spots[:, 0] > 0, 2, -2) - spots[:, 0], -0.1 * spots[:, 1]], 1)
    arrows = [(math.exp(-(k - 1)) * field).tolist() for k in layers]
    arrows[-1] = np.zeros_like(field).tolist()
    return {
        "plane": "readout", "share": 0.931, "x": [-3.0, 3.0], "y": [-6.0, 6.0], "side": side,
        "layers": [k - 1 for k in layers], "t": [float(k - 1) for k in layers], "constant": False, "arrows": arrows,
        "paths": paths.tolist(), "labels": label.tolist(), "units": True,
        "sets": [{"label": c, "point": [4.0 * c - 2, 0.0], "direction": [0.0, 1.0]} for c in (0, 1)],
    }  # fmt: skip


def _minimisers(rng: np.random.Generator) -> dict[str, Any]:
    label = np.arange(300) % 2
    gap, along = math.log(0.95 / 0.05), 2.0 * rng.standard_normal(300)

    def logits(spread: float) -> list[list[float]]:
        lead = (2 * label - 1) * gap + spread * rng.standard_normal(300)
        return np.stack([(along - lead) / 2, (along + lead) / 2], 1).tolist()  # type: ignore[no-any-return]

    return {"eps": 0.05, "gap": gap, "logits": logits(0.08), "labels": label.tolist(), "depth_logits": logits(0.5)}
