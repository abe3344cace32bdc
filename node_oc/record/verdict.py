"""The answer in words, the unflattering parts included."""

from __future__ import annotations

import math
from typing import Any

from node_oc.data.split import Split
from node_oc.diagnosis.loss import sample_losses
from node_oc.discretization.network import Network
from node_oc.errors import ShapeError
from node_oc.record.afforded import afforded
from node_oc.record.growth import grown, unlearned
from node_oc.search import Found
from node_oc.search.compared import layers


def verdict(
    found: Found,
    split: Split,
    networks: dict[str, Network],
    work: dict[str, Any],
    healed: bool = True,
    staged: bool = True,
) -> str:
    """The answer in words, the unflattering parts included; what is compared is compared on validation data.

    Args:
        found: the answer of the search.
        split: the samples.
        networks: "full", "cropped" and, where there is one, "plain".
        work: "ours" and "sweep", see :func:`sweep_work`.
        healed: whether candidates were healed.
        staged: whether the reference was trained with stage costs.
    """
    cut = "cut there and healed" if healed else "cut there, not healed,"
    n, depth = found.reference.depth, found.depth
    loss = {key: sample_losses(network, split.val, split.task) for key, network in networks.items()}
    worse = float(found.budget.paired(loss["cropped"], loss["full"]).mean())
    if found.afforded:
        text = afforded(found)
    elif found.growth:
        text = grown(found, found.growth, worse, split.task)
    elif found.network is found.reference and found.selected < n:
        text = (f"{found.selected} of {n} layers stay within the budget on the selecting half, but no shallower depth "
                f"is certified: keep all {n} layers, or give more validation data.")  # fmt: skip
    elif found.network is found.reference:
        text = f"No shallower network stayed within the budget: keep all {n} layers, or allow more."
    elif split.task == "classification":
        change = f"loses {100 * worse:.2f} points" if worse > 0 else f"gains {-100 * worse + 0:.2f} points"
        text = f"This network needs {depth} of its {n} layers: {cut} it {change} on validation data."
    else:
        ratio = loss["cropped"].mean() / loss["full"].mean() - 1
        text = (f"This network needs {depth} of its {n} layers: {cut} its loss (squared error of the standardised "
                f"target) changes by {100 * ratio:+.1f} % on validation data.")  # fmt: skip
    if depth == 0 and not (found.growth and found.growth.fixed):
        text += " No residual step is needed: " + _without_steps(found.network)
    if not (
        found.growth
        and (unlearned(found, worse, split.task) or (found.growth.fixed and found.reference.depth == depth))
    ):
        text += " " + _certificate_sentence(found)
    if split.task == "classification" and 1 / found.selecting > found.budget.budget > 0:
        text += (f" {found.selecting} validation points cannot resolve a budget of {found.budget.budget:g}: one point "
                 f"is {1 / found.selecting:.3f}.")  # fmt: skip
    gap = float(found.budget.paired(loss["full"], loss["plain"]).mean()) if "plain" in loss else 0.0
    if not found.growth and gap > found.budget.limit:
        by = f"{100 * gap:.2f} points" if split.task == "classification" else "more than the budget"
        text += (f" The full network is worse than a plain one of {layers(depth)}, by {by}: to stay within its budget "
                 "says little here; train it better, or believe a sweep of small networks.")  # fmt: skip
    difference = neighbour(found, split)
    if difference is not None and difference < -found.budget.budget:
        by = f"by {-100 * difference:.2f} {'points' if split.task == 'classification' else '% of the loss'}"
        pay = "" if found.growth or not staged else "the stage costs did not pay here, and "
        text += (
            f" A plain network of {layers(depth)} is better {by}: {pay}a sweep of small networks is the better idea."
        )
    if depth and work["ours"] and work["sweep"] < work["ours"]:
        text += (f" A sweep of plain networks (1, 2, 4, .. layers, then bisection) that ends at {depth} would have "
                 f"taken about {work['sweep'] / work['ours']:.1f} of this run's work.")  # fmt: skip
    return text


def _without_steps(network: Network) -> str:
    try:
        network.system.affine_readout()
    except ShapeError:
        return "lift, skips and head alone are enough."
    return "lift and head alone are enough, a linear model would have done."


def sweep_work(depth: int) -> int:
    """Layers trained by an upward sweep of plain networks whose answer is ``depth``, summed.

    Depths 1, 2, 4, .. until one doubling beyond the answer gains nothing, then bisection between the last two
    candidates: what a user would have spent instead of training one deep network.
    """
    top = trained = 1
    while top < 2 * depth:
        top *= 2
        trained += top
    low, high = top // 4, top // 2  # the answer lies in (low, high]
    while high - low > 1:
        middle = (low + high) // 2
        trained += middle
        low, high = (low, middle) if middle >= depth else (middle, high)
    return trained


def _certificate_sentence(found: Found) -> str:
    if not found.certifying:
        return "Not certified: the validation data are too few for two halves of 1,000."
    if found.certified_depth == found.depth:
        return f"Certified on {found.certifying} other points."
    tested = [c for c in found.candidates if c.certificate and not c.certificate.holds]
    if not tested:
        return "Not certified."
    certificate = tested[0].certificate
    needed = (
        f"about {certificate.needed} points needed"
        if certificate and certificate.needed
        else "no number of points would do"
    )
    limit = certificate.limit if certificate else math.nan
    deeper = f" (certified: {layers(found.certified_depth)})" if found.certified_depth is not None else ""
    return f"Not certified at {layers(tested[0].depth)}: upper limit {limit:.4f}, {needed}{deeper}."


def effort(found: Found, work: list[dict[str, Any]], updates: int) -> dict[str, float | None]:
    """Work in one-layer trainings: ours, and that of the sweep that would have found the same depth.

    Args:
        found: the answer of the search.
        work: of each training, see :func:`node_oc.training.checkpoint.training_work`, and of looks at sleeping steps;
            empty where nothing was kept.
        updates: of one whole training.
    """
    ours = [entry["layer_steps"] for entry in work if not entry["training"].startswith("plain")]
    return {"ours": sum(ours) / updates if ours else None, "sweep": sweep_work(max(1, found.depth))}


def neighbour(found: Found, split: Split) -> float | None:
    """Mean paired loss of the plain network against the cropped one on validation data; None without a plain one.

    Below minus the budget the plain network is better by more than the budget, above it the cropped one. Relative
    to the cropped network's loss in regression.
    """
    if found.plain is None:
        return None
    plain, cropped = (sample_losses(network, split.val, split.task).mean() for network in (found.plain, found.network))
    return float(plain - cropped) if split.task == "classification" else float(plain / max(cropped, 1e-12) - 1)
