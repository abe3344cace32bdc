"""One pass over rows that arrive: what partial_fit is."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from lightning_fabric import Fabric

from node_oc.config import TrainingSection
from node_oc.data.split import Part
from node_oc.discretization.network import Network
from node_oc.errors import DivergenceError
from node_oc.problem.ocp import Problem
from node_oc.training.batches import batch_indices, batches_per_epoch
from node_oc.training.loop import Progress
from node_oc.training.method import Method


def one_pass(
    network: Network, problem: Problem, part: Part, options: TrainingSection, moments: dict[str, Any] | None,
    seen: int, fabric: Fabric, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Update a network once for each batch of a part, in place, at a constant learning rate.

    Args:
        network: what is trained on.
        problem: what is minimised.
        part: samples; all in one batch if the options say 0.
        options: batch, learning rate, clipping, seed.
        moments: what the pass before returned, None at first.
        seen: updates made before, which names the order of the batches.
        fabric: a launched one.
        progress: see :func:`node_oc.fit`.

    Returns:
        The optimiser's moments, to hand to the next pass.

    Raises:
        DivergenceError: a gradient that is not finite; the weights are those before it.
    """
    updates = batches_per_epoch(len(part), options.batch)
    method = Method(network, problem, options, updates, False, fabric)
    if moments is not None:
        method.load(moments)
    with closing(method):
        for update in range(updates):
            chosen = batch_indices(update, len(part), options.batch, options.seed, f"pass-{seen}")
            x, y = (part.x, part.y) if chosen is None else (part.x[chosen], part.y[chosen])
            info = method.step(update, x, y)
            if not info.gradient_norm < float("inf"):
                raise DivergenceError("partial_fit", got=f"J = {info.objective}", expected="finite numbers",
                                      do="Lower learning_rate, or check the scale of the features: the "
                                      "standardisation is that of the first rows.")  # fmt: skip
            progress("partial_fit", update + 1, updates, info)
        return method.state()
