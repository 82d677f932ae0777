"""The audit log: who moved which alias when, and why. Lines are only ever added, and each holds the hash of the one before.

A line that was changed, taken out or put in breaks the chain; one that is missing at the end doesn't match the head.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from components.database.models import AuditEntry, AuditHead, PromotionOverride
from components.errors import LapidarError

FIRST = "0" * 64
HASHED = (
    "position",
    "tracker",
    "name",
    "action",
    "alias",
    "from_version",
    "to_version",
    "digest",
    "verdict",
    "who",
    "reason",
    "at",
    "previous",
)


def lock(session: Session) -> AuditHead:
    """The head, locked until the transaction ends: whoever moves an alias or writes a line waits here for the others."""
    head = session.scalars(select(AuditHead).with_for_update()).one_or_none()
    if head is None:
        raise LapidarError("the audit log has lost its head (table audit_head is empty); restore the database from a backup")
    return head


def append(
    session: Session,
    tracker: str,
    name: str,
    action: str,
    *,
    who: str,
    reason: str = "",
    alias: str | None = None,
    from_version: str | None = None,
    to_version: str | None = None,
    digest: str | None = None,
    verdict: str | None = None,
) -> AuditEntry:
    """Adds a line in the caller's transaction.

    Args:
        tracker: the registry that the model stands in: ``local`` or its URI.
        action: see ``AuditEntry``.
        digest: weights of ``to_version``.
        verdict: the gate's on ``to_version``.
    """
    head = lock(session)
    entry = AuditEntry(
        position=head.position + 1,
        tracker=tracker,
        name=name,
        action=action,
        alias=alias,
        from_version=from_version,
        to_version=to_version,
        digest=digest,
        verdict=verdict,
        who=who,
        reason=reason,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        previous=head.hash,
    )
    entry.hash = digest_of(entry)
    head.position, head.hash = entry.position, entry.hash
    session.add(entry)
    return entry


def digest_of(entry: AuditEntry) -> str:
    """The hash that a line must have."""
    return hashlib.sha256(json.dumps({name: getattr(entry, name) for name in HASHED}, sort_keys=True).encode()).hexdigest()


def entries(session: Session, tracker: str, name: str | None = None) -> list[AuditEntry]:
    """Lines of a registry, or of one of its models, oldest first."""
    query = select(AuditEntry).filter_by(tracker=tracker, **({"name": name} if name else {}))
    return list(session.scalars(query.order_by(AuditEntry.position)))


def faults(session: Session) -> Iterator[str]:
    """Where the log isn't as it was written, in sentences."""
    position, previous = 0, FIRST
    for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.position)):
        position += 1
        if entry.position != position:
            missing = f"line {position}" if entry.position == position + 1 else f"lines {position} to {entry.position - 1}"
            yield f"{missing} of the audit log {'is' if entry.position == position + 1 else 'are'} missing"
        elif entry.previous != previous:
            yield f"line {entry.position} doesn't follow the line before it: one of them was exchanged"
        if entry.hash != digest_of(entry):
            yield f"line {entry.position} was changed: {entry.action} {entry.name} by {entry.who} at {entry.at}"
        position, previous = entry.position, entry.hash
    head = session.scalars(select(AuditHead)).one_or_none()
    if head is None or (head.position, head.hash) != (position, previous):
        said = f"{head.position} lines" if head else "nothing"
        yield f"the end of the audit log is missing or was exchanged: its head says {said}, the log has {position}"
    yield from _other_overrides(session)


def _other_overrides(session: Session) -> Iterator[str]:
    """Overrides as they are shown with a version, where they aren't those of the log."""
    logged = Counter(map(_override, session.scalars(select(AuditEntry).filter_by(action="override"))))
    shown = Counter(map(_override, session.scalars(select(PromotionOverride))))
    for _, name, version, _, who, _ in shown - logged:
        yield f"the override of models:/{name}/{version} by {who} isn't in the audit log: it was changed or added"
    for _, name, version, _, who, _ in logged - shown:
        yield f"the override of models:/{name}/{version} by {who} stands in the audit log only: it was changed or taken out"


def _override(row: AuditEntry | PromotionOverride) -> tuple[str, str, str, str, str, str]:
    version = row.version if isinstance(row, PromotionOverride) else row.to_version
    return row.tracker, row.name, str(version), str(row.digest), row.who, row.reason


def to_dict(entry: AuditEntry) -> dict[str, Any]:
    """A line as JSON-ready values."""
    return {name: getattr(entry, name) for name in (*HASHED, "hash") if name != "tracker"}
