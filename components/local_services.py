"""Where the local services of a home listen, and which of them run: ``prefect``, ``mlflow``, ``models``, ``dashboard``.

``services/services.json`` says what runs, ``ports.json`` keeps addresses over restarts; the supervisor that keeps them alive
holds ``supervisor.lock``, which the kernel releases when it ends::

    {"supervisor": 4711, "services": [{"name": "mlflow", "address": "http://127.0.0.1:5000", "pid": 4712, "restarts": 0}]}
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from components.errors import LapidarError
from components.settings import Settings

PORTS = {"prefect": 4200, "mlflow": 5000, "models": 8765, "dashboard": 8501}
"""The port that each service gets if it is free."""


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
    known: dict[str, int] = json.loads(file.read_bytes()) if file.exists() else {}
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


def write(file: Path, content: Any) -> None:
    """Replaces a JSON file in one step."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(file)
