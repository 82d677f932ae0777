"""Figures of a split: lengths, labels, rows that repeat."""

from __future__ import annotations

import json
from pathlib import Path

from components.data.profile import profile


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
