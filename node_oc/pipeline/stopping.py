"""A finished run that learns when to stop: policies fitted, one chosen, perhaps with a guarantee, and what it gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from node_oc import store
from node_oc.data.split import Part, Split
from node_oc.errors import ConfigError, DataError
from node_oc.exporting import save_model
from node_oc.inference import Model, what_pays
from node_oc.pipeline.folder import RUN, check_skips, read_config, read_network
from node_oc.pipeline.objects import load_split
from node_oc.plots import draw_stopping
from node_oc.policies import FAMILIES, Guarantee, Outcome, Policy, Readings, family, fit_policy, follow, guarantee
from node_oc.policies import read_exits as read
from node_oc.policies.fit import check_target
from node_oc.record.stopping import make_stopping_record
from node_oc.report import write_stopping
from node_oc.seeds import derived_generator
from node_oc.training.driver import noise_of

STOP, MODEL = "stop", "stopping"
TIMED = 4096  # test samples that are timed


@dataclass(frozen=True)
class Target:
    """What is asked for; see :func:`node_oc.policies.fit_policy`.

    Attributes:
        kind: "cost", "depth" or "loss".
        value: of it.
        confidence: of a guarantee, where one is asked for; only with a loss.
    """

    kind: str
    value: float
    confidence: float | None = None


def stop(
    folder: str | Path, *, cost: float | None = None, depth: float | None = None, loss: float | None = None,
    policy: str | None = None, exits: Sequence[int] | None = None, confidence: float | None = None,
    which: str = "full", timing: bool = True, out: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Teach a network of a run when to stop, and write the model with its policy, a record, a page and pictures.

    One half of the validation samples fits policies, the other chooses or certifies one, test samples are looked at
    once. The halves are those of the search: the second has chosen no network.

    Args:
        folder: the directory of the run.
        cost: of a layer, in units of loss; or
        depth: mean layers allowed; or
        loss: what may be lost against the full network: a share of errors, in regression a share of its loss.
        policy: the one family to take; all of ``node_oc.policies.FAMILIES`` if None.
        exits: depths k at which a sample may stop; all of 0..N if None.
        confidence: ask for a guarantee of the loss at this level; of several families each is tested at its share of
            what may go wrong.
        which: "full", "priced", "cropped" or "plain".
        timing: whether to measure what early exit gains on this machine.
        out: where the record goes, without ending; RUN/stop if None. The model is RUN/stopping.

    Returns:
        The record that the JSON file holds.

    Raises:
        StoreError: no run, or no such network in it.
        ConfigError: not exactly one target, one that no policy reaches, or a depth that the network does not have.
        DataError: fewer samples than a policy or the guarantee needs.
    """
    target = _target(cost, depth, loss, confidence)
    folder = Path(folder)
    config, about = read_config(folder), store.read_json(folder / RUN)
    check_skips(config, "stop")
    split, network = load_split(config), read_network(folder, which)
    first, second = _halves(split.val)
    fitting, holding = (read(network, part, exits, split.task) for part in (first, second))
    names = FAMILIES[fitting.task] if policy is None else (policy,)
    families = {name: family(name, fitting) for name in names}
    certain = {name: _certify(members, holding, fitting, target, len(names)) for name, members in families.items()}
    held = {name: _choose(members, holding, target) for name, members in families.items()}
    name, chosen, why = _best(held, certain, target)
    testing = read(network, split.test, exits, split.task)
    model = Model.of(network, split, noise_of(config.training))
    model.meta["stopping"] = {"policy": chosen.policy.spec(), "family": name, target.kind: target.value,
                              "confidence": target.confidence}  # fmt: skip
    paying = _paying(model, split, holding, chosen, fitting) if timing else None
    record = make_stopping_record(
        about["name"], which, network.depth, (target.kind, target.value, target.confidence),
        (fitting, holding, testing), families, held, certain, (name, chosen), why, _rivals(folder, which, split),
        paying, split,
    )  # fmt: skip
    stem = folder / STOP if out is None else Path(out)
    save_model(model, folder / MODEL)
    store.write_json(f"{stem}.json", record)
    write_stopping(record, stem, draw_stopping(record, stem))
    return record


