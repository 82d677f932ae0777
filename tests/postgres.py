"""A real PostgreSQL of its own in a folder: Debian's programs, a Unix user that isn't root, a port that nobody else has."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.listening import held_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def absent() -> str:
    """Why there is no PostgreSQL to test on; empty if there is."""
    if not PROGRAMS:
        return "Debian's postgresql isn't installed (/usr/lib/postgresql/*/bin)"
    if os.getuid() == 0 and _user() is None:
        return "PostgreSQL doesn't run as root, and there is no other user to run it as"
    return ""


@contextmanager
def running() -> Iterator[str]:
    """SQLAlchemy URL of a cluster that ends with the block. Its folder is short: a socket's path has 107 bytes at most."""
    root = Path(tempfile.mkdtemp(prefix="lapidar-pg-"))
    user = _user() if os.getuid() == 0 else None
    options = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    if user is not None:
        os.chown(root, user.pw_uid, user.pw_gid)
    held = held_port()
    port = held.getsockname()[1]
    data, programs = root / "data", PROGRAMS[-1]

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=root, env={"LC_ALL": "C.UTF-8"}, **options)  # type: ignore[call-overload]

    run(programs / "initdb", "-D", data, "-U", "lapidar", "--auth=trust", "-E", "UTF8", "--no-sync")
    settings = f"-p {port} -k {root} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
    run(programs / "pg_ctl", "-D", data, "-o", settings, "-l", root / "log", "-w", "start")
    try:
        yield f"postgresql+pg8000://lapidar@127.0.0.1:{port}/postgres"
    finally:
        run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        held.close()
        shutil.rmtree(root, ignore_errors=True)


def empty(url: str) -> None:
    """Takes everything out of a database."""
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def _user() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None
