"""Made-up but realistic records of networks that grew, as the end of a run writes them: for pictures and reports.

The records of a cut network are in :mod:`records`. A growth is written down window by window as it was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from records import record

UPDATES, WINDOW, REFIT = 3000, 300, 1500
Looks = Sequence[int]


def window(
    name: str, role: str, start: int, steps: Sequence[int], loss: float, *, woke: Looks = (),
    lost: float | None = None, allowed: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """One window, as report.json holds it; it is enough where it loses no more than is allowed."""
    return {"name": name, "role": role, "start": start, "updates": REFIT if role == "refit" else WINDOW,
            "steps": list(steps), "woke": looks(woke), "loss": loss, "lost": lost, "allowed": allowed,
            "enough": lost is not None and allowed is not None and lost <= allowed}  # fmt: skip


def looks(steps: Looks) -> list[dict[str, Any]]:
    """Looks at these steps: the earlier the more promising, the first four pay."""
    return [{"step": k, "ratio": round(3.1 * 0.7**i, 4), "pays": i < 4} for i, k in enumerate(steps)]


def shallow(i: int, start: int, depth: int, loss: float, lost: float, allowed: float = 0.005) -> dict[str, Any]:
    return window(f"grow-{i}-shallow", "shallow", start, range(depth), loss, lost=lost, allowed=allowed)


def deep(i: int, start: int, depth: int, loss: float, woke: Looks = ()) -> dict[str, Any]:
    return window(f"grow-{i}-deep", "deep", start, range(depth), loss, woke=woke)


def cut(start: int, depth: int, loss: float, lost: float, allowed: float = 0.005) -> dict[str, Any]:
    return window(f"cut-{depth}", "cut", start, range(depth), loss, lost=lost, allowed=allowed)


def refit(start: int, steps: Sequence[int], loss: float, lost: float, allowed: float = 0.005) -> dict[str, Any]:
    return window(f"refit-{len(steps)}", "refit", start, steps, loss, lost=lost, allowed=allowed)


def _start(loss: float, steps: Sequence[int] = (0, 1)) -> dict[str, Any]:
    return window("grow-0-start", "start", 0, steps, loss)


def spirals() -> list[dict[str, Any]]:
    """Spirals of three turns: three trials, 3 layers are asked and are too few, 4 are the answer."""
    return [
        _start(0.413),
        shallow(1, 300, 1, 0.426, 0.170), deep(1, 300, 2, 0.256),
        shallow(2, 600, 2, 0.203, 0.176), deep(2, 600, 4, 0.027, woke=(2, 3)),
        shallow(3, 900, 4, 0.0086, 0.0042), deep(3, 900, 8, 0.0044, woke=(4, 5, 6, 7)),
        cut(1200, 3, 0.0134, 0.0090),
        refit(1200, range(4), 0.005, 0.0006),
    ]  # fmt: skip


def three() -> list[dict[str, Any]]:
    """As spirals, and the cut to 3 layers is enough: the answer goes on from it."""
    return [*spirals()[:-2], cut(1200, 3, 0.0081, 0.0037), refit(1500, range(3), 0.0052, 0.0008)]


def second() -> list[dict[str, Any]]:
    """As spirals, but 4 layers lose too much when they are trained on: the deepest network is trained on as well."""
    return [*spirals()[:-1], refit(1200, range(4), 0.0107, 0.0063), refit(1200, range(8), 0.0041, -0.0003)]


def one_layer() -> list[dict[str, Any]]:
    """Digits: one layer is enough at once, none is not."""
    return [
        _start(0.0311), shallow(1, 300, 1, 0.0287, 0.0021), deep(1, 300, 2, 0.0266), cut(600, 0, 0.0812, 0.0546),
        refit(600, (0,), 0.0243, -0.0023),
    ]  # fmt: skip


def no_layer() -> list[dict[str, Any]]:
    """A table that the lift and the head alone tell apart."""
    return [
        _start(0.0), shallow(1, 300, 1, 0.0, 0.0), deep(1, 300, 2, 0.0), cut(600, 0, 0.0009, 0.0009),
        refit(900, (), 0.0004, 0.0004),
    ]  # fmt: skip


def sixteen() -> list[dict[str, Any]]:
    """Growth to 20 of 20 layers, and down by bisection from 16 to 13."""
    return [
        _start(0.413),
        shallow(1, 300, 1, 0.426, 0.170), deep(1, 300, 2, 0.256),
        shallow(2, 600, 2, 0.253, 0.056), deep(2, 600, 4, 0.197, woke=(2, 3)),
        shallow(3, 900, 4, 0.196, 0.072), deep(3, 900, 8, 0.124, woke=range(4, 8)),
        shallow(4, 1200, 8, 0.104, 0.056), deep(4, 1200, 16, 0.048, woke=range(8, 16)),
        shallow(5, 1500, 16, 0.041, 0.0023), deep(5, 1500, 20, 0.0387, woke=range(16, 20)),
        cut(1800, 12, 0.0512, 0.0125), cut(1800, 14, 0.0421, 0.0034), cut(1800, 13, 0.0431, 0.0044),
        refit(2100, range(13), 0.0331, -0.0056),
    ]  # fmt: skip


def no_room() -> list[dict[str, Any]]:
    """Four layers of four are not enough; 3 are no answer either, and the deepest one is trained on."""
    return [
        _start(0.413),
        shallow(1, 300, 1, 0.426, 0.170), deep(1, 300, 2, 0.256),
        shallow(2, 600, 2, 0.203, 0.176), deep(2, 600, 4, 0.027, woke=(2, 3)),
        cut(900, 2, 0.184, 0.157), cut(900, 3, 0.031, 0.004),
        refit(1200, range(3), 0.0352, 0.0082), refit(900, range(4), 0.0105, -0.0165),
    ]  # fmt: skip


def regression() -> list[dict[str, Any]]:
    """Squared errors; the budget is relative, so 0 may be lost, or one standard error of it."""
    return [
        _start(0.412),
        shallow(1, 300, 1, 0.391, 0.152, 0.011), deep(1, 300, 2, 0.238),
        shallow(2, 600, 2, 0.2125, 0.0005, 0.0062), deep(2, 600, 4, 0.211, woke=(2, 3)),
        refit(900, (0, 1), 0.2031, -0.0090, 0.0),
    ]  # fmt: skip


def at_price() -> list[dict[str, Any]]:
    """A fixed price: what pays at it wakes, what it sends to zero sleeps."""
    grown = [
        window("grow-0", "grown", 0, (0, 1), 0.402), window("grow-1", "grown", 300, (0, 1, 2, 3), 0.061, woke=(2, 3)),
        window("grow-2", "grown", 600, (0, 2, 3, 4, 5, 6), 0.0142, woke=(4, 5, 6)),
        window("grow-3", "grown", 900, (0, 2, 3, 4, 5), 0.0118),
    ]  # fmt: skip
    cuts = [window(f"cut-{m}", "cut", 1200, (0, 2, 3, 4, 5)[:m], loss, lost=loss - 0.0118, allowed=0.005)
            for m, loss in ((2, 0.231), (3, 0.0512), (4, 0.0121))]  # fmt: skip
    return [*grown, *cuts, refit(1500, (0, 2, 3, 4), 0.0061, -0.0057)]


def asleep() -> list[dict[str, Any]]:
    """A price at which nothing pays: both layers fall asleep, and no layer is the answer."""
    return [window("grow-0", "grown", 0, (0, 1), 0.0312), refit(300, (), 0.0298, -0.0014)]


def in_stages() -> list[dict[str, Any]]:
    """A convolutional network, with room in three stages, that wake in turns."""
    return [
        window("grow-0-start", "start", 0, (10, 5), 0.0211),
        window("grow-1-shallow", "shallow", 300, (10,), 0.0204, lost=0.0062, allowed=0.005),
        window("grow-1-deep", "deep", 300, (10, 5), 0.0142),
        window("grow-2-shallow", "shallow", 600, (10, 5), 0.0121, lost=0.0051, allowed=0.005),
        window("grow-2-deep", "deep", 600, (10, 5, 0, 11), 0.0070, woke=(0, 11)),
        window("grow-3-shallow", "shallow", 900, (10, 5, 0, 11), 0.0066, lost=0.0007, allowed=0.005),
        window("grow-3-deep", "deep", 900, (10, 5, 0, 11, 6, 1, 12, 7), 0.0059, woke=(6, 1, 12, 7)),
        window("cut-3", "cut", 1200, (10, 5, 0), 0.0069, lost=0.001, allowed=0.005),
        refit(1500, (10, 5, 0), 0.0064, 0.0005),
    ]  # fmt: skip


def deepened() -> list[dict[str, Any]]:
    """A trained network of 3 layers, deepened to 6: the three that are new do not help."""
    return [
        window("grow-1-shallow", "shallow", 0, (0, 2, 4), 0.0191, lost=0.0011, allowed=0.005),
        window("grow-1-deep", "deep", 0, (0, 2, 4, 1, 3, 5), 0.0180, woke=(1, 3, 5)),
        window("cut-2", "cut", 300, (0, 2), 0.0244, lost=0.0064, allowed=0.005),
        refit(300, (0, 2, 4), 0.0177, -0.0003),
    ]  # fmt: skip


KINDS = {
    "spirals": (spirals, "enough", 20), "three": (three, "enough", 20), "second": (second, "enough", 20),
    "one layer": (one_layer, "enough", 20), "no layer": (no_layer, "enough", 20), "sixteen": (sixteen, "enough", 20),
    "no room": (no_room, "no room", 4), "regression": (regression, "enough", 20),
    "at a price": (at_price, "no room", 7), "asleep": (asleep, "price", 2), "in stages": (in_stages, "enough", 15),
    "deepened": (deepened, "enough", 6),
}  # fmt: skip
"""Every kind of growth: its windows, why it stopped, and the layers that there was room for."""


def grown_record(kind: str = "spirals") -> dict[str, Any]:
    """What report.json would hold after a growth of this kind, see :data:`KINDS`."""
    made, stopped, limit = KINDS[kind]
    windows = made()
    inside = [w for w in windows if w["role"] == "refit" and w["enough"]]
    # At a fixed price the reference is what went on from the last window, where steps may have fallen asleep.
    reference = 0 if kind == "asleep" else len([w for w in windows if w["role"] in ("deep", "grown")][-1]["steps"])
    found = len(inside[-1]["steps"]) if inside else reference
    task = "regression" if kind == "regression" else "classification"
    out = record(task, classes=10 if kind in ("one layer", "in stages") else 2, N=reference, M=found)
    like = out["candidates"][-1]
    out["candidates"] = [
        {**like, "depth": len(w["steps"]), "raw": w["lost"] + 0.004, "excess": w["lost"], "inside": w["enough"]}
        for w in windows if w["role"] == "refit"
    ]  # fmt: skip
    out["config"]["system"]["depth"] = limit
    out["prices"] = []
    out["work"] = [{"training": w["name"], "updates": w["updates"], "seconds": 0.002 * w["updates"] * len(w["steps"]),
                    "layer_steps": w["updates"] * len(w["steps"])} for w in windows]  # fmt: skip
    out["growth"] = {
        "windows": windows, "looks": looks(range(reference, min(limit, 2 * reference))), "price": 0.03,
        "fixed": windows[0]["role"] == "grown", "stopped": stopped, "limit": limit,
        "started": len(windows[0]["steps"]), "updates": UPDATES, "look_work": 12.5,
        "refitted": True,
    }  # fmt: skip
    return out
