"""A Prefect server for one run: starts beside the run, ends with it, also when the run is killed.

Prefect's own temporary server survives the ``kill -9`` of its flow. This one reads a pipe whose other end only the
run holds: the kernel closes it, however the run ends, and the server leaves. ``python -m flows.server`` is its process.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from components.errors import LapidarError
from components.importing import uncollected
from components.settings import Settings

_START_SECONDS = 120
_NICE = 10
_IDLE = ["CANCELLATION_CLEANUP", "CLEANUP_RECONCILER", "FOREMAN", "LATE_RUNS"]
_IDLE += ["PAUSE_EXPIRATIONS", "REPOSSESSOR", "SCHEDULER", "TRIGGERS"]
"""Services of Prefect's server that have nothing to do where nothing is scheduled; their loops would take time from training."""


def environment(settings: Settings) -> dict[str, str]:
    """Variables that keep Prefect inside our home, silent and private. Set before the first import of Prefect."""
    home = settings.services / "prefect"
    return {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_COLORS": "false",
    }


def _only_recording() -> dict[str, str]:
    """Variables of a server that no worker asks and that ends with its run."""
    idle = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _IDLE}
    return {**idle, "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def use(settings: Settings, api: str) -> None:
    """Points this process's Prefect to a server. Call before the first import of Prefect."""
    (settings.services / "prefect").mkdir(parents=True, exist_ok=True)
    os.environ.update(environment(settings), PREFECT_API_URL=api)


class TemporaryServer:
    """Starts at once and doesn't wait: ``wait`` does, so that imports overlap with the start."""

    def __init__(self, settings: Settings) -> None:
        home = settings.services / "prefect"
        home.mkdir(parents=True, exist_ok=True)
        self._log = home / "server.log"
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.server", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=[listener.fileno()],
                env={**os.environ, **environment(settings), **_only_recording()},
                start_new_session=True,  # Ctrl-C goes to the run, which ends the server last
            )
        listener.close()

    @property
    def api(self) -> str:
        """Address of the API."""
        return f"{self.address}/api"

    def wait(self, seconds: float = _START_SECONDS) -> None:
        """Returns when the server answers.

        Raises:
            LapidarError: if it ends or doesn't answer in time; names its log.

        """
        limit = time.monotonic() + seconds
        while not answers(f"{self.api}/health"):
            if self._process.poll() is not None or time.monotonic() > limit:
                raise LapidarError(f"the temporary Prefect server didn't start; see {self._log}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server and waits for it."""
        end(self._process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a server that goes when its stdin closes, and waits for it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether an HTTP address of this machine answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as response:  # noqa: S310  (a loopback address of ours)
            return bool(response.status < 400)
    except OSError:
        return False


def post(url: str, content: Any, seconds: float = 2.0) -> Any:
    """JSON answer of an HTTP address of this machine to a POST, or None if it doesn't answer with success."""
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310
            return json.loads(response.read())
    except (OSError, ValueError):
        return None


def quiet_console() -> None:
    """Takes Prefect's log off the console; the run's log file has it. Call after the import of Prefect."""
    from prefect.logging.configuration import setup_logging
    from prefect.logging.handlers import PrefectConsoleHandler

    setup_logging()
    for logger in [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]:
        for handler in [h for h in logger.handlers if isinstance(h, PrefectConsoleHandler)]:
            logger.removeHandler(handler)


def drain() -> None:
    """Sends what Prefect has still to send. Call before the server ends."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=5)


def app() -> Any:
    """The server's application.

    With SQLAlchemy 2.1, Prefect 3.8's scheduler fails on every insert of runs, because their rows hold ``state``, which is
    no column; so nothing that is scheduled would ever run. Told what to do with it (nothing, as 2.0 did), it works.
    """
    from prefect.server.api.server import create_app
    from prefect.server.database.orm_models import FlowRun

    FlowRun.__dict__["state"].bulk_dml_setter = lambda cls, mapping, value: None
    return create_app()


def _leave_with(pipe: BinaryIO) -> None:
    """Ends this process as soon as nobody holds the other end of the pipe."""
    while pipe.read(1):
        pass
    os._exit(0)


def _stand_back() -> None:
    """Training goes first: a thread of it that waits holds up all the others. Linux groups processes by session and shares the
    cores among the groups, so that a nice value counts only inside one; this process has a session of its own.
    """
    os.nice(_NICE)
    with suppress(OSError):  # not every kernel groups
        Path("/proc/self/autogroup").write_text(str(_NICE))


def main() -> None:
    """Body of the server's process: ``python -m flows.server FD`` with a listening socket and a pipe as standard input."""
    threading.Thread(target=_leave_with, args=(sys.stdin.buffer,), daemon=True).start()
    _stand_back()
    with uncollected():
        import uvicorn

        served = app()
    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(served, log_level="error", lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
