"""Whether it pays to let samples stop: a verdict in words, from the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FEW = 0.5  # layers: less saved than that is not worth a policy
SLACK = 0.001  # a rival may lose so much more (in regression: this share) and still be called as good


def stopping_verdict(record: Mapping[str, Any]) -> str:
    """The verdict in a few sentences, without the times.

    Args:
        record: of :func:`node_oc.record.stopping.make_stopping_record`.
    """
    test, family = record["chosen"]["test"], record["chosen"]["family"]
    text = (f"By {_called(family)} a sample passes {test['depth']:.2f} of {record['layers']} layers in the mean; "
            f"against the full network that loses {_loss(test, record)} on test samples.")  # fmt: skip
    sure = record["chosen"]["guarantee"]
    if record["chosen"]["by"] == "guarantee":
        text += (f" With a confidence of {record['target']['confidence']:g} it loses at most "
                 f"{_share(sure['loss'], record)} on new samples, by {sure['n']:,} that chose nothing.")  # fmt: skip
    elif sure is not None:
        text += " Nothing is guaranteed: it was chosen on the samples that show it; ask with --confidence 0.95."
    better = [f"{_article(name)} of {one['depth']:g} layers, for all samples alike, loses {_loss(one, record)}"
              for name, one in record["rivals"].items()
              if one["depth"] <= test["depth"] + FEW and one["excess"] <= test["excess"] + SLACK]  # fmt: skip
    if better:
        text += f" A small network is the better idea: {'; '.join(better)}."
    if record["layers"] - test["depth"] < FEW:
        text += " There is nothing to gain from stopping here."
    return text


def _called(family: str) -> str:
    return {"fixed": "a fixed depth", "entropy": "a threshold of entropy", "confidence": "a threshold of confidence",
            "margin": "a threshold of the margin", "change": "a threshold of change",
            "look-ahead": "one-step look-ahead", "continuation": "the value of continuing"}[family]  # fmt: skip


def _article(name: str) -> str:
    return {"cropped": "the cropped network", "plain": "a plain network"}.get(name, name)


def _loss(one: Mapping[str, float], record: Mapping[str, Any]) -> str:
    """An excess with its interval."""
    low, high = (_number(one[key], record) for key in ("low", "high"))
    return f"{_share(one['excess'], record)} ({low} to {high})"


def _share(value: float, record: Mapping[str, Any]) -> str:
    unit = "points" if record["task"] == "classification" else "% of its loss"
    return f"{_number(value, record)} {unit}"


def _number(value: float, record: Mapping[str, Any]) -> str:
    return f"{100 * value:.2f}".replace("-0.00", "0.00")
