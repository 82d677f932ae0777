"""What a run says while it goes on: a line a stage on a terminal, plain lines elsewhere. Never on standard output with --json."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TextIO

_SHOWN_METRICS = ("reward", "loss")
_PLAIN_SECONDS = 10.0


class Status(StrEnum):
    """How a stage ended."""

    RAN = "ran"
    CACHED = "cached"
    FAILED = "failed"


class Listener(Protocol):
    """Whoever wants to know what a run does."""

    def started(self, stage: str, method: str) -> None:
        """A stage begins to run (cached stages only end)."""

    def events(self, stage: str, events: Iterable[Mapping[str, Any]]) -> None:
        """A running stage said something."""

    def ended(self, stage: str, method: str, status: Status, seconds: float) -> None:
        """A stage is done, or failed."""

    def note(self, message: str) -> None:
        """Something worth a line."""


@dataclass
class StageState:
    """What is known of one stage: its last step and its last loss or reward."""

    method: str
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    status: Status | None = None
    seconds: float = 0.0

    def update(self, events: Iterable[Mapping[str, Any]]) -> list[str]:
        """Takes in events; returns the warnings among them."""
        warnings = []
        for event in events:
            if event["kind"] == "progress":
                self.done, self.total = event["done"], event["total"]
            elif event["kind"] == "metric":
                self.metrics[event["name"]] = event["value"]
            elif event["kind"] == "warning":
                warnings.append(event["message"])
        return warnings

    @property
    def elapsed(self) -> float:
        """Seconds so far, or of the whole stage."""
        return self.seconds if self.status else time.monotonic() - self.began

    @property
    def step(self) -> str:
        """``40/120``, or nothing before the first step."""
        return f"{self.done}/{self.total}" if self.total else ""

    @property
    def metric(self) -> str:
        """The reward if there is one, else the loss."""
        for name in _SHOWN_METRICS:
            if name in self.metrics:
                return f"{name} {self.metrics[name]:.3f}"
        return ""


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{int(seconds) // 3600} h {int(seconds) // 60 % 60:02d} min"


class Plain:
    """Lines that also read well in a log file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stages: dict[str, StageState] = {}
        self._said: dict[str, float] = {}

    def started(self, stage: str, method: str) -> None:
        """See Listener."""
        self._stages[stage] = StageState(method)
        self._said[stage] = time.monotonic()
        self.note(f"{stage} ({method}) …")

    def events(self, stage: str, events: Iterable[Mapping[str, Any]]) -> None:
        """See Listener. A line at most every ten seconds."""
        state = self._stages[stage]
        for warning in state.update(events):
            self.note(f"{stage}: warning: {warning}")
        if state.total and time.monotonic() - self._said[stage] > _PLAIN_SECONDS:
            self._said[stage] = time.monotonic()
            self.note("  ".join(part for part in (f"{stage} {state.step}", state.metric, duration(state.elapsed)) if part))

    def ended(self, stage: str, method: str, status: Status, seconds: float) -> None:
        """See Listener."""
        self.note(f"{stage} ({method}) {status}" + (f" in {duration(seconds)}" if status is not Status.CACHED else ""))

    def note(self, message: str) -> None:
        """See Listener."""
        print(message, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing to take away."""


class Live:
    """A table that redraws itself, one line a stage."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._stages: dict[str, StageState] = {}
        self._live = RichLive(console=Console(file=stream), get_renderable=self._table, refresh_per_second=4, transient=True)
        self._live.start()

    def started(self, stage: str, method: str) -> None:
        """See Listener."""
        self._stages[stage] = StageState(method)

    def events(self, stage: str, events: Iterable[Mapping[str, Any]]) -> None:
        """See Listener."""
        for warning in self._stages[stage].update(events):
            self.note(f"{stage}: warning: {warning}")

    def ended(self, stage: str, method: str, status: Status, seconds: float) -> None:
        """See Listener."""
        state = self._stages.setdefault(stage, StageState(method))
        state.status, state.seconds = status, seconds

    def note(self, message: str) -> None:
        """See Listener."""
        self._live.console.print(message, markup=False, highlight=False)

    def close(self) -> None:
        """Takes the table away; the summary follows."""
        self._live.stop()

    def _table(self) -> Any:
        from rich.spinner import Spinner
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        marks: dict[Status | None, Any] = {Status.RAN: "✓", Status.CACHED: "✓", Status.FAILED: "✗"}
        for name, state in list(self._stages.items()):
            mark = marks.get(state.status) or Spinner("dots")
            elapsed = "cached" if state.status is Status.CACHED else duration(state.elapsed)
            table.add_row(mark, name, state.method, state.step, state.metric, elapsed)
        return table


class Quiet:
    """Says nothing: for runs whose output nobody reads here, e.g. those of a worker."""

    def started(self, stage: str, method: str) -> None:
        """See Listener."""

    def events(self, stage: str, events: Iterable[Mapping[str, Any]]) -> None:
        """See Listener."""

    def ended(self, stage: str, method: str, status: Status, seconds: float) -> None:
        """See Listener."""

    def note(self, message: str) -> None:
        """See Listener."""


_current: list[Listener] = [Quiet()]


def listener() -> Listener:
    """Who listens in this process."""
    return _current[-1]


def listen(new: Listener) -> None:
    """Makes ``new`` the listener of this process: a flow's parameters are JSON and can't carry it."""
    _current[:] = [new]
