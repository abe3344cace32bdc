"""What came out of a search, for people and for programs: a table, report.json and report.html, from one record."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from rich import box
from rich.table import Table
from rich.text import Text

from node_oc.errors import StoreError
from node_oc.search.compared import layers
from node_oc.store import write_atomic, write_json

Record = Mapping[str, Any]
NAMES = {"full": "full", "cropped": "cropped", "plain": "plain neighbour"}
GROWN = {"full": "deepest tried", "cropped": "depth found", "plain": "plain neighbour"}


class Cell(NamedTuple):
    """One entry of the table: the numbers as the record has them, and how they are written."""

    values: tuple[Any, ...]
    text: str


def number(value: Any, digits: int = 4) -> str:
    """A number as it is written everywhere: integers in full, others to so many significant digits."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}".replace("-", "−") if math.isfinite(value) else str(value)


def points(value: Any) -> str:
    """An accuracy given as a fraction, in per cent."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return number(value)
    return f"{100 * value:.2f} %"


def share(value: float) -> str:
    """A confidence given as a fraction, in per cent."""
    return f"{100 * value:.6g} %"


def ranges(steps: Sequence[int]) -> str:
    """Indices in short: "0 to 5, 8"."""
    runs: list[list[int]] = []
    for k in sorted(steps):
        if runs and k == runs[-1][1] + 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    return ", ".join(f"{a} to {b}" if b > a else f"{a}" for a, b in runs) or "none"


def setting(value: Any) -> str:
    """A value of the configuration: text as it is, the rest as JSON has it."""
    return value if isinstance(value, str) else "not set" if value is None else json.dumps(value, ensure_ascii=False)


def metric(entry: Record) -> str:
    """A metric with its interval: "99.87 % (99.80 to 99.94)"."""
    write = points if entry["name"] == "accuracy" else number
    value, low, high = (write(entry[key]) for key in ("value", "low", "high"))
    return value if entry["low"] is None else f"{value} ({low.removesuffix(' %')} to {high.removesuffix(' %')})"


def columns(record: Record) -> list[tuple[str, str]]:
    """Heading and second line (its unit) of every column of the table."""
    models = record["models"]
    name = models[0]["metric"]["name"] if models else "metric"
    batches = [(f"latency, batch {batch}", "ms, p50 / p95") for batch in _batches(models)]
    return [("network", ""), ("layers", ""), ("parameters", ""), ("FLOPs", ""), *batches,
            (f"test {name}", "95 % interval")]  # fmt: skip


def rows(record: Record) -> list[list[Cell]]:
    """The cells of the table: the full network, the cropped one, its plain neighbour."""
    out = []
    names = GROWN if record.get("growth") else NAMES
    for model in record["models"]:
        name, entry = model["name"], model["metric"]
        row = [Cell((name,), names.get(name, name))]
        row += [Cell((model[key],), number(model[key])) for key in ("layers", "parameters", "flops")]
        for batch in _batches(record["models"]):
            both = (model["latency_ms"] or {}).get(batch) or {"p50": None, "p95": None}
            row.append(Cell((both["p50"], both["p95"]), f"{number(both['p50'], 3)} / {number(both['p95'], 3)}"))
        out.append([*row, Cell((entry["value"], entry["low"], entry["high"]), metric(entry))])
    return out


def table(record: Record) -> Table:
    """The networks side by side, for a terminal of 80 columns: latency at batch 1 only."""
    heads = columns(record)
    shown = [i for i, (heading, _) in enumerate(heads) if not heading.startswith("latency") or heading.endswith(" 1")]
    out = Table(title=Text(str(record["name"])), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False,
                padding=(0, 1, 0, 0))  # fmt: skip
    for i in shown:
        words = "\n".join(filter(None, heads[i])).replace(", ", "\n")
        out.add_column(words, justify="right" if i else "left", no_wrap=i > 0)
    for row in rows(record):
        out.add_row(*(Text(row[i].text.replace(" (", "\n(")) for i in shown))
    return out


def _batches(models: list[Any]) -> list[str]:
    return sorted({batch for model in models for batch in model["latency_ms"] or {}}, key=int)


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
        "growth": "Two networks side by side: where the shallow one loses more than the budget, the deep one goes on "
        "and more layers wake; where it does not, growth is over, fewer layers are asked, and the answer is refitted.",
    }
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


def write_report(record: Record, folder: str | Path, figures: Mapping[str, str | Path]) -> dict[str, Path]:
    """Writes report.json and report.html, both from this record.

    Args:
        record: the outcome of a search, see report.json.
        folder: an existing directory.
        figures: PNG files by the name of their picture, as :func:`node_oc.plots.draw_all` returns them; they
            are put into the page, in this order.

    Returns:
        The two paths, as "json" and "html".

    Raises:
        StoreError: a picture that cannot be read, or a folder that cannot be written.
    """
    paths = {"json": Path(folder) / "report.json", "html": Path(folder) / "report.html"}
    pictures = [(name, captions(record).get(name, ""), _inline(Path(path))) for name, path in figures.items()]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     lstrip_blocks=True)  # fmt: skip
    environment.filters.update(number=number, share=share, metric=metric, ranges=ranges, setting=setting)
    source = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    html = environment.from_string(source).render(
        record=record, columns=columns(record), rows=rows(record), answers=answers(record), pictures=pictures,
        neighbour=neighbour(record), effort=record.get("effort"), growth=record.get("growth"),
        left_out=record.get("left_out") or {},
    )  # fmt: skip
    write_json(paths["json"], dict(record))
    write_atomic(paths["html"], html.encode("utf-8", "xmlcharrefreplace"))
    return paths


def _inline(path: Path) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise StoreError(str(path), got=error.strerror or error, expected="a picture of the report",
                         do="Draw the pictures again.") from error  # fmt: skip
