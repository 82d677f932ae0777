"""What waits for a person: approvals to add one's own to, flows that are held, failed runs, versions whose gate is unknown."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select

from components import local_services, mlflow_client
from components.database.engine import open_database
from components.database.models import Approval
from components.errors import LapidarError
from components.orchestrator import Orchestrator
from components.run_records import RunRow
from components.settings import Settings
from components.versions import Version

logger = logging.getLogger(__name__)
_RECENT_SECONDS = 14 * 86400.0
_PREFECT_SECONDS = 2.0


@dataclass(frozen=True)
class Waiting:
    """One thing to do.

    Attributes:
        subject: ``models:/name/3``, a run's id, or Prefect's id of a held flow run.
        text: why it waits, as somebody said it; may be empty.
        since: seconds since 1970.
        name: of a flow run, whose id says nothing.
    """

    kind: Literal["approval", "paused", "failed", "unknown"]
    subject: str
    text: str
    since: float
    name: str = ""


def waiting(settings: Settings, versions: Sequence[Version], runs: Sequence[RunRow]) -> list[Waiting]:
    """Newest first.

    Args:
        versions: all registered versions.
        runs: the latest runs.
    """
    found = [*_approvals(settings, versions), *_paused(settings), *_unknown(versions), *_failed(runs)]
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


def _paused(settings: Settings) -> list[Waiting]:
    """Flow runs that Prefect holds until somebody lets them go on; none where it doesn't run: the page Flows says so."""
    address = local_services.address(settings, "prefect")
    if address is None:
        return []
    try:
        runs = Orchestrator(address, _PREFECT_SECONDS).runs("paused")
    except LapidarError:
        logger.warning("Prefect at %s doesn't answer; held flows aren't listed", address)
        return []
    found = [(run, run.get("state") or {}) for run in runs]
    return [Waiting("paused", run["id"], state.get("message") or "", _seconds(state), run["name"]) for run, state in found]


def _seconds(state: Mapping[str, Any]) -> float:
    """When a state began."""
    return datetime.fromisoformat(str(state["timestamp"])).timestamp() if state.get("timestamp") else time.time()


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
