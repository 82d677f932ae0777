"""What a run's own folder says of it (``runs/<id>/``, ``work/`` and ``store/``): live, and also while the tracker is down.

Only reads. Nothing here takes a lock, so that no running stage ever waits for somebody who looks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components import events
from components.run_records import PARENT, Curve, Record, RunDetail, RunRow, curve, detail
from components.settings import Settings
from components.spool import Spool

_TAIL_BYTES = 200_000
_LONGEST_NAME = 250


def known(settings: Settings, run: str) -> bool:
    """Whether this home has the run's folder. Guards against names that lead elsewhere."""
    return 0 < len(run) <= _LONGEST_NAME and Path(run).name == run and (settings.runs / run / "tracking.jsonl").is_file()


def names(settings: Settings) -> list[str]:
    """Runs of this home, newest first."""
    folders = [file.parent for file in settings.runs.glob("*/tracking.jsonl")]
    return [folder.name for folder in sorted(folders, key=_began, reverse=True)]


def living(settings: Settings, most: int = 20) -> list[str]:
    """Runs whose process is at work on this machine, newest first."""
    held = _held_inodes()
    folders = [file.parent for file in settings.runs.glob("*/tracking.lease") if file.stat().st_ino in held]
    return [folder.name for folder in sorted(folders, key=_began, reverse=True)][:most]


def undelivered(settings: Settings, most: int = 50) -> list[str]:
    """Of the latest runs those that the tracker hasn't heard of yet: just begun, or killed before it had."""
    latest = names(settings)[:most]
    return [name for name in latest if PARENT not in Spool(settings.runs / name).progress().runs]


def rows(settings: Settings, runs: Sequence[str]) -> list[RunRow]:
    """Lines of the table for runs of this home."""
    return [found.row for run in runs if (found := read(settings, run)) is not None]


def read(settings: Settings, run: str) -> RunDetail | None:
    """A run from its folder; None if this home hasn't it, or it said nothing yet."""
    if not known(settings, run):
        return None
    folder = settings.runs / run
    records = _records(folder)
    if PARENT not in records:
        return None
    whole = records[PARENT]
    if whole.status == "running" and not alive(folder):
        whole.status = "killed"
    if (end := report(settings, run)) is not None:
        whole.tags.setdefault("gate", str(end.get("gate", {}).get("verdict", "unknown")))
        if version := end.get("version"):
            whole.tags.setdefault("version", f"models:/{version['name']}/{version['version']}")
    return detail(run, list(records.values()))


def curves(settings: Settings, run: str, metrics: Sequence[tuple[str, str]]) -> list[Curve]:
    """Curves of a run by (stage, metric); those that it hasn't are left out."""
    wanted, points, began = set(metrics), dict[tuple[str, str], list[tuple[int, float, int]]](), dict[str, int]()
    for operation in Spool(settings.runs / run).operations():
        stage = operation.get("stage", "")
        if operation["op"] == "start":
            began[stage] = operation["time"]
        elif operation["op"] == "metrics":
            for name, value, step, at in operation["items"]:
                if (stage, name) in wanted:
                    points.setdefault((stage, name), []).append((step, value, at))
    return [curve(run, stage, name, found, began.get(stage)) for (stage, name), found in points.items()]


def report(settings: Settings, run: str) -> dict[str, Any] | None:
    """``report.json`` of a run that has ended; None before, or if it is damaged."""
    return _json(settings.runs / run / "report.json")


def recipe(settings: Settings, run: str) -> dict[str, Any] | None:
    """The resolved recipe."""
    return _json(settings.runs / run / "recipe.json")


def log(settings: Settings, run: str) -> str:
    """The end of a run's log."""
    return tail(settings.runs / run / "log.txt")


def output(settings: Settings, key: str | None) -> Path | None:
    """Sealed output of a stage's key on this machine; None if there is none."""
    return next(iter(settings.stages.glob(f"*/{key}")), None) if key and key.isalnum() else None


def stage_events(settings: Settings, key: str | None) -> list[dict[str, Any]]:
    """What a stage said: from its work folder while it runs, else from its sealed output."""
    if not key or not key.isalnum():
        return []
    for file in (*settings.work.glob(f"*/{key}/events.jsonl"), *settings.stages.glob(f"*/{key}/log/events.jsonl")):
        try:
            return events.read(file)[0]
        except (OSError, ValueError):
            continue
    return []


def stage_log(settings: Settings, key: str | None) -> str:
    """The end of a stage's log, which is there while it runs and after it failed."""
    found = next(iter(settings.work.glob(f"*/{key}/log.txt")), None) if key and key.isalnum() else None
    return tail(found) if found else ""


def progress(found: Sequence[dict[str, Any]]) -> tuple[int, int] | None:
    """(steps done, all steps) from a stage's events."""
    return next(((e["done"], e["total"]) for e in reversed(found) if e["kind"] == "progress" and e["total"]), None)


def tail(file: Path) -> str:
    """The end of a text file, from a whole line on; empty if it isn't there."""
    try:
        with file.open("rb") as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(max(0, size - _TAIL_BYTES))
            text = source.read().decode(errors="replace")
    except OSError:
        return ""
    return text.partition("\n")[2] if size > _TAIL_BYTES else text


def alive(folder: Path) -> bool:
    """Whether a process holds the run's lease. Asks the kernel, because taking the lease to see could make a run fail."""
    try:
        return (folder / "tracking.lease").stat().st_ino in _held_inodes()
    except OSError:
        return False


def _held_inodes() -> set[int]:
    """Inodes of files that somebody holds a lock on. Lines: ``1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF``."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    return {int(line.split()[5].rpartition(":")[2]) for line in lines if "->" not in line}


def _records(folder: Path) -> dict[str, Record]:
    """Records by stage from the run's spool."""
    found: dict[str, Record] = {}
    for operation in Spool(folder).operations():
        stage, op = operation.get("stage", ""), operation["op"]
        if op in ("open", "unreadable"):
            continue
        record = found.setdefault(stage, Record(stage, operation.get("name", stage), began=operation["time"]))
        if op == "params":
            record.params |= operation["items"]
        elif op == "tags":
            record.tags |= {name.removeprefix("lapidar."): value for name, value in operation["items"].items()}
        elif op == "metrics":
            record.metrics |= {name: value for name, value, _, _ in operation["items"]}
        elif op == "dataset":
            record.dataset = (operation["name"], operation["digest"])
        elif op == "end":
            record.status, record.ended = operation["status"], operation["time"]
            if operation.get("seconds") is not None:
                record.metrics["seconds"] = operation["seconds"]
    return found


def _began(folder: Path) -> float:
    """Time of a folder's oldest file, without opening any: folders of thousands of runs are sorted by it."""
    try:
        return (folder / "recipe.json").stat().st_mtime
    except OSError:
        return 0.0


def _json(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
