"""What a record says, in sentences: certificate, plain neighbour, answers, captions of the pictures."""

from __future__ import annotations

import math

from node_oc.report.table import Record, number, points, share
from node_oc.search.compared import layers


def certified(record: Record) -> str:
    """What the certificates say, with their upper limits and the samples that a failed one would need."""
    budget, depth = record["budget"], record["depth"]
    if not budget["certifying"]:
        return "not certified: the validation data were too few to keep a half for it."
    found = {c["depth"]: c["certificate"] for c in record["candidates"] if c["certificate"]}
    if not found:
        return f"not certified: no {'' if record.get('growth') else 'cropped '}network was within the budget."
    least = min(found)  # from deep to shallow up to the first failure: only the last one can have failed
    told = []
    if depth["certified"] in found:
        limit = found[depth["certified"]]["limit"]
        told.append(f"{depth['certified']} of {depth['N']} layers certified: upper limit {number(limit)}")
    if not found[least]["holds"]:
        needed = found[least]["needed"]
        told.append(f"{layers(least)} not certified: upper limit {number(found[least]['limit'])}, " + (
            "and no number of samples would do, since the mean loss itself is over the budget"
            if needed is None else f"about {number(needed)} samples needed"))  # fmt: skip
    return (f"{'; '.join(told) or 'not certified'}. The budget is {number(found[least]['budget'])}, the confidence "
            f"{share(budget['confidence'])}, on {number(budget['certifying'])} samples.")  # fmt: skip


def neighbour(record: Record) -> str:
    """The honest neighbour: whether a plain network of the depth found would have done as well or better."""
    found = {model["name"]: model for model in record["models"]}
    if "plain" not in found or "cropped" not in found:
        return "No plain network of the depth found was trained, so whether the stage costs paid here is open."
    plain, cropped, budget = found["plain"]["metric"], found["cropped"]["metric"], record["budget"]["budget"]
    write = points if plain["name"] == "accuracy" else number
    depth = found["plain"]["layers"]
    ours = "the one that grew" if record.get("growth") else "the cropped one"
    told = (f"A plain network of {layers(depth)}, trained from the start at that depth, reaches a test "
            f"{plain['name']} of {write(plain['value'])}, {ours} {write(cropped['value'])}. ")  # fmt: skip
    other = record.get("neighbour")
    if not isinstance(other, float) or not math.isfinite(other):
        return told + "They cannot be compared on validation data."
    if other < -budget:
        paid = "" if record.get("growth") else ": one deep training did not pay"
        return told + f"On validation data the plain one is better by more than the budget{paid}."
    if other > budget:
        return told + f"On validation data {ours} is better by more than the budget."
    gave = "growth" if record.get("growth") else "the deep training"
    return told + f"They differ by no more than the budget: {gave} gave the depth, not a better network."


def answers(record: Record) -> list[tuple[str, str]]:
    """Questions that the search answers, each with one sentence."""
    depth, other = record["depth"], record["disagreement"]
    cut = f"{depth['depth']} of {depth['N']} layers" if depth["depth"] < depth["N"] else f"all {depth['N']} layers"
    selected = f"{cut} kept; {depth['selected']} selected on {number(record['budget']['selecting'])} samples."
    signs = (("accuracy", depth["entry_accuracy"]), ("distance to the minimisers", depth["entry_distance"]))
    entry = ", ".join(f"by {name} from k = {k} on" for name, k in signs if k is not None) or "none found"
    out = [("Depth", selected), ("Certificate", certified(record)), ("Turnpike", record["turnpike"]["sentence"]),
           ("Entry", f"{entry}."), ("Decay", record["decay"]["sentence"]),
           ("Counting bound", record["counting"]["sentence"]),
           ("Dissipativity", record["dissipation"]["sentence"])]  # fmt: skip
    if branches := record.get("branches"):
        names = {kept: [b["module"] for b in branches if b["kept"] is kept] for kept in (True, False)}
        told = [f"{word}: {', '.join(names[kept]) or 'none'}" for kept, word in ((True, "kept"), (False, "cut"))]
        out.insert(1, ("Branches", f"{'; '.join(told)}."))
    if afforded := record.get("afforded"):
        out.insert(1, ("Cost", afforded["sentence"]))
    if growth := record.get("growth"):
        out.insert(1, ("Reference", f"the deepest network that growth tried, {layers(depth['N'])}, with the averaged "
                       f"weights that it had then; there was room for {growth['limit']}."))  # fmt: skip
    if other is not None:
        full = "deepest network tried" if growth else "full network"
        out.append(("Disagreement", f"{points(other)} of the test samples get another class than from the {full}."))
    if compiled := record.get("compilation"):
        out.append(("Compilation", compiled["sentence"]))
    if solver := record.get("solver"):
        out.append(("Solver", solver["sentence"]))
    for entry in record.get("calibration") or []:
        if entry["network"] == "cropped":
            by = f"by {entry['passes']} noisy passes" if entry["passes"] else "in the mean"
            out.append(("Calibration", f"depth found, {by}: {entry['sentence']}" if growth else
                        f"cropped network, {by}: {entry['sentence']}"))  # fmt: skip
    for kind, errors in record["parity"].items():
        worst = max((value for value in errors.values()), default=None)
        out.append((f"{kind.upper()} parity", f"largest difference {number(worst, 2)} of the largest output, "
                    f"batches of {', '.join(errors)}."))  # fmt: skip
    return out


