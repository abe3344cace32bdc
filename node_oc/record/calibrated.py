"""Whether the networks of a run know how sure they may be: in the mean, and by Monte Carlo where there was noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from node_oc.data.split import Split
from node_oc.diagnosis.calibration import Calibration, calibration
from node_oc.diagnosis.loss import outputs
from node_oc.diagnosis.uncertainty import monte_carlo
from node_oc.discretization.network import Network
from node_oc.discretization.noise import Noise
from node_oc.seeds import derived_generator

PASSES = 32  # of a Monte Carlo prediction in a report


def calibrated(networks: Mapping[str, Network], split: Split, noise: Noise | None, seed: int) -> list[dict[str, Any]]:
    """Calibration of each network on the test part, in the mean and, with noise, by 32 noisy passes.

    Args:
        networks: by name.
        split: of a classification.
        noise: of the training, or None.
        seed: of the passes.
    """
    found = []
    for name, network in networks.items():
        mean = outputs(network, split.test.x).double().softmax(1)
        found.append(_entry(name, None, mean, split))
        if noise is not None and network.depth:
            generator = derived_generator(seed, "calibration", name)
            drawn = monte_carlo(network, split.test.x, noise, samples=PASSES, generator=generator)
            found.append(_entry(name, PASSES, drawn.mean, split))
    return found


def _entry(name: str, passes: int | None, probabilities: torch.Tensor, split: Split) -> dict[str, Any]:
    return {"network": name, "passes": passes, **calibration_record(probabilities, split.test.y)}


def calibration_record(probabilities: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """A calibration as a JSON-able dictionary, its sentence among the keys; probabilities (n, K), labels (n,)."""
    found: Calibration = calibration(probabilities.cpu().numpy(), labels.numpy())
    return {**asdict(found), "bins": [asdict(each) for each in found.bins], "sentence": found.sentence}
