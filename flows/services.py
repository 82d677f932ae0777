"""The local services of a home: what they are, where they listen, and how to start and stop them.

One supervisor process (``flows.supervisor``) owns them all and restarts what dies. It holds ``services/supervisor.lock``,
which the kernel releases when it ends; ``services.json`` says what runs, ``ports.json`` keeps addresses over restarts::

    {"supervisor": 4711, "services": [{"name": "mlflow", "address": "http://127.0.0.1:5000", "pid": 4712, "restarts": 0}]}
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from components.errors import LapidarError
from components.settings import Settings
from flows import server

POOL = "lapidar"
_UP_SECONDS = 180.0
_DOWN_SECONDS = 40.0


@dataclass(frozen=True)
class Service:
    """One service: how it is started and how it shows that it works.

    Attributes:
        port: the port that it gets if it is free; None for a service that doesn't listen.
        command: arguments of its process, from its port.
        environment: variables on top of the supervisor's own.
        healthy: whether it works.
        after: service that must work before this one is started.
        keeps_children: whether what it started goes on without it: a scheduled run outlives its worker.
    """

    name: str
    port: int | None
    command: Callable[[int], list[str]]
    environment: Callable[[int], dict[str, str]]
    healthy: Callable[[], bool]
    after: str | None = None
    keeps_children: bool = False


def services(settings: Settings) -> list[Service]:
    """All services of a home, in the order in which they start."""
    found = ports(settings)
    api, mlflow = f"http://127.0.0.1:{found['prefect']}", f"http://127.0.0.1:{found['mlflow']}"
    private = server.environment(settings)
    client = private | {"PREFECT_API_URL": f"{api}/api"}
    return [
        Service("prefect", found["prefect"], _prefect, lambda port: private | _prefect_server(port), _answers(f"{api}/api/health")),
        Service("worker", None, _worker, lambda _: client, lambda: _worker_online(api), after="prefect", keeps_children=True),
        Service("mlflow", found["mlflow"], lambda port: _mlflow(settings, port), lambda _: _MLFLOW, _answers(f"{mlflow}/health")),
    ]


@contextmanager
def prefect(settings: Settings) -> Iterator[Callable[[], None]]:
    """A Prefect server: the one of the local services, else one for this command only. Gives a function that waits for it."""
    if (found := address(settings, "prefect")) is not None:
        server.use(settings, f"{found}/api")
        yield lambda: None
        return
    temporary = server.TemporaryServer(settings)
    server.use(settings, temporary.api)
    try:
        yield temporary.wait
    finally:
        if "prefect" in sys.modules:
            server.drain()
        temporary.stop()


def _answers(url: str) -> Callable[[], bool]:
    return lambda: server.answers(url)


def _prefect(port: int) -> list[str]:
    return ["-m", "uvicorn", "--factory", "flows.server:app", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]


def _prefect_server(port: int) -> dict[str, str]:
    api = f"http://127.0.0.1:{port}/api"
    return {
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_API_URL": api,
    }


def _worker(_: int) -> list[str]:
    options = ["--pool", POOL, "--type", "process", "--name", POOL, "--limit", "1", "--install-policy", "never"]
    return ["-m", "prefect", "worker", "start", *options]


def _worker_online(prefect: str) -> bool:
    found = server.post(f"{prefect}/api/work_pools/{POOL}/workers/filter", {})
    return any(worker["status"] == "ONLINE" for worker in found or [])


_MLFLOW = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "1"}


def _mlflow(settings: Settings, port: int) -> list[str]:
    database, artifacts = f"sqlite:///{settings.services / 'mlflow.db'}", (settings.services / "artifacts").as_uri()
    stores = ["--backend-store-uri", database, "--default-artifact-root", artifacts]
    return ["-m", "mlflow", "server", *stores, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def ports(settings: Settings) -> dict[str, int]:
    """Ports of the services, chosen once for a home: the usual one if it is free, else any."""
    file = settings.services / "ports.json"
    if file.exists():
        known: dict[str, int] = json.loads(file.read_bytes())
        return known
    settings.services.mkdir(parents=True, exist_ok=True)
    chosen = {"prefect": free_port(4200), "mlflow": free_port(5000)}
    write(file, chosen)
    return chosen


def move_ports(settings: Settings) -> None:
    """Chooses other ports for those that somebody else took meanwhile. Call while no service of ours runs."""
    write(settings.services / "ports.json", {name: free_port(port) for name, port in ports(settings).items()})


def free_port(wanted: int) -> int:
    """A free port of the loopback: ``wanted`` if it is."""
    for port in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise LapidarError("no free port on 127.0.0.1; end a program that holds many")


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


def up(settings: Settings) -> dict[str, Any]:
    """Starts the services unless they run; returns their state once all of them work.

    Raises:
        LapidarError: if one doesn't work in time; names its log.
    """
    settings.prepare()
    settings.services.mkdir(exist_ok=True)
    with (settings.services / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not running(settings):
            end_strays(settings)
            move_ports(settings)
            _start_supervisor(settings)
        _wait_healthy(settings)
    return state(settings)


def down(settings: Settings) -> bool:
    """Stops all services; returns whether any ran."""
    found, alive = state(settings), running(settings)
    if alive:
        with suppress(ProcessLookupError, TypeError):
            os.kill(found["supervisor"], signal.SIGTERM)
        limit = time.monotonic() + _DOWN_SECONDS
        while running(settings) and time.monotonic() < limit:
            time.sleep(0.1)
    return end_strays(settings) or alive


def end_strays(settings: Settings) -> bool:
    """Ends processes that a killed supervisor left behind; returns whether there were any."""
    if running(settings):
        with suppress(psutil.Error):
            psutil.Process(state(settings)["supervisor"]).kill()
    ended = [end_session(number, created) for known in state(settings)["services"] for number, created in known["sessions"]]
    (settings.services / "services.json").unlink(missing_ok=True)
    return any(ended)


def end_session(number: int, created: float, seconds: float = 10.0) -> bool:
    """Ends all processes of a session: asks, waits, kills. A service's children are in its session, also when it is dead.

    Args:
        number: the session, which is the process id of the service that began it.
        created: when that was, in seconds since 1970; a later process with the same number is somebody else's.
        seconds: how long to wait before killing.
    """
    processes = members(number, created)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return bool(processes)


def members(number: int, created: float) -> list[psutil.Process]:
    """Living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            other = process.pid == number and abs(process.create_time() - created) > 1.0
            if os.getsid(process.pid) == number and not other and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def write(file: Path, content: Any) -> None:
    """Replaces a JSON file in one step."""
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


def _start_supervisor(settings: Settings) -> None:
    with (settings.services / "supervisor.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "flows.supervisor"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "LAPIDAR_HOME": str(settings.root)},
            start_new_session=True,
        )


def _wait_healthy(settings: Settings) -> None:
    waiting, limit = {service.name: service for service in services(settings)}, time.monotonic() + _UP_SECONDS
    while waiting:
        started = {service["name"] for service in state(settings)["services"] if service["pid"]}
        waiting = {name: service for name, service in waiting.items() if name not in started or not service.healthy()}
        if waiting and time.monotonic() > limit:
            logs = ", ".join(str(settings.services / f"{name}.log") for name in waiting)
            raise LapidarError(
                f"{', '.join(waiting)} didn't start in {_UP_SECONDS:.0f} s; see {logs}; `lapidar down` stops the rest"
            )
        time.sleep(0.2)