def captions(record: Record) -> dict[str, str]:
    """What to see in each picture, in one sentence."""
    N, M = record["depth"]["N"], record["depth"]["depth"]
    missing = "; what was still missing at the green cut, healing had to make up" if M < N else ""
    states = (", and the way of its states: with a turnpike they run to the dashed minimisers of their class and stay"
              if record["plane"] and record["plane"]["trajectories"] else "")  # fmt: skip
    told = {
        "trajectories": f"What the full network's readout decides after k layers{states}{missing}.",
        "evaluations": "How often the adaptive solver evaluated the field in one update; where it rises, the field "
        "has become harder to solve.",
        "portrait": f"Where the field of a layer points, and the step that some samples take in it{_plane(record)}",
        "profile": "With a turnpike the curves of the full network settle early and then stay flat, train and test "
        "alike; the cropped network, healed, has to get as far within the layers it kept.",
        "comparison": "What the cut saves in layers, parameters, FLOPs and time, and what it costs in the metric, "
        "a point on its 95 % interval.",
        "price_curve": "The smallest depth whose healed network (filled diamond) stays on the good side of the dashed "
        "budget line is the one selected; the way from its hollow diamond is what healing gave back.",
        "minimisers": "Soft cross-entropy has a least value where plain cross-entropy falls for ever; the last logits "
        "should lie along the dashed line of their class, for the cropped network as for the full one.",
        "reliability": "On the diagonal a network is as often right as it is sure; above it, it is right more often. "
        "Soft targets ask for a confidence of 1 − ε and no more, so the points of a good network lie above.",
        "growth": "Two networks side by side: where the shallow one loses more than the budget, the deep one goes on "
        "and more layers wake; where it does not, growth is over, fewer layers are asked, and the answer is refitted.",
    }
    if record.get("afforded"):
        told["price_curve"] = ("The candidate is the deepest network that the budget of cost pays for, healed (filled "
                               "diamond); whether it lies on the good side of the dashed line of accuracy is another "
                               "question.")  # fmt: skip
    if record.get("growth"):
        told = {name: _of_growth(words) for name, words in told.items()}
    return told


def _plane(record: Record) -> str:
    """How the caption of the phase portrait goes on: where the states should end, and what plane it is."""
    part = record.get("portrait")
    if not part:
        return "."
    told = ": with a turnpike they come to rest" + " on the minimisers of their class" * bool(part["sets"])
    if part["plane"] == "state":
        return f"{told}."
    most = "the readout sees most of" if part["plane"] == "readout" else "they move in most"
    return (f"{told}. The states have more than two entries: this is the plane that {most}, with "
            f"{number(100 * part['share'], 3)} % of their variance; the arrows are the field on the slice through the "
            "mean state of that layer, projected.")  # fmt: skip


def _of_growth(caption: str) -> str:
    """A caption in the words of a network that grew: none was full, cropped or healed."""
    for cut, grown in (
        ("the full network", "the deepest network tried"), ("full one", "deepest one"),
        ("cropped network, healed,", "network of the depth found"), ("cropped network", "answer"),
        ("the cut saves", "the depth found saves"), ("healing had", "the refit had"),
    ):  # fmt: skip
        caption = caption.replace(cut, grown)
    return caption
