"""Compares two evaluations on the same items, from the ``items.jsonl`` that each evaluation stage writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.artifacts import Estimate
from components.errors import LapidarError
from components.statistics import paired_difference

ITEMS = "items.jsonl"


def compare(evaluation_a: Path, evaluation_b: Path, benchmark: str, metric: str) -> Estimate:
    """Mean difference ``a - b`` of a metric over all items of a benchmark, paired by id.

    Args:
        evaluation_a: output folder of an evaluation stage.
        evaluation_b: the one it is compared with.
        benchmark: whose items are compared.
        metric: a key of the items' ``scores``; ``metric@group`` takes that group's items only.

    Raises:
        LapidarError: if the evaluations don't hold the same items, or none with this metric.
    """
    a, b = (scores(path, benchmark, metric) for path in (evaluation_a, evaluation_b))
    if a.keys() != b.keys():
        raise LapidarError(
            f"{benchmark}: {evaluation_a} and {evaluation_b} hold other items ({len(a.keys() - b.keys())} only in the first, "
            f"{len(b.keys() - a.keys())} only in the second); evaluate both on the same data version"
        )
    return paired_difference([a[key] for key in a], [b[key] for key in a])


def scores(evaluation: Path, benchmark: str, metric: str) -> dict[tuple[str, str], float]:
    """A metric's score by item. An item is its id and its prompt: an id with another prompt is another item.

    Raises:
        LapidarError: if there is none.
    """
    metric, _, group = metric.partition("@")
    found = {
        (str(item["id"]), item["prompt"]): float(item["scores"][metric])
        for item in read_items(evaluation)
        if item["benchmark"] == benchmark and metric in item["scores"] and group in ("", item["group"])
    }
    if not found:
        raise LapidarError(
            f"{evaluation / ITEMS} has no items of {benchmark!r} with metric {metric!r}" + (f" in {group!r}" if group else "")
        )
    return found


def read_items(evaluation: Path) -> list[dict[str, Any]]:
    """All items of an evaluation, in the order of the dataset."""
    return [json.loads(line) for line in (evaluation / ITEMS).read_bytes().split(b"\n") if line]
