"""What a stage function may touch while it runs: its output folder, its work folder, its seed, its events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.events import EventWriter


class Released(Exception):
    """Ends a process that helped to train: the first one saves and measures alone."""


@dataclass(frozen=True)
class Stage:
    """The child's side of a running stage.

    Attributes:
        out: folder that will be sealed; files under ``out/log`` don't count towards the digest, so timings go there.
        work: folder that survives a crash: checkpoints go here.
        seed: seed of every random source in the stage.
        device: ``cpu`` or ``cuda``.
        events: metrics, progress and warnings for the parent.
    """

    out: Path
    work: Path
    seed: int
    device: str
    events: EventWriter

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes ``metrics.json``: numbers that follow from the inputs (no times, which differ between runs)."""
        text = json.dumps(metrics, indent=1, sort_keys=True, allow_nan=False)
        (self.out / "metrics.json").write_text(text + "\n", encoding="utf-8")

    def save_log(self, name: str, content: Any) -> None:
        """Writes ``log/<name>``: what is worth keeping and differs between equal runs (seconds, sizes in memory)."""
        (self.out / "log").mkdir(exist_ok=True)
        (self.out / "log" / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
