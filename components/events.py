"""What a stage says while it runs: one JSON object a line in ``events.jsonl``, appended by the child, read by the parent.

Sample: ``{"kind": "metric", "name": "loss", "value": 1.25, "step": 40, "time": 1763900000.123}``
Other kinds: ``progress`` (done, total), ``warning`` (message), ``text`` (name, message: a sample worth looking at).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class EventWriter:
    """Appends events; every line is flushed so that a killed child loses none that it wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_torn_line(path)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def metric(self, name: str, value: float, step: int) -> None:
        """A number at a step; NaN and infinities are written as JSON's NaN, Infinity."""
        self._write(kind="metric", name=name, value=float(value), step=step)

    def progress(self, done: int, total: int) -> None:
        """How far the stage is."""
        self._write(kind="progress", done=done, total=total)

    def warning(self, message: str) -> None:
        """Something that the user should know and that doesn't stop the stage."""
        self._write(kind="warning", message=message)

    def text(self, name: str, message: str) -> None:
        """A sample worth looking at, e.g. the first training row with its trained tokens marked."""
        self._write(kind="text", name=name, message=message)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _write(self, **event: Any) -> None:
        self._file.write(json.dumps({**event, "time": round(time.time(), 3)}, ensure_ascii=True) + "\n")


def read(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Whole events from byte ``offset`` on, and the offset behind the last whole line (a torn line stays unread).

    A line that is no event, because the disk was full or is failing, is told as a warning in its place.
    """
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        chunk = file.read()
    whole = chunk[: chunk.rfind(b"\n") + 1]
    return [_event(line, path) for line in whole.split(b"\n") if line], offset + len(whole)


def _event(line: bytes, path: Path) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and "kind" in event:
        return event
    return {"kind": "warning", "message": f"a damaged line of {path} is passed over: {line[:40]!r}"}


def cut_torn_line(path: Path) -> None:
    """A writer that was killed in the middle of a line, or had no room for it, leaves a tail that would spoil the next line."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def metrics(path: Path) -> Iterator[dict[str, Any]]:
    """Metric events, the last one of each (name, step): a resumed stage says some steps twice."""
    events, _ = read(path)
    last = {(e["name"], e["step"]): e for e in events if e["kind"] == "metric"}
    yield from last.values()