def _target(cost: float | None, depth: float | None, loss: float | None, confidence: float | None) -> Target:
    kind, value = check_target(cost, depth, loss)
    if confidence is not None and loss is None:
        raise ConfigError("confidence", got=f"{confidence} with a {kind}", expected="a loss to guarantee",
                          do="Give a loss, or leave the confidence out.")  # fmt: skip
    if confidence is not None and not 0 < confidence < 1:
        raise ConfigError("confidence", got=confidence, expected="a number in (0, 1)", do="0.95 is usual.")
    return Target(kind, value, confidence)


def _halves(val: Part) -> tuple[Part, Part]:
    """The same order as that of the search, so that no sample of the second half has chosen a network."""
    order = torch.randperm(len(val), generator=derived_generator(0, "halves"))
    first, second = order[: len(val) // 2], order[len(val) // 2 :]
    return Part(val.x[first], val.y[first]), Part(val.x[second], val.y[second])


def _choose(members: Sequence[Policy], holding: Readings, target: Target) -> Outcome | str:
    """The best of a family for the target, or why there is none."""
    try:
        return fit_policy(members, holding, **{target.kind: target.value})
    except ConfigError as error:
        return str(error)


def _certify(
    members: Sequence[Policy], holding: Readings, fitting: Readings, target: Target, families: int
) -> Guarantee | str | None:
    """The guaranteed policy of a family; why there is none, unless one is asked for: then what is wrong is raised."""
    if target.kind != "loss":
        return None
    asked = 0.95 if target.confidence is None else target.confidence
    try:
        return guarantee(members, holding, target.value, 1 - (1 - asked) / families, fitting)
    except (ConfigError, DataError) as error:
        if target.confidence is not None:
            raise
        return str(error)


def _best(
    held: dict[str, Outcome | str], certain: dict[str, Guarantee | str | None], target: Target
) -> tuple[str, Outcome, str]:
    """The family and the policy that are taken, and by what."""
    if target.confidence is not None:
        sure = {name: one.outcome for name, one in certain.items() if isinstance(one, Guarantee)}
        name = min(sure, key=lambda n: (sure[n].depth, sure[n].excess))
        return name, sure[name], "guarantee"
    found = {name: one for name, one in held.items() if isinstance(one, Outcome)}
    if not found:
        raise ConfigError(target.kind, got=target.value, expected="what one of the policies reaches",
                          do=" ".join(f"{name}: {one}" for name, one in held.items()))  # fmt: skip

    def rank(one: Outcome) -> tuple[float, float]:
        first = {"cost": one.cost(target.value), "depth": one.loss, "loss": one.depth}[target.kind]
        return first, one.excess if target.kind == "loss" else one.depth

    name = min(found, key=lambda n: rank(found[n]))
    return name, found[name], "validation"


def _rivals(folder: Path, which: str, split: Split) -> dict[str, Outcome]:
    """What else the run has trained, as a depth that is the same for all samples."""
    found = {}
    for name in ("cropped", "plain"):
        if name != which and (folder / f"{name}.json").exists():
            other = read_network(folder, name)
            readings = read(other, split.test, (other.depth,), split.task)
            found[name] = follow(family("fixed", readings)[0], readings)
    return found


def _paying(model: Model, split: Split, holding: Readings, chosen: Outcome, fitting: Readings) -> dict[str, Any]:
    """Times of the full network, early exit and the fixed crop that loses no more on the second half."""
    cut = fit_policy(family("fixed", fitting), holding, loss=max(chosen.excess, 0.0)).policy
    x, y = split.x_scale.undo(split.test.x[:TIMED]), split.test.y[:TIMED]
    y = y if split.y_scale is None else split.y_scale.undo(y)
    return what_pays(model.early_exit(), x, y, cut=int(follow(cut, holding).depth)).record()
