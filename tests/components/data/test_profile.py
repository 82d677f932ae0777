"""Figures of a split: lengths, labels, rows that repeat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.data.profile import profile
from components.errors import InputError


def test_lengths_labels_and_repetitions(tmp_path: Path) -> None:
    rows = [{"id": str(i), "text": " ".join(["w"] * (i + 1)), "kind": "ab"[i % 2]} for i in range(20)]
    rows += [{"id": "x", "text": "W  w", "kind": "b"}, {"id": "y", "text": "w w", "kind": "b"}]
    path = tmp_path / "sft.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = profile(path)
    assert found.rows == 22
    text = found.lengths["text"]
    assert (text["least"], text["median"], text["p95"], text["most"]) == (1, 9, 19, 20)
    assert sum(count for _, _, count in text["bins"]) == 22
    assert found.labels == {"kind": {"b": 12, "a": 10}}
    assert found.repeated == 2  # alike but for the id, capitals and spaces
    assert found.duplicates == [("text: w w kind: b", 3)]


def test_a_conversation_is_as_long_as_its_messages(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "three"}, {"role": "user", "content": "four"}]
    rows = [{"prompt": turns, "chosen": "a", "rejected": "b"}, {"prompt": "one", "chosen": "c", "rejected": "d"}]
    path = tmp_path / "preference.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = profile(path)
    assert (found.lengths["prompt"]["least"], found.lengths["prompt"]["most"]) == (1, 4)


def test_every_row_is_in_one_of_at_most_thirty_bins(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": "w " * n}) + "\n" for n in range(1, 101)))
    bins = profile(path).lengths["text"]["bins"]
    assert sum(count for _, _, count in bins) == 100
    assert len(bins) <= 30
    assert all(low < high for low, high, _ in bins)


def test_what_is_no_split_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("no JSON\n")
    with pytest.raises(InputError, match=r"row 1 of x.jsonl isn't valid JSON"):
        profile(tmp_path / "x.jsonl")
