"""The training loop: one readable run from the first update to the last."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from node_oc.config import TrainingSection
from node_oc.data.split import Part, onto
from node_oc.discretization.network import Network, evaluating
from node_oc.errors import DataError, DivergenceError
from node_oc.problem.ocp import Problem
from node_oc.training.batches import batch_indices, batches_per_epoch, training_updates
from node_oc.training.checkpoint import TrainingFolder
from node_oc.training.info import Info, awake_parameters
from node_oc.training.memory import keep_freed_memory
from node_oc.training.methods import make_method
from node_oc.training.watching import watched
from node_oc.trajectory.rollout import rollout

Progress = Callable[[str, int, int, Info], None]
Stop = Callable[[str, int], bool]
EXPLODED = 1e6  # times the smallest J seen (1 at least): training has diverged, finite or not
RECORDS = 200  # lines of history that a training leaves, about


@dataclass(frozen=True)
class Plan:
    """One training among those of a run.

    Attributes:
        name: names the folder, the batch order and the progress bar.
        updates: number of updates; from the epochs of the options if None.
        cosine: whether the learning rate falls to 0; constant otherwise.
        average: share of the updates, the last ones, over which the iterates are averaged.
        order: names the batch order where it is not the name's own: trainings of the same order see the same batches.
    """

    name: str = "fit"
    updates: int | None = None
    cosine: bool = True
    average: float = 0.0
    order: str = ""


def make_fabric(options: TrainingSection) -> Fabric:
    """Devices, precision and distribution of the options, launched; every process runs the same program.

    The number of threads is set here too: it decides the speed of small networks (one thread does as well as
    two, and does not suffer from a busy neighbour) and, through the order of sums, the last bits of a result.
    """
    keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    fabric = Fabric(
        accelerator=options.accelerator, devices=options.devices, precision=options.precision,
        strategy="ddp" if options.devices > 1 else "auto",
    )  # fmt: skip
    fabric.launch()
    return fabric


def fit(
    network: Network,
    problem: Problem,
    part: Part,
    options: TrainingSection | None = None,
    *,
    plan: Plan | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    fabric: Fabric | None = None,
    stop: Stop | None = None,
) -> dict[str, Tensor]:
    """Train the awake steps, the lift and the head of a network, in place.

    With a folder the training is resumable to the bit: it holds ``history.jsonl`` and an atomic checkpoint;
    called again with the same arguments, a finished training is read and an interrupted one continues.

    Args:
        network: what is trained.
        problem: what is minimised; with a price, by the proximal-gradient method.
        part: training samples.
        options: epochs, batch, learning rate, clipping, seed, devices.
        plan: name, number of updates and schedule of this training.
        folder: where checkpoint and history go; nothing is written if None.
        progress: called after each update with the plan's name, the updates done, their number and Info.
        fabric: an already launched one; made from the options if None.
        stop: asked after each update with the plan's name and the updates done; True makes it the last one, also for
            whoever resumes. It may put other weights back then. What it remembers is not in a checkpoint: a resumed
            training asks it from there on. Every process of a distributed training has to answer the same.

    The network is in training mode meanwhile, and in evaluation mode afterwards.

    Returns:
        The average of the iterates by parameter name where the plan asks for one, otherwise the weights. The weights
        too where a training was stopped before the updates that are averaged.

    Raises:
        DivergenceError: J or a gradient left the finite numbers, or J exploded; the last good checkpoint is
            kept.
        KeyboardInterrupt: after Ctrl-C, at the end of the update that was under way, with a checkpoint.
        StoreError: the folder holds another training, or a damaged checkpoint.
    """
    options, plan = options or TrainingSection(), plan or Plan()
    fabric = fabric or make_fabric(options)
    network.to(fabric.device, torch.float64 if options.precision == "64-true" else None)
    anchor = next(network.parameters(), part.x.to(fabric.device))
    x, y = onto(part.x, anchor), onto(part.y, anchor)
    if options.batch and fabric.world_size > options.batch:
        raise DataError("training.batch", got=options.batch, expected=f"at least {fabric.world_size}, one a device",
                        do="Raise the batch size or use fewer devices.")  # fmt: skip
    updates = plan.updates if plan.updates is not None else training_updates(options, len(x))
    weights = dict(network.named_parameters())
    if not awake_parameters(network):  # every step sleeps, and lift and head have no weights
        return {name: p.detach() for name, p in weights.items()}
    store = TrainingFolder(folder, _identity(network, problem, part, options, plan), fabric.is_global_zero)
    method = make_method(
        network, problem, options, updates, plan.cosine, fabric, epoch=batches_per_epoch(len(x), options.batch)
    )
    average = {name: torch.zeros_like(p) for name, p in weights.items()} if plan.average else {}
    first, seconds, start = 0, 0.0, time.perf_counter()
    if (state := store.load()) is not None:
        network.load_state_dict(state["network"])
        method.load(state["method"])
        average, first, seconds = state["average"], state["update"], state["seconds"]
        first = updates if state.get("ended") else first

    def save(update: int, ended: bool = False) -> None:
        store.save({
            "spec": network.spec(), "network": network.state_dict(), "method": method.state(), "average": average,
            "update": update, "ended": ended, "seconds": seconds + time.perf_counter() - start,
            "compilation": asdict(method.compilation) if method.compilation else None,
        })  # fmt: skip

    averaging = updates - max(1, round(plan.average * updates)) if plan.average else updates
    if first == 0:
        save(0)
    ceiling = math.inf
    with closing(method), _training(network), _deferred_interrupt() as interrupted:
        for update in range(first, updates):
            chosen = batch_indices(update, len(x), options.batch, options.seed, plan.order or plan.name)
            mine = slice(fabric.global_rank, None, fabric.world_size)
            batch = (x[mine], y[mine]) if chosen is None else (x[chosen[mine]], y[chosen[mine]])
            whole = len(x) if chosen is None else len(chosen)
            rows = (fabric.global_rank, fabric.world_size, whole) if fabric.world_size > 1 else None
            estimate = watched(network, problem, options, update, batch, len(x), RECORDS, updates)
            info = method.step(update, *batch, rows)
            if not (info.objective < ceiling and math.isfinite(info.gradient_norm)):
                raise _diverged(network, batch[0], plan, update, info.objective, options)
            ceiling = min(ceiling, EXPLODED * max(1.0, abs(info.objective)))
            if update >= averaging:
                torch._foreach_lerp_(list(average.values()), list(weights.values()), 1 / (update - averaging + 1))
            if (update + 1) % max(1, updates // RECORDS) == 0:
                store.record({"training": plan.name, "update": update + 1, **asdict(info)})
            if estimate is not None:
                store.record({"training": plan.name, "update": update + 1, "error_terms": asdict(estimate.terms())})
            if progress:
                progress(plan.name, update + 1, updates, info)
            if stop is not None and update + 1 < updates and stop(plan.name, update + 1):
                if average and update < averaging:
                    average = {name: p.detach().clone() for name, p in weights.items()}
                save(update + 1, ended=True)
                if interrupted():
                    raise KeyboardInterrupt
                break
            leave = interrupted()  # asked once: what comes later waits for the next update
            if leave or (store.due(options.checkpoint_seconds) and update + 1 < updates):
                # The weights that this update made have not been used yet: a bad checkpoint would be for ever.
                with torch.no_grad(), evaluating(network):  # or running statistics would count this batch twice
                    look = method.objective.problem.evaluate  # at as many depths as a step reads: logits are large
                    objective = float(look(rollout(network, batch[0]), batch[1], method.objective.generator).total)
                if not objective < ceiling:
                    raise _diverged(network, batch[0], plan, update, objective, options)
                save(update + 1)
            if leave:
                raise KeyboardInterrupt
        else:
            if first < updates:
                save(updates)
    fabric.barrier()
    return average or {name: p.detach() for name, p in weights.items()}


@contextmanager
def _training(network: Network) -> Iterator[None]:
    """Within the block dropout and batch norm do what they do in training; behind it they do not."""
    network.train()
    try:
        yield
    finally:
        network.eval()


def _identity(network: Network, problem: Problem, part: Part, options: TrainingSection, plan: Plan) -> dict[str, Any]:
    """What must agree between a checkpoint and the training that reads it; weighted sums stand for the arrays."""
    place = torch.arange(1, len(part) + 1, dtype=torch.float64, device=part.x.device)
    discrete = [layer.weight for k in range(network.depth) for layer in network.system.discrete(k)]
    return {
        "network": network.spec(),
        "weights at the start": sum(float(p.detach().double().sum()) for p in network.parameters()),
        **({"discrete weights at the start": [int(w.cumsum(0).sum()) for w in discrete]} if discrete else {}),
        "problem": repr(problem),
        "data": [float(v.reshape(len(part), -1).sum(1, dtype=torch.float64) @ place) for v in (part.x, part.y)],
        "training options": options.model_dump(exclude={"checkpoint_seconds", "accelerator"}),
        "plan": {key: value for key, value in asdict(plan).items() if value != ""},
    }


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C ends the training after the update that is under way, so that what is saved is whole."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield lambda: False
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


def _diverged(
    network: Network, x: Tensor, plan: Plan, update: int, objective: float, options: TrainingSection
) -> DivergenceError:
    """Name the first layer whose state is not finite, or the one whose state is largest."""
    network.eval()
    with torch.no_grad():
        largest = [float(state.abs().max()) for state in rollout(network, x).states]
    bad = next((k for k, size in enumerate(largest) if not math.isfinite(size)), None)
    top = max(range(len(largest)), key=largest.__getitem__)
    where = f"the largest is {largest[top]:.1e}, in layer {top}" if bad is None else f"layer {bad} is not finite"
    return DivergenceError(
        f"training {plan.name!r}, update {update}", got=f"J = {objective}; of the states, {where}",
        expected="finite numbers that do not explode",
        do=f"Lower training.learning_rate (now {options.learning_rate}) or training.clip (now {options.clip}), or "
        "check the scale of the features. The last good checkpoint is kept.",
    )  # fmt: skip
