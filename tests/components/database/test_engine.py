import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, inspect, select
from sqlalchemy.exc import IntegrityError

from components.database.engine import HEAD, alembic_config, migrate, open_database
from components.database.models import Base, Registration
from components.database.review_models import FeedbackRow
from components.errors import InputError, LapidarError
from components.settings import Settings


def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def row(digest: str = "d") -> Registration:
    return Registration(tracker="local", name="m", digest=digest, version="1", run_id="r")


def test_migrated_tables_are_those_of_the_models(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    database = open_database(settings(tmp_path))
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert ScriptDirectory.from_config(alembic_config(connection)).get_current_head() == HEAD


def test_sqlite_is_in_wal_mode_with_foreign_keys(tmp_path: Path) -> None:
    database = open_database(settings(tmp_path))
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_the_same_digest_stands_once(tmp_path: Path) -> None:
    database = open_database(settings(tmp_path))
    with database.write() as session:
        session.add(row())
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(row())
    with database.read() as session:
        assert len(session.scalars(select(Registration)).all()) == 1


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = open_database(settings(tmp_path))
    with pytest.raises(IntegrityError), database.write() as session:
        session.add_all([row("a"), row("b"), row("b")])
    with database.read() as session:
        assert session.scalars(select(Registration)).all() == []


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    """A read-then-write transaction that began at the same time must see what the other one wrote."""
    database = open_database(settings(tmp_path))
    errors: list[Exception] = []

    def add_if_absent() -> None:
        try:
            for _ in range(20):
                with database.write() as session:
                    if session.scalar(select(Registration)) is None:
                        session.add(row())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=add_if_absent) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert errors == []


@pytest.mark.slow
def test_processes_that_migrate_at_once_all_succeed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from components.settings import Settings\n"
        "from components.database.engine import open_database\n"
        "open_database(Settings(home=Path(sys.argv[1])))"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "home")]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0)] * 6


def test_a_migration_killed_half_way_never_happened(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from components.settings import Settings\n"
        "from alembic import op\n"
        "from components.database.engine import open_database\n"
        "op.create_index = lambda *_: os.kill(os.getpid(), 9)\n"
        "open_database(Settings(home=Path(sys.argv[1])))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "home")]).returncode == -9
    tables = sqlite3.connect(tmp_path / "home" / "lapidar.db").execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == []
    open_database(settings(tmp_path))


def test_a_newer_database_is_named(tmp_path: Path) -> None:
    database = open_database(settings(tmp_path))
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LapidarError, match="revision 9999"):
        open_database(settings(tmp_path))


def test_wrong_urls_get_a_sentence(tmp_path: Path) -> None:
    for url in ("nonsense", "nosuch://x/y"):
        with pytest.raises(InputError, match="LAPIDAR_DATABASE_URL"):
            open_database(Settings(home=tmp_path, database_url=url))
    with pytest.raises(LapidarError, match="doesn't answer"):
        open_database(Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path}/no/such/folder/x.db"))


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    migrate(engine)
    before = (tmp_path / "x.db").read_bytes()
    migrate(engine)
    assert (tmp_path / "x.db").read_bytes() == before


@pytest.mark.postgres
def test_postgresql_is_migrated_once_by_processes_that_come_at_once(tmp_path: Path, postgres_url: str) -> None:
    code = (
        "from components.settings import Settings; from components.database.engine import open_database\nopen_database(Settings())"
    )
    environment = os.environ | {"LAPIDAR_DATABASE_URL": postgres_url, "LAPIDAR_HOME": str(tmp_path)}
    children = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    database = open_database(Settings(home=tmp_path, database_url=postgres_url))
    with database.write() as session:
        session.add(row())
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(row())
    database.close()


@pytest.mark.postgres
def test_postgresql_s_tables_are_those_of_the_models(tmp_path: Path, postgres_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    database = open_database(Settings(home=tmp_path, database_url=postgres_url))
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_a_database_of_the_last_revision_keeps_what_it_holds(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """From 0002 up, down, and up again: registrations stay, and votes and feedback are guarded each time."""
    from alembic import command
    from sqlalchemy import text

    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else f"sqlite:///{tmp_path}/lapidar.db"
    given = Settings(home=tmp_path, database_url=url)
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0002")
    with engine.begin() as connection:
        connection.execute(insert(Registration).values(tracker="local", name="m", digest="d", version="1"))
    for _ in range(2):
        database = open_database(given)
        with database.read() as session:
            assert session.scalars(select(Registration.version)).all() == ["1"]
        said = {"message": 1, "reviewer": "ada", "kind": "thumb", "value": 1, "text": "", "prompt": "[]", "answer": "x"}
        with database.write() as session:
            session.execute(insert(FeedbackRow).values(said))
        with pytest.raises(Exception, match="only ever added to"), database.write() as session:
            session.execute(text("DELETE FROM feedback"))
        database.close()
        with engine.begin() as connection:
            command.downgrade(alembic_config(connection), "0002")
            assert not inspect(connection).has_table("arena_votes")
    engine.dispose()


@pytest.mark.postgres
def test_a_postgresql_that_is_down_gets_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("pg8000")
    with pytest.raises(LapidarError, match="doesn't answer"):
        open_database(Settings(home=tmp_path, database_url="postgresql+pg8000://nobody:secret@127.0.0.1:1/x"))


@pytest.mark.postgres
def test_postgresql_keeps_the_audit_log_as_it_was_written(tmp_path: Path, postgres_url: str) -> None:
    from sqlalchemy import text

    from components import audit

    database = open_database(Settings(home=tmp_path, database_url=postgres_url))
    for number in range(3):
        with database.write() as session:
            audit.append(session, "local", "m", "promote", who="Ada", to_version=str(number))
    for statement in ("UPDATE audit_log SET who = 'Eve'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(Exception, match="only ever added to"), database.write() as session:
            session.execute(text(statement))
    with database.read() as session:
        assert list(audit.faults(session)) == []
        assert [entry.position for entry in audit.entries(session, "local")] == [1, 2, 3]
    database.close()
