"""What an agent did, step by step, as spans: kept in the home when it ends, delivered to MLflow by ``components.mlflow_traces``.

``traces/<id>.json``, a sample::

    {"id": "tr-0f…", "name": "agent", "start": 1763900000000000000, "end": …, "ok": true, "tags": {"model": "stories@champion"},
     "spans": [{"id": "9c…", "parent": null, "name": "agent", "type": "AGENT", "start": …, "end": …, "ok": true,
                "inputs": {…}, "outputs": {…}, "events": []}]}
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

SpanType = Literal["AGENT", "CHAT_MODEL", "TOOL"]
_MOST_SPANS = 1000


@dataclass
class Span:
    """One step. Times are nanoseconds since 1970."""

    id: str
    parent: str | None
    name: str
    type: SpanType
    start: int
    end: int = 0
    ok: bool = True
    inputs: Any = None
    outputs: Any = None
    events: list[dict[str, Any]] = field(default_factory=list)

    def set(self, outputs: Any, ok: bool = True) -> None:
        """Says what came of it."""
        self.outputs, self.ok = outputs, ok


class Trace:
    """The spans of one turn.

    Args:
        folder: where it is kept when its first span ends; None keeps nothing.
        tags: facts about it, such as the model.
    """

    def __init__(self, name: str, folder: Path | None = None, tags: Mapping[str, str] | None = None) -> None:
        self.id = f"tr-{secrets.token_hex(16)}"
        self.name, self.tags = name, dict(tags or {})
        self.spans: list[Span] = []
        self._folder = folder
        self._open: list[Span] = []

    @contextmanager
    def span(self, name: str, kind: SpanType, inputs: Any = None) -> Iterator[Span]:
        """A step, inside of the one that is open. What it raises is noted and goes on."""
        parent = self._open[-1].id if self._open else None
        span = Span(secrets.token_hex(8), parent, name, kind, time.time_ns(), inputs=json.loads(json.dumps(inputs, default=str)))
        if len(self.spans) < _MOST_SPANS:
            self.spans.append(span)
        self._open.append(span)
        try:
            yield span
        except BaseException as error:
            span.ok = False
            span.events.append({"name": "exception", "time": time.time_ns(), "text": f"{type(error).__name__}: {error}"[:1000]})
            raise
        finally:
            span.end = time.time_ns()
            self._open.remove(span)
            if not self._open:
                self._keep()

    def event(self, name: str, content: Mapping[str, Any]) -> None:
        """Notes something in the step that is open."""
        if self._open:
            text = json.dumps(content, ensure_ascii=False, default=str)[:4000]
            self._open[-1].events.append({"name": name, "time": time.time_ns(), "text": text})

    def record(self) -> dict[str, Any]:
        """All of it as JSON."""
        root = self.spans[0]
        whole = {"id": self.id, "name": self.name, "start": root.start, "end": root.end, "ok": root.ok, "tags": self.tags}
        return {**whole, "spans": [asdict(span) for span in self.spans]}

    def _keep(self) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f".{self.id}.{os.getpid()}"
        part.write_text(json.dumps(self.record(), ensure_ascii=False, default=str), encoding="utf-8")
        part.replace(self._folder / f"{self.id}.json")
