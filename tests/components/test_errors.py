"""A full disk is known as such, in whatever form it is told."""

from __future__ import annotations

import errno
import sqlite3

import pytest
from sqlalchemy import create_engine, text

from components.errors import disk_is_full


def full_sqlite() -> sqlite3.OperationalError:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE rows (content BLOB)")
    connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(sqlite3.OperationalError) as raised:
        connection.execute("INSERT INTO rows VALUES (zeroblob(100000))")
    return raised.value


def full_database() -> Exception:
    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("CREATE TABLE rows (content BLOB)"))
        connection.execute(text("PRAGMA max_page_count = 3"))
        with pytest.raises(Exception) as raised:  # noqa: PT011  (its class is what this is about)
            connection.execute(text("INSERT INTO rows VALUES (zeroblob(100000))"))
    return raised.value


def other_database() -> Exception:
    with create_engine("sqlite://").connect() as connection, pytest.raises(Exception) as raised:  # noqa: PT011
        connection.execute(text("SELECT * FROM rows"))
    return raised.value


def test_a_full_disk_is_known_in_each_form() -> None:
    told = RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed: No space left on device")
    full = [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota"), full_sqlite(), full_database(), told]
    assert [disk_is_full(error) for error in full] == [True] * len(full)


def test_other_errors_are_none() -> None:
    others = [OSError(errno.ENOENT, "gone"), ValueError("full"), sqlite3.OperationalError("locked"), other_database()]
    assert [disk_is_full(error) for error in others] == [False] * len(others)
