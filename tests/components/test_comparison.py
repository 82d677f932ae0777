"""Comparing two evaluations from their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.comparison import compare
from components.errors import LapidarError
from components.statistics import paired_difference


def evaluation(folder: Path, scores: list[float], **fields: Any) -> Path:
    folder.mkdir()
    items = [
        {
            "benchmark": "sums",
            "id": str(i),
            "group": "seen" if i % 2 else "unseen",
            "prompt": f"What is {i}\u2028?",
            "scores": {"accuracy": score},
            **fields,
        }
        for i, score in enumerate(scores)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return folder


def test_compare_pairs_by_id(tmp_path: Path) -> None:
    a, b = [1, 1, 1, 0, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0, 0, 1]
    first, second = evaluation(tmp_path / "a", a), evaluation(tmp_path / "b", b)
    lines = (second / "items.jsonl").read_bytes().split(b"\n")[:-1]
    (second / "items.jsonl").write_bytes(b"\n".join(reversed(lines)) + b"\n")  # another order, the same items
    assert compare(first, second, "sums", "accuracy") == paired_difference(a, b)
    assert compare(first, second, "sums", "accuracy@seen") == paired_difference(a[1::2], b[1::2])
    assert compare(second, first, "sums", "accuracy").value < 0


def test_other_items_are_an_error(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", [1, 0, 1])
    with pytest.raises(LapidarError, match="1 only in the first, 0 only in the second"):
        compare(first, evaluation(tmp_path / "b", [1, 0]), "sums", "accuracy")
    with pytest.raises(LapidarError, match="3 only in the first, 3 only in the second"):
        compare(first, evaluation(tmp_path / "c", [1, 0, 1], prompt="another question"), "sums", "accuracy")


@pytest.mark.parametrize(("benchmark", "metric"), [("sums", "f1"), ("products", "accuracy"), ("sums", "accuracy@easy")])
def test_nothing_to_compare_is_an_error(tmp_path: Path, benchmark: str, metric: str) -> None:
    first, second = evaluation(tmp_path / "a", [1]), evaluation(tmp_path / "b", [1])
    with pytest.raises(LapidarError, match="has no items of"):
        compare(first, second, benchmark, metric)
