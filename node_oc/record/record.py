"""What a search found, as one JSON-able record: report, table and pictures are made from it alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from torch import Tensor

from node_oc import __version__
from node_oc.config import Config
from node_oc.data.split import Part, Split, onto
from node_oc.diagnosis.diagnose import Diagnosis, diagnose
from node_oc.diagnosis.loss import disagreement, outputs, sample_losses
from node_oc.diagnosis.portrait import no_portrait, portrait
from node_oc.discretization.network import Network
from node_oc.inference import Model
from node_oc.measuring import measure
from node_oc.problem.cost import SoftCrossEntropy
from node_oc.problem.ocp import Problem
from node_oc.problem.waking import Look
from node_oc.record.afforded import afforded
from node_oc.record.calibrated import calibrated
from node_oc.record.compilation import compilation
from node_oc.record.solver import solver, table_error
from node_oc.record.verdict import effort, neighbour, verdict
from node_oc.search import Candidate, Found, Growth
from node_oc.system import AdoptedSystem
from node_oc.training.batches import batches_per_epoch, training_updates
from node_oc.training.driver import noise_of
from node_oc.training.objective import solver_of
from node_oc.trajectory.rollout import rollout

GRID = 80  # points a side of a decision picture
SHOWN = 300  # samples in scatter pictures
TRACED = 120  # trajectories drawn
SECONDS = 60.0  # for the latencies of adopted models at one batch size


def make_record(
    name: str, config: Config, split: Split, problem: Problem, found: Found, work: list[dict[str, Any]]
) -> dict[str, Any]:
    """The record of a finished search; see :mod:`node_oc.report` for what is made of it.

    Args:
        name: of the run.
        config: what it was made from.
        split: the samples; the test part is looked at here for the first time.
        problem: whose stage cost the profiles show.
        found: the answer of the search.
        work: updates and seconds of each training.
    """
    networks = {"full": found.reference, "cropped": found.network} | ({"plain": found.plain} if found.plain else {})
    budget = config.search.budget
    trained = problem.priced(0.0)  # what the reference minimised
    other = None if found.network is found.reference else found.network
    on_test = diagnose(found.reference, trained, split.test, budget, other)
    on_train = diagnose(found.reference, trained, split.train, budget, other)
    cropped = diagnose(found.network, trained, split.test, budget)
    answers = on_train.record()
    for answer in answers.values():
        answer["sentence"] = f"On training data: {answer['sentence']}"
    losses = {key: sample_losses(network, split.test, split.task) for key, network in networks.items()}
    classify = split.task == "classification"
    unseen = no_portrait(found.reference, split.test)
    cost = effort(found, work, training_updates(config.training, len(split.train)))
    adaptive = solver_of(config.training)
    apart = table_error(found.network, split.test.x[:256], adaptive) if adaptive else None
    record: dict[str, Any] = {
        "format": 1, "node_oc": __version__, "torch": torch.__version__, "threads": torch.get_num_threads(),
        "name": name,
        "config": config.model_dump(mode="json"),
        "data": {"task": split.task, "classes": list(split.classes), "features": split.inputs,
                 "train": len(split.train), "val": len(split.val), "test": len(split.test)},
        "verdict": verdict(found, split, networks, cost, config.search.heal, config.problem.stage_weight > 0),
        "depth": {
            "N": found.reference.depth, "depth": found.depth, "selected": found.selected,
            "steps": None if found.growth else next(
                (list(c.steps) for c in found.candidates if c.network is found.network and c.steps), None),
            "certified": found.certified_depth, "entry_accuracy": on_test.entry_accuracy,
            "entry_distance": on_train.turnpike.entry if on_train.turnpike else None,
        },
        "models": _models(networks, split, losses, config),
        "budget": {"budget": budget, "limit": found.budget.limit,
                   "ceiling": found.budget.ceiling, "confidence": config.search.confidence,
                   "selecting": found.selecting, "certifying": found.certifying},
        "prices": [
            {"price": p.sparse.price, "awake": list(p.sparse.awake), "zero": p.network.depth - len(p.sparse.awake),
             "excess": p.excess, "inside": p.inside, "loss": p.loss, "ratios": list(p.sparse.ratios),
             "woken": list(p.sparse.woken)} for p in found.priced
        ],
        "candidates": [_candidate(c, split) for c in found.candidates],
        "disagreement": disagreement(found.reference, found.network, split.test) if classify else None,
        "profile": {"train": _profile(on_train), "test": _profile(on_test), "cropped_test": _profile(cropped),
                    "control": list(on_test.profile.control)},
        "neighbour": neighbour(found, split),
        "turnpike": {"found": bool(on_train.turnpike and on_train.turnpike.found), **answers["turnpike"]},
        **{name: answers[name] for name in ("decay", "counting", "dissipation")},
        "plane": _plane(found, problem, split) if classify and split.inputs == 2 else None,
        "portrait": None if unseen else portrait(found.reference, trained, split.test).record(),
        "left_out": {"portrait": unseen} if unseen else {},
        "calibration": calibrated({key: networks[key] for key in ("full", "cropped")}, split,
                                  noise_of(config.training), config.training.seed) if classify else None,
        "minimisers": None, "parity": {}, "work": work, "effort": cost,
        "compilation": compilation(work), "files": {},
        "solver": solver(work, batches_per_epoch(len(split.train), config.training.batch), apart,
                         config.system.table),
        "branches": _branches(found),
        "afforded": found.afforded and {**asdict(found.afforded), "sentence": afforded(found)},
        "growth": found.growth and _growth(found.growth, training_updates(config.training, len(split.train))),
    }  # fmt: skip
    if classify and split.outputs == 2 and isinstance(problem.stage, SoftCrossEntropy):
        record["minimisers"] = {
            "eps": problem.stage.eps, "gap": problem.stage.gap, "labels": split.test.y[:SHOWN].tolist(),
            "logits": outputs(found.reference, split.test.x[:SHOWN]).tolist(),
            "depth_logits": outputs(found.network, split.test.x[:SHOWN]).tolist(),
        }  # fmt: skip
    return record


def interval(losses: NDArray[np.float64], task: str, confidence: float = 0.95) -> dict[str, Any]:
    """Accuracy with its Wilson interval, or mean loss with a normal one, from the losses of each sample."""
    n, mean = len(losses), float(losses.mean())
    if task == "classification":
        right = n - round(losses.sum())
        wilson = binomtest(right, n).proportion_ci(confidence, method="wilson")
        return {"name": "accuracy", "value": right / n, "low": float(wilson.low), "high": float(wilson.high)}
    half = 1.96 * float(losses.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return {"name": "loss", "value": mean, "low": max(0.0, mean - half), "high": mean + half}


def costs_of(
    networks: Mapping[str, Network], split: Split, config: Config, calls: int = 60
) -> dict[str, dict[str, Any]]:
    """Parameters, bytes, FLOPs, latencies and peak memory of networks on raw features, by name.

    At batches of 1 and 256; of an adopted model, which may be large, the second batch is at most that of its training,
    and each may take a minute.

    Args:
        networks: by name, measured in turns.
        split: whose test samples they are called with.
        config: of the run.
        calls: timed calls of each.
    """
    adopted = config.system.kind == "adopted"
    batches = (1, max(2, min(256, config.training.batch or 256)) if adopted else 256)
    raw = split.x_scale.undo(split.test.x[:256].double()).float()
    found = measure({key: Model.of(network, split) for key, network in networks.items()}, raw, batches, calls,
                    SECONDS if adopted else math.inf)  # fmt: skip
    return {
        key: {"parameters": each.parameters, "bytes": each.bytes, "flops": each.flops,
              "latency_ms": {str(b): asdict(latency) for b, latency in each.latency.items()},
              "memory": {str(b): peak for b, peak in each.memory.items()}}
        for key, each in found.items()
    }  # fmt: skip


def _models(
    networks: dict[str, Network], split: Split, losses: dict[str, NDArray], config: Config
) -> list[dict[str, Any]]:
    costs = costs_of(networks, split, config)
    return [
        {"name": key, "layers": network.depth, **costs[key], "metric": interval(losses[key], split.task)}
        for key, network in networks.items()
    ]  # fmt: skip


def _branches(found: Found) -> list[dict[str, Any]] | None:
    """The branches of an adopted model, and which of them are left."""
    full, cut = found.reference.system, found.network.system
    if not isinstance(full, AdoptedSystem) or not isinstance(cut, AdoptedSystem):
        return None
    return [{"module": b.module, "skip": b.skip, "kept": b.k in cut.steps} for b in full.branches]


def _candidate(candidate: Candidate, split: Split) -> dict[str, Any]:
    certificate = candidate.certificate
    return {
        "depth": candidate.depth, "steps": list(candidate.steps),
        "raw": candidate.raw, "excess": candidate.excess, "inside": candidate.inside,
        "test": interval(sample_losses(candidate.network, split.test, split.task), split.task),
        "certificate": certificate and {**asdict(certificate), "holds": certificate.holds},
    }  # fmt: skip


def _growth(growth: Growth, updates: int) -> dict[str, Any]:
    def looks(seen: Iterable[Look]) -> list[dict[str, Any]]:
        return [{"step": each.step, "ratio": each.ratio, "pays": each.pays} for each in seen]

    windows = []
    for w in growth.windows:
        seen = {each["step"]: each for each in looks(w.looks)}
        woke = [seen.get(k, {"step": k, "ratio": None, "pays": None}) for k in w.woke]
        windows.append(asdict(w) | {"steps": list(w.steps), "woke": woke, "enough": w.enough})
        del windows[-1]["looks"]
    return asdict(growth) | {"windows": windows, "looks": looks(growth.looks), "updates": updates}


def _profile(diagnosis: Diagnosis) -> dict[str, Any]:
    fields = asdict(diagnosis.profile)
    for name in ("control", "running", "terminal"):
        del fields[name]
    return {**fields, "distance": fields["distance"] or None}


@torch.no_grad()
def _plane(found: Found, problem: Problem, split: Split) -> dict[str, Any]:
    """Decision regions over the input plane at several depths, and trajectories in the state plane."""
    network, n = found.reference, found.reference.depth
    raw = split.x_scale.undo(split.test.x.double())
    low, high = raw.min(0).values, raw.max(0).values
    margin = 0.1 * (high - low)
    axes = [torch.linspace(float(a), float(b), GRID) for a, b in zip(low - margin, high + margin, strict=True)]
    yy, xx = torch.meshgrid(axes[1], axes[0], indexing="ij")
    points = split.x_scale.apply(torch.stack([xx.flatten(), yy.flatten()], 1).double()).float()
    readouts = _readouts(network, points)
    depths = sorted({k for k in (0, 1, 2, 3, found.depth, n) if k <= n})
    softmax = readouts.softmax(-1)
    probability = softmax[..., 1] if split.outputs == 2 else softmax.max(-1).values
    shown = Part(split.test.x[:TRACED], split.test.y[:TRACED])
    coordinates = network.system.spec().get("head") == "coordinates"
    states = torch.stack(rollout(network, shown.x.to(next(network.parameters(), shown.x))).states)[..., :2]
    return {
        "x": [float(axes[0][0]), float(axes[0][-1])], "y": [float(axes[1][0]), float(axes[1][-1])], "n": GRID,
        "depths": depths, "regions": [readouts[k].argmax(-1).tolist() for k in depths],
        "probability": [[round(p, 4) for p in probability[k].tolist()] for k in depths],
        "trajectories": states.transpose(0, 1).tolist() if coordinates else [],
        "labels": shown.y.tolist(), "coordinates": coordinates,
        "gap": problem.stage.gap if isinstance(problem.stage, SoftCrossEntropy) else None,
    }  # fmt: skip


def _readouts(network: Network, x: Tensor) -> Tensor:
    anchor = next(network.parameters(), x)
    return rollout(network, onto(x, anchor)).readouts.cpu()
