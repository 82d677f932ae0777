"""What an evaluation is worth without the items that were found in training data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.comparison import bounds
from components.contamination import wording
from components.statistics import mean

MATCHES = "matches.jsonl"


def read_matches(folder: Path) -> list[dict[str, Any]]:
    """The matches of a finished stage."""
    return [json.loads(line) for line in (folder / MATCHES).read_bytes().split(b"\n") if line]


def with_and_without(items: Iterable[Mapping[str, Any]], matches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Each metric of an evaluation over all items, over those that weren't flagged, and over those that were.

    An evaluated item is flagged if a match has its id and its prompt holds the match's item: the names of benchmarks may differ,
    their texts may not. Where texts are hidden the id alone counts.

    Args:
        items: of the evaluation's ``items.jsonl``.
        matches: with ``id`` and ``item``.

    Returns:
        ``{benchmark: {metric: {"all": {value, low, high, n}, "without": … or None, "flagged": …}}}`` for benchmarks of which an
        item is flagged.
    """
    texts: dict[str, set[str]] = {}
    for match in matches:
        texts.setdefault(str(match["id"]), set()).add(" ".join(wording.words(match["item"])))
    groups: dict[str, list[tuple[Mapping[str, Any], bool]]] = {}
    for item in items:
        prompt = f" {' '.join(wording.words(_text(item['prompt'])))} "
        bad = any(not text or f" {text} " in prompt for text in texts.get(str(item["id"]), ()))
        groups.setdefault(item["benchmark"], []).append((item, bad))
    return {name: _metrics(group) for name, group in groups.items() if any(bad for _, bad in group)}


def _text(prompt: Any) -> str:
    """A prompt is a text, or the messages of a conversation."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)


def _metrics(group: Sequence[tuple[Mapping[str, Any], bool]]) -> dict[str, Any]:
    found, span = {}, bounds(group[0][0])
    for metric in group[0][0]["scores"]:
        scores = [(float(item["scores"][metric]), bad) for item, bad in group if metric in item["scores"]]
        parts = {
            "all": [score for score, _ in scores],
            "without": [score for score, bad in scores if not bad],
            "flagged": [score for score, bad in scores if bad],
        }
        found[metric] = {name: asdict(mean(values, bounds=span)) if values else None for name, values in parts.items()}
    return found
