"""Tables of the study: paired differences to training without noise, corrected for how many are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from experiments.headline.sets import mean_interval, written

MEASURES = {"accuracy": ("accuracy, %", 2), "ece": ("ECE, points", 2), "nll": ("NLL, nats", 4),
            "sure": ("confidence less accuracy, points", 2), "depth": ("depth after a crop", 1),
            "entry": ("entry by accuracy", 1)}  # fmt: skip
ALIKE = [("branch dropout", "two-point"), ("branch dropout", "Gaussian"), ("two-point", "Gaussian"),
         ("stochastic depth", "branch dropout")]  # fmt: skip
LEVEL = 0.05
Rows = list[dict[str, Any]]
README = Path(__file__).with_name("README.md")
PAGE = Path(__file__).parents[2] / "docs" / "noise.md"


def fill(name: str, table: str, file: Path = README) -> None:
    """Put a table into a file, between the marks of its name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = file.read_text().split(begin)
    file.write_text(before + begin + table + "\n" + end + rest.split(end)[1])


def differences(rows: Rows, one: str, other: str, measure: str) -> list[float]:
    """Of each seed that both ways have, the measure of one less that of the other."""
    values = [{row["seed"]: row[measure] for row in rows if row["mode"] == mode and measure in row}
              for mode in (one, other)]  # fmt: skip
    return [values[0][seed] - values[1][seed] for seed in sorted(values[0].keys() & values[1].keys())]


def p_value(values: Sequence[float]) -> float:
    """Two-sided, of Student's t on paired differences; nan for less than two.

    Differences that are all the same have no t: then the sign test's, 2^(1 - n), or 1 where all are 0.
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return math.nan
    if x.std() > 0:
        return float(stats.ttest_1samp(x, 0.0).pvalue)
    return 1.0 if x[0] == 0 else 2.0 ** (1 - len(x))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order that they came in; nan stays and is not counted."""
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    corrected, largest = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * values[i]))
        corrected[i] = largest
    return corrected


def groups(rows: Rows) -> list[tuple[tuple[str, str, float], Rows]]:
    """Rows by set, cost and noise, in the order that they came in."""
    found: dict[tuple[str, str, float], Rows] = {}
    for row in sorted(rows, key=lambda row: ("cifar" in row["set"], row["cost"] != "stage", row["keep"] != 0.8)):
        found.setdefault((row["set"], row["cost"], row["keep"]), []).append(row)
    return list(found.items())


def modes(rows: Rows) -> list[str]:
    """Ways to train beside the one without noise."""
    return list(dict.fromkeys(row["mode"] for row in rows if row["mode"] != "none"))


def corrected(rows: Rows, measure: str) -> dict[tuple[tuple[str, str, float], str], float]:
    """Holm's p of every (group, way): all comparisons of a measure are one family."""
    places = [(key, mode) for key, these in groups(rows) for mode in modes(these)]
    raw = [p_value(differences(these, mode, "none", measure)) for key, these in groups(rows) for mode in modes(these)]
    return dict(zip(places, holm(raw), strict=True))


def tell(rows: Rows) -> str:
    """All tables in Markdown."""
    family = {measure: corrected(rows, measure) for measure in MEASURES}
    return "\n\n".join([*(_group(key, these, family) for key, these in groups(rows)), _alike(rows),
                        _verdict(rows, family)])  # fmt: skip


def summary(rows: Rows) -> str:
    """The table of docs/noise.md: sets of several seeds, a line a measure."""
    family = {measure: corrected(rows, measure) for measure in MEASURES}
    ways = modes(rows)
    lines = ["| set | | none | " + " | ".join(ways) + " |", "|---" * (3 + len(ways)) + "|"]
    for key, these in groups(rows):
        if (seeds := len({row["seed"] for row in these})) == 1:
            continue
        for m in ("accuracy", "ece", "nll", "depth"):
            plain = [row[m] for row in these if row["mode"] == "none" and m in row]
            name, digits = MEASURES[m]
            cells = [_difference(differences(these, way, "none", m), digits, family[m].get((key, way), math.nan), seeds)
                     for way in ways]  # fmt: skip
            lines.append(f"| {key[0]} | {name} | {_cell(plain, digits, seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _group(key: tuple[str, str, float], rows: Rows, family: dict[str, Any]) -> str:
    have = [m for m in MEASURES if len([r for r in rows if m in r]) > 0]
    plain = [row for row in rows if row["mode"] == "none"]
    cost = "stage costs, gamma = 1" if key[1] == "stage" else "plain cross-entropy at the end"
    seeds = len({row["seed"] for row in plain})
    lines = [f"**{key[0]}**, {cost}, keep {key[2]:g}, {seeds} seed{'s' if seeds > 1 else ''}", "",
             "| way | " + " | ".join(MEASURES[m][0] for m in have) + " |", "|---|" + "---|" * len(have),
             "| none | " + " | ".join(_cell([row[m] for row in plain if m in row], MEASURES[m][1], seeds) for m in have)
             + " |"]  # fmt: skip
    for mode in modes(rows):
        cells = [_difference(differences(rows, mode, "none", m), MEASURES[m][1], family[m][key, mode], seeds)
                 for m in have]  # fmt: skip
        lines.append(f"| {mode} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float], digits: int, seeds: int) -> str:
    return written(values, digits) + _fewer(values, seeds) if values else ""


def _difference(values: Sequence[float], digits: int, p: float, seeds: int) -> str:
    """Mean difference and its 95 % interval; bold where Holm's p is below the level."""
    if not values:
        return ""
    mean, half = mean_interval(values)
    text = f"{mean:+.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")
    return (f"**{text}**" if p < LEVEL else text) + _fewer(values, seeds)


def _fewer(values: Sequence[float], seeds: int) -> str:
    return f" ({len(values)} seeds)" if len(values) < seeds else ""


def _alike(rows: Rows) -> str:
    """Ways of the same variance against each other."""
    lines = ["| set | one less the other | " + " | ".join(MEASURES[m][0] for m in ("accuracy", "ece", "nll")) + " |",
             "|---|---|---|---|---|"]  # fmt: skip
    for key, these in groups(rows):
        for one, other in ALIKE:
            cells = [_difference(differences(these, one, other, m), MEASURES[m][1], math.nan, 0)
                     for m in ("accuracy", "ece", "nll")]  # fmt: skip
            if any(cells):
                cost = "" if key[1] == "stage" else ", plain cost"
                lines.append(f"| {key[0]}{cost} | {one} less {other} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _verdict(rows: Rows, family: dict[str, Any]) -> str:
    """How many comparisons there were, and how many hold after correction."""
    lines = []
    for measure, values in family.items():
        known = [p for p in values.values() if not math.isnan(p)]
        if known:
            kept = [f"{mode} on {key[0]}{'' if key[1] == 'stage' else ' at plain cost'} (p = {p:.2g})"
                    for (key, mode), p in values.items() if p < LEVEL]  # fmt: skip
            lines.append(f"- {MEASURES[measure][0]}: {len(kept)} of {len(known)} differences hold after Holm's "
                         f"correction{': ' + _list(kept) if kept else ''}.")  # fmt: skip
    return "\n".join(lines)


def _list(parts: Iterable[str]) -> str:
    return "; ".join(parts)
