"""Answers of an evaluation that are worth a look: the best, the worst, and some drawn at random, from its ``items.jsonl``."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

Kind = Literal["worst", "best", "random"]
Item = dict[str, Any]


def benchmarks(items: Sequence[Item]) -> dict[str, list[str]]:
    """Metrics by benchmark, in the order in which they appear."""
    found: dict[str, dict[str, None]] = {}
    for item in items:
        found.setdefault(item["benchmark"], {}).update(dict.fromkeys(item["scores"]))
    return {name: list(metrics) for name, metrics in found.items()}


def choose(items: Sequence[Item], benchmark: str, metric: str, kind: Kind, count: int = 3, seed: int = 0) -> list[Item]:
    """Some items of a benchmark.

    Many answers share the same score; of those, ``seed`` decides which are shown, so that another seed shows others.

    Args:
        kind: ``worst`` and ``best`` by the metric; ``random`` from all.
    """
    own = [item for item in items if item["benchmark"] == benchmark and metric in item["scores"]]
    random.Random(f"{seed}/{kind}").shuffle(own)
    if kind != "random":
        own.sort(key=lambda item: item["scores"][metric], reverse=kind == "best")
    return own[:count]
