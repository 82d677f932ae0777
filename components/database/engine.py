"""Opens the database and brings its tables up to date; several processes may do so at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from components.errors import InputError, LapidarError, disk_is_full
from components.settings import Settings

HEAD = "0004"
_MIGRATIONS = Path(__file__).parent / "migrations"
_POSTGRES_LOCK = 0x1A71DA6  # any number that nothing else in the same database uses


class Database:
    """Sessions on an up-to-date database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed at the end. In SQLite it excludes other writers from its first moment on."""
        with Session(self.engine.execution_options(immediate=True)) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that changes nothing and blocks nobody."""
        with Session(self.engine) as session:
            yield session

    def close(self) -> None:
        """Gives all connections back."""
        self.engine.dispose()


def open_database(settings: Settings) -> Database:
    """The database of ``settings.database_url``, else ``lapidar.db`` in the home, migrated.

    Raises:
        InputError: if the URL is none, its driver isn't installed, or its disk is full.
        LapidarError: if the server doesn't answer.

    """
    url = settings.database_url or f"sqlite:///{settings.root / 'lapidar.db'}"
    settings.root.mkdir(parents=True, exist_ok=True)
    try:
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(
            f"LAPIDAR_DATABASE_URL={_shown(url)!r} can't be used ({error}); "
            "expected e.g. postgresql+pg8000://user@host/lapidar, with that driver installed"
        ) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        migrate(engine)
    except DBAPIError as error:  # each driver has errors of its own for a server that is down, or a wrong password
        if disk_is_full(error):
            raise InputError(f"the disk of the database {_shown(url)} is full; make room and run again") from error
        raise LapidarError(f"the database {_shown(url)} doesn't answer or refuses: {error.orig}") from error
    return Database(engine)


def migrate(engine: Engine) -> None:
    """Applies what is missing, in one transaction that excludes other processes; costs one query if nothing is.

    Raises:
        LapidarError: if the database was made by a newer Lapidar.

    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.execution_options(immediate=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        if _revision(connection) == HEAD:
            return  # another process was first
        from alembic import command
        from alembic.util.exc import CommandError

        try:
            command.upgrade(alembic_config(connection), HEAD)
        except CommandError as error:
            raise LapidarError(
                f"the database {_shown(str(engine.url))} has revision {_revision(connection)}, which this Lapidar "
                "doesn't know; use the newer Lapidar that made it, or another database"
            ) from error


def alembic_config(connection: Connection) -> Any:
    """Alembic's settings for an open connection; there is no ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _prepare_sqlite(engine: Engine) -> None:
    """WAL, foreign keys, patience, and transactions that begin when SQLAlchemy says so.

    Python's driver begins none before a CREATE TABLE by itself, so a killed migration would be half done.
    """

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _shown(url: str) -> str:
    """A URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url
