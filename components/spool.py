"""A run's tracking records on disk: appended while the run lives, read by whoever drains them. Knows no tracker.

``runs/<run id>/tracking.jsonl`` holds one operation a line, in order. Sample::

    {"op": "metrics", "stage": "sft", "items": [["loss", 1.25, 40, 1763900000123]]}

``tracking.lease`` is a lock that the kernel releases when its holder dies: a run without one is over, ended or not.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from components.events import cut_torn_line

CHUNK_BYTES = 4 << 20


@dataclass
class Progress:
    """How far a spool is drained.

    Attributes:
        offset: byte behind the last operation that the tracker has.
        runs: the tracker's run id by stage; the parent run is ``""``.
        done: the run has ended and everything is drained.

    """

    offset: int = 0
    runs: dict[str, str] = field(default_factory=dict)
    done: bool = False


class Spool:
    """The records of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_id = folder.name
        self.path = folder / "tracking.jsonl"
        self._append_lock = threading.Lock()
        self._file: IO[bytes] | None = None

    def append(self, **operation: Any) -> None:
        """Adds one operation; it is in the file when this returns."""
        line = json.dumps(operation, ensure_ascii=True, default=str).encode() + b"\n"
        with self._append_lock:
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab", buffering=0)
                cut_torn_line(self.path)
            self._file.write(line)

    def read(self, offset: int = 0) -> list[tuple[dict[str, Any], int]]:
        """Whole operations from a byte offset on, each with the offset behind it; a few megabytes at a time."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(CHUNK_BYTES)
            while chunk and b"\n" not in chunk and (more := file.read(CHUNK_BYTES)):
                chunk += more
        found = []
        for line in chunk[: chunk.rfind(b"\n") + 1].split(b"\n")[:-1]:
            offset += len(line) + 1
            try:
                found.append((json.loads(line), offset))
            except ValueError:
                found.append(({"op": "unreadable", "line": line.decode(errors="replace")}, offset))
        return found

    def operations(self) -> Iterator[dict[str, Any]]:
        """All whole operations from the beginning."""
        offset = 0
        while batch := self.read(offset):
            yield from (operation for operation, _ in batch)
            offset = batch[-1][1]

    def progress(self) -> Progress:
        """How far it is drained; a missing or torn record means from the beginning, which logs nothing twice."""
        try:
            return Progress(**json.loads((self.folder / "tracking.state.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return Progress()

    def save_progress(self, progress: Progress) -> None:
        """Replaces the record in one step."""
        target = self.folder / "tracking.state.json"
        part = target.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
        part.write_text(json.dumps(vars(progress)), encoding="utf-8")
        part.replace(target)

    def reject(self, operation: Mapping[str, Any], error: Exception) -> None:
        """Keeps an operation that the tracker refuses for good, with what it said."""
        line = json.dumps({**operation, "error": str(error)}, default=str) + "\n"
        with (self.folder / "tracking.rejected.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    @contextmanager
    def lease(self) -> Iterator[bool]:
        """The right to append and to drain, held by the live run; False if another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "tracking.lease").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def close(self) -> None:
        """Closes the file."""
        with self._append_lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def flatten(values: Any, prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """Leaves of nested mappings and lists by dotted name.

    >>> flatten({"sft": {"lr": 0.1}, "align": [{"method": "dpo"}]})
    {'sft.lr': 0.1, 'align.0.method': 'dpo'}
    """
    if isinstance(values, dict) and values:
        pairs = values.items()
    elif isinstance(values, list) and any(isinstance(v, (dict, list)) for v in values):
        pairs = {str(i): v for i, v in enumerate(values)}.items()
    else:
        return {prefix: values} if prefix else {}
    found: dict[str, Any] = {}
    for key, value in pairs:
        found |= flatten(value, f"{prefix}{separator}{key}" if prefix else str(key), separator)
    return found
