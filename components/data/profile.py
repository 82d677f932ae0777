"""What a split holds, in figures: lengths, labels, duplicates. Reads the file once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data import records

_LABELS = 30
_BINS = 30


@dataclass(frozen=True)
class Profile:
    """Figures of a split.

    Attributes:
        lengths: by text field: ``least, median, p95, most, bins`` in words; a bin is (from, to, rows).
        labels: by field with at most 30 values that repeat: value → rows.
        duplicates: (text, rows that have it) of rows alike but for their id, case and spaces; the most frequent first.
        repeated: rows that repeat an earlier one.
    """

    rows: int
    lengths: dict[str, dict[str, Any]]
    labels: dict[str, dict[str, int]]
    duplicates: list[tuple[str, int]]
    repeated: int


def profile(path: Path) -> Profile:
    """The figures of a JSON Lines file.

    Raises:
        InputError: if it isn't one.
    """
    rows, lengths = 0, dict[str, Counter[int]]()
    labels, alike = dict[str, Counter[str]](), Counter[str]()
    for row in records.read(path):
        rows += 1
        content = {name: value for name, value in row.items() if name != "id"}
        for name, value in content.items():
            text = _text(value)
            if text is not None:
                lengths.setdefault(name, Counter())[len(text.split())] += 1
            if isinstance(value, (str, bool, int)):
                _label(labels.setdefault(name, Counter()), value)
        whole = " ".join(f"{name}: {_text(value) or value}" for name, value in content.items())
        alike[" ".join(whole.split()).casefold()] += 1
    kept = {name: dict(c.most_common()) for name, c in labels.items() if 1 < len(c) <= _LABELS and sum(c.values()) > 2 * len(c)}
    found = [(text[:400], count) for text, count in alike.most_common(10) if count > 1]
    return Profile(rows, {n: _spread(c) for n, c in lengths.items()}, kept, found, rows - len(alike))


def _label(counter: Counter[str], value: Any) -> None:
    if len(counter) <= _LABELS:  # a field of many values is no label; no need to keep them
        counter[str(value)[:80]] += 1


def _text(value: Any) -> str | None:
    """A text, or the texts of a conversation."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return "\n".join(str(each.get("content", "")) for each in value)
    return None


def _spread(counts: Counter[int]) -> dict[str, Any]:
    least, most, total = min(counts), max(counts), sum(counts.values())
    width = max(1, -(-(most - least + 1) // _BINS))
    bins = Counter[int]()
    for length, count in counts.items():
        bins[(length - least) // width] += count
    middle = [(least + b * width, least + (b + 1) * width, count) for b, count in sorted(bins.items())]
    return {
        "least": least,
        "median": _quantile(counts, total, 0.5),
        "p95": _quantile(counts, total, 0.95),
        "most": most,
        "bins": middle,
    }


def _quantile(counts: Counter[int], total: int, share: float) -> int:
    seen = 0
    for length in sorted(counts):
        seen += counts[length]
        if seen >= share * total:
            return length
    return max(counts)
