"""Where the local services of a home listen, and which of them run: ``prefect``, ``mlflow``, ``models``, ``dashboard``.

``services/services.json`` says what runs, ``ports.json`` keeps addresses over restarts; the supervisor that keeps them alive
holds ``supervisor.lock``, which the kernel releases when it ends, and claims on its ports, so that no other home takes one of them
between two starts of a service and answers in its place::

    {"supervisor": 4711, "services": [{"name": "mlflow", "address": "http://127.0.0.1:5000", "pid": 4712, "restarts": 0}]}
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from components.errors import LapidarError
from components.settings import Settings

PORTS = {"prefect": 4200, "mlflow": 5000, "models": 8765, "dashboard": 8501}
"""The port that each service gets if it is free."""
_TRIES = 20


def address(settings: Settings, name: str, planned: bool = False) -> str | None:
    """Address of a running service, or None.

    Args:
        planned: give the address that it will have also if it doesn't run.
    """
    if planned:
        return f"http://127.0.0.1:{ports(settings)[name]}"
    if not running(settings):
        return None
    return next((s["address"] for s in state(settings)["services"] if s["name"] == name), None)


def running(settings: Settings) -> bool:
    """Whether a supervisor of this home is alive."""
    file = settings.services / "supervisor.lock"
    if not file.exists():
        return False
    with file.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def state(settings: Settings) -> dict[str, Any]:
    """Content of ``services.json``; no services if there is none."""
    try:
        found: dict[str, Any] = json.loads((settings.services / "services.json").read_bytes())
    except (OSError, ValueError):
        return {"supervisor": None, "services": []}
    return found


def ports(settings: Settings) -> dict[str, int]:
    """Ports of the services, chosen once for a home: the usual one if it is free, else any."""
    file = settings.services / "ports.json"
    try:
        known: dict[str, int] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        known = {}
    if missing := [name for name in PORTS if name not in known]:
        settings.services.mkdir(parents=True, exist_ok=True)
        known |= {name: free_port(PORTS[name]) for name in missing}
        write(file, known)
    return known


def free_port(wanted: int) -> int:
    """A free port of the loopback: ``wanted`` if it is."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise LapidarError("no free port on 127.0.0.1; end a program that holds many")


def claim_ports(settings: Settings) -> list[IO[str]]:
    """Chooses the services' ports and keeps them from other homes of this user for as long as the returned files are open.

    Those of last time, where nobody listens there or has claimed them; else the usual ones; else any. Call while no service of
    this home runs.
    """
    chosen, claims = {}, []
    for name, port in ports(settings).items():
        for wanted in (port, PORTS[name], *[0] * _TRIES):
            free = free_port(wanted)
            if (claim := _claim(free)) is not None:
                chosen[name] = free
                claims.append(claim)
                break
        else:
            raise LapidarError(f"no port of 127.0.0.1 could be claimed for {name}; remove {_claims()}")
    write(settings.services / "ports.json", chosen)
    return claims


def _claim(port: int) -> IO[str] | None:
    """An open, locked file that stands for the port; None if another home holds it."""
    folder = _claims()
    folder.mkdir(mode=0o700, exist_ok=True)
    file = (folder / str(port)).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _claims() -> Path:
    return Path(tempfile.gettempdir()) / f"lapidar-ports-{os.getuid()}"


def write(file: Path, content: Any) -> None:
    """Replaces a JSON file in one step."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
