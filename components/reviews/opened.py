"""The database that the reviews' functions work on, opened once a process; names that don't tell who somebody is."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from components.database.engine import Database, open_database
from components.database.review_models import ReviewSecret
from components.errors import InputError
from components.settings import Settings

LONGEST_NAME = 250
Place = Settings | Database


def opened(place: Place) -> Database:
    """The open database; that of Settings is opened once a process (a forked child's connections are its own)."""
    return place if isinstance(place, Database) else _of(place, os.getpid())


@lru_cache(maxsize=8)
def _of(settings: Settings, process: int) -> Database:
    return open_database(settings)


def secret(session: Session, lock: bool = False) -> str:
    """The database's own random text.

    Args:
        lock: whether others that ask so wait until this transaction ends.
    """
    query = select(ReviewSecret.secret)
    return str(session.scalars(query.with_for_update() if lock else query).one())


def pseudonym(reviewer: str, salt: str) -> str:
    """A reviewer's name in datasets and evidence: always the same one, and not to be turned back without the database."""
    return "reviewer-" + hashlib.sha256(f"{salt}\0reviewer\0{reviewer}".encode()).hexdigest()[:12]


def named(reviewer: str) -> str:
    """A person's name, checked.

    Raises:
        InputError: if it is blank or too long.
    """
    name = reviewer.strip()
    if not name or len(name) > LONGEST_NAME:
        raise InputError(f"a reviewer's name has 1 to {LONGEST_NAME} characters; this one has {len(name)}")
    return name


def utc(time: datetime) -> datetime:
    """A time from the database, which keeps UTC: SQLite's come back without a zone."""
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
