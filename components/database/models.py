"""Tables of registration and promotion; ``review_models`` holds people's. A change needs a migration; a test compares the two."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Float, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from components.database import review_models  # noqa: F401  (its tables are Base's too)
from components.database.base import Base as Base
from components.database.base import now as now


class Registration(Base):
    """The idempotency key of a registered version: the same digest under the same name is one version.

    Attributes:
        tracker: the registry that the version stands in: ``local`` or its URI.
        version: set in the transaction that creates the version.
        run_id: our id of the run that registered it first.

    """

    __tablename__ = "registrations"
    __table_args__ = (UniqueConstraint("tracker", "name", "digest", name="uq_registrations_digest"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tracker: Mapped[str] = mapped_column(String(500))
    name: Mapped[str] = mapped_column(String(250))
    digest: Mapped[str] = mapped_column(String(64))
    version: Mapped[str | None] = mapped_column(String(20))
    run_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class PromotionOverride(Base):
    """A person's decision to promote a version past a gate that didn't pass. Rows are only ever added."""

    __tablename__ = "overrides"
    __table_args__ = (Index("ix_overrides_version", "tracker", "name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tracker: Mapped[str] = mapped_column(String(500))
    name: Mapped[str] = mapped_column(String(250))
    version: Mapped[str] = mapped_column(String(20))
    digest: Mapped[str] = mapped_column(String(64))
    who: Mapped[str] = mapped_column(String(250))
    reason: Mapped[str] = mapped_column(Text)
    gate: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class NoiseFloor(Base):
    """How far two runs of one evaluation lie apart by chance: of a model, on a benchmark, under settings.

    Attributes:
        model: digest of the evaluated model.
        settings: sha256 of what decides how the model is asked.
        runs: how many runs it was taken from.
        scores: their scores, as a JSON list.
        half_width: of the 95 % interval of a difference of two runs.
    """

    __tablename__ = "noise_floors"
    __table_args__ = (UniqueConstraint("model", "benchmark", "metric", "settings", name="uq_noise_floors_subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(64))
    benchmark: Mapped[str] = mapped_column(String(250))
    metric: Mapped[str] = mapped_column(String(250))
    settings: Mapped[str] = mapped_column(String(64))
    runs: Mapped[int]
    scores: Mapped[str] = mapped_column(Text)
    half_width: Mapped[float] = mapped_column(Float)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)


class AuditEntry(Base):
    """A line of the audit log: who moved which alias when, and why. Rows are only ever added; the database refuses the rest.

    Attributes:
        position: 1, 2, 3, … without a gap.
        action: ``register``, ``promote``, ``override``, ``approve``, ``rollback`` or ``undo``.
        alias: what moved; None for an approval, which moves nothing yet.
        from_version, to_version: where the alias was and is.
        verdict: what the gate said of ``to_version``.
        at: ISO 8601 in UTC, as it went into the hash.
        previous: hash of the line before, of zeros for the first.
        hash: sha256 over ``previous`` and everything else in the line.
    """

    __tablename__ = "audit_log"
    __table_args__ = (UniqueConstraint("position", name="uq_audit_log_position"), Index("ix_audit_log_model", "tracker", "name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int]
    tracker: Mapped[str] = mapped_column(String(500))
    name: Mapped[str] = mapped_column(String(250))
    action: Mapped[str] = mapped_column(String(20))
    alias: Mapped[str | None] = mapped_column(String(250))
    from_version: Mapped[str | None] = mapped_column(String(20))
    to_version: Mapped[str | None] = mapped_column(String(20))
    digest: Mapped[str | None] = mapped_column(String(64))
    verdict: Mapped[str | None] = mapped_column(String(20))
    who: Mapped[str] = mapped_column(String(250))
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[str] = mapped_column(String(40))
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditHead(Base):
    """The audit log's last line, in one row: what is missing at the end of the log shows. Writers of the log lock it."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))


class AliasMove(Base):
    """An alias that is about to move, written down with its line in the audit log before it does.

    A process killed in between leaves the row open; the next command that writes finishes it.
    """

    __tablename__ = "alias_moves"
    __table_args__ = (Index("ix_alias_moves_open", "tracker", "done_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tracker: Mapped[str] = mapped_column(String(500))
    name: Mapped[str] = mapped_column(String(250))
    alias: Mapped[str] = mapped_column(String(250))
    from_version: Mapped[str | None] = mapped_column(String(20))
    to_version: Mapped[str] = mapped_column(String(20))
    tags: Mapped[str] = mapped_column(Text)
    position: Mapped[int]
    done_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Approval(Base):
    """One person's agreement that a version becomes champion, where a policy asks for several.

    Attributes:
        kind: ``promote`` past a gate that passes, ``override`` past one that doesn't.
        evidence: id of the evidence that it rests on; other evidence needs new approvals.
        against: version that was champion then, or empty.
        position: the audit log's line of the promotion that it led to; None while it waits.
    """

    __tablename__ = "approvals"
    __table_args__ = (Index("ix_approvals_version", "tracker", "name", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    tracker: Mapped[str] = mapped_column(String(500))
    name: Mapped[str] = mapped_column(String(250))
    version: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(20))
    evidence: Mapped[str] = mapped_column(String(64))
    against: Mapped[str] = mapped_column(String(20))
    who: Mapped[str] = mapped_column(String(250))
    reason: Mapped[str] = mapped_column(Text)
    position: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
