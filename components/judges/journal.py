"""A JSON Lines file that grows while work is done, and says after a crash what needn't be done again."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Journal:
    """Finished records by key, each on disk before it counts.

    A last line that a kill has torn is cut off; so is nothing else.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.split(b"\n"):
            if line:
                record = json.loads(line)
                self.records[record["key"]] = record
        self._file = path.open("ab")
        self._file.truncate(len(whole))

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Writes a finished record."""
        self.records[key] = {"key": key, **record}
        self._file.write(json.dumps(self.records[key], ensure_ascii=True).encode() + b"\n")
        self._file.flush()

    def put_aside(self) -> Path:
        """Takes the file out of the way, because its records are of no use; returns where it is now."""
        return self.path.replace(self.path.with_name(f"{self.path.stem}.unusable{self.path.suffix}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
