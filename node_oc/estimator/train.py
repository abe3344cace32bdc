"""One training of an estimator's network: at its fixed price, or plainly; to the end, or stopped early."""

from __future__ import annotations

from lightning_fabric import Fabric

from node_oc.config import TrainingSection
from node_oc.data.split import Part
from node_oc.discretization.network import Network
from node_oc.estimator.stopping import EarlyStopping
from node_oc.problem.ocp import Problem
from node_oc.training.active import sparsify
from node_oc.training.batches import training_updates
from node_oc.training.loop import Plan, Progress, fit


def one_process() -> Fabric:
    """This process, the CPU, no mixed precision.

    float64 comes from the network: Fabric's own "64-true" changes torch's default type, for all threads.
    """
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


def train(
    network: Network, problem: Problem, part: Part, options: TrainingSection, progress: Progress,
    held: Part | None = None, patience: int = 1,
) -> EarlyStopping | None:  # fmt: skip
    """Train a network in place; with a price, until idle steps are exactly zero, and then without it.

    Args:
        network: untrained.
        problem: what is minimised.
        part: samples.
        options: number of updates, batch, learning rate.
        progress: see :func:`node_oc.fit`.
        held: samples not trained on: the best weights on them are kept. None trains to the end.
        patience: see :class:`EarlyStopping`.

    Returns:
        What was seen on the held-out samples, None without any.
    """
    updates = training_updates(options, len(part))
    stop = None if held is None else EarlyStopping(network, problem.terminal, held, patience, updates)
    if problem.group_price:
        sparsify(network, problem, part, options, updates=updates, name="fit", progress=progress, fabric=one_process(),
                 stop=stop)  # fmt: skip
    else:
        fit(network, problem, part, options, plan=Plan("fit", updates), progress=progress, fabric=one_process(),
            stop=stop)  # fmt: skip
    if stop is not None:
        stop.restore()
    return stop
