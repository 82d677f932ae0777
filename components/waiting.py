"""What waits for a person: approvals that others must add theirs to, failed runs, versions whose gate is unknown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select

from components import mlflow_client
from components.database.engine import open_database
from components.database.models import Approval
from components.run_records import RunRow
from components.settings import Settings
from components.versions import Version

_RECENT_SECONDS = 14 * 86400.0


@dataclass(frozen=True)
class Waiting:
    """One thing to do.

    Attributes:
        subject: ``models:/name/3``, or a run's id.
        text: why it waits, as somebody said it; may be empty.
        since: seconds since 1970.
    """

    kind: Literal["approval", "failed", "unknown"]
    subject: str
    text: str
    since: float


def waiting(settings: Settings, versions: Sequence[Version], runs: Sequence[RunRow]) -> list[Waiting]:
    """Newest first.

    Args:
        versions: all registered versions.
        runs: the latest runs.
    """
    found = [*_approvals(settings, versions), *_unknown(versions), *_failed(runs)]
    return sorted(found, key=lambda each: each.since, reverse=True)


def _approvals(settings: Settings, versions: Sequence[Version]) -> list[Waiting]:
    """Approvals that still count: of the evidence that the version carries now, and not used yet."""
    if settings.database_url is None and not (settings.root / "lapidar.db").exists():
        return []
    known = {(version.name, version.version, version.evidence): version for version in versions}
    database = open_database(settings)
    try:
        with database.read() as session:
            query = select(Approval).filter_by(tracker=mlflow_client.backend(settings), position=None).order_by(Approval.id)
            rows = [row for row in session.scalars(query) if (row.name, row.version, row.evidence) in known]
            return [
                Waiting("approval", f"models:/{row.name}/{row.version}", f"{row.who}: {row.reason}", row.created_at.timestamp())
                for row in rows
            ]
    finally:
        database.close()


def _unknown(versions: Sequence[Version]) -> list[Waiting]:
    """Newest version of each model, if its gate couldn't say."""
    newest: dict[str, Version] = {}
    for version in versions:
        newest.setdefault(version.name, version)
    return [Waiting("unknown", v.uri, "", v.created) for v in newest.values() if v.tags.get("lapidar.gate") == "unknown"]


def _failed(runs: Sequence[RunRow]) -> list[Waiting]:
    """Runs that failed or were killed lately and after which no run of the same recipe ended well."""
    settled: set[str] = set()
    found: list[Any] = []
    for run in runs:
        recent = run.began is not None and run.began.timestamp() > time.time() - _RECENT_SECONDS
        if run.status in ("failed", "killed") and run.name not in settled and recent and run.began is not None:
            found.append(Waiting("failed", run.id, "", run.began.timestamp()))
        elif run.status == "finished":
            settled.add(run.name)
    return found
