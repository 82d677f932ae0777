"""Moves aliases so that a kill at any point leaves none that the audit log doesn't justify.

A move is three steps: its line in the audit log and an open row beside it, in one transaction; the alias in MLflow; the row is
closed. What a killed process leaves open, the next command finishes: the decision was made and logged. Every alias moves under
the lock of the log's head, so no process that was slow sets an alias back behind another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from components import audit, versions
from components.database.engine import Database
from components.database.models import AliasMove, AuditEntry, now
from components.mlflow_client import Connection
from components.versions import Version

CANDIDATE, CHAMPION = "candidate", "champion"


@dataclass(frozen=True)
class Ledger:
    """The audit log and the open moves of one registry.

    Attributes:
        tracker: the registry's name in the database.
    """

    database: Database
    tracker: str

    def current(self, session: Session, connection: Connection, name: str, alias: str) -> str | None:
        """The version that has an alias, or will have it when what is open is finished. Call with the head locked."""
        query = select(AliasMove).filter_by(tracker=self.tracker, name=name, alias=alias, done_at=None)
        if moves := session.scalars(query.order_by(AliasMove.id)).all():
            return moves[-1].to_version
        found = versions.aliased(connection, name, alias)
        return found.version if found else None

    def begin(
        self,
        session: Session,
        version: Version,
        alias: str,
        action: str,
        before: str | None,
        *,
        who: str,
        reason: str,
        verdict: str | None,
        tags: Mapping[str, str] | None = None,
    ) -> AuditEntry:
        """Writes down, in the caller's transaction, that a version is about to get an alias. ``settle`` gives it.

        Args:
            before: the version that has the alias now.
            tags: set on the version before the alias moves.
        """
        entry = audit.append(
            session,
            self.tracker,
            version.name,
            action,
            who=who,
            reason=reason,
            alias=alias,
            from_version=before,
            to_version=version.version,
            digest=version.digest,
            verdict=verdict,
        )
        move = AliasMove(
            tracker=self.tracker,
            name=version.name,
            alias=alias,
            from_version=before,
            to_version=version.version,
            tags=json.dumps(dict(tags or {}) | {f"lapidar.audit.{alias}": entry.hash}),
            position=entry.position,
        )
        session.add(move)
        return entry

    def settle(self, connection: Connection) -> list[AliasMove]:
        """Finishes every open move, this process's own and those of killed ones; returns them."""
        with self.database.read() as session:
            if session.scalars(select(AliasMove.id).filter_by(tracker=self.tracker, done_at=None).limit(1)).first() is None:
                return []
        with self.database.write() as session:
            audit.lock(session)
            moves = list(session.scalars(select(AliasMove).filter_by(tracker=self.tracker, done_at=None).order_by(AliasMove.id)))
            for move in moves:
                self._finish(session, connection, move)
                move.done_at = now()
            session.flush()
            session.expunge_all()
        return moves

    def _finish(self, session: Session, connection: Connection, move: AliasMove) -> None:
        version = versions.numbered(connection, move.name, move.to_version)
        if version is not None:
            versions.mark(connection, version, json.loads(move.tags), move.alias)
            return
        audit.append(
            session,
            self.tracker,
            move.name,
            "undo",
            who="lapidar",
            reason=f"version {move.to_version} was deleted before it got the alias (line {move.position})",
            alias=move.alias,
            from_version=move.to_version,
            to_version=move.from_version,
        )

    def champions(self, session: Session, name: str) -> list[str]:
        """Versions that were champion and could be again by rolling back, the present one last."""
        stacks: list[list[str]] = [[]]
        for entry in audit.entries(session, self.tracker, name):
            if entry.alias != CHAMPION:
                continue
            stack = stacks[-1]
            if entry.action == "undo":
                stacks.pop()
            elif entry.action == "rollback":
                stacks.append(stack[:-1])
            else:
                known = stack or ([entry.from_version] if entry.from_version else [])
                stacks.append([*known, str(entry.to_version)])
        return stacks[-1]

    def faults(self, connection: Connection) -> Iterator[str]:
        """Where the log is broken, and aliases that it doesn't justify."""
        with self.database.read() as session:
            yield from audit.faults(session)
            last = {(entry.name, entry.alias): entry for entry in audit.entries(session, self.tracker) if entry.alias}
            opened = session.scalars(select(AliasMove).filter_by(tracker=self.tracker, done_at=None)).all()
            moving = {(move.name, move.alias): move.from_version for move in opened}
            for (name, alias), entry in last.items():
                found = versions.aliased(connection, name, str(alias))
                allowed = {entry.to_version, moving.get((name, str(alias)), entry.to_version)}
                if (found.version if found else None) not in allowed:
                    has = f"version {found.version}" if found else "no version"
                    yield f"{alias} of {name} is {has}; line {entry.position} of the audit log says version {entry.to_version}"
                elif found is not None and (tag := found.tags.get(f"lapidar.audit.{alias}")) not in self._lines(session, tag):
                    yield f"{alias} of {name}, version {found.version}, names a line that the audit log doesn't have"

    def _lines(self, session: Session, digest: str | None) -> list[str | None]:
        if digest is None:
            return [None]
        return list(session.scalars(select(AuditEntry.hash).filter_by(hash=digest)))
