"""The local services of a home: what they are, where they listen, and how to start and stop them.

One supervisor process (``flows.supervisor``) owns them all and restarts what dies. It holds ``services/supervisor.lock``,
which the kernel releases when it ends; ``services.json`` says what runs, ``ports.json`` keeps addresses over restarts::

    {"supervisor": 4711, "services": [{"name": "mlflow", "address": "http://127.0.0.1:5000", "pid": 4712, "restarts": 0}]}
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from components import local_services, mlflow_client
from components.errors import LapidarError
from components.local_services import ports, running, state
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
    names = ("prefect", "mlflow", "models", "dashboard")
    api, mlflow, models, dashboard = (f"http://127.0.0.1:{found[name]}" for name in names)
    private = server.environment(settings)
    client = private | {"PREFECT_API_URL": f"{api}/api"}
    return [
        Service("prefect", found["prefect"], _prefect, lambda port: private | _prefect_server(port), _answers(f"{api}/api/health")),
        Service("worker", None, _worker, lambda _: client, lambda: _worker_online(api), after="prefect", keeps_children=True),
        Service("mlflow", found["mlflow"], lambda port: _mlflow(settings, port), lambda _: _MLFLOW, _answers(f"{mlflow}/health")),
        Service("models", found["models"], _models, lambda _: {}, _answers(f"{models}/health"), after="mlflow"),
        Service(
            "dashboard", found["dashboard"], _dashboard, lambda _: _DASHBOARD, _answers(f"{dashboard}/_stcore/script-health-check")
        ),
    ]


@contextmanager
def prefect(settings: Settings) -> Iterator[Callable[[], None]]:
    """A Prefect server: the one of the local services, else one for this command only. Gives a function that waits for it."""
    if (found := local_services.address(settings, "prefect")) is not None:
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


def _models(port: int) -> list[str]:
    return ["-m", "flows.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]


_MLFLOW = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "1"}


def _mlflow(settings: Settings, port: int) -> list[str]:
    database, artifacts = f"sqlite:///{settings.services / 'mlflow.db'}", (settings.services / "artifacts").as_uri()
    stores = ["--backend-store-uri", database, "--default-artifact-root", artifacts]
    return ["-m", "mlflow", "server", *stores, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


_DASHBOARD = {"STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}


def _dashboard(port: int) -> list[str]:
    """The rest of its settings lies beside it, in ``dashboards/.streamlit/config.toml``."""
    found = importlib.util.find_spec("dashboards")  # found, not imported: flows and dashboards don't know each other
    if found is None or found.origin is None:
        raise LapidarError("the dashboard isn't installed; install Lapidar with its package 'dashboards'")
    return ["-m", "streamlit", "run", str(Path(found.origin).with_name("app.py")), "--server.port", str(port)]


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
            mlflow_client.follow_home(settings)
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


def works(service: Service, sessions: Sequence[tuple[int, float]]) -> bool:
    """Whether a service works, and what answers at its port is a process of its sessions: another home's would answer as well."""
    return service.healthy() and (service.port is None or any(listens(*session, service.port) for session in sessions))


def listens(number: int, created: float, port: int) -> bool:
    """Whether a process of a session listens on a port."""
    for process in members(number, created):
        with suppress(psutil.Error):
            if any(each.laddr.port == port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN):
                return True
    return False


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
    limit, waiting = time.monotonic() + _UP_SECONDS, ["all services"]
    while waiting:
        known = {service["name"]: service for service in state(settings)["services"] if service["pid"]}
        # Asked after the state: the supervisor chooses ports before it writes that.
        waiting = [
            each.name for each in services(settings) if each.name not in known or not works(each, known[each.name]["sessions"])
        ]
        if waiting and time.monotonic() > limit:
            logs = ", ".join(str(settings.services / f"{name}.log") for name in waiting)
            raise LapidarError(
                f"{', '.join(waiting)} didn't start in {_UP_SECONDS:.0f} s; see {logs}; `lapidar down` stops the rest"
            )
        time.sleep(0.2)
