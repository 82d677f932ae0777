"""What all tables share."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Base of all tables."""


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)
