"""``events.jsonl`` after a kill or a full disk: nothing that was whole is lost, and what isn't stops nobody."""

from __future__ import annotations

from pathlib import Path

from components import events
from components.events import EventWriter


def test_a_torn_line_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    EventWriter(file).progress(1, 9)
    with file.open("ab") as torn:
        torn.write(b'{"kind": "progr')
    seen, offset = events.read(file)
    assert [event["done"] for event in seen] == [1]
    EventWriter(file).progress(2, 9)
    assert [event["done"] for event in events.read(file, offset)[0]] == [2]
    assert [event["done"] for event in events.read(file)[0]] == [1, 2]


def test_a_damaged_line_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    writer = EventWriter(file)
    writer.metric("loss", 2.0, 1)
    with file.open("ab") as other:
        other.write(b'{"kind": "metr\x00\xff\n[]\n{}\n')
    writer.metric("loss", 1.0, 2)
    seen, offset = events.read(file)
    assert offset == file.stat().st_size
    assert [event["kind"] for event in seen] == ["metric", "warning", "warning", "warning", "metric"]
    assert f'a damaged line of {file} is passed over: b\'{{"kind": "metr' in seen[1]["message"]
    assert [event["value"] for event in events.metrics(file)] == [2.0, 1.0]
