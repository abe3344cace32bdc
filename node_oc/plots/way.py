"""Which windows of a growth led to its answer, and what became of each, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from node_oc.plots.style import Record


def way(record: Record) -> list[int]:
    """Indices of the windows that led to the answer, the first one first.

    The last of them is the last window of the depth found that was enough, without the refit where that was not kept;
    where none was, or none was certified, it is that of the deepest network tried. A window continues one that ended
    where it starts. Of the two of a trial, which both end there, it continues the one of the same steps; else, as a
    cut does, the one that was enough; else the deep one.
    """
    windows, depth = record["growth"]["windows"], record["depth"]["depth"]
    void = record["config"]["search"]["certify"] and record["depth"]["certified"] is None
    left = () if record["growth"]["refitted"] else ("refit",)  # worse than what it started from
    fit = [i for i, w in enumerate(windows)
           if len(w["steps"]) == depth and w["enough"] and not void and w["role"] not in left]  # fmt: skip
    found: list[int] = []
    at: int | None = fit[-1] if fit else deepest(windows)
    while at is not None:
        found.append(at)
        at = before(windows, at)
    return found[::-1]


def before(windows: Sequence[Record], i: int) -> int | None:
    """Index of the window whose network window i continues, or None at the start; see :func:`way`."""
    ended = [j for j in range(i) if finish(windows[j]) == windows[i]["start"]]
    return max(ended, default=None,
               key=lambda j: (windows[j]["steps"] == windows[i]["steps"], windows[j]["enough"], j))  # fmt: skip


def deepest(windows: Sequence[Record]) -> int:
    """Index of the window of the network that all others are measured against."""
    return max(i for i, w in enumerate(windows) if w["role"] in ("deep", "grown"))


def finish(window: Record) -> int:
    """Updates that the weights have seen at the end of a window."""
    return int(window["start"] + window["updates"])


def layer_count(count: int) -> str:
    """ "1 layer", "2 layers"."""
    return f"{count} layer{'s' * (count != 1)}"


def said_steps(steps: Iterable[int]) -> str:
    """Steps as a reader says them: "0, 1", or "4 to 7"; their number where they lie in many places."""
    runs: list[list[int]] = []
    for k in (steps := sorted(steps)):
        if runs and runs[-1][-1] == k - 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    said = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return said if len(said) < 12 else f"{len(steps)} steps"


def verdict(windows: Sequence[Record], i: int, green: set[int], refitted: bool) -> str:
    """What became of window i, in words that fit into its bar."""
    role, answer = windows[i]["role"], i == max(green)
    if role == "refit":
        left = "worse" if not refitted else "not certified" if windows[i]["enough"] else "over the budget"
        return f"trained on: {'the answer' if answer else left}"
    if answer:
        return "the answer"
    if role in ("shallow", "cut"):
        return "enough" if windows[i]["enough"] else "too few"
    if before(windows, i) is None and role != "deep":
        return "start"
    return "goes on" if i in green else "not needed"


def remarks(windows: Sequence[Record], i: int, limit: float) -> list[str]:
    """Which steps are awake at the start, which wake or fall asleep later; and what is enough over the budget."""
    w, earlier = windows[i], before(windows, i)
    out = [f"wakes {said_steps(seen['step'] for seen in w['woke'])}"] if w["woke"] else []
    if earlier is None and w["steps"] and not out:
        out.append(f"{'step' if len(w['steps']) == 1 else 'steps'} {said_steps(w['steps'])}")
    if earlier is not None and w["role"] in ("grown", "refit"):
        gone = set(windows[earlier]["steps"]) - set(w["steps"])
        out += [f"sleeps: {said_steps(gone)}"] if gone else []
    if w["enough"] and w["lost"] > limit:
        out.append("within its error")  # of one standard error, see search/windows.py
    return out


def phases(windows: Sequence[Record], price: float) -> list[tuple[str, int, int]]:
    """What was done, with the first and the last update of it."""
    out = [("start", w["start"], finish(w)) for w in windows if w["role"] == "start"]
    trials = [w for w in windows if w["role"] == "shallow"]
    out += [(f"trial {i}", w["start"], finish(w)) for i, w in enumerate(trials, 1)]
    for role, words in (("grown", f"price λ = {price:g}"), ("cut", "fewer layers?")):
        if found := [w for w in windows if w["role"] == role]:
            out.append((words, found[0]["start"], finish(found[-1])))
    if found := [w for w in windows if w["role"] == "refit"]:
        last = max(stop for _, _, stop in out)  # cuts that were not enough stand above the first part of it
        out.append(("trained on", max(found[0]["start"], last), finish(found[-1])))
    return out
