"""Tables. A change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of all tables."""


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


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
